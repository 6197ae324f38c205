package cluster

import (
	"slices"
	"time"

	"nightporter/fsm"
)

// Phase picks one phase of a measured wake.
type Phase func(fsm.Phases) time.Duration

// The phases.
var (
	PhaseAwake Phase = func(p fsm.Phases) time.Duration { return p.Awake }
	PhaseReady Phase = func(p fsm.Phases) time.Duration { return p.Ready }
)

// Spread is the distribution of one phase over the wakes that came to it.
type Spread struct {
	Count         int
	P50, P95, Max time.Duration
}

// SpreadOf sums a phase up. A percentile is one of the samples: the smallest that so many are not above.
func SpreadOf(t fsm.WakeTimes, phase Phase) Spread {
	var all []time.Duration
	for _, s := range t.Samples {
		if d := phase(s.Phases); d > 0 && !s.Failed {
			all = append(all, d)
		}
	}
	n := len(all)
	if n == 0 {
		return Spread{}
	}
	slices.Sort(all)
	at := func(percent int) time.Duration { return all[(n*percent+99)/100-1] }
	return Spread{Count: n, P50: at(50), P95: at(95), Max: all[n-1]}
}

// What tells that a wake has failed.
const (
	wakeSamples = 5                // as many wakes must have been measured before a host's own times count
	wakeFactor  = 3                // times the 95th percentile
	wakeLeast   = 15 * time.Second // by then a host was called seven times: a lost packet or two are no failure
)

// WakeLimit is how long to wait for a host to come to a phase until that has failed: three times the 95th percentile of its own wakes,
// not below 15 s and not above most (wake_timeout), which counts alone until five wakes were measured.
func WakeLimit(t fsm.WakeTimes, phase Phase, most time.Duration) time.Duration {
	s := SpreadOf(t, phase)
	if s.Count < wakeSamples {
		return most
	}
	return min(most, max(wakeLeast, wakeFactor*s.P95))
}

// WakeTarget gives the host to wake of those that may be woken for a service, which come in the order of the definition: the one that is
// expected to be ready first, failures counted in. The order of the definition decides where nothing was measured, and where the others
// are not faster by a fifth. One that was given up comes after all that were not. "" = none may be woken.
func WakeTarget(times map[string]fsm.WakeTimes, may []string, gaveUp func(string) bool, most time.Duration) string {
	best := ""
	for _, name := range may {
		switch {
		case best == "":
			best = name
		case gaveUp(name) != gaveUp(best):
			if gaveUp(best) {
				best = name
			}
		case sooner(expected(times[name], most), expected(times[best], most)):
			best = name
		}
	}
	return best
}

// sooner says whether a wake is expected to take less time than another by so much that it is no chance. 0 = nothing is known.
func sooner(a, than time.Duration) bool { return a > 0 && than > 0 && a < than*4/5 }

// recent is how many of the newest wakes say how reliable a host is.
const recent = 16

// expected is the time that a wake of a host takes on the average: the median until it is ready, and for the part of its newest wakes that
// failed the time until that was known. 0 = it was not woken often enough to tell.
func expected(t fsm.WakeTimes, most time.Duration) time.Duration {
	ready := SpreadOf(t, func(p fsm.Phases) time.Duration { return max(p.Awake, p.Ready) })
	newest := t.Samples[max(0, len(t.Samples)-recent):]
	failed := 0
	for _, s := range newest {
		if s.Failed {
			failed++
		}
	}
	n := len(newest)
	if n < 3 {
		return 0
	}
	good := ready.P50 * time.Duration(n-failed)
	bad := WakeLimit(t, PhaseAwake, most) * time.Duration(failed)
	return (good + bad) / time.Duration(n)
}
