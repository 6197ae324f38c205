package lease

import (
	"slices"
	"testing"
	"time"
)

// small says what else may happen in a small world, beside what its bounds name.
type small struct {
	raft               bool // the log is stored and committed step by step
	changes, elections int
	suspends           int  // of a host, with its voter and its node
	keep               bool // nobody gives up
	prompt             bool // requests arrive at once or never, and their answers with them
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

// promptRounds are the rounds of node i that each set of voters may hear.
func (w *world) promptRounds(i int) []step {
	var all []step
	for some := range 1 << len(w.voters) {
		all = append(all, step{"round", func(w *world) {
			w.begin(i, w.ttl, nil)
			sent := w.net
			w.net = nil
			for _, m := range sent {
				if some>>m.v&1 != 0 {
					w.hand(m)
				}
			}
		}})
	}
	return all
}

// raftSteps lists what Raft may do next.
func (w *world) raftSteps() []step {
	if !w.small.raft {
		return nil
	}
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
	c := w.clone()
	if c.commit(); c.raft.committed > r.committed {
		all = append(all, step{"commit", (*world).commit})
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
	b = append(b, byte(w.small.changes), byte(w.small.elections), byte(w.small.suspends),
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

// raftWorld: a has epoch 1 and b gets epoch 2, all voters have the log so far, and Raft goes on.
func raftWorld(f flaw, ttl time.Duration, s small) *world {
	s.raft, s.prompt, s.keep = true, true, true
	b := smallBounds(f)
	b.small, b.ttl, b.onlyI1 = s, ttl, true
	w := newWorld(b)
	for _, v := range w.voters {
		v.stored, v.known = len(w.raft.log), len(w.raft.log)
	}
	return w
}

// suspendWorld: any host may be suspended at any time, and its clock may be off by a tick afterwards.
func suspendWorld(f flaw, s small) *world {
	b := smallBounds(f)
	s.suspends = 1
	b.small, b.jump = s, 1
	return newWorld(b)
}

// TestEveryChangeOfSmallWorlds goes through voter changes with elections and roll-backs, and through suspends.
func TestEveryChangeOfSmallWorlds(t *testing.T) {
	for _, c := range []struct {
		name  string
		world *world
		deep  bool
	}{
		{"two voter changes", raftWorld(none, 2, small{changes: 2}), false},
		{"two voter changes and an election", raftWorld(none, 1, small{changes: 2, elections: 1}), false},
		{"a host is suspended", suspendWorld(none, small{prompt: true, keep: true}), false},
		{"two voter changes and an election, ttl of two ticks", raftWorld(none, 2, small{changes: 2, elections: 1}), true},
		{"a voter change and two elections", raftWorld(none, 1, small{changes: 1, elections: 2}), true},
		{"a host is suspended, nodes give up", suspendWorld(none, small{prompt: true}), true},
		{"a host is suspended, messages are late", suspendWorld(none, small{keep: true}), true},
	} {
		if c.deep && !deepSearch() || raceEnabled && c.world.small.elections > 0 {
			continue // as in TestEveryStateOfSmallWorlds
		}
		t.Run(c.name, func(t *testing.T) { exploreAll(t, c.world) })
	}
}

// TestChangesHaveTeeth: the mistakes around Raft and around a resume are found in the same worlds.
func TestChangesHaveTeeth(t *testing.T) {
	if raceEnabled {
		return // seconds become minutes, and there is nothing parallel in it
	}
	for _, f := range []flaw{noSpacing, noRule2, knownCommitted, spacingFromElection, noWaitAfterElection, clockJumpIgnored} {
		t.Run(flawNames[f], func(t *testing.T) {
			w := raftWorld(f, 2, small{changes: 2})
			switch f {
			case spacingFromElection, noWaitAfterElection:
				w = raftWorld(f, 2, small{changes: 2, elections: 1})
			case clockJumpIgnored:
				w = suspendWorld(f, small{prompt: true, keep: true})
			}
			x := &explorer{seen: map[[16]byte]struct{}{}, limit: exploreLimit}
			began := time.Now()
			x.walk(w)
			if x.err == nil {
				t.Fatalf("not found in %d states", len(x.seen))
			}
			t.Logf("%d states, %v: %v", len(x.seen), time.Since(began).Round(time.Millisecond), x.err)
		})
	}
}
