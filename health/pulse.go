package health

import "time"

// State is what a check has come to.
type State string

// The states.
const (
	Unknown State = "unknown" // never asked, or too long ago
	Ready   State = "ready"
	Failing State = "failing"
)

// Pulse turns the results of one check into a state. It is pure: time, as CLOCK_BOOTTIME since boot, is passed in, so that what was
// true before a suspend is too old after it. Not safe for concurrent use.
type Pulse struct {
	Rise, Fall        int // results in a row
	Interval, Timeout time.Duration

	state    State // "" = Unknown
	streak   int   // results in a row that speak against state
	last     time.Duration
	asked    bool
	failures int    // since it last passed
	why      string // of the newest failure
	passed   bool   // it was ready at some time: after a pause one failure is not yet a change
}

// Result takes in how a run that ended now came out; why is "" for one that passed.
func (p *Pulse) Result(now time.Duration, why string) {
	if p.stale(now) {
		p.Forget()
	}
	p.last, p.asked = now, true
	passed := why == ""
	if p.failures++; passed {
		p.failures = 0
	} else {
		p.why = why
	}
	if passed == (p.state == Ready) && p.state != "" {
		p.streak = 0
		return
	}
	if p.state == "" && !passed && !p.passed {
		p.state, p.streak = Failing, 0 // it never passed: nothing is to be waited for
		return
	}
	if p.streak++; p.streak < p.needed(passed) {
		return
	}
	p.streak = 0
	if p.state = Failing; passed {
		p.state, p.why, p.passed = Ready, "", true
	}
}

func (p *Pulse) needed(passed bool) int {
	if passed {
		return p.Rise
	}
	return p.Fall
}

// State says what it has come to by now, and why if it is not ready.
func (p *Pulse) State(now time.Duration) (State, string) {
	switch {
	case !p.asked:
		return Unknown, "not asked yet"
	case p.stale(now):
		return Unknown, "no result for " + rounded(now-p.last)
	case p.state == "":
		return Unknown, "has not passed often enough yet"
	case p.state == Ready:
		return Ready, ""
	}
	return p.state, p.why
}

// stale says whether the last result is older than the next one should be: the check hangs, or this host was away.
func (p *Pulse) stale(now time.Duration) bool {
	return p.asked && now-p.last > p.Age()
}

// Age is how old a result may be: two results may be missing.
func (p *Pulse) Age() time.Duration { return 2*(p.Interval+p.Timeout) + time.Second }

// Forget is for when nothing that was known still counts.
func (p *Pulse) Forget() { p.state, p.streak, p.asked, p.why, p.failures = "", 0, false, "", 0 }

func rounded(d time.Duration) string { return d.Round(100 * time.Millisecond).String() }

// Pause is how long to wait until it is asked again: the interval, and less while it is failing, so that a service that comes up is
// found ready soon: from 100 ms on, doubled with each failure.
func (p *Pulse) Pause() time.Duration {
	const first, doublings = 100 * time.Millisecond, 20
	if p.state != Failing || p.streak > 0 {
		return p.Interval
	}
	return min(p.Interval, first<<min(max(p.failures-1, 0), doublings))
}
