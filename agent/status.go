package agent

import (
	"context"
	"maps"
	"slices"

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
		Node: b.cfg.Node, Time: v.Wall.UTC(), Known: b.known(v), Version: b.deps.Version, Leader: b.raft.Leader(),
		Cluster:  api.Cluster{ID: b.lineage.cluster(v.State), Name: b.cfg.Cluster},
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
		s.Services = append(s.Services, b.service(v, name, knowledge{s.Known.Current, s.Quorum.Have}))
	}
	if v.State.Cluster.ID == "" { // nothing of this is decided yet
		s.Failover, s.Quorum.Needed = s.FailoverFile, 0
	}
	s.Sleep = b.hostSleep(ctx)
	why := ""
	if b.cfg.Role != config.Witness {
		why = unfit(b.deps.Kernel, lan, lanErr, v.State.Services)
	}
	s.Problems, s.Troubles = []string{}, b.troubles(v, s, why)
	for _, t := range s.Troubles {
		s.Problems = append(s.Problems, t.What)
	}
	return s, nil
}

// known is how old this host's knowledge of the log is.
func (b *backend) known(v cluster.View) api.Known {
	k := api.Known{Index: b.machine.View().Index, Current: b.raft.IsLeader()}
	if heard := b.raft.LastHeard(); !k.Current && !heard.IsZero() {
		age := max(v.Wall.Sub(heard), 0)
		k.Age, k.Current = api.Duration(age), v.Leader != "" && age <= 2*v.Timing.RaftHeartbeat
	}
	return k
}

func (b *backend) nodes(v cluster.View) []api.NodeStatus {
	voters := cluster.Voters(b.machine.View().Servers)
	leader := b.raft.Leader()
	out := []api.NodeStatus{}
	for _, name := range slices.Sorted(maps.Keys(v.State.Nodes)) {
		n := v.State.Nodes[name]
		s := api.NodeStatus{
			Name: name, Alive: v.Present[name].Alive, Power: string(n.Power), PowerReason: string(n.PowerReason), Cause: cause(v.State, n),
			Since: n.PowerSince, Policy: string(n.Policy), Role: string(n.Role), Voter: slices.Contains(voters, name), Leader: name == leader,
			WakeFitness: wakeFitness(v.State, n),
			Wakes:       wakeTimes(v.State.WakeTimes[name], b.cfg.WakeTimeout), Maintenance: n.Maintenance, Drain: drainOf(v.State, name), Fit: v.CannotHold(name) == "", Key: n.Key, Addr: n.Addr, Version: n.Version, Wake: []api.MAC{},
		}
		for _, m := range n.Wake {
			s.Wake = append(s.Wake, api.MAC(m))
		}
		s.Secrets = b.secretsOf(name)
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
func (b *backend) service(v cluster.View, name string, k knowledge) api.ServiceStatus {
	own, t := v.State.Ownerships[name], b.tenants.shown(name)
	s := api.ServiceStatus{
		Service: toAPI(v.State.Services[name]), ModeGives: modeGives(v.State.Services[name].Mode), Owner: own.Owner, Epoch: own.Epoch, Reason: string(own.Reason),
		Since: own.Since, Cause: ownerCause(v.State, name), By: own.By, Role: "none", OwnerState: b.ownerState(v, name, own),
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
	s.Holder = b.holder(v, own, s, k)
	return s
}

// dated takes back what may have changed since: a host that has lost touch with the leader may have lost it with the owner too, and the
// voters that it does not see may not answer the owner either, whose fence then closes by itself. What a voter granted just now stays.
func dated(h api.Holder, k knowledge) api.Holder {
	switch {
	case h.Lease == "granted" || h.Fence != "open":
	case !k.quorum:
		h.Fence = "unknown"
	case !k.current:
		h.Fence = "presumed-open"
	}
	return h
}

// knowledge is how far what is known here goes.
type knowledge struct {
	current bool // of the log
	quorum  bool // a majority of the voters is in touch
}

// holder is what is known here of the lease and the fence of a service's owner.
func (b *backend) holder(v cluster.View, own fsm.Ownership, s api.ServiceStatus, k knowledge) api.Holder {
	switch own.Owner {
	case "":
		return api.Holder{Source: "none", Lease: "none", Fence: "none"}
	case b.cfg.Node:
		return api.Holder{Source: "here", Lease: s.Lease.State, Fence: s.Fence.State}
	}
	h := api.Holder{Source: "none", Lease: "unknown", Fence: "unknown"}
	asks, asked := b.post.ballot.lastAsked(s.Name, own.Owner)
	if asked && asks.epoch == own.Epoch && slices.Contains(cluster.Voters(b.machine.View().Servers), b.cfg.Node) {
		age := v.Now.Sub(asks.at)
		h.Source, h.LeaseAge = "vote", api.Duration(age)
		switch {
		case age > v.Timing.TTL:
			h.Lease = "silent"
		case asks.granted:
			h.Lease, h.Fence = "granted", "presumed-open"
		}
	}
	if h.Lease != "silent" && b.post.opens.at(s.Name) >= own.Epoch {
		h.Fence = "open"
	}
	return dated(h, k)
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
