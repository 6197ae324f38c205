package agent

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/fsm"
)

// troubles gathers what is wrong, worst first.
type troubles []api.Trouble

// tell adds the sentences that are not empty; do is what to do about each of them, "" = they say so themselves.
func (t *troubles) tell(do string, sentences ...string) {
	for _, s := range sentences {
		if s != "" {
			*t = append(*t, api.Trouble{What: s, Do: do})
		}
	}
}

const logSays = "read the log of the agent on this host: `journalctl -u nightporter`"

// troubles lists what is wrong, worst first, with what to do about it.
func (b *backend) troubles(v cluster.View, s api.Status, unfit string) troubles {
	out := troubles{}
	if s := b.lineage.sentence(); s != "" {
		out.tell("", s) // nothing else of what it knows counts any more
		return out
	}
	strange := b.foreignTongues(v, &out)
	if v.State.Cluster.ID == "" {
		out.tell("start the agents of the hosts that are missing, or run `nightporter join ADDRESS` to join a cluster that exists", b.founding.waiting())
		return out
	}
	out.tell("", b.lineage.waiting())
	// What is wrong with this host itself comes before what follows from it.
	out.tell("see to the disk that has data_dir ("+b.cfg.DataDir+"); a host whose disk hangs cannot lead, and hands over", b.raft.DiskTrouble())
	ability := "mend the interface, or name the right one in the configuration (interface), and restart the agent"
	if !s.LAN.Up {
		ability = "look at its cable and the switch's port; `ip link set dev " + b.cfg.Interface + " up` if it was taken down; another interface is named in the configuration (interface)"
		out.tell(ability, unfit)
	}
	alone := b.quorumTroubles(v, s, strange, &out)
	cut := !s.LAN.Up || len(alone) > 0 // then that nobody is heard is said, and why, and not once more for each of them
	cannot, not := fitnessProblems(v.State)
	out = append(out, cannot...)
	if s.LAN.Up {
		out.tell(ability, unfit)
	}
	out.tell(logSays, b.tenants.problems()...)
	out.tell("find it by that MAC (`ip neighbour`, the switch's table)", b.tenants.strangers()...)
	out.tell("", b.waking.problems(func(node string) bool { return cannotBeWoken(v.State.Fitness[node]) })...)
	out.tell("see `nightporter wakes` for who knocks; the service's wake rules (budget, deny) say who may wake", b.waking.economy.problems(time.Duration(v.Now))...)
	out.tell("`systemctl status` of its unit on this host tells why", b.checkups.problems()...)
	mendHook := "mend it in " + b.cfg.ChecksDir + "; docs/hooks.md says how it is run, and the agent's log (`journalctl -u nightporter`) how it went"
	out.tell(mendHook, b.hooks.problems()...)
	out.tell(mendHook, b.notifier.hooks.problems()...)
	out.tell("look whether the receiver runs; docs/hooks.md says what is tried again", b.notifier.webhook.problems()...)
	out.tell(logSays, b.idler.barred())
	out.tell(logSays, b.idler.problems()...)
	out.tell(logSays, b.alarm.problems()...)
	out = append(out, not...)
	out.tell("`nightporter config check` says what this host can", b.sleepProblems(s.Sleep, v.Timing)...)
	for _, sv := range s.Services {
		b.serviceTroubles(v, sv, cut, &out)
	}
	for _, n := range s.Nodes {
		switch {
		case cut && n.Name != s.Node:
		case !n.Alive && n.Power == string(fsm.Awake):
			out.tell("look whether it is on and its agent runs; `nightporter wake "+n.Name+"` calls it, `nightporter forget "+n.Name+"` takes out a host that is gone for good", "node "+n.Name+" is not in touch")
		case n.Power == string(fsm.Awake) && (n.PowerReason == string(fsm.SuspendFailed) || n.PowerReason == string(fsm.SuspendTimeout)):
			out.tell("read the agent's log there: `journalctl -u nightporter`", "node "+n.Name+" was to sleep and did not ("+n.PowerReason+"); its log says why")
		}
	}
	out.tell(logSays, b.sleeper.said())
	out = append(out, b.pins.problems(v.State)...)
	out.tell("", b.post.conflicting())
	out.tell(logSays, b.post.ballot.trouble())
	out.tell("docs/metrics.md says what http wants; the agent does its work without the page", b.web.trouble())
	b.peerTroubles(v, s, &out)
	return out
}

// quorumTroubles are those that keep the cluster from deciding. What helps is to have the voters that are missing. It gives the hosts that are
// all that should be awake and that this one hears nothing of, if it is so: then it is more likely its own network.
func (b *backend) quorumTroubles(v cluster.View, s api.Status, strange bool, out *troubles) (alone []string) {
	var call, look []string
	for _, name := range s.Quorum.Voters {
		switch n := v.State.Nodes[name]; {
		case slices.Contains(s.Quorum.Awake, name):
		case n.Power == fsm.Asleep || n.Power == fsm.Suspending:
			call = append(call, "`nightporter wake "+name+"`")
		default:
			look = append(look, name)
		}
	}
	var do []string
	if len(call) > 0 {
		do = append(do, "run "+strings.Join(call, " and "))
	}
	if len(look) > 0 {
		first := ""
		if len(look)+len(call)+1 == len(s.Quorum.Voters) && s.Leader == "" { // it hears no other voter
			first = "look at this host's own network (`nightporter doctor`), then "
		}
		do = append(do, first+"look whether the agent runs on "+strings.Join(look, " and on "))
	}
	if len(do) > 0 && s.Leader == "" {
		do = append(do, "`nightporter recover` goes on without a majority that is gone for good")
	}
	help := cmp.Or(strings.Join(do, "; "), "wait for the election; if it lasts, look whether TCP port "+fmt.Sprint(b.cfg.PeerPort)+" is open between the hosts")
	if alone = unheard(s); len(alone) > 0 && !strange { // else they are heard, and not understood
		out.tell("look at this host's own cable, switch port and firewall first (`nightporter doctor`); then whether the agent runs on the others",
			fmt.Sprintf("this host hears nothing of the others that should be awake (%s): it is cut off, or they are down", strings.Join(alone, ", ")))
	}
	if s.Leader == "" {
		out.tell(help, "there is no leader: nothing can be decided, and services stay with their holders only while a majority of the voters answers")
	}
	if !s.Known.Current && s.Known.Age > 0 {
		out.tell("", fmt.Sprintf("what stands here of owners and power is %s old: since then this host has heard of no leader", round(time.Duration(s.Known.Age))))
	}
	if !s.Quorum.Have && (!s.Known.Current || s.Leader == s.Node) && len(alone) == 0 { // a leader who is heard has its majority
		out.tell(help, fmt.Sprintf("only %d of the %d voters that are needed are awake and in touch", len(s.Quorum.Awake), s.Quorum.Needed))
	}
	return alone
}

// unheard are the other hosts that should be awake, if this one hears none of them.
func unheard(s api.Status) (out []string) {
	for _, n := range s.Nodes {
		switch {
		case n.Name == s.Node || n.Power != string(fsm.Awake):
		case n.Alive:
			return nil
		default:
			out = append(out, n.Name)
		}
	}
	return out
}

// foreignTongues are the messages that nobody here can read: of members, or of hosts that are to be some, it is the first thing to mend.
func (b *backend) foreignTongues(v cluster.View, out *troubles) (some bool) {
	var names []string
	for _, from := range b.post.unread.since(v.Now) {
		if name, ours := b.whose(v.State, from); ours {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		out.tell("compare `sha256sum "+b.cfg.SecretFile+"`, and `cluster` in the configuration, on both sides",
			"messages of "+strings.Join(names, ", ")+" cannot be read: this host and they have not the same secret, or not the same name of the cluster")
	}
	return len(names) > 0
}

// whose names the host at an address, if it is one that the cluster or this host's file knows.
func (b *backend) whose(state *fsm.State, at netip.Addr) (string, bool) {
	for _, name := range slices.Sorted(maps.Keys(state.Nodes)) {
		if state.Nodes[name].Addr.Addr() == at {
			return name, true
		}
	}
	return at.String(), slices.ContainsFunc(b.cfg.Join, func(j string) bool {
		host, _, err := net.SplitHostPort(j)
		return err == nil && host == at.String()
	})
}

// peerTroubles are those with what the other hosts say and are.
func (b *backend) peerTroubles(v cluster.View, s api.Status, out *troubles) {
	for _, m := range b.gossip.Members() {
		if m.Status == cluster.Alive {
			out.tell("", otherCluster(v.State, m))
		}
		if deaf(v, m) {
			out.tell(fmt.Sprintf("run `nightporter status` on %s: its disk may refuse the log; else open TCP port %d between the hosts", m.Name, b.cfg.PeerPort),
				fmt.Sprintf("the log does not reach %s, though gossip does: it can hold nothing and does not vote (is TCP port %d open between the hosts?)", m.Name, b.cfg.PeerPort))
		}
	}
	out.tell("", b.differences(v, s)...)
	for _, n := range s.Nodes {
		out.tell("", drainSentence(v.State, n.Name))
	}
	if len(s.Quorum.Voters) == 1 && len(s.Nodes) > 1 {
		out.tell("", "there is only one voter ("+s.Quorum.Voters[0]+"): nothing takes over by itself if it crashes; a third host, however small (role: witness), makes that automatic")
	}
	if len(s.Quorum.Voters) == 2 {
		out.tell("", "there are two voters ("+strings.Join(s.Quorum.Voters, " and ")+") while the vote moves: until that is over, the death of either stops the services")
	}
}

// deaf says whether gossip reaches a host that is awake, and the log does not. Of one that gossip does not reach either is said that it is not in touch.
func deaf(v cluster.View, m cluster.Member) bool {
	return m.Status == cluster.Alive && v.Present[m.Name].Deaf && v.State.Nodes[m.Name].Power == fsm.Awake
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

// serviceTroubles are those of one service.
func (b *backend) serviceTroubles(v cluster.View, sv api.ServiceStatus, cut bool, out *troubles) {
	here := b.tenants.shown(sv.Name)
	ports := fmt.Sprintf("open UDP port %d between the hosts", b.cfg.GossipPort)
	why := "`nightporter why " + sv.Name + "` tells which host could take it, and what keeps each of them from it"
	switch {
	case sv.Owner == "":
		out.tell(why, "service "+sv.Name+" has no holder: no awake host can take it")
	case cut:
	case !v.Present[sv.Owner].Alive:
		out.tell(why, "service "+sv.Name+" belongs to "+sv.Owner+", which is not in touch")
	case sv.OwnerState == "silent":
		out.tell(ports, fmt.Sprintf("service %s is silent: %s owns it, and no lease request of it arrives here (is UDP port %d open between the hosts?)", sv.Name, sv.Owner, b.cfg.GossipPort))
	case sv.OwnerState == "claiming" && sv.Owner != b.cfg.Node && v.Now.Sub(b.scene.learntAt(sv.Name)) > claimsLong*v.Timing.Failover:
		out.tell("run `nightporter status` on "+sv.Owner, fmt.Sprintf("service %s is silent: %s owns it since %s and has not opened it; its own status says why", sv.Name, sv.Owner, sv.Since.Format(time.TimeOnly)))
	case sv.Owner == b.cfg.Node && here.Epoch != 0 && !here.Opened && !here.Hushed && v.Now.Sub(here.Majority) > 2*v.Timing.TTL:
		out.tell(ports, fmt.Sprintf("service %s is silent: this host owns it and finds no majority of the voters for its lease (is UDP port %d open between the hosts?)", sv.Name, b.cfg.GossipPort))
	}
	for _, h := range sv.Health {
		if h.State == string(cluster.HealthFailing) && v.Present[h.Node].Alive {
			out.tell("see to the service on "+h.Node+"; it gets "+sv.Name+" back when its checks pass", "service "+sv.Name+" does not answer on "+h.Node+": "+h.Detail)
		}
	}
	for _, t := range sv.Targets {
		if n, known := v.State.Nodes[t]; !known {
			out.tell("start its agent, or correct the targets with `nightporter apply`", "service "+sv.Name+" names the target "+t+", which is no member of this cluster")
		} else if n.Role == fsm.Witness {
			out.tell("name another host as target with `nightporter apply`", "service "+sv.Name+" names the target "+t+", which is a witness and holds no service")
		}
	}
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
