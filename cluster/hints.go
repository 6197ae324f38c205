package cluster

import "slices"

// hintsKept bounds the hints that wait for their entries. A wrong one (of a peer's former life, say) must not push out or
// outrank the right ones, so they wait side by side.
const hintsKept = 16

// Committed takes the word of a peer that an entry is committed. If this node's log has that very entry (index and term),
// everything up to it is the same as in the log where it was committed (Raft's Log Matching property), so it is
// committed here too, and the machine may foresee it without waiting for the leader's next AppendEntries. If the log does
// not have it yet, the hint waits for the entries. A false hint about an entry that the log has under another term does
// nothing.
func (r *Raft) Committed(m Mark) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.foresee(m) || slices.Contains(r.hints, m) {
		return
	}
	if len(r.hints) == hintsKept {
		r.hints = slices.Delete(r.hints, 0, 1)
	}
	r.hints = append(r.hints, m)
}

// foresee folds in what a hint allows. True: the hint has done its work. The entry of another term that stands in its
// place may yet be replaced by the right one, so such a hint waits.
func (r *Raft) foresee(m Mark) bool {
	have := r.conf.Machine.View().Index
	if m.Index <= have {
		return true
	}
	if term, ok := r.journal.Term(m.Index); !ok || term != m.Term {
		return false
	}
	entries, err := r.journal.Entries(have+1, m.Index)
	if err != nil {
		return false // compacted meanwhile: Raft brings them itself
	}
	r.conf.Machine.Foresee(entries)
	return true
}

// followHints tries again whenever entries were stored.
func (r *Raft) followHints() {
	for {
		select {
		case <-r.quit:
			return
		case <-r.journal.Stored():
			r.mu.Lock()
			r.hints = slices.DeleteFunc(r.hints, r.foresee)
			r.mu.Unlock()
		}
	}
}
