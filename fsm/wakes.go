package fsm

import (
	"maps"
	"slices"
	"time"
)

// Phases say how long after the demand a wake came to each of its points, on the clock (CLOCK_BOOTTIME) of the host that ran it: no
// clocks of two hosts are compared. 0 = it did not come to it, or that was not seen.
type Phases struct {
	Called time.Duration `json:"called,omitempty"` // the first magic packet left
	Back   time.Duration `json:"back,omitempty"`   // the node says in gossip that it is awake: its link works again
	Awake  time.Duration `json:"awake,omitempty"`  // the log says so
	Ready  time.Duration `json:"ready,omitempty"`  // the checks of the service pass there; without checks as Awake
	Served time.Duration `json:"served,omitempty"` // the node has opened the service: clients are connected
}

// WakeSample is one measured wake of a node.
type WakeSample struct {
	ID     string    `json:"id"` // of the Wake
	At     time.Time `json:"at"` // stamped by the proposer
	Phases Phases    `json:"phases"`
	Failed bool      `json:"failed,omitempty"` // it was given up
}

// WakeTimes is what is remembered of a node's wakes: the newest samples, and how many there were in all.
type WakeTimes struct {
	Samples []WakeSample `json:"samples"` // oldest first, at most SamplesLimit
	Woken   uint64       `json:"woken"`   // with those that fell off the front
	Failed  uint64       `json:"failed"`
}

// SamplesLimit bounds the samples of one node: enough for a 95th percentile, and few enough for what has changed on a host to show soon.
const SamplesLimit = 64

// phaseMost is far above every wake_timeout: a longer phase is no measurement.
const phaseMost = 24 * time.Hour

// MeasureWake adds a sample to a node's distribution, and its phases to the record of the wake where that is still there. A second one
// of the same ID is left alone, so that a proposal of unknown fate can be repeated.
type MeasureWake struct {
	Node   string     `json:"node"`
	Sample WakeSample `json:"sample"`
}

func (MeasureWake) kind() Kind { return KindMeasureWake }

func measureWake(s *State, c MeasureWake) (*State, Result) {
	w := c.Sample
	p := w.Phases
	switch {
	case w.ID == "":
		return refuse(s, Invalid, "the measured wake of %s has no ID", c.Node)
	case !hasNode(s, c.Node):
		return refuse(s, UnknownNode, "there is no node %q whose wake could be measured", c.Node)
	case slices.ContainsFunc(s.WakeTimes[c.Node].Samples, func(o WakeSample) bool { return o.ID == w.ID }):
		return s, Result{}
	}
	for _, d := range []time.Duration{p.Called, p.Back, p.Awake, p.Ready, p.Served} {
		if d < 0 || d > phaseMost {
			return refuse(s, Invalid, "the wake of %s has a phase of %s: a phase takes 0 to %s", c.Node, d, phaseMost)
		}
	}
	next := *s
	t := s.WakeTimes[c.Node]
	if w.Failed {
		t.Failed++
	} else {
		t.Woken++
	}
	t.Samples = appendBounded(t.Samples, w, SamplesLimit)
	next.WakeTimes = maps.Clone(s.WakeTimes)
	if next.WakeTimes == nil {
		next.WakeTimes = make(map[string]WakeTimes)
	}
	next.WakeTimes[c.Node] = t
	if i := slices.IndexFunc(s.Wakes, func(o Wake) bool { return o.ID == w.ID }); i >= 0 {
		next.Wakes = slices.Clone(s.Wakes)
		next.Wakes[i].Phases = p
	}
	return &next, Result{}
}

// forgetWakes drops the distribution and the ledger of a node that is forgotten.
func forgetWakes(s *State, node string) {
	if _, has := s.WakeTimes[node]; has {
		s.WakeTimes = maps.Clone(s.WakeTimes)
		delete(s.WakeTimes, node)
	}
	if _, has := s.Ledger[node]; has {
		s.Ledger = maps.Clone(s.Ledger)
		delete(s.Ledger, node)
	}
}
