package cluster

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// Past is what a node had acknowledged of a log that it has put away since: its term, and its last entry. It stays behind when the
// node leaves its cluster, and outlives the log.
//
// A node that left has no vote any more; but one that slept through that still counts it, and if it comes back under its name with an
// empty log, it would help that one to be elected without the newest entries, or a second time in a term: what was committed is
// lost then (I2, I6). So it judges candidates and leaders as if it still had that log.
type Past struct {
	Cluster   string `json:"cluster"` // its id
	Term      uint64 `json:"term"`
	LastTerm  uint64 `json:"last_term"`
	LastIndex uint64 `json:"last_index"`
}

// Past gives what this node has acknowledged up to now.
func (r *Raft) Past(cluster string) (Past, error) {
	p := Past{Cluster: cluster}
	var err error
	if p.Term, err = r.conf.Stores.Stable.GetUint64([]byte(termKey)); err != nil {
		return p, fmt.Errorf("reading the term: %w", err)
	}
	if p.LastIndex, err = r.journal.LastIndex(); err != nil {
		return p, fmt.Errorf("reading the log's last index: %w", err)
	}
	p.LastTerm, _ = r.journal.Term(p.LastIndex) // without an entry both are 0, and the term alone counts
	if old := r.past.Load(); old != nil && old.Cluster == cluster && old.older(p.LastTerm, p.LastIndex) {
		p.LastTerm, p.LastIndex = old.LastTerm, old.LastIndex // it did not even hear again of all that
	}
	if old := r.past.Load(); old != nil && old.Cluster == cluster {
		p.Term = max(p.Term, old.Term)
	}
	return p, nil
}

// StartAnew says that this node begins with another cluster, whose terms are other ones.
func (r *Raft) StartAnew() { r.past.Store(nil) }

// Meets says that this node, which has no log, waits to be admitted to a cluster. The terms of another one may be lower.
func (r *Raft) Meets(cluster string) {
	if p := r.past.Load(); p != nil && p.Cluster != cluster {
		r.StartAnew()
	}
}

// older says whether a log that ends with this entry misses something.
func (p *Past) older(term, index uint64) bool {
	return term < p.LastTerm || term == p.LastTerm && index < p.LastIndex
}

// refusal is the answer to a question that a node with that log would refuse; nil = Raft is to judge it.
func (p *Past) refusal(question any) any {
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}
	switch q := question.(type) {
	case *raft.RequestVoteRequest:
		if q.Term <= p.Term || p.older(q.LastLogTerm, q.LastLogIndex) {
			return &raft.RequestVoteResponse{RPCHeader: header, Term: max(p.Term, q.Term)}
		}
	case *raft.RequestPreVoteRequest:
		if q.Term <= p.Term || p.older(q.LastLogTerm, q.LastLogIndex) {
			return &raft.RequestPreVoteResponse{RPCHeader: header, Term: p.Term}
		}
	case *raft.AppendEntriesRequest:
		if q.Term < p.Term {
			return &raft.AppendEntriesResponse{RPCHeader: header, Term: p.Term}
		}
	case *raft.InstallSnapshotRequest:
		if q.Term < p.Term {
			return &raft.InstallSnapshotResponse{RPCHeader: header, Term: p.Term}
		}
	}
	return nil
}

// screen stands between the transport and Raft, and refuses what this node's past forbids.
func (r *Raft) screen() {
	for {
		var call raft.RPC
		select {
		case <-r.quit:
			return
		case call = <-r.trans.Consumer():
		}
		if p := r.past.Load(); p != nil {
			if id := r.conf.Machine.View().State.Cluster.ID; id != "" && id != p.Cluster {
				r.StartAnew()
			} else if no := p.refusal(call.Command); no != nil {
				call.Respond(no, nil)
				continue
			}
		}
		select {
		case r.paced.calls <- call:
		case <-r.quit:
			call.Respond(nil, errEnding)
			return
		}
	}
}

var errEnding = errors.New("this node ends")
