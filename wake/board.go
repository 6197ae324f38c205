package wake

import (
	"maps"
	"slices"
	"time"
)

// endedLimit bounds the memory of campaigns that have ended. Messages about a wake are late by seconds at most.
const endedLimit = 64

// Board keeps the campaigns of this host, at most one for each node: it joins what belongs together and limits the rate.
// Like Campaign it is pure and not safe for concurrent use.
type Board struct {
	timeout, gap time.Duration

	running  map[string]*Campaign // by node
	resting  map[string]pause     // by node: no campaign begins here before its end, since one of ours was given up
	failures map[string]int       // by node: campaigns of ours that were given up, until it is back
	kept     map[string]*keptWake // by node: waits for the end of the rest
	ended    []string             // IDs, oldest first
	left     []Action             // Superseded and Begun ones, to be given by Next
}

// pause is the rest after a wake that was given up.
type pause struct {
	least, until time.Duration // its end: for whom it does not grow with the failures, and for clients
	sleeps       uint64        // the sleep that it did not end
}

// end is for a wake. A host that has slept another time since was up.
func (p pause) end(w Wake) time.Duration {
	if w.Patient && w.Sleeps <= p.sleeps {
		return p.until
	}
	return p.least
}

// keptWake is a wake that waits for the end of a pause. Its campaign's times are set when it begins.
type keptWake struct {
	*Campaign
	from, knocked time.Duration
}

// GapMost bounds the pause after a wake that was given up. It doubles with each: a host that never comes up again would fill the log.
const GapMost = time.Hour

// gapAfter is the pause after so many failures.
func (b *Board) gapAfter(failures int) time.Duration {
	return min(b.gap<<min(max(failures-1, 0), 20), max(GapMost, b.gap))
}

// NewBoard makes an empty board. 0 stands for DefaultTimeout and DefaultGap.
func NewBoard(timeout, gap time.Duration) *Board {
	return &Board{
		timeout:  orDefault(timeout, DefaultTimeout),
		gap:      orDefault(gap, DefaultGap),
		running:  map[string]*Campaign{},
		resting:  map[string]pause{},
		failures: map[string]int{},
		kept:     map[string]*keptWake{},
	}
}

// Verdict says what became of a demand.
type Verdict int

// The verdicts. None of them loses the demand of a client who waits.
const (
	Started Verdict = iota // a campaign of its own: Next says Call at once
	Joined                 // belongs to a campaign that runs already
	Kept                   // begins when the pause after a given-up wake is over
	Queued                 // has not come to the board: it stands in the line (Line)
)

// String gives the name for logs.
func (v Verdict) String() string {
	switch v {
	case Started:
		return "started"
	case Joined:
		return "joined"
	case Kept:
		return "kept"
	case Queued:
		return "queued"
	}
	return "unknown"
}

// Begin takes a demand (or an operator's or a quorum wake) in. It gives the wake that answers it, whose ID is another one
// unless the verdict is Started. A demand for a later sleep of the node than the running campaign's begins a new one.
func (b *Board) Begin(now time.Duration, w Wake) (Wake, Verdict) {
	if c := b.running[w.Node]; c != nil {
		if w.Sleeps <= c.wake.Sleeps {
			c.Demand(now)
			return c.wake, Joined
		}
		b.finish(w.Node)
		b.left = append(b.left, c.action(Superseded))
	}
	if p, rests := b.resting[w.Node]; rests && now < p.end(w) {
		return b.keep(now, p.end(w), w), Kept
	}
	delete(b.resting, w.Node)
	k := b.kept[w.Node]
	delete(b.kept, w.Node)
	if k != nil && w.Patient == k.wake.Patient { // the rest is over, only Next was not asked yet
		k.demands++
		b.start(now, k)
		return k.wake, Joined
	}
	b.running[w.Node] = NewCampaign(now, w, b.timeout)
	return w, Started
}

// keep puts a wake aside until a pause is over. One for which the pause is shorter takes the place of a client's.
func (b *Board) keep(now, from time.Duration, w Wake) Wake {
	k := b.kept[w.Node]
	if k == nil {
		k = &keptWake{Campaign: NewCampaign(from, w, b.timeout), from: from, knocked: now}
		b.kept[w.Node] = k
		return w
	}
	k.demands++
	k.knocked, k.from = now, min(k.from, from)
	sleeps := max(k.wake.Sleeps, w.Sleeps)
	if k.wake.Patient && !w.Patient {
		k.wake = w
	}
	k.wake.Sleeps = sleeps
	return k.wake
}

// Help takes in what another host says of its campaign. Repeated and late messages change nothing, nor do those about a
// node that is being called already, unless they are about a later sleep.
func (b *Board) Help(now time.Duration, w Wake) bool {
	if slices.Contains(b.ended, w.ID) {
		return false
	}
	if c := b.running[w.Node]; c != nil {
		if w.Sleeps <= c.wake.Sleeps {
			return false
		}
		b.finish(w.Node)
		b.left = append(b.left, c.action(Superseded))
	}
	b.running[w.Node] = HelpCampaign(now, w, b.timeout)
	return true
}

// End ends the campaign for the node: it is back, or is not to be woken any more. It is for the caller to know that the
// sign of life is younger than the sleep: a node still gossips while it goes to sleep. What was kept for after
// the pause is dropped too, and the pause is over. The second result is false if nothing ran; the wake then tells nothing.
func (b *Board) End(node string) (Action, bool) {
	delete(b.kept, node)
	delete(b.resting, node)
	delete(b.failures, node)
	c := b.running[node]
	if c == nil {
		return Action{}, false
	}
	b.finish(node)
	return c.action(Rest), true
}

// Back forgets the failures and the pause of a node that is back while nothing runs for it, such as by its power button, and drops what was
// kept for after the pause. It is for the caller to know that it is back, as with End.
func (b *Board) Back(node string) {
	if b.running[node] == nil {
		b.End(node)
	}
}

// Next gives all that is due now, by node name, and how long to wait before asking again (Never if nothing runs).
// A demand or a message may come earlier: ask again after each Begin and Help.
func (b *Board) Next(now time.Duration) ([]Action, time.Duration) {
	wait := b.takeKept(now)
	actions := b.left
	b.left = nil
	for _, node := range slices.Sorted(maps.Keys(b.running)) {
		c := b.running[node]
		a, w := c.Next(now)
		if a.Kind == GiveUp {
			b.finish(node)
			if a.Own { // a helper that gives up has kept nobody waiting
				b.failures[node]++
				a.Failures = b.failures[node]
				a.Pause = b.gapAfter(a.Failures)
				b.resting[node] = pause{least: now + b.gap, until: now + a.Pause, sleeps: c.wake.Sleeps}
			}
		}
		if a.Kind != Rest {
			actions = append(actions, a)
		}
		wait = min(wait, w)
	}
	return actions, wait
}

// takeKept lets those begin whose pause is over, and whose client still waits, and gives the time until the next one's is.
func (b *Board) takeKept(now time.Duration) time.Duration {
	wait := Never
	for _, node := range slices.Sorted(maps.Keys(b.kept)) {
		k := b.kept[node]
		if now < k.from {
			wait = min(wait, k.from-now)
			continue
		}
		delete(b.resting, node)
		delete(b.kept, node)
		switch helped := b.running[node]; {
		case helped != nil:
			helped.Demand(now)
		case k.wake.Patient && now-k.knocked > Patience(b.timeout):
		default:
			b.start(now, k)
		}
	}
	return wait
}

// start lets a kept campaign begin now.
func (b *Board) start(now time.Duration, k *keptWake) {
	c := NewCampaign(now, k.wake, b.timeout)
	c.demands = k.demands
	b.running[c.wake.Node] = c
	b.left = append(b.left, c.action(Begun))
}

// finish takes the campaign off the board and remembers its ID.
func (b *Board) finish(node string) {
	c := b.running[node]
	c.End()
	delete(b.running, node)
	b.ended = append(b.ended, c.wake.ID)
	b.ended = b.ended[max(0, len(b.ended)-endedLimit):]
}

// Progress describes a campaign to people.
type Progress struct {
	Wake     Wake
	Own      bool
	Attempts int           // calls made so far
	Demands  int           // demands answered by it
	Started  time.Duration // since boot
}

// Running gives the campaigns under way, by node name.
func (b *Board) Running() []Progress {
	var all []Progress
	for _, node := range slices.Sorted(maps.Keys(b.running)) {
		c := b.running[node]
		all = append(all, Progress{Wake: c.wake, Own: c.own, Attempts: c.attempts, Demands: c.demands, Started: c.started})
	}
	return all
}
