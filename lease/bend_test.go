package lease

import (
	"testing"
	"time"
)

// Worlds with bent clocks: beside quartz that nobody can measure (2 x 1.9 %), each clock is bent by up to 10 % (ADJ_TICK), which
// its host sees by looking at CLOCK_MONOTONIC_RAW. In half of the stories a clock is bent in the same way for good, and hosts may be
// frozen: nobody looks until the story goes on. In the others bends change at any time, and who holds looks as often as the agent
// does: it asks again after a third of what is left of its lease.

// bend is how a clock differs from its quartz.
type bend struct {
	ppm   int64
	since int64 // quartz, when it began
	sum   int64 // what earlier bends made of it
}

func (b bend) at(quartz int64) int64 { return b.sum + scaled(quartz-b.since, b.ppm) }

const (
	mostBend  = 100_000
	leastLook = 5 * time.Millisecond // as in agent/tenure.go
)

func (c *clock) bendTo(now, ppm int64) {
	q := c.quartz(now)
	c.bend = bend{ppm: ppm, since: q, sum: c.bend.at(q)}
}

// sight is what the host sees, off by up to some microseconds.
func (c *clock) sight(now int64) Sight {
	raw := time.Duration(c.quartz(now))
	return Sight{Before: raw - 700, Mono: raw + time.Duration(c.bend.at(int64(raw))), After: raw + 2000}
}

func rollBend(roll dice) int64 { return int64(roll(3)-1) * mostBend / int64(1+roll(3)) }

// bendKind: a clock is bent in another way, in the stories in which that may happen.
var bendKind = struct {
	name    string
	weights []int
	do      func(w *world, roll dice)
}{"bend", []int{0, 1, 5, 15}, func(w *world, roll dice) {
	if w.frozen {
		return
	}
	if i := roll(len(w.voters) + len(w.nodes)); i < len(w.voters) {
		w.voters[i].bendTo(w.now, rollBend(roll))
	} else {
		w.nodes[i-len(w.voters)].bendTo(w.now, rollBend(roll))
	}
}}

func (w *world) beginBends(roll dice) {
	w.frozen = roll(2) == 0
	for _, v := range w.voters {
		v.bendTo(0, rollBend(roll))
	}
	for _, n := range w.nodes {
		n.bendTo(0, rollBend(roll))
	}
	w.lookAll()
	w.startUp()
}

// startUp is the time that a process takes to start: its rate is known when it first asks.
func (w *world) startUp() {
	w.now += int64(12 * time.Millisecond)
	w.lookAll()
}

func (w *world) lookAll() {
	for _, v := range w.voters {
		w.lookVoter(v)
	}
	for _, n := range w.nodes {
		w.look(n)
	}
}

// lookVoter is what the agent does before it hands anything to its voter.
func (w *world) lookVoter(v *simVoter) {
	if !w.bends || w.flaw == untold || w.flaw == untoldVoter {
		return
	}
	bent := v.rule.Look(v.sight(w.now))
	if extra := bent.Ahead - v.ahead; extra > 0 {
		v.v.ClockJumped(extra)
	}
	v.ahead = bent.Ahead
}

// look is what the agent does whenever its tenant goes on.
func (w *world) look(n *simNode) {
	if !w.bends || w.flaw == untold || w.flaw == untoldHolder {
		return
	}
	bent := n.rule.Look(n.sight(w.now))
	if w.flaw == noRate {
		bent.Slow = 0
	}
	lost := bent.Behind - n.bent.Behind
	n.bent = bent
	n.h.FellBehind(lost)
	n.granted = n.granted.Add(-lost)
	if n.fence.epoch != 0 {
		n.fence.deadline = min(n.fence.deadline, bent.Until(n.at(w.now), n.granted))
	}
}

// opens is the agent's setting of the fence.
func (w *world) opens(n *simNode, epoch uint64, end Boot) {
	if n.fence.epoch != epoch || !n.open(w.now) {
		n.granted = end
	}
	n.granted = max(n.granted, end)
	if until := n.bent.Until(n.at(w.now), n.granted); until > n.at(w.now) {
		n.fence = fence{epoch: epoch, deadline: until}
	}
}

func (w *world) forgetVoter(v *simVoter) {
	if w.bends {
		v.rule, v.ahead = Ruler{}, 0
		w.lookVoter(v)
	}
}

func (w *world) forgetNode(n *simNode) {
	if w.bends {
		n.rule, n.bent, n.granted = Ruler{}, Bent{}, n.fence.deadline
		w.look(n)
		w.startUp()
	}
}

// steady is a clock that never runs ahead of its quartz.
func (w *world) steady(v *simVoter) Boot {
	w.lookVoter(v)
	return v.at(w.now).Add(-v.ahead)
}

// spaced is when the leader may change the voters next.
func (w *world) spaced() int64 {
	leader := w.voters[w.raft.leader]
	return leader.until(w.raft.since.Add(w.ttl + w.margin + leader.ahead))
}

// passTo lets time pass. Where bends change, who holds has looked meanwhile.
func (w *world) passTo(to int64, _ dice) {
	for w.bends && !w.frozen {
		next := to
		for _, n := range w.nodes {
			if left := n.fence.deadline.Sub(n.at(w.now)); n.fence.epoch != 0 && left > 0 {
				next = min(next, n.until(n.at(w.now).Add(max(left/3, leastLook))))
			}
		}
		if next >= to {
			break
		}
		w.now = next
		for _, n := range w.nodes {
			w.look(n)
		}
	}
	w.now = to
}

func bentBounds(f flaw) bounds {
	b := randomBounds(f)
	b.bends = true
	return b
}

// TestBentClocks: with clocks that are bent beyond the margin, there are no two holders.
func TestBentClocks(t *testing.T) {
	seeds := bentSeeds()
	opened, moved := 0, 0
	for seed := range seeds {
		w, err := seededStory(bentBounds(none), storySteps, seed)
		if err != nil {
			t.Fatalf("story %d: %v", seed, err)
		}
		if w.wire > 0 {
			opened++
		}
		if w.wire > 1 {
			moved++
		}
	}
	t.Logf("%d stories: %d opened, %d beyond epoch 1", seeds, opened, moved)
	if uint64(moved) < seeds/20 {
		t.Errorf("only %d of %d stories went beyond epoch 1: the search looks at nothing", moved, seeds)
	}
}

func bentSeeds() uint64 {
	if raceEnabled || testing.Short() {
		return commonSeeds / 20
	}
	return commonSeeds / 4
}

// TestBentClocksHaveTeeth: the same stories have two holders where one of those who should look does not.
func TestBentClocksHaveTeeth(t *testing.T) {
	for f, name := range map[flaw]string{
		untold: "nobody looks", untoldVoter: "voters do not look", untoldHolder: "holders do not look",
		noRate: "the rate is not looked at",
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(commonSeeds) {
				if _, err := seededStory(bentBounds(f), storySteps, seed); err != nil {
					t.Logf("story %d: %v", seed, err)
					return
				}
			}
			t.Error("not seen")
		})
	}
}

// TestUnwatchedClocksAreTold: voters whose clocks run ahead by 10 % are asked, and then nobody looks until they have been started again.
// a's lease still runs.
func TestUnwatchedClocksAreTold(t *testing.T) {
	tell := func(f flaw) error {
		b := bentBounds(f)
		b.voterCount, b.nodeCount, b.exhaustive = 3, 2, true
		b.owners = []int{0, 1}
		w := newWorld(b)
		for _, v := range w.voters {
			v.bendTo(0, mostBend)
		}
		w.lookAll()
		w.startUp()
		w.nodes[0].applied = 2
		w.fullRound(0, 0, 1)
		if !w.nodes[0].open(w.now) {
			t.Fatal("a did not open")
		}
		w.now += int64(930 * time.Millisecond)
		for i := range w.voters {
			w.restartVoter(i, true)
		}
		w.nodes[1].applied = 3
		w.fullRound(1, 0, 1)
		return w.check()
	}
	if err := tell(unwatched); err == nil {
		t.Error("with the mistake, nothing was broken")
	}
	if err := tell(none); err != nil {
		t.Errorf("without the mistake: %v", err)
	}
}
