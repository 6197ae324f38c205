package lease

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// randomBounds: five possible voters of which three begin, three nodes, clocks that differ by up to 3.8 % and the real
// margin of 4 %. Times are a second's worth of nanoseconds.
func randomBounds(f flaw) bounds {
	return bounds{
		voterCount: 5, nodeCount: 3, ttl: time.Second, margin: Margin(time.Second),
		rounds: 1 << 30, voterRestarts: 1 << 30, nodeRestarts: 1 << 30, jump: 2 * time.Second, flaw: f,
	}
}

// dice gives a number from 0 to n-1; n is at least 1. It is rapid's or a seeded generator's.
type dice func(n int) int

// wide gives a number below n also where an int has 32 bits and n does not fit into one: then it takes two rolls.
func wide(roll dice, n int64) int64 {
	if n <= math.MaxInt {
		return int64(roll(int(n)))
	}
	const part = 1 << 20
	return (int64(roll(int(n/part)+1))*part + int64(roll(part))) % n
}

// kinds of things that can happen next. In each run every kind has a weight of its own, often zero, so that runs differ
// in character (swarm testing): one has no restarts but many voter changes, another the reverse.
var kinds = []struct {
	name    string
	weights []int
	do      func(w *world, roll dice)
}{
	{"deliver", []int{40, 80}, (*world).rollDeliver},
	{"backlog", []int{0, 0, 2, 8}, (*world).rollBacklog},
	{"advance", []int{5, 15, 30}, (*world).rollAdvance},
	{"begin", []int{5, 10, 20}, func(w *world, roll dice) { w.rollBegin(roll(len(w.nodes)), roll) }},
	{"good round", []int{5, 20, 40}, (*world).rollGoodRound},
	{"good log", []int{1, 5, 15}, (*world).rollGoodLog},
	{"giveUp", []int{0, 2, 8}, (*world).rollGiveUp},
	{"apply", []int{0, 1, 5, 15}, (*world).rollApply},
	{"store", []int{1, 5, 20}, (*world).rollStore},
	{"commit", []int{1, 5, 20}, func(w *world, _ dice) { w.commit() }},
	{"assign", []int{1, 1, 3}, func(w *world, roll dice) { w.assign(roll(len(w.nodes))) }},
	{"change voters", []int{0, 5, 15, 30}, (*world).rollChange},
	{"take over", []int{5, 15, 30}, (*world).rollTakeOver},
	{"good change", []int{0, 2, 8, 20}, (*world).rollGoodChange},
	{"partition", []int{0, 0, 1, 3}, (*world).rollPartition},
	{"too late", []int{0, 0, 2, 8}, (*world).rollTooLate},
	{"elect", []int{0, 0, 2, 8}, (*world).rollElect},
	{"restart voter", []int{0, 0, 2, 8}, (*world).rollRestartVoter},
	{"restart node", []int{0, 0, 2, 8}, (*world).rollRestartNode},
	{"resume node", []int{0, 0, 1, 6}, func(w *world, roll dice) { w.resumeNode(roll(len(w.nodes)), w.rollJump(roll)) }},
	{"resume voter", []int{0, 0, 2, 8}, func(w *world, roll dice) { w.resumeVoter(roll(len(w.voters)), w.rollJump(roll)) }},
}

func (w *world) rollJump(roll dice) time.Duration {
	return time.Duration(wide(roll, int64(2*w.jump))) - w.jump
}

func (w *world) rollDeliver(roll dice) {
	if len(w.net) == 0 {
		return
	}
	k := roll(len(w.net))
	if roll(2) == 0 { // half of the time something recent, so that rounds complete
		k = len(w.net) - 1 - roll(min(8, len(w.net)))
	}
	m := w.net[k]
	if roll(4) != 0 {
		w.net = slices.Delete(w.net, k, k+1)
	}
	w.hand(m)
}

// rollAdvance lets time pass: a little, or right up to or past an instant at which something runs out.
func (w *world) rollAdvance(roll dice) {
	if roll(2) == 0 {
		w.passTo(w.now+1+int64(roll(int(w.ttl/4))), roll)
		return
	}
	var at []int64
	for _, n := range w.nodes {
		if n.fence.epoch != 0 {
			at = append(at, n.until(n.fence.deadline))
		}
	}
	for _, v := range w.voters {
		if e := v.v.Entries()[service]; e.Epoch != 0 {
			at = append(at, v.until(e.Expires))
		}
		if !v.v.settled {
			at = append(at, v.until(v.v.since.Add(w.ttl)))
		}
	}
	at = append(at, w.spaced())
	at = slices.DeleteFunc(at, func(t int64) bool { return t <= w.now+1000 })
	if len(at) == 0 {
		return
	}
	t := at[roll(len(at))]
	if roll(3) == 0 {
		t -= 1000
	}
	w.passTo(max(w.now, t), roll)
}

func (w *world) rollBegin(i int, roll dice) {
	n := w.nodes[i]
	if _, owner := w.raft.newest(n.applied); owner != i {
		return
	}
	ttl := w.ttl
	if roll(8) == 0 {
		ttl = w.half()
	}
	var prior *Release
	if len(w.given) > 0 && roll(2) == 0 {
		r := w.given[len(w.given)-1-roll(min(3, len(w.given)))]
		prior = &r
	}
	w.begin(i, ttl, prior)
}

// rollGoodRound is a round on a network that, for once, loses little and delays nothing. What it lost may come late.
func (w *world) rollGoodRound(roll dice) {
	w.goodRound(roll(len(w.nodes)), roll)
}

func (w *world) goodRound(i int, roll dice) {
	seq := w.nodes[i].h.seq
	w.rollBegin(i, roll)
	if w.nodes[i].h.seq == seq {
		return
	}
	loss := 2 + roll(6)
	w.deliverNew(request, i, func(v int) bool { return w.linked(i, v) && roll(loss) != 0 })
	w.deliverNew(answer, i, func(int) bool { return roll(loss) != 0 })
}

// deliverNew hands in those of the newest messages of a kind and node that arrive; the others stay on their way.
func (w *world) deliverNew(kind msgKind, node int, arrives func(voter int) bool) {
	now := make([]msg, 0, 10)
	newest := w.net[max(0, len(w.net)-10):]
	late := slices.DeleteFunc(newest, func(m msg) bool {
		if m.kind != kind || m.n != node || !arrives(m.v) {
			return false
		}
		now = append(now, m)
		return true
	})
	w.net = w.net[:len(w.net)-len(newest)+len(late)]
	for _, m := range now {
		w.hand(m)
	}
}

// rollBacklog: all that is on its way from a node to some voters arrives, in order.
func (w *world) rollBacklog(roll dice) {
	some, n := roll(1<<len(w.voters)), roll(len(w.nodes))
	for _, m := range slices.Clone(w.net) {
		if some>>m.v&1 != 0 && m.n == n && m.kind != answer {
			w.hand(m)
		}
	}
}

// rollGoodLog: most voters get the whole log, it is committed, and a node applies it.
func (w *world) rollGoodLog(roll dice) {
	for i := range w.voters {
		if roll(4) != 0 && w.linked(i, w.raft.leader) {
			w.store(i, len(w.raft.log))
		}
	}
	w.commit()
	for i := range w.voters {
		if roll(2) == 0 && w.linked(i, w.raft.leader) {
			w.store(i, 0) // a heartbeat: the voters hear of the commit
		}
	}
	if i := roll(len(w.nodes)); w.linked(i, w.raft.leader) {
		w.nodes[i].applied = w.raft.committed
	}
}

// rollPartition cuts some hosts off from the others, or heals that. Only the good rounds and the good log stop at it: what
// is delivered by chance has been on its way for long.
func (w *world) rollPartition(roll dice) {
	w.cut = uint(roll(1 << len(w.voters)))
	if roll(3) == 0 {
		w.cut = 0
	}
}

func (w *world) linked(i, j int) bool { return (w.cut>>i^w.cut>>j)&1 == 0 }

// rollTakeOver is an assignment that reaches the new owner quickly; the former one may hear of it or not.
func (w *world) rollTakeOver(roll dice) {
	i := roll(len(w.nodes))
	if _, owner := w.raft.newest(len(w.raft.log)); owner != i && roll(4) != 0 {
		w.assign(i)
	}
	w.rollGoodLog(roll)
	if w.linked(i, w.raft.leader) {
		w.nodes[i].applied = w.raft.committed
		w.goodRound(i, roll)
	}
}

// rollGoodChange is a change of voters as soon as the leader may, which a majority hears of.
func (w *world) rollGoodChange(roll dice) {
	i := roll(len(w.voters))
	if !w.mayChangeVoters(i) {
		w.rollGoodLog(roll)
		w.passTo(max(w.now, w.spaced()), roll)
	}
	if !w.mayChangeVoters(i) {
		return
	}
	w.changeVoters(i)
	_, owner := w.raft.newest(w.raft.committed)
	if owner >= 0 {
		w.goodRound(owner, roll)
	}
	if roll(3) != 0 {
		w.rollGoodLog(roll)
		w.rollTakeOver(roll)
		return
	}
	w.rollPartition(roll) // the change gets lost
	if owner >= 0 {
		w.goodRound(owner, roll)
	}
	if i := roll(len(w.voters)); w.mayLead(i) {
		w.elect(i)
	}
}

// rollTooLate is a host that asks and gives up before a word of it arrives; then its daemon may be restarted and ask again.
func (w *world) rollTooLate(roll dice) {
	i := roll(len(w.nodes))
	w.rollBegin(i, roll)
	w.giveUp(i)
	if roll(2) == 0 {
		w.restartNode(i, false)
		w.goodRound(i, roll)
	}
}

// rollGiveUp: mostly because a higher epoch was applied.
func (w *world) rollGiveUp(roll dice) {
	i := roll(len(w.nodes))
	if _, owner := w.raft.newest(w.nodes[i].applied); owner != i || roll(3) == 0 {
		w.giveUp(i)
	}
}

func (w *world) rollApply(roll dice) {
	n := w.nodes[roll(len(w.nodes))]
	if left := w.raft.committed - n.applied; left > 0 {
		n.applied += 1 + roll(left)
	}
}

func (w *world) rollStore(roll dice) {
	w.store(roll(len(w.voters)), 1+roll(3))
}

func (w *world) rollChange(roll dice) {
	if i := roll(len(w.voters)); w.mayChangeVoters(i) {
		w.changeVoters(i)
	}
}

func (w *world) rollElect(roll dice) {
	if i := roll(len(w.voters)); w.mayLead(i) {
		w.elect(i)
		if roll(2) == 0 {
			w.rollGoodLog(roll)
			w.rollGoodChange(roll)
		}
	}
}

// rollRestartNode: the new daemon closes the fence that it finds or keeps it, and may give it up and ask again.
func (w *world) rollRestartNode(roll dice) {
	i := roll(len(w.nodes))
	w.restartNode(i, roll(2) == 0)
	if roll(3) == 0 {
		w.giveUp(i)
		w.goodRound(i, roll)
	}
}

// rollRestartVoter: with its table or without, and sometimes twice.
func (w *world) rollRestartVoter(roll dice) {
	i := roll(len(w.voters))
	w.restartVoter(i, roll(2) == 0)
	if roll(3) == 0 {
		w.restartVoter(i, true)
	}
}

// story runs one world for some steps.
func story(b bounds, steps int, roll dice) (*world, error) {
	const drift = 19_000 // parts per million either way: 3.8 % between two hosts
	w := newWorld(b)
	w.raft.log[0].config = []int{0, 1, 2, 3, 4}[:3+roll(3)]
	settled := roll(2) == 0
	for _, v := range w.voters {
		v.clock = clock{off: wide(roll, 1_000_000_000_000), ppm: int64(roll(3)-1) * drift}
		v.v = NewVoter(v.name, v.at(0))
		v.v.settled = settled
	}
	for _, n := range w.nodes {
		n.clock = clock{off: wide(roll, 1_000_000_000_000), ppm: int64(roll(3)-1) * drift}
	}
	kinds := kinds
	if w.bends {
		w.beginBends(roll)
		kinds = append(slices.Clone(kinds), bendKind)
	}
	weight, total := make([]int, len(kinds)), 0
	for i, k := range kinds {
		weight[i] = k.weights[roll(len(k.weights))]
		total += weight[i]
	}
	for range steps {
		pick, i := roll(total), 0
		for ; pick >= weight[i]; i++ {
			pick -= weight[i]
		}
		kinds[i].do(w, roll)
		if err := w.check(); err != nil {
			return w, err
		}
	}
	return w, nil
}

// seededStory is the story of one seed.
func seededStory(b bounds, steps int, seed uint64) (*world, error) {
	r := rand.New(rand.NewPCG(seed, 7373))
	return story(b, steps, r.IntN)
}

func TestInvariantsHoldInRandomStories(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		roll := func(sides int) int { return rapid.IntRange(0, sides-1).Draw(rt, "roll") }
		for range 2 {
			if _, err := story(randomBounds(none), storySteps, roll); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

// TestInvariantsHoldInSeededStories goes through many more stories than rapid does in the same time, and shows that they
// are about something: services open, change hands, and voters change.
func TestInvariantsHoldInSeededStories(t *testing.T) {
	seeds := uint64(commonSeeds)
	if raceEnabled || testing.Short() {
		seeds = 2_000
	}
	began := time.Now()
	var opened, changed, moved int
	for seed := range seeds {
		w, err := seededStory(randomBounds(none), storySteps, seed)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if w.wire > 0 {
			opened++
		}
		if w.wire > 1 {
			moved++
		}
		if index, _ := w.raft.config(w.raft.committed); index > 1 {
			changed++
		}
	}
	t.Logf("%d stories of %d steps in %v: %d opened, %d beyond epoch 1, %d with other voters", seeds, storySteps,
		time.Since(began).Round(time.Millisecond), opened, moved, changed)
	for what, n := range map[string]int{"opened": opened, "moved": moved, "changed voters": changed} {
		if uint64(n) < seeds/20 {
			t.Errorf("only %d of %d stories %s: the search looks at nothing", n, seeds, what)
		}
	}
}

const storySteps = 400
