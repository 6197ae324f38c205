package lease

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"os"
	"slices"
	"testing"
	"time"
)

// explorer goes through every reachable state of a small world, depth first, with the real Voter and Holder in it. The
// network is a set out of which any message may arrive at any time, again and again, or never; time is in ticks of one
// nanosecond. States that differ only in the absolute time or in the voters' names are one state.
type explorer struct {
	seen        map[[16]byte]struct{}
	transitions int
	limit       int // of states; 0 = all of them
	path        []string
	err         error
}

type step struct {
	name string
	do   func(w *world)
}

func (x *explorer) walk(w *world) {
	key := w.key()
	if _, known := x.seen[key]; known || x.err != nil || x.limit > 0 && len(x.seen) >= x.limit {
		return
	}
	x.seen[key] = struct{}{}
	for _, s := range w.steps() {
		next := w.clone()
		s.do(next)
		next.prune()
		x.transitions++
		x.path = append(x.path, s.name)
		if x.err = next.check(); x.err == nil {
			x.walk(next)
		}
		if x.err != nil {
			return
		}
		x.path = x.path[:len(x.path)-1]
	}
}

// steps lists all that can happen next.
func (w *world) steps() []step {
	var all []step
	for k := range w.net {
		all = append(all, step{"deliver", func(w *world) { w.hand(w.net[k]) }})
	}
	for i, n := range w.nodes {
		all = append(all, w.nodeSteps(i, n)...)
	}
	if w.voterRestarts > 0 {
		for i := range w.voters {
			all = append(all, step{"restart voter", func(w *world) { w.restartVoter(i, false) }})
		}
	}
	all = append(all, w.hostSteps()...)
	all = append(all, w.raftSteps()...)
	return append(all, step{"tick", func(w *world) { w.now++ }})
}

func (w *world) nodeSteps(i int, n *simNode) []step {
	var all []step
	if n.applied < w.raft.committed {
		all = append(all, step{"apply", func(w *world) { w.nodes[i].applied++ }})
	}
	epoch, owner := w.raft.newest(n.applied)
	if n.rounds > 0 && owner == i && epoch > n.h.floor && w.small.prompt {
		return append(all, w.promptRounds(i)...)
	}
	if n.rounds > 0 && owner == i && epoch > n.h.floor {
		all = append(all, step{"begin", func(w *world) { w.begin(i, w.ttl, nil) }})
		for _, r := range w.given {
			if r.Node != n.name {
				all = append(all, step{"begin with prior", func(w *world) { w.begin(i, w.ttl, &r) }})
			}
		}
	}
	if n.h.asked > 0 && n.h.released == nil && !w.small.keep {
		all = append(all, step{"give up", func(w *world) { w.giveUp(i) }})
	}
	if w.nodeRestarts > 0 && n.h.asked > 0 {
		all = append(all, step{"restart, close", func(w *world) { w.restartNode(i, false) }})
		if n.open(w.now) {
			all = append(all, step{"restart, keep", func(w *world) { w.restartNode(i, true) }})
		}
	}
	return all
}

// clone copies all that a step may change.
func (w *world) clone() *world {
	c := *w
	c.voters = make([]*simVoter, len(w.voters))
	for i, v := range w.voters {
		n := *v
		n.v = v.v.clone()
		c.voters[i] = &n
	}
	c.nodes = make([]*simNode, len(w.nodes))
	for i, v := range w.nodes {
		n := *v
		n.h = v.h.clone()
		c.nodes[i] = &n
	}
	c.net = slices.Clone(w.net)
	c.given = slices.Clone(w.given)
	return &c
}

func (v *Voter) clone() *Voter {
	c := *v
	c.services = make(map[string]*ledger, len(v.services))
	for name, l := range v.services {
		n := *l
		n.marks = slices.Clone(l.marks)
		c.services[name] = &n
	}
	return &c
}

func (h *Holder) clone() *Holder {
	c := *h
	c.acks = maps.Clone(h.acks)
	if h.round != nil {
		r := *h.round
		r.granted, r.refused = maps.Clone(r.granted), maps.Clone(r.refused)
		c.round = &r
	}
	return &c
}

// prune drops what can have no effect any more, so that states that differ only in it are one. It relies on what the code
// promises about old messages, so it is not done when a flaw is built in. A voter that may still forget its table may
// still take a message a second time.
func (w *world) prune() {
	if w.flaw != none && !w.flaw.ofRaft() {
		return
	}
	for _, n := range w.nodes {
		if r := n.h.round; r != nil && r.deadline <= n.at(w.now) {
			n.h.round = nil
		}
		if !n.open(w.now) {
			n.fence = fence{}
		}
	}
	w.net = slices.DeleteFunc(w.net, func(m msg) bool {
		switch m.kind {
		case answer:
			r := w.nodes[m.n].h.round
			return r == nil || r.seq != m.ans.Seq || w.nodes[m.n].inc != m.ans.Incarnation || r.granted[m.ans.Voter]
		case request:
			p := m.req.Prior
			return w.over(m.v, m.req.Node, m.req.Incarnation, m.req.Seq) &&
				(p == nil || w.over(m.v, p.Node, p.Incarnation, p.Seq))
		default:
			return w.over(m.v, m.rel.Node, m.rel.Incarnation, m.rel.Seq)
		}
	})
}

// over tells that voter v will do nothing more about a message with this number.
func (w *world) over(v int, node string, inc, seq uint64) bool {
	l := w.voters[v].v.services[service]
	if w.voterRestarts > 0 || l == nil {
		return false
	}
	i, found := l.find(node)
	return found && (inc < l.marks[i].Incarnation || inc == l.marks[i].Incarnation && seq <= l.marks[i].Seq)
}

// key is the state's hash: the nodes, then what concerns each voter, in an order that does not depend on its name.
func (w *world) key() [16]byte {
	b := make([]byte, 0, 512)
	b = append(b, byte(w.voterRestarts), byte(w.nodeRestarts), byte(w.wire))
	b = w.raftKey(b)
	for _, n := range w.nodes {
		now := n.at(w.now)
		b = append(b, byte(n.inc), byte(n.applied), byte(n.rounds), byte(n.fence.epoch), left(n.fence.deadline, now),
			byte(n.h.seq), byte(n.h.asked), byte(n.h.floor), byte(n.adopted), byte(n.flawed.index))
		if n.h.released != nil {
			b = append(b, byte(n.h.released.Seq))
		}
		if r := n.h.round; r != nil {
			b = append(b, 255, byte(r.seq), byte(r.epoch), left(r.deadline, now), byte(len(r.granted)), byte(r.need))
		}
		b = append(b, 254)
	}
	for _, r := range w.given {
		b = append(b, r.Node[0], byte(r.Epoch), byte(r.Incarnation), byte(r.Seq))
	}
	parts := make([][]byte, len(w.voters))
	for i := range w.voters {
		parts[i] = w.voterKey(i)
	}
	slices.SortFunc(parts, slices.Compare)
	for _, p := range parts {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}

func left(t, now Boot) byte { return byte(max(0, t.Sub(now))) }

func (w *world) voterKey(i int) []byte {
	v := w.voters[i]
	now := v.at(w.now)
	b := make([]byte, 0, 128)
	b = w.raftVoterKey(b, i)
	if !v.v.Ready(now, w.ttl) {
		b = append(b, 1+left(v.v.since.Add(w.ttl), now))
	}
	b = append(b, 0)
	if l := v.v.services[service]; l != nil {
		if l.entry.Runs(now) {
			e := l.entry
			b = append(b, e.Holder[0], byte(e.Epoch), byte(e.Incarnation), left(e.Expires, now))
		}
		b = append(b, 0, byte(l.highest))
		for _, m := range l.marks {
			if m.Seq > 0 {
				b = append(b, m.Node[0], byte(m.Incarnation), byte(m.Seq), byte(m.ReleasedSeq))
			}
		}
	}
	for _, n := range w.nodes {
		if r := n.h.round; r != nil && r.granted[v.name] {
			b = append(b, n.name[0])
		}
		if r := n.h.round; r != nil && r.voters[v.name] {
			b = append(b, n.name[0]|128)
		}
	}
	b = append(b, 0)
	var mail [][6]byte
	for _, m := range w.net {
		if m.v == i {
			mail = append(mail, m.key())
		}
	}
	slices.SortFunc(mail, func(a, b [6]byte) int { return cmp.Compare(string(a[:]), string(b[:])) })
	for _, m := range mail {
		b = append(b, m[:]...)
	}
	return b
}

func (m msg) key() [6]byte {
	switch m.kind {
	case request:
		k := [6]byte{byte(m.kind), byte(m.n), byte(m.req.Incarnation), byte(m.req.Seq), byte(m.req.Epoch)}
		if p := m.req.Prior; p != nil {
			k[5] = byte(p.Incarnation<<4 | p.Seq)
		}
		return k
	case answer:
		return [6]byte{byte(m.kind), byte(m.n), byte(m.ans.Incarnation), byte(m.ans.Seq), byte(m.ans.Epoch)}
	default:
		return [6]byte{byte(m.kind), byte(m.n), byte(m.rel.Incarnation), byte(m.rel.Seq), byte(m.rel.Epoch)}
	}
}

// smallBounds: three voters that have been up for long, two nodes, perfect clocks and therefore no margin, a ttl of two
// ticks.
func smallBounds(f flaw) bounds {
	return bounds{voterCount: 3, nodeCount: 2, ttl: 2, owners: []int{0, 1}, rounds: 1, exhaustive: true, flaw: f}
}

func changed(set func(*bounds)) bounds {
	b := smallBounds(none)
	set(&b)
	return b
}

func TestEveryStateOfSmallWorlds(t *testing.T) {
	deep := deepSearch()
	for _, c := range []struct {
		name string
		set  func(*bounds)
		more int // further rounds for node a
		deep bool
	}{
		{"a voter forgets", func(b *bounds) { b.voterRestarts, b.onlyI1 = 1, true }, 0, false},
		{"a node restarts", func(b *bounds) { b.nodeRestarts = 1 }, 0, false},
		{"a renews", func(*bounds) {}, 1, false},
		{"ttl of three ticks", func(b *bounds) { b.ttl = 3 }, 0, false},
		{"a gets it back", func(b *bounds) { b.owners = []int{0, 1, 0} }, 1, true},
		{"a restarts and asks again", func(b *bounds) { b.nodeRestarts = 1 }, 1, true},
		{"both renew", func(b *bounds) { b.rounds = 2 }, 0, true},
	} {
		if c.deep && !deep || raceEnabled && (c.more > 0 || changed(c.set).voterRestarts > 0) {
			continue // deep: minutes each, NIGHTPORTER_DEEP=1 adds them; the others run without the race detector
		}
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(changed(c.set))
			w.nodes[0].rounds += c.more
			exploreAll(t, w)
		})
	}
}

// exploreAll goes through every state that w can reach.
func exploreAll(t *testing.T, w *world) {
	t.Helper()
	x := &explorer{seen: map[[16]byte]struct{}{}, limit: exploreLimit}
	began := time.Now()
	x.walk(w)
	if x.err != nil {
		t.Fatalf("%v\n%q", x.err, x.path)
	}
	t.Logf("%d states, %d transitions, %v", len(x.seen), x.transitions, time.Since(began).Round(time.Millisecond))
	if len(x.seen) >= x.limit {
		t.Errorf("stopped at %d states", x.limit)
	}
}

func deepSearch() bool { return os.Getenv("NIGHTPORTER_DEEP") != "" }

const exploreLimit = 20_000_000

// TestExplorerHasTeeth: mistakes that show soon in small worlds are found in them. The random search has the others.
func TestExplorerHasTeeth(t *testing.T) {
	for _, f := range []flaw{noRule4, deadlineFromArrival, releaseBeforeClose} {
		t.Run(flawNames[f], func(t *testing.T) {
			x := &explorer{seen: map[[16]byte]struct{}{}, limit: 200_000}
			x.walk(newWorld(smallBounds(f)))
			if x.err == nil {
				t.Fatalf("not found in %d states", len(x.seen))
			}
			t.Logf("after %d states: %v", len(x.seen), x.err)
		})
	}
}
