package fsm

import (
	"maps"
	"slices"
	"time"
)

// NodeLedger is what is remembered of a node's hours and wakes: for ever in sum, and by day. It is information for people: no decision
// rests on it, a node of version 0.1 does not keep it, and one that got its state from such a one begins anew (DESIGN.md, rule 3). Its
// times are differences of the proposers' wall clocks.
type NodeLedger struct {
	Since time.Time  `json:"since"` // from when on the hours are counted
	Total Tally      `json:"total"`
	Days  []DayTally `json:"days"` // oldest first, at most DaysLimit
}

// DayTally is one day's part, by UTC.
type DayTally struct {
	Day int64 `json:"day"` // since 1970-01-01
	Tally
}

// Tally counts hours and wakes.
type Tally struct {
	Awake  time.Duration `json:"awake,omitempty"` // with the ways into a sleep and out of it, on which a host draws as much
	Asleep time.Duration `json:"asleep,omitempty"`
	Off    time.Duration `json:"off,omitempty"` // it crashed, or left: nobody knows what it drew
	Wakes  []WakeCount   `json:"wakes,omitempty"`
}

// WakeCount is how many wakes there were of one kind.
type WakeCount struct {
	Service string  `json:"service,omitempty"` // "" = of none, or of one that had no room
	Cause   Reason  `json:"cause"`
	Verdict Verdict `json:"verdict,omitempty"`
	Count   uint64  `json:"count"`
}

// Bounds of a ledger. Hours of a day that has fallen off stay in the sum.
const (
	DaysLimit  = 100
	countsMost = 128                       // kinds of wakes in one tally; those of further services are counted together
	spanMost   = 10 * 365 * 24 * time.Hour // a longer time between two changes is a clock that was set
	dayLength  = 24 * time.Hour
)

// dayOf is the day that a time lies in.
func dayOf(t time.Time) int64 { return int64(t.Sub(epoch()) / dayLength) }

// epoch is the first of January 1970. A time that a Duration cannot reach from there counts as the last one that it can.
func epoch() time.Time { return time.Unix(0, 0) }

// spend adds the time from the last change of a node's power until now to what it was in. Only nodes of format 2 are counted: their
// records tell that the cluster has seen a version that keeps ledgers.
func spend(s *State, n Node, until time.Time) map[string]NodeLedger {
	span := until.Sub(n.PowerSince)
	if n.Format < 2 || span <= 0 || span > spanMost || n.PowerSince.IsZero() {
		return s.Ledger
	}
	l, known := s.Ledger[n.Name]
	if !known {
		l.Since = n.PowerSince
	}
	l.Total = l.Total.with(n.Power, span)
	days := slices.Clone(l.Days)
	from := n.PowerSince
	if least := until.Add(-DaysLimit * dayLength); from.Before(least) {
		from = least
	}
	for from.Before(until) {
		day := dayOf(from)
		end := epoch().Add(time.Duration(day+1) * dayLength)
		if !end.After(from) || end.After(until) { // the former: a time that a Duration cannot reach
			end = until
		}
		days = onDay(days, day, func(t Tally) Tally { return t.with(n.Power, end.Sub(from)) })
		from = end
	}
	l.Days = days
	return withLedger(s.Ledger, n.Name, l)
}

// with adds a time in a power state.
func (t Tally) with(p Power, d time.Duration) Tally {
	switch p {
	case Asleep:
		t.Asleep += d
	case Off:
		t.Off += d
	default:
		t.Awake += d
	}
	return t
}

// onDay changes one day of a list that is the caller's own, and keeps it in order and bounded. A day before all of a full list is left out.
func onDay(days []DayTally, day int64, change func(Tally) Tally) []DayTally {
	i, known := slices.BinarySearchFunc(days, day, func(d DayTally, day int64) int { return int(min(max(d.Day-day, -1), 1)) })
	switch {
	case known:
		days[i].Tally = change(days[i].Tally)
	case i == 0 && len(days) >= DaysLimit:
	default:
		days = slices.Insert(days, i, DayTally{Day: day, Tally: change(Tally{})})
		days = days[max(0, len(days)-DaysLimit):]
	}
	return days
}

// began counts a wake.
func began(s *State, w Wake) map[string]NodeLedger {
	return count(s, w, func(t Tally) Tally { return t.counted(w.Service, w.Cause, "", 1) })
}

// recount moves a wake to its verdict.
func recount(s *State, w Wake, v Verdict) map[string]NodeLedger {
	return count(s, w, func(t Tally) Tally {
		return t.counted(w.Service, w.Cause, "", -1).counted(w.Service, w.Cause, v, 1)
	})
}

func count(s *State, w Wake, change func(Tally) Tally) map[string]NodeLedger {
	n, known := s.Nodes[w.Node]
	if !known || n.Format < 2 {
		return s.Ledger
	}
	l, has := s.Ledger[w.Node]
	if !has {
		l.Since = n.PowerSince
	}
	l.Total = change(l.Total)
	l.Days = onDay(slices.Clone(l.Days), dayOf(w.Started), change)
	return withLedger(s.Ledger, w.Node, l)
}

// counted adds to one kind. What would fall below zero was begun before the ledger.
func (t Tally) counted(service string, cause Reason, v Verdict, by int) Tally {
	same := func(c WakeCount) bool { return c.Service == service && c.Cause == cause && c.Verdict == v }
	t.Wakes = slices.Clone(t.Wakes)
	i := slices.IndexFunc(t.Wakes, same)
	if i < 0 && len(t.Wakes) >= countsMost {
		service = ""
		i = slices.IndexFunc(t.Wakes, same)
	}
	switch {
	case i < 0 && by > 0 && len(t.Wakes) < 2*countsMost: // causes and verdicts are few, unless somebody made them up
		t.Wakes = append(t.Wakes, WakeCount{Service: service, Cause: cause, Verdict: v, Count: uint64(by)})
	case i < 0:
	case by > 0:
		t.Wakes[i].Count += uint64(by)
	case t.Wakes[i].Count <= uint64(-by):
		t.Wakes = slices.Delete(t.Wakes, i, i+1)
	default:
		t.Wakes[i].Count -= uint64(-by)
	}
	return t
}

func withLedger(all map[string]NodeLedger, node string, l NodeLedger) map[string]NodeLedger {
	all = maps.Clone(all)
	if all == nil {
		all = make(map[string]NodeLedger)
	}
	all[node] = l
	return all
}

// Until gives a node's ledger as it stands at a time, with the power state that goes on. False: nothing is counted of it.
func Until(s *State, node string, now time.Time) (NodeLedger, bool) {
	l, has := spend(s, s.Nodes[node], now)[node]
	return l, has
}

// From sums a ledger up from a day on; the zero time: all of it.
func (l NodeLedger) From(t time.Time) Tally {
	if t.IsZero() {
		return l.Total
	}
	var sum Tally
	for _, d := range l.Days {
		if d.Day < dayOf(t) {
			continue
		}
		sum.Awake, sum.Asleep, sum.Off = sum.Awake+d.Awake, sum.Asleep+d.Asleep, sum.Off+d.Off
		for _, w := range d.Wakes {
			sum = sum.counted(w.Service, w.Cause, w.Verdict, int(min(w.Count, 1<<30)))
		}
	}
	return sum
}

// FirstDay is the first day of which nothing has fallen off in any ledger; zero = nothing has.
func FirstDay(s *State) time.Time {
	var first time.Time
	for _, l := range s.Ledger {
		if len(l.Days) >= DaysLimit {
			if day := epoch().Add(time.Duration(l.Days[0].Day) * dayLength).UTC(); day.After(first) {
				first = day
			}
		}
	}
	return first
}
