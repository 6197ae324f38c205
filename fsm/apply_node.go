package fsm

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// putNode pins the key of a new node and keeps it for a known one. What the log alone decides about a known node
// (its power and the count of its sleeps, maintenance, when it joined) is not taken from the record that it sends.
func putNode(s *State, c PutNode) (*State, Result) {
	n := c.Node
	switch {
	case !validNodeName(n.Name):
		return refuse(s, Invalid, "node name %q must be 1 to 64 letters, digits, dots, dashes or underscores, begin with a letter or digit, and have no dot at its end or next to another", n.Name)
	case n.Key == "":
		return refuse(s, Invalid, "node %s: the record has no key to pin", n.Name)
	case n.Policy != AlwaysOn && n.Policy != Sleeps:
		return refuse(s, Invalid, "node %s: power policy %q must be %s or %s", n.Name, n.Policy, AlwaysOn, Sleeps)
	}
	if why := roleProblem(n); why != "" {
		return refuse(s, Invalid, "node %s: %s", n.Name, why)
	}
	for _, m := range n.Wake {
		if why := macProblem(m); why != "" {
			return refuse(s, Invalid, "node %s: wake address %s %s", n.Name, m, why)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		if what := collides(s.Services[name], n); what != "" {
			return refuse(s, AddressInUse, "node %s: its own %s belongs to service %s: give the service or the host another one", n.Name, what, name)
		}
	}
	old, known := s.Nodes[n.Name]
	switch {
	case known && old.Key != n.Key:
		return refuse(s, WrongKey, "node %s shows another key than the one pinned when it joined: it is another machine, or it lost its data directory; if that is right, forget it first: nightporter forget %s", n.Name, n.Name)
	case known:
		n.Power, n.PowerReason, n.PowerSince = old.Power, old.PowerReason, old.PowerSince
		n.Sleeps, n.Maintenance, n.Joined = old.Sleeps, old.Maintenance, old.Joined
	default:
		n.Power = cmp.Or(n.Power, Awake)
		if !validPower(n.Power) {
			return refuse(s, Invalid, "node %s: there is no power state %q", n.Name, n.Power)
		}
		n.PowerReason = cmp.Or(n.PowerReason, NodeJoined)
		n.PowerSince, n.Joined = c.At, c.At
	}
	return withNode(s, n), Result{}
}

func removeNode(s *State, c RemoveNode) (*State, Result) {
	if !hasNode(s, c.Name) {
		if next := *s; forgetLost(&next, c.Name) {
			return &next, Result{}
		}
		return refuse(s, UnknownNode, "there is no node %q", c.Name)
	}
	for _, service := range slices.Sorted(maps.Keys(s.Ownerships)) {
		if s.Ownerships[service].Owner == c.Name {
			return refuse(s, StillOwned, "node %s still owns service %s: assign it to another node first", c.Name, service)
		}
	}
	next := *s
	next.Nodes = maps.Clone(s.Nodes)
	delete(next.Nodes, c.Name)
	forgetWakes(&next, c.Name)
	forgetFitness(&next, c.Name)
	forgetDrain(&next, c.Name)
	forgetLost(&next, c.Name)
	return &next, Result{}
}

func setPower(s *State, c SetPower) (*State, Result) {
	n, known := s.Nodes[c.Node]
	switch {
	case !known:
		return refuse(s, UnknownNode, "there is no node %q", c.Node)
	case !validPower(c.To) || c.To == c.From:
		return refuse(s, Invalid, "node %s cannot go from %q to %q", c.Node, c.From, c.To)
	case c.To == Suspending && c.From != Awake:
		return refuse(s, Invalid, "node %s is %s: only an awake node begins to suspend", c.Node, c.From)
	case n.Power != c.From || n.Sleeps != c.Sleeps:
		return refuse(s, WrongPower, "node %s is %s in sleep %d, not %s in sleep %d: look again", c.Node, n.Power, n.Sleeps, c.From, c.Sleeps)
	case c.To == Suspending && n.Policy != Sleeps:
		return refuse(s, NeverSleeps, "node %s is %s: set its power to %q in the configuration if it may sleep", c.Node, n.Policy, Sleeps)
	}
	ledger := spend(s, n, c.At)
	if c.To == Suspending {
		n.Sleeps++
	}
	if c.Reason == WokeUnasked && n.Power == Asleep && beingCalled(s, n) {
		c.Reason = WokeUp
	}
	n.Power, n.PowerReason, n.PowerSince = c.To, c.Reason, c.At
	next := withNode(s, n)
	next.Ledger = ledger
	return next, Result{}
}

// beginWake leaves a wake alone whose ID it knows: a proposal of unknown fate is proposed again.
func beginWake(s *State, c BeginWake) (*State, Result) {
	w := c.Wake
	switch {
	case w.ID == "":
		return refuse(s, Invalid, "the wake of %s has no ID", w.Node)
	case !hasNode(s, w.Node):
		return refuse(s, UnknownNode, "there is no node %q to wake", w.Node)
	case slices.ContainsFunc(s.Wakes, func(o Wake) bool { return o.ID == w.ID }):
		return s, Result{}
	}
	next := *s
	if n := s.Nodes[w.Node]; wasCalled(n, w) {
		n.PowerReason = WokeUp
		next = *withNode(s, n)
	}
	next.Wakes = appendBounded(s.Wakes, w, WakesLimit)
	next.Ledger = began(s, w)
	return &next, Result{}
}

// callLag is by how much the clocks of a caller and of whom it called may differ.
const callLag = 5 * time.Second

// beingCalled says that the log has a call of this sleep, even if it does not show the node as waking yet.
func beingCalled(s *State, n Node) bool {
	return n.Format >= 2 && slices.ContainsFunc(s.Wakes, func(w Wake) bool {
		return w.Node == n.Name && !w.Cause.ByItself() && w.Ended.IsZero() && !w.Started.Before(n.PowerSince.Add(-callLag))
	})
}

// wasCalled says that a node which came up before the log had its call was called all the same: the magic packet goes first, and the log
// may have to wait for a leader.
func wasCalled(n Node, w Wake) bool {
	return n.Format >= 2 && n.Power == Awake && n.PowerReason == WokeUnasked && !w.Cause.ByItself() && !w.Started.After(n.PowerSince.Add(callLag))
}

func endWake(s *State, c EndWake) (*State, Result) {
	i := slices.IndexFunc(s.Wakes, func(w Wake) bool { return w.ID == c.ID && w.Ended.IsZero() })
	if i < 0 {
		return s, Result{}
	}
	next := *s
	next.Wakes = slices.Clone(s.Wakes)
	next.Wakes[i].Ended, next.Wakes[i].Result = c.At, c.Result
	if c.Result == GaveUp && s.Wakes[i].Verdict == "" && s.Nodes[s.Wakes[i].Node].Format >= 2 {
		next.Wakes[i].Verdict = Failed
		next.Ledger = recount(s, s.Wakes[i], Failed)
	}
	return &next, Result{}
}

func withNode(s *State, n Node) *State {
	n.Wake = slices.Clone(n.Wake)
	next := *s
	next.Nodes = maps.Clone(s.Nodes)
	next.Nodes[n.Name] = n
	return &next
}

func hasNode(s *State, name string) bool {
	_, ok := s.Nodes[name]
	return ok
}

func validPower(p Power) bool {
	switch p {
	case Awake, Suspending, Asleep, Waking, Off:
		return true
	}
	return false
}
