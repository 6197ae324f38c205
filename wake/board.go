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

	running map[string]*Campaign     // by node
	resting map[string]time.Duration // by node: no campaign begins here before this time, since one of ours was given up
	kept    map[string]*Campaign     // by node: waits for the end of the rest; its times are set when it begins
	ended   []string                 // IDs, oldest first
	left    []Action                 // Superseded ones, to be given by Next
}

// NewBoard makes an empty board. 0 stands for DefaultTimeout and DefaultGap.
func NewBoard(timeout, gap time.Duration) *Board {
	return &Board{
		timeout: orDefault(timeout, DefaultTimeout),
		gap:     orDefault(gap, DefaultGap),
		running: map[string]*Campaign{},
		resting: map[string]time.Duration{},
		kept:    map[string]*Campaign{},
	}
}

// Verdict says what became of a demand.
type Verdict int

// The verdicts. None of them loses the demand.
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
	if until, rests := b.resting[w.Node]; rests && now < until {
		if c := b.kept[w.Node]; c != nil {
			c.demands++
			c.wake.Sleeps = max(c.wake.Sleeps, w.Sleeps)
			return c.wake, Kept
		}
		b.kept[w.Node] = NewCampaign(until, w, b.timeout)
		return w, Kept
	}
	delete(b.resting, w.Node)
	if c := b.kept[w.Node]; c != nil { // the rest is over, only Next was not asked yet
		delete(b.kept, w.Node)
		w, c.demands = c.wake, c.demands+1
		b.start(now, c)
		return w, Joined
	}
	b.running[w.Node] = NewCampaign(now, w, b.timeout)
	return w, Started
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
	c := b.running[node]
	if c == nil {
		return Action{}, false
	}
	b.finish(node)
	return c.action(Rest), true
}

// Next gives all that is due now, by node name, and how long to wait before asking again (Never if nothing runs).
// A demand or a message may come earlier: ask again after each Begin and Help.
func (b *Board) Next(now time.Duration) ([]Action, time.Duration) {
	actions := b.left
	b.left = nil
	wait := Never
	for _, node := range slices.Sorted(maps.Keys(b.resting)) {
		if until := b.resting[node]; now < until {
			if b.kept[node] != nil {
				wait = min(wait, until-now)
			}
			continue
		}
		delete(b.resting, node)
		if c := b.kept[node]; c != nil {
			delete(b.kept, node)
			if helped := b.running[node]; helped != nil {
				helped.Demand(now)
			} else {
				b.start(now, c)
			}
		}
	}
	for _, node := range slices.Sorted(maps.Keys(b.running)) {
		c := b.running[node]
		a, w := c.Next(now)
		if a.Kind == GiveUp {
			b.finish(node)
			if a.Own { // a helper that gives up has kept nobody waiting
				b.resting[node] = now + b.gap
			}
		}
		if a.Kind != Rest {
			actions = append(actions, a)
		}
		wait = min(wait, w)
	}
	return actions, wait
}

// start lets a kept campaign begin now.
func (b *Board) start(now time.Duration, c *Campaign) {
	demands := c.demands
	c = NewCampaign(now, c.wake, b.timeout)
	c.demands = demands
	b.running[c.wake.Node] = c
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
