package agent

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/idle"
)

// Why tells why a node is awake or asleep. The reasons to be awake live where they are found, so a node that is awake is asked itself;
// of any other the log tells since when and why it is as it is.
func (b *backend) Why(ctx context.Context, node string) (api.Why, error) {
	tried := "find out why " + node + " is as it is"
	v, _ := b.touched()
	if err := b.founded(v.State, tried); err != nil {
		return api.Why{}, err
	}
	n, known := v.State.Nodes[node]
	switch {
	case !known:
		return api.Why{}, api.UnknownNode(node, slices.Sorted(maps.Keys(v.State.Nodes)))
	case node == b.cfg.Node:
		return b.whyHere(v, n), nil
	}
	out := recorded(v.State, n)
	if n.Power != fsm.Awake && n.Power != fsm.Suspending || api.CallerOf(ctx).Peer != "" {
		return out, nil
	}
	ask, cancel := context.WithTimeout(ctx, whyPatience)
	defer cancel()
	answer, err := b.peer(node).Why(ask, node)
	if err != nil {
		out.Summary = fmt.Sprintf("%s should be awake and does not answer: what keeps it awake is not known here", node)
		if api.CodeOf(err) == api.CodeVersion {
			out.Summary = fmt.Sprintf("%s is awake, and its agent is of a version that cannot tell what keeps it so", node)
		}
		out.Notes = append(out.Notes, message(err))
		if !v.Present[node].Alive {
			out.Rules = []api.Rule{
				{Sentence: "it is in touch again when it is on, its agent runs and the network between the hosts is whole", Key: "systemctl start nightporter"},
				{Sentence: "somebody can call it", Key: "`nightporter wake " + node + "`"},
				{Sentence: "a host that is gone for good is taken out", Key: "`nightporter forget " + node + "`"},
			}
		}
		return out, nil
	}
	return answer, nil
}

// whyPatience is how long a node that should be awake may take to answer. Gossip takes seconds to miss one.
const whyPatience = 2 * time.Second

// whyHere is of this host.
func (b *backend) whyHere(v cluster.View, n fsm.Node) api.Why {
	out := recorded(v.State, n)
	if n.Power != fsm.Awake {
		return out
	}
	out.Idle = api.Duration(b.idler.rules.Idle)
	if next := idle.Next(b.idler.wakeAt, v.Wall.Local()); !next.IsZero() {
		out.WakesAt = next.UTC()
	}
	b.showWakeTime(v, &out)
	if !out.WakesAt.IsZero() {
		out.Rules = append(out.Rules, api.Rule{Sentence: "it is to be awake at " + stamp(out.WakesAt), Key: "wake_at, wake_timers, wake_commands"})
	}
	if b.idler.senses == nil || b.idler.rules.Idle == 0 {
		out.State = string(idle.Off)
		out.Summary = cannotSleep(n)
		out.Notes = say(out.Notes, unfitToWake(v.State, n.Name))
		return out
	}
	look, any := b.idler.outlook()
	if !any {
		out.Summary = n.Name + " has just come up: whether somebody needs it is being found out"
		return out
	}
	at := func(boot time.Duration) time.Time {
		return v.Wall.Add(boot - time.Duration(v.Now)).Round(time.Millisecond)
	}
	showOutlook(&out, look, at)
	out.Rules = append(sleepRules(out), out.Rules...)
	return out
}

// showWakeTime adds what this host's programs said last of when they want it awake. They are not asked for that: it is root's programs that
// run, and anybody in the cluster may ask why.
func (b *backend) showWakeTime(v cluster.View, out *api.Why) {
	if b.alarm.times == nil {
		return
	}
	said := b.alarm.answer.Load()
	if said == nil {
		out.Notes = append(out.Notes, "wake_timers and wake_commands have not been asked yet: that is done before a sleep")
		return
	}
	asked := fmt.Sprintf(" (asked %s ago)", round(time.Duration(v.Now)-time.Duration(said.at)))
	switch {
	case said.err != nil:
		out.Notes = append(out.Notes, "while that is so it does not go to sleep: "+said.err.Error()+asked)
	case said.wakeTime.at.After(v.Wall):
		at := said.wakeTime.at.UTC()
		out.Notes = append(out.Notes, said.of+" wants it awake at "+at.Format(time.DateTime)+" UTC"+asked)
		if out.WakesAt.IsZero() || at.Before(out.WakesAt) {
			out.WakesAt = at
		}
	default:
		out.Notes = append(out.Notes, "wake_timers and wake_commands name no time that is still to come"+asked)
	}
}

// showOutlook takes over what the idler found.
func showOutlook(out *api.Why, look outlook, at func(time.Duration) time.Time) {
	d := look.verdict
	out.State, out.StateSince, out.Notes = string(d.State), at(d.Since), append(out.Notes, look.notes...)
	if d.SleepAt != 0 {
		out.SleepsAt = at(d.SleepAt)
	}
	reason := func(s idle.Standing) api.AwakeReason {
		return api.AwakeReason{Name: string(s.Name), Kind: string(s.Kind), Subject: s.Subject, Sentence: s.Sentence, Since: at(s.Since), Until: at(s.Until)}
	}
	for _, s := range d.Reasons {
		out.Reasons = append(out.Reasons, reason(s))
	}
	if d.Last.Name != "" {
		out.LastUse = reason(d.Last)
	}
	out.Summary = summary(out.Node, d, time.Duration(out.Idle), look.at)
}

// summary is the one sentence for a host that goes to sleep by itself.
func summary(node string, d idle.Verdict, after, now time.Duration) string {
	switch d.State {
	case idle.Busy:
		return fmt.Sprintf("%s is in use; it goes to sleep %s after the last use has ended", node, after)
	case idle.Held:
		return fmt.Sprintf("nobody uses %s, but something keeps it awake; it goes to sleep as soon as that has gone", node)
	case idle.Sleep:
		return fmt.Sprintf("nobody needs %s: it goes to sleep now", node)
	}
	return fmt.Sprintf("nobody has used %s for %s; unless somebody does, it goes to sleep in %s (idle: %s)", node, round(now-d.Since), round(d.SleepAt-now), after)
}

// cannotSleep is that sentence for a host that does not go to sleep by itself.
func cannotSleep(n fsm.Node) string {
	if n.Policy != fsm.Sleeps {
		return n.Name + " never sleeps: its power is always-on in the configuration"
	}
	return fmt.Sprintf("%s does not go to sleep by itself: idle is not set for it in the configuration; `nightporter sleep %s` puts it to sleep", n.Name, n.Name)
}

// recorded is what the log says of a node.
func recorded(state *fsm.State, n fsm.Node) api.Why {
	out := api.Why{
		Node: n.Name, Power: string(n.Power), PowerReason: string(n.PowerReason), Since: n.PowerSince, Policy: string(n.Policy),
		Cause: cause(state, n), Reasons: []api.AwakeReason{}, Rules: powerRules(state, n), Notes: []string{},
	}
	switch n.Power {
	case fsm.Suspending:
		out.Summary = n.Name + " is going to sleep: it hands over what it holds"
	case fsm.Asleep:
		out.Summary = fmt.Sprintf("%s is asleep; a client that wants one of its services wakes it, and so does `nightporter wake %s`", n.Name, n.Name)
		if why, do := whyUnfit(state, n.Name); cannotBeWoken(state.Fitness[n.Name]) && why != "" {
			out.Summary, out.Notes = n.Name+" is asleep and CANNOT BE WOKEN: "+why, say(out.Notes, do)
		} else if n.Maintenance {
			out.Summary = fmt.Sprintf("%s is asleep and in maintenance: clients do not wake it, `nightporter wake %s` does", n.Name, n.Name)
		}
	case fsm.Waking:
		out.Summary = n.Name + " was called and is on its way up"
	case fsm.Off:
		out.Summary = n.Name + " is off: nobody knows when it comes back"
	}
	out.Notes = say(out.Notes, drainSentence(state, n.Name))
	if w, ok := lastWake(state, n.Name); ok && n.Power == fsm.Asleep {
		did := "it was woken last at "
		switch {
		case w.Cause.ByItself():
			did = "it woke last at "
		case w.Result == fsm.GaveUp:
			did = "it was called last, in vain, at "
		}
		out.Notes = append(out.Notes, did+stamp(w.Started)+": "+wakeCause(w))
	}
	return out
}

// causes are the sentences for why a node is in its power state. A reason that is not among them stands for itself.
var causes = map[fsm.Reason]string{
	fsm.NodeIdle:       "nobody had needed it for as long as its configuration says (idle)",
	fsm.CanarySleep:    "it was to show that it can be woken (canary)",
	fsm.OperatorSleep:  "somebody put it to sleep with `nightporter sleep`",
	fsm.HandedOver:     "it was put to sleep",
	fsm.NodeJoined:     "it joined the cluster",
	fsm.NodeReturned:   "it came back from a crash or a sleep",
	fsm.NodeFailed:     "it fell silent without a word",
	fsm.NodeLeft:       "it left the cluster",
	fsm.WokeAlarm:      "its own clock woke it to look after the others, and nobody led, or nobody held what it runs (look_after)",
	fsm.WokeOnTime:     "its own clock woke it at a time of its configuration (wake_at, wake_timers, wake_commands)",
	fsm.WokeUnasked:    "it woke up without having been called: by its power button, its clock, or somebody else's magic packet",
	fsm.SuspendFailed:  "it was to sleep, and its suspend command failed; its log says more",
	fsm.SuspendTimeout: "it was to sleep, and its services were not handed over in time",
	fsm.SleepCancelled: "it was to sleep, and somebody wanted it before it did",
	fsm.GaveUp:         "it was called and did not answer",
	fsm.OperatorWake:   "somebody called it with `nightporter wake`",
	fsm.Demand:         "a client wants one of its services",
	fsm.QuorumLost:     "the cluster needs its vote",
	fsm.WokeUp:         "it was woken",

	fsm.ClusterRecovered:  "the cluster was recovered on it after the loss of the majority",
	fsm.SuspendedByOthers: "it was suspended by others: its lid was closed, somebody ran `systemctl suspend`, or its desktop was idle",
}

func cause(state *fsm.State, n fsm.Node) string {
	w, ok := wakeOf(state, n)
	switch {
	case ok && n.PowerReason == fsm.WokeUp:
		return "it was woken: " + wakeCause(w)
	case ok && n.Power == fsm.Waking:
		return "it was called: " + wakeCause(w)
	}
	return cmp.Or(causes[n.PowerReason], string(n.PowerReason))
}

// wakeOf is the wake that brought a node into its power state: the newest that had begun by then. One that began later was in vain or for
// nothing, as those of a host that is cut off and calls for everybody's votes. The clocks of the two may differ, so else it is the newest.
func wakeOf(state *fsm.State, n fsm.Node) (fsm.Wake, bool) {
	for _, w := range slices.Backward(state.Wakes) {
		if w.Node == n.Name && !w.Started.After(n.PowerSince) {
			return w, true
		}
	}
	return lastWake(state, n.Name)
}

func lastWake(state *fsm.State, node string) (fsm.Wake, bool) {
	for _, w := range slices.Backward(state.Wakes) {
		if w.Node == node {
			return w, true
		}
	}
	return fsm.Wake{}, false
}

func wakeCause(w fsm.Wake) string {
	if w.Cause == fsm.Demand && w.Client != "" {
		return fmt.Sprintf("the client %s wanted %s (%s)", w.Client, w.Service, w.Port)
	}
	return cmp.Or(causes[w.Cause], string(w.Cause))
}

// round leaves what people want to read of a time.
func round(d time.Duration) time.Duration {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}
