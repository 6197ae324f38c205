package agent

import (
	"cmp"
	"fmt"
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
	if v.State.Cluster.ID == "" {
		out.tell("start the agents of the hosts that are missing, or run `nightporter join ADDRESS` to join a cluster that exists", b.founding.waiting())
		return out
	}
	out.tell("", b.lineage.waiting())
	b.quorumTroubles(v, s, &out)
	cannot, not := fitnessProblems(v.State)
	out.tell("", cannot...)
	out.tell("mend the interface, or name the right one in the configuration (interface), and restart the agent", unfit)
	out.tell("see to the disk that has data_dir; a host whose disk hangs cannot lead, and hands over", b.raft.DiskTrouble())
	out.tell(logSays, b.tenants.problems()...)
	out.tell("", b.waking.problems()...)
	out.tell("see `nightporter wakes` for who knocks; the service's wake rules (budget, deny) say who may wake", b.waking.economy.problems(time.Duration(v.Now))...)
	out.tell(logSays, b.checkups.problems()...)
	out.tell(logSays, b.hooks.problems()...)
	out.tell(logSays, b.notifier.hooks.problems()...)
	out.tell("look whether the receiver runs; docs/hooks.md says what is tried again", b.notifier.webhook.problems()...)
	out.tell(logSays, b.idler.barred())
	out.tell(logSays, b.idler.problems()...)
	out.tell(logSays, b.alarm.problems()...)
	out.tell("", not...)
	out.tell("`nightporter config check` says what this host can", b.sleepProblems(s.Sleep, v.Timing)...)
	for _, sv := range s.Services {
		b.serviceTroubles(v, sv, &out)
	}
	for _, n := range s.Nodes {
		switch {
		case !n.Alive && n.Power == string(fsm.Awake):
			out.tell("look whether it is on and its agent runs; `nightporter wake "+n.Name+"` calls it, `nightporter forget "+n.Name+"` takes out a host that is gone for good", "node "+n.Name+" is not in touch")
		case n.Power == string(fsm.Awake) && (n.PowerReason == string(fsm.SuspendFailed) || n.PowerReason == string(fsm.SuspendTimeout)):
			out.tell("read the agent's log there: `journalctl -u nightporter`", "node "+n.Name+" was to sleep and did not ("+n.PowerReason+"); its log says why")
		}
	}
	out.tell(logSays, b.sleeper.said())
	out = append(out, b.pins.problems(v.State)...)
	out.tell("stop the agent on the one that is wrong", b.post.conflicting())
	out.tell(logSays, b.post.ballot.trouble())
	out.tell("docs/metrics.md says what http wants; the agent does its work without the page", b.web.trouble())
	b.peerTroubles(v, s, &out)
	return out
}

// quorumTroubles are those that keep the cluster from deciding. What helps is to have the voters that are missing.
func (b *backend) quorumTroubles(v cluster.View, s api.Status, out *troubles) {
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
		do = append(do, "look whether the agent runs on "+strings.Join(look, " and on "))
	}
	help := cmp.Or(strings.Join(do, "; "), "wait for the election; if it lasts, look whether TCP port "+fmt.Sprint(b.cfg.PeerPort)+" is open between the hosts")
	if s.Leader == "" {
		out.tell(help, "there is no leader: nothing can be decided, and services stay with their holders only while a majority of the voters answers")
	}
	if !s.Known.Current && s.Known.Age > 0 {
		out.tell("", fmt.Sprintf("what stands here of owners and power is %s old: since then this host has heard of no leader", round(time.Duration(s.Known.Age))))
	}
	if !s.Quorum.Have {
		out.tell(help, fmt.Sprintf("only %d of the %d voters that are needed are awake and in touch", len(s.Quorum.Awake), s.Quorum.Needed))
	}
}

// peerTroubles are those with what the other hosts say and are.
func (b *backend) peerTroubles(v cluster.View, s api.Status, out *troubles) {
	for _, m := range b.gossip.Members() {
		if m.Status == cluster.Alive {
			out.tell("", otherCluster(v.State, m))
		}
		if v.Present[m.Name].Deaf && v.State.Nodes[m.Name].Power == fsm.Awake {
			out.tell(fmt.Sprintf("open TCP port %d between the hosts", b.cfg.PeerPort),
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
func (b *backend) serviceTroubles(v cluster.View, sv api.ServiceStatus, out *troubles) {
	here := b.tenants.shown(sv.Name)
	ports := fmt.Sprintf("open UDP port %d between the hosts", b.cfg.GossipPort)
	why := "`nightporter why " + sv.Name + "` tells which host could take it, and what keeps each of them from it"
	switch {
	case sv.Owner == "":
		out.tell(why, "service "+sv.Name+" has no holder: no awake host can take it")
	case !v.Present[sv.Owner].Alive:
		out.tell(why, "service "+sv.Name+" belongs to "+sv.Owner+", which is not in touch")
	case sv.OwnerState == "silent":
		out.tell(ports, fmt.Sprintf("service %s is silent: %s owns it, and no lease request of it arrives here (is UDP port %d open between the hosts?)", sv.Name, sv.Owner, b.cfg.GossipPort))
	case sv.OwnerState == "claiming" && sv.Owner != b.cfg.Node && v.Now.Sub(b.scene.learntAt(sv.Name)) > claimsLong*v.Timing.Failover:
		out.tell("run `nightporter status` on "+sv.Owner, fmt.Sprintf("service %s is silent: %s owns it since %s and has not opened it; its own status says why", sv.Name, sv.Owner, sv.Since.Format(time.TimeOnly)))
	case sv.Owner == b.cfg.Node && here.Epoch != 0 && !here.Opened && v.Now.Sub(here.Majority) > 2*v.Timing.TTL:
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
