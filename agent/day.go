package agent

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/fsm"
)

// dayLength is how far the time-line of the status page reaches back.
const dayLength = 24 * time.Hour

// powerChange is a change of a host's power state, as the log has it.
type powerChange struct {
	index    uint64 // of the entry
	at       time.Time
	node     string
	from, to fsm.Power
	reason   fsm.Reason
}

// dayOf tells the last day from the log. It is pure. changes are in the order of the log. Stamps are those of several hosts' clocks; what they say
// against the order of the log does not count (agree).
func dayOf(state *fsm.State, changes []powerChange, wakeTimeout time.Duration, now time.Time) api.Day {
	now = now.UTC()
	d := api.Day{From: now.Add(-dayLength), Until: now}
	var stamps []logStamp
	for _, c := range changes {
		stamps = append(stamps, logStamp{c.index, c.at})
	}
	for name := range state.Services {
		for _, c := range state.History[name] {
			stamps = append(stamps, logStamp{c.Index, c.At})
		}
	}
	times := agree(stamps, now)
	changes = slices.Clone(changes)
	for i, c := range changes {
		changes[i].at = times[c.index]
	}
	for _, name := range slices.Sorted(maps.Keys(state.Services)) {
		d.Services = append(d.Services, api.ServiceLine{Service: name, Spans: holderSpans(state.History[name], times, d.From, now)})
	}
	for _, name := range slices.Sorted(maps.Keys(state.Nodes)) {
		n := state.Nodes[name]
		d.Nodes = append(d.Nodes, api.NodeLine{Node: name, Policy: string(n.Policy), Spans: powerSpans(n, changes, d.From, now)})
		if t := state.WakeTimes[name]; len(t.Samples) > 0 {
			w := api.WakeSamples{Node: name, Limit: api.Duration(cluster.WakeLimit(t, cluster.PhaseAwake, wakeTimeout))}
			for _, s := range t.Samples {
				w.Samples = append(w.Samples, api.WakeSample{At: s.At, Failed: s.Failed, Phases: phaseTimes(s.Phases)})
			}
			d.Times = append(d.Times, w)
		}
	}
	for _, w := range state.Wakes {
		if w.Started.After(d.From) {
			d.Wakes = append(d.Wakes, wakeRecord(w))
		}
	}
	return d
}

// cut gives the part of a span that lies in the day; false: none does. What is so now is there even if it began this moment.
func cut(since, until, from, now time.Time) (time.Time, time.Time, bool) {
	if since.Before(from) {
		since = from
	}
	return since.UTC(), until.UTC(), until.After(since) || (until.Equal(now) && since.Equal(now))
}

func holderSpans(history []fsm.Change, times map[uint64]time.Time, from, now time.Time) (out []api.HolderSpan) {
	for i, c := range history {
		since, until := times[c.Index], now
		if i+1 < len(history) {
			until = times[history[i+1].Index]
		}
		if a, b, some := cut(since, until, from, now); some && (i+1 == len(history) || !until.Equal(since)) {
			out = append(out, api.HolderSpan{From: a, Until: b, Since: since.UTC(), Owner: c.To, Epoch: c.Epoch, Reason: string(c.Reason)})
		}
	}
	return out
}

// powerSpans goes through a host's changes. Before the first one that is known it was what that one came from, as long as it was a member;
// where one does not come from what the one before led to, something is missing between the two, and there is no span.
func powerSpans(n fsm.Node, changes []powerChange, from, now time.Time) (out []api.PowerSpan) {
	add := func(since, until time.Time, p fsm.Power, r fsm.Reason) {
		if since.After(now) {
			since = now
		}
		if a, b, some := cut(since, until, from, now); some && p != "" {
			out = append(out, api.PowerSpan{From: a, Until: b, Since: since.UTC(), Power: string(p), Reason: string(r)})
		}
	}
	mine := ofNode(n, changes)
	if mine[0].from != "" {
		add(n.Joined, mine[0].at, mine[0].from, "")
	}
	for i, c := range mine {
		switch {
		case i+1 == len(mine):
			add(c.at, now, c.to, c.reason)
		case mine[i+1].from == c.to && mine[i+1].at.After(c.at):
			add(c.at, mine[i+1].at, c.to, c.reason)
		}
	}
	return out
}

// ofNode picks one host's changes since it joined, without those that change nothing. The last one is what its record says.
func ofNode(n fsm.Node, changes []powerChange) (mine []powerChange) {
	for _, c := range changes {
		if c.node == n.Name && !c.at.Before(n.Joined) && (len(mine) == 0 || mine[len(mine)-1].to != c.to) {
			mine = append(mine, c)
		}
	}
	if i := len(mine) - 1; i >= 0 && mine[i].to == n.Power {
		mine[i].reason = cmp.Or(mine[i].reason, n.PowerReason)
		return mine
	}
	return append(mine, powerChange{at: n.PowerSince, node: n.Name, to: n.Power, reason: n.PowerReason})
}

// powerChanges are the changes of power in the cluster's story, in the order of the log.
func powerChanges(state *fsm.State) (out []powerChange) {
	for _, e := range state.EventsSince(time.Time{}) {
		switch {
		case e.What == fsm.Corrected: // of the last change of that host
			for i := len(out) - 1; i >= 0; i-- {
				if out[i].node == e.Node {
					out[i].reason = e.Reason
					break
				}
			}
		case e.Kind == fsm.EventPower:
			out = append(out, powerChange{index: e.Index, at: e.At, node: e.Node, from: fsm.Power(e.From), to: fsm.Power(e.To), reason: e.Reason})
		}
	}
	return out
}
