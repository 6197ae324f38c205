package lease

import "slices"

// simRaft is Raft in outline: one log, of which every voter has a prefix; a majority of the newest configuration in the
// leader's log commits; an election may cut off what was not committed. A voter whose suffix was cut off forgets it at
// once: that only makes it grant more.
type simRaft struct {
	log       []entry // log[0] is the first configuration; the index of an entry is its position plus one
	committed int
	leader    int
	termStart int // index of the term's first entry
	started   bool
	since     Boot // leader's clock: the later of its first commit and the last commit of a configuration
}

type entry struct {
	epoch  uint64 // 0 = a configuration or nothing
	owner  int
	config []int // the voters
}

// newest gives the last ownership record within the first n entries.
func (r *simRaft) newest(n int) (epoch uint64, owner int) {
	for i := n - 1; i >= 0; i-- {
		if r.log[i].epoch != 0 {
			return r.log[i].epoch, r.log[i].owner
		}
	}
	return 0, -1
}

func (r *simRaft) owner(epoch uint64, n int) int {
	for _, e := range r.log[:n] {
		if e.epoch == epoch {
			return e.owner
		}
	}
	return -1
}

func (r *simRaft) config(n int) (index int, members []int) {
	for i := n - 1; i >= 0; i-- {
		if r.log[i].config != nil {
			return i + 1, r.log[i].config
		}
	}
	panic("the log begins with a configuration")
}

func (r *simRaft) clockJumped(voter int, now Boot) {
	if voter == r.leader {
		r.since = now
	}
}

func (w *world) propose(e entry) {
	r := &w.raft
	r.log = append(slices.Clone(r.log), e)
	w.voters[r.leader].stored = len(r.log)
}

// store gives voter i more of the leader's log, and with it the news of what is committed.
func (w *world) store(i, entries int) {
	v := w.voters[i]
	v.stored = min(v.stored+entries, len(w.raft.log))
	v.known = max(v.known, min(v.stored, w.raft.committed))
}

// assign gives the service to node i under the next epoch.
func (w *world) assign(i int) {
	epoch, _ := w.raft.newest(len(w.raft.log))
	w.propose(entry{epoch: epoch + 1, owner: i})
}

// mayChangeVoters is the leader's rule before it proposes a configuration in which voter i is added or removed.
func (w *world) mayChangeVoters(i int) bool {
	r := &w.raft
	index, members := r.config(len(r.log))
	leader := w.voters[r.leader]
	if index > r.committed || i == r.leader || !r.started {
		return false
	}
	if slices.Contains(members, i) {
		if len(members) == 1 {
			return false
		}
	} else if len(members) >= 5 || w.voters[i].stored < index || !w.voters[i].v.Ready(w.voters[i].at(w.now), w.ttl) {
		return false
	}
	return w.flaw == noSpacing || w.steady(leader).Sub(r.since) >= w.ttl+w.margin
}

func (w *world) changeVoters(i int) {
	_, members := w.raft.config(len(w.raft.log))
	next := slices.Clone(members)
	if k := slices.Index(next, i); k >= 0 {
		next = slices.Delete(next, k, k+1)
	} else {
		next = append(next, i)
	}
	w.propose(entry{config: next})
}

// commit commits what a majority of the newest configuration has stored, if that reaches into the term.
func (w *world) commit() {
	r := &w.raft
	_, members := r.config(len(r.log))
	var have []int
	for _, v := range members {
		have = append(have, w.voters[v].stored)
	}
	slices.Sort(have)
	index := have[(len(have)-1)/2]
	if index < r.termStart || index <= r.committed {
		return
	}
	now := w.steady(w.voters[r.leader])
	before, _ := r.config(r.committed)
	after, _ := r.config(index)
	first := !r.started && w.flaw != noWaitAfterElection
	if (after > before || first) && w.flaw != spacingFromElection {
		r.since = now
	}
	r.started = true
	r.committed = index
	w.voters[r.leader].known = index
}

// mayLead: voter i is in its own newest configuration, a majority of which has no more log than it has.
func (w *world) mayLead(i int) bool {
	v := w.voters[i]
	if v.stored < w.raft.committed {
		return false
	}
	_, members := w.raft.config(v.stored)
	votes := 0
	for _, m := range members {
		if w.voters[m].stored <= v.stored {
			votes++
		}
	}
	return slices.Contains(members, i) && votes > len(members)/2
}

func (w *world) elect(i int) {
	v, r := w.voters[i], &w.raft
	r.log = slices.Clone(r.log[:v.stored])
	for _, o := range w.voters {
		o.stored = min(o.stored, len(r.log))
	}
	r.leader, r.started, r.since = i, false, w.steady(v)
	if w.flaw == noWaitAfterElection {
		r.since = r.since.Add(-w.ttl - w.margin)
	}
	w.propose(entry{})
	r.termStart = len(r.log)
}
