package cluster

// Committed takes the word of a peer that an entry is committed. If this node's log has that very entry (index and term),
// everything up to it is the same as in the log where it was committed (Raft's Log Matching property), so it is
// committed here too, and the machine may foresee it without waiting for the leader's next AppendEntries. If the log does
// not have it yet, the hint waits for the entries. A false hint about an entry that the log has under another term does
// nothing.
func (r *Raft) Committed(m Mark) {
	r.mu.Lock()
	if m.Index >= r.hint.Index {
		r.hint = m
	}
	r.mu.Unlock()
	r.foresee()
}

// foresee folds in what the newest hint allows.
func (r *Raft) foresee() {
	r.mu.Lock()
	defer r.mu.Unlock()
	have := r.conf.Machine.View().Index
	if r.hint.Index <= have {
		return
	}
	if term, ok := r.journal.Term(r.hint.Index); !ok || term != r.hint.Term {
		return
	}
	entries, err := r.journal.Entries(have+1, r.hint.Index)
	if err != nil {
		return // compacted: a snapshot brings them
	}
	r.conf.Machine.Foresee(entries)
}

// followHints tries again whenever entries were stored.
func (r *Raft) followHints() {
	for {
		select {
		case <-r.quit:
			return
		case <-r.journal.Stored():
			r.foresee()
		}
	}
}
