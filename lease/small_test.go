package lease

import (
	"slices"
	"testing"
	"time"
)

// small says what else may happen in a small world, beside what its bounds name.
type small struct {
	changes, elections, assigns int  // by Raft's leader
	suspends                    int  // of a host, with its voter and its node
	keep                        bool // nobody gives up
	promptAnswers               bool // an answer arrives with the request that it answers, or both never do
}

// ofRaft: the mistake is in what surrounds the code, so that what the code promises about old messages holds.
func (f flaw) ofRaft() bool {
	switch f {
	case noSpacing, spacingFromElection, noWaitAfterElection, countUncommitted, noRule2, knownCommitted:
		return true
	}
	return false
}

// hostSteps: host i, on which voter i and node i run, is suspended and resumed, with the clock as it was or wrong by what
// an RTC can be wrong.
func (w *world) hostSteps() []step {
	if w.small.suspends == 0 {
		return nil
	}
	var all []step
	for i := range w.voters {
		for _, jump := range []int64{-1, 0, 1} {
			all = append(all, step{"suspend", func(w *world) { w.suspend(i, time.Duration(jump)*w.jump) }})
		}
	}
	return all
}

func (w *world) suspend(i int, jump time.Duration) {
	w.small.suspends--
	w.resumeVoter(i, jump)
	if i < len(w.nodes) {
		w.resumeNode(i, jump)
	}
}

// raftSteps lists what Raft may do next.
func (w *world) raftSteps() []step {
	r := &w.raft
	var all []step
	_, members := r.config(len(r.log))
	for i := range w.voters {
		if w.small.changes > 0 && w.mayChangeVoters(i) {
			all = append(all, step{"change voters", func(w *world) { w.small.changes--; w.changeVoters(i) }})
		}
		if w.small.elections > 0 && i != r.leader && w.mayLead(i) {
			all = append(all, step{"elect", func(w *world) { w.small.elections--; w.elect(i) }})
		}
		if slices.Contains(members, i) && w.voters[i].stored < len(r.log) {
			all = append(all, step{"store", func(w *world) { w.store(i, 1) }})
		}
	}
	if w.small.assigns > 0 && r.started {
		all = append(all, step{"assign", func(w *world) { w.small.assigns--; w.assign(1) }})
	}
	if c := w.clone(); w.small != (small{}) {
		if c.commit(); c.raft.committed > r.committed {
			all = append(all, step{"commit", (*world).commit})
		}
	}
	return all
}

// raftKey is Raft's part of the state's hash, without the voters' names.
func (w *world) raftKey(b []byte) []byte {
	r := &w.raft
	wait := r.since.Add(w.ttl + w.margin)
	started := byte(0)
	if r.started {
		started = 1 + left(wait, w.voters[r.leader].at(w.now))
	}
	b = append(b, byte(w.small.changes), byte(w.small.elections), byte(w.small.assigns), byte(w.small.suspends),
		byte(r.committed), byte(r.termStart), started, byte(len(r.log)))
	for _, e := range r.log {
		b = append(b, byte(e.epoch), byte(len(e.config)))
	}
	return b
}

// raftVoterKey tells voter i from the others by the part that it plays in Raft.
func (w *world) raftVoterKey(b []byte, i int) []byte {
	b = append(b, byte(w.voters[i].stored), byte(w.voters[i].known))
	for k, e := range w.raft.log {
		if slices.Contains(e.config, i) {
			b = append(b, byte(k+1))
		}
	}
	for _, n := range w.nodes {
		if slices.Contains(n.flawed.members, i) {
			b = append(b, 128|n.name[0])
		}
	}
	if i == w.raft.leader {
		b = append(b, 255)
	}
	if w.small.suspends > 0 && i < len(w.nodes) {
		b = append(b, w.nodes[i].name[0]) // they share a host
	}
	return append(b, 0)
}

// raftBounds: a has epoch 1 and b gets epoch 2, all voters have the log so far, and Raft goes on.
func raftBounds(f flaw, s small) bounds {
	b := smallBounds(f)
	s.promptAnswers, s.keep = true, true
	b.small = s
	return b
}

func newRaftWorld(b bounds) *world {
	w := newWorld(b)
	for _, v := range w.voters {
		v.stored, v.known = len(w.raft.log), len(w.raft.log)
	}
	return w
}

func TestTryRaft(t *testing.T) {
	for _, c := range []struct{n int; s small} {
		{2, small{changes: 1, elections:1}}, {2, small{changes: 2, elections:1}},{3, small{changes: 2}},
		} {
		for _, f := range []flaw{none, noSpacing, noWaitAfterElection,spacingFromElection,noRule2, knownCommitted} {
			b := raftBounds(f, c.s)
			b.ttl=1
			b.onlyI1 = true
			x := &explorer{seen: map[[16]byte]struct{}{}, limit: 3_000_000}
			began := time.Now()
			w := newRaftWorld(b)
			w.raft.log[0].config = []int{0,1,2}[:c.n]
			x.walk(w)
			t.Logf("%+v %q: %d states, %d, %v %v", c, flawNames[f], len(x.seen), x.transitions, time.Since(began), x.err)
		}
	}
}
func TestTrySuspend(t *testing.T) {
	for _, s := range []small{{suspends: 1}, {suspends: 1, promptAnswers: true}, {suspends:1, promptAnswers: true, keep: true}} {
			b := smallBounds(none)
			b.small, b.jump = s, 1
			x := &explorer{seen: map[[16]byte]struct{}{}, limit: 3_000_000}
			began := time.Now()
			x.walk(newWorld(b))
			t.Logf("%+v %d states, %d, %v %v", s, len(x.seen), x.transitions, time.Since(began), x.err)
	}
}
