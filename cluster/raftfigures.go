package cluster

import (
	"time"

	"github.com/hashicorp/raft"
)

// RaftFigures are numbers of this node's Raft, for whoever watches it.
type RaftFigures struct {
	Leads         bool
	Term          uint64
	Last          uint64        // index of the newest entry in the log
	Commit        uint64        // index up to which entries are known to be committed
	Applied       uint64        // index up to which entries were applied
	Contact       time.Duration // since the leader was heard last; negative = this node leads, or has heard none
	LeaderChanges uint64        // that this node has seen since it started: to another leader, or to none
}

// Figures reads them.
func (r *Raft) Figures() RaftFigures {
	f := RaftFigures{
		Leads: r.IsLeader(), Term: r.raft.CurrentTerm(), Last: r.raft.LastIndex(), Commit: r.raft.CommitIndex(), Applied: r.raft.AppliedIndex(),
		Contact: -1, LeaderChanges: r.leaders.Load(),
	}
	if at := r.raft.LastContact(); !f.Leads && !at.IsZero() {
		f.Contact = max(time.Since(at), 0)
	}
	return f
}

// countLeaders counts on Raft's own goroutine: an observer whose filter takes nothing has no channel that somebody must read.
func (r *Raft) countLeaders() {
	r.raft.RegisterObserver(raft.NewObserver(nil, false, func(o *raft.Observation) bool {
		if _, is := o.Data.(raft.LeaderObservation); is {
			r.leaders.Add(1)
		}
		return false
	}))
}
