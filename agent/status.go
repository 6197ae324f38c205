package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/config"
	"nightporter/fsm"
)

// Members lists the nodes.
func (b *backend) Members(context.Context) ([]api.NodeStatus, error) {
	v := b.scene.view()
	if err := b.founded(v.State, "list the members"); err != nil {
		return nil, err
	}
	return b.nodes(v), nil
}

// Status tells all that this agent knows, what is wrong first.
func (b *backend) Status(ctx context.Context) (api.Status, error) {
	v := b.scene.view()
	servers := b.machine.View().Servers
	s := api.Status{
		Node: b.cfg.Node, Version: b.deps.Version, Leader: b.raft.Leader(),
		Cluster:  api.Cluster{ID: v.State.Cluster.ID, Name: b.cfg.Cluster},
		Failover: api.Duration(v.State.Timing.Failover), FailoverFile: api.Duration(b.cfg.Failover),
		Services: []api.ServiceStatus{}, Nodes: b.nodes(v), Inrush: v.State.InrushLimit(),
	}
	voters := cluster.Voters(servers)
	s.Quorum = api.Quorum{Voters: voters, Needed: len(voters)/2 + 1, Awake: []string{}}
	for _, name := range voters {
		if v.Present[name].Alive && v.State.Nodes[name].Power == fsm.Awake {
			s.Quorum.Awake = append(s.Quorum.Awake, name)
		}
	}
	s.Quorum.Have = len(s.Quorum.Awake) >= s.Quorum.Needed
	lan, lanErr := b.deps.Kernel.LAN()
	s.LAN = api.LAN{Interface: b.cfg.Interface, Up: lan.Up, Prefixes: lan.Prefixes}
	for _, name := range slices.Sorted(maps.Keys(v.State.Services)) {
		s.Services = append(s.Services, b.service(v, name))
	}
	if v.State.Cluster.ID == "" { // nothing of this is decided yet
		s.Failover, s.Quorum.Needed = s.FailoverFile, 0
	}
	s.Sleep = b.hostSleep(ctx)
	why := ""
	if b.cfg.Role != config.Witness {
		why = unfit(b.deps.Kernel, lan, lanErr, v.State.Services)
	}
	s.Problems = b.problems(v, s, why)
	return s, nil
}

func (b *backend) nodes(v cluster.View) []api.NodeStatus {
	voters := cluster.Voters(b.machine.View().Servers)
	leader := b.raft.Leader()
	out := []api.NodeStatus{}
	for _, name := range slices.Sorted(maps.Keys(v.State.Nodes)) {
		n := v.State.Nodes[name]
		s := api.NodeStatus{
			Name: name, Alive: v.Present[name].Alive, Power: string(n.Power), PowerReason: string(n.PowerReason),
			Since: n.PowerSince, Policy: string(n.Policy), Role: string(n.Role), Voter: slices.Contains(voters, name), Leader: name == leader,
			WakeFitness: wakeFitness(v.State, n),
			Wakes:       wakeTimes(v.State.WakeTimes[name], b.cfg.WakeTimeout), Maintenance: n.Maintenance, Fit: v.CannotHold(name) == "", Addr: n.Addr, Version: n.Version, Wake: []api.MAC{},
		}
		for _, m := range n.Wake {
			s.Wake = append(s.Wake, api.MAC(m))
		}
		if s.Alive {
			s.LastSeen = v.Wall
		} else if m, ok := b.member(name); ok {
			s.LastSeen = m.Changed
		}
		out = append(out, s)
	}
	return out
}

func (b *backend) member(name string) (cluster.Member, bool) {
	for _, m := range b.gossip.Members() {
		if m.Name == name {
			return m, true
		}
	}
	return cluster.Member{}, false
}

// service tells one service as this host sees it.
func (b *backend) service(v cluster.View, name string) api.ServiceStatus {
	own, t := v.State.Ownerships[name], b.tenants.shown(name)
	s := api.ServiceStatus{
		Service: toAPI(v.State.Services[name]), ModeGives: modeGives(v.State.Services[name].Mode), Owner: own.Owner, Epoch: own.Epoch, Reason: string(own.Reason),
		Since: own.Since, By: own.By, Role: "none", OwnerState: b.ownerState(v, name, own),
		Lease: api.Lease{State: "none", Refused: []api.Refusal{}},
		Fence: api.Fence{State: "none", Limits: t.Limits, Kind: t.FenceKind}, Health: targetHealth(v, v.State.Services[name]),
		Waiting: api.Waiting{Attempts: t.Waiting, Connections: t.Stay, Shut: t.Shut.words()},
	}
	if t.Prepared {
		s.Fence.State, s.Role = "closed", "parked"
	}
	if t.Epoch != 0 {
		s.Role = "claiming"
		s.Lease.State, s.Lease.Epoch = "asking", t.Epoch
		if len(t.Refused) > 0 {
			s.Lease.State = "refused"
		}
	}
	if t.Opened {
		s.Lease.State, s.Lease.Left = "held", api.Duration(max(t.Deadline.Sub(v.Now), 0))
		s.Fence.State, s.Role = "open", "holding"
		if t.Serving {
			s.Role = "serving"
		}
	}
	for _, a := range t.Refused {
		s.Lease.Refused = append(s.Lease.Refused, api.Refusal{
			Voter: a.Voter, Reason: string(a.Refusal), Holder: a.Holder, Left: api.Duration(a.Remaining),
		})
	}
	return s
}

// targetHealth is what the targets of a service say of themselves.
func targetHealth(v cluster.View, sv fsm.Service) []api.TargetHealth {
	out := []api.TargetHealth{}
	if !sv.Checked() {
		return out
	}
	for _, node := range sv.Targets {
		state, why := v.Readiness(sv, node)
		h := api.TargetHealth{Node: node, State: string(state), Detail: why}
		if said := v.Health[sv.Name].Targets[node]; said.Heard != 0 {
			h.Age = api.Duration(v.Now.Sub(said.Heard))
		}
		if n := v.State.Nodes[node]; state != cluster.HealthReady && n.Power != fsm.Awake && n.Power != "" {
			h.State, h.Detail = string(cluster.HealthUnknown), "it is "+string(n.Power)
		}
		out = append(out, h)
	}
	return out
}

// modeGives is what a mode gives, a sentence.
func modeGives(m fsm.Mode) string {
	if m == fsm.ModeAddress {
		return "the address is on its holder's own MAC, for networks that allow no second one on a port; a client that misses the announcement of " +
			"a change stays stuck until one that it hears: 100 ms later, then after 1, 2, 4, 8 and 16 s, then every 45 s"
	}
	return "the address has a MAC of its own that moves with it: clients notice nothing of a change, only the switches learn; " +
		"for networks that allow several MACs on a port"
}

// ownerState tells from here what the owner does: exactly for this host, by the evidence for another.
func (b *backend) ownerState(v cluster.View, name string, own fsm.Ownership) string {
	if own.Owner == "" {
		return "none"
	}
	votes := slices.Contains(cluster.Voters(b.machine.View().Servers), b.cfg.Node) // others are not asked for leases
	asks, _ := b.post.ballot.lastAsked(name, own.Owner)
	open := b.post.opens.at(name) >= own.Epoch || (asks.granted && asks.epoch == own.Epoch)
	if own.Owner == b.cfg.Node {
		open = b.openHere(name, own.Epoch)
	}
	switch {
	case !v.Present[own.Owner].Alive || (votes && v.Silent(name, own)):
		return "silent"
	case !open:
		return "claiming"
	case slices.Contains(v.State.Services[name].Targets, own.Owner):
		return "serving"
	}
	return "holding"
}

// problems lists what is wrong, worst first.
func (b *backend) problems(v cluster.View, s api.Status, unfit string) []string {
	out := []string{}
	if v.State.Cluster.ID == "" {
		return say(out, b.founding.waiting())
	}
	if s.Leader == "" {
		out = say(out, "there is no leader: nothing can be decided, and services stay with their holders only while a majority of the voters answers")
	}
	if !s.Quorum.Have {
		out = say(out, fmt.Sprintf("only %d of the %d voters that are needed are awake and in touch", len(s.Quorum.Awake), s.Quorum.Needed))
	}
	cannot, not := fitnessProblems(v.State)
	out = say(out, cannot...)
	out = say(out, unfit, b.raft.DiskTrouble())
	out = say(out, b.tenants.problems()...)
	out = say(out, b.waking.problems()...)
	out = say(out, b.waking.economy.problems(time.Duration(v.Now))...)
	out = say(out, b.checkups.problems()...)
	out = say(out, b.idler.problems()...)
	out = say(out, b.alarm.problems()...)
	out = say(out, not...)
	out = say(out, b.sleepProblems(s.Sleep, v.Timing)...)
	for _, sv := range s.Services {
		out = say(out, b.serviceProblems(v, sv)...)
	}
	for _, n := range s.Nodes {
		switch {
		case !n.Alive && n.Power == string(fsm.Awake):
			out = say(out, "node "+n.Name+" is not in touch")
		case n.Power == string(fsm.Awake) && (n.PowerReason == string(fsm.SuspendFailed) || n.PowerReason == string(fsm.SuspendTimeout)):
			out = say(out, "node "+n.Name+" was to sleep and did not ("+n.PowerReason+"); its log says why")
		}
	}
	for _, p := range []*atomic.Pointer[string]{&b.sleeper.problem, &b.leader.trouble} {
		if sentence := p.Load(); sentence != nil {
			out = say(out, *sentence)
		}
	}
	out = say(out, b.post.conflicting(), b.post.ballot.trouble())
	for _, m := range b.gossip.Members() {
		if m.Status == cluster.Alive {
			out = say(out, otherCluster(v.State.Cluster.ID, m))
		}
		if v.Present[m.Name].Deaf && v.State.Nodes[m.Name].Power == fsm.Awake {
			out = say(out, fmt.Sprintf("the log does not reach %s, though gossip does: it can hold nothing and does not vote (is TCP port %d open between the hosts?)", m.Name, b.cfg.PeerPort))
		}
	}
	out = say(out, b.differences(v, s)...)
	if len(s.Quorum.Voters) == 1 && len(s.Nodes) > 1 {
		out = say(out, "there is only one voter ("+s.Quorum.Voters[0]+"): nothing takes over by itself if it crashes; a third host, however small (role: witness), makes that automatic")
	}
	if len(s.Quorum.Voters) == 2 {
		out = say(out, "there are two voters ("+strings.Join(s.Quorum.Voters, " and ")+") while the vote moves: until that is over, the death of either stops the services")
	}
	return out
}

// claimsLong is the number of failovers after which an owner that is not open yet is worth a sentence.
const claimsLong = 5

// say appends the sentences that are not empty.
func say(list []string, sentences ...string) []string {
	for _, s := range sentences {
		if s != "" {
			list = append(list, s)
		}
	}
	return list
}

func (b *backend) serviceProblems(v cluster.View, sv api.ServiceStatus) (out []string) {
	here := b.tenants.shown(sv.Name)
	switch {
	case sv.Owner == "":
		out = say(out, "service "+sv.Name+" has no holder: no awake host can take it")
	case !v.Present[sv.Owner].Alive:
		out = say(out, "service "+sv.Name+" belongs to "+sv.Owner+", which is not in touch")
	case sv.OwnerState == "silent":
		out = say(out, fmt.Sprintf("service %s is silent: %s owns it, and no lease request of it arrives here (is UDP port %d open between the hosts?)", sv.Name, sv.Owner, b.cfg.GossipPort))
	case sv.OwnerState == "claiming" && sv.Owner != b.cfg.Node && v.Now.Sub(b.scene.learntAt(sv.Name)) > claimsLong*v.Timing.Failover:
		out = say(out, fmt.Sprintf("service %s is silent: %s owns it since %s and has not opened it; its own status says why", sv.Name, sv.Owner, sv.Since.Format(time.TimeOnly)))
	case sv.Owner == b.cfg.Node && here.Epoch != 0 && !here.Opened && v.Now.Sub(here.Majority) > 2*v.Timing.TTL:
		out = say(out, fmt.Sprintf("service %s is silent: this host owns it and finds no majority of the voters for its lease (is UDP port %d open between the hosts?)", sv.Name, b.cfg.GossipPort))
	}
	for _, h := range sv.Health {
		if h.State == string(cluster.HealthFailing) && v.Present[h.Node].Alive {
			out = say(out, "service "+sv.Name+" does not answer on "+h.Node+": "+h.Detail)
		}
	}
	for _, t := range sv.Targets {
		if n, known := v.State.Nodes[t]; !known {
			out = say(out, "service "+sv.Name+" names the target "+t+", which is no member of this cluster")
		} else if n.Role == fsm.Witness {
			out = say(out, "service "+sv.Name+" names the target "+t+", which is a witness and holds no service")
		}
	}
	return out
}

// differences are what this host's file says otherwise than the cluster, or than another host's.
func (b *backend) differences(v cluster.View, s api.Status) (out []string) {
	if s.Failover != s.FailoverFile {
		out = say(out, fmt.Sprintf("failover is %s in the cluster and %s in this host's file; the cluster's counts (`nightporter set failover`)", s.Failover, s.FailoverFile))
	}
	for _, sv := range services(b.cfg) {
		if have, ok := v.State.Services[sv.Name]; !ok {
			out = say(out, "service "+sv.Name+" stands in this host's file but not in the cluster; the cluster's word counts (`nightporter apply`)")
		} else if !sameService(have, sv) {
			out = say(out, "service "+sv.Name+" is defined otherwise in this host's file than in the cluster; the cluster's word counts (`nightporter get`)")
		}
	}
	for _, m := range b.gossip.Members() {
		if m.Status == cluster.Alive && m.Meta.Digest != "" && !strings.HasPrefix(b.cfg.Digest, m.Meta.Digest) {
			out = say(out, "node "+m.Name+" runs with another configuration file than this host")
		}
	}
	return out
}
