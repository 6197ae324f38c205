package cluster

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/fsm"
)

// TestPast: a node that came back with an empty log judges as if it still had the one that it has put away.
func TestPast(t *testing.T) {
	past := &Past{Cluster: testID, Term: 5, LastTerm: 5, LastIndex: 66}
	vote := func(term, lastTerm, last uint64) any {
		return &raft.RequestVoteRequest{Term: term, LastLogTerm: lastTerm, LastLogIndex: last}
	}
	preVote := func(term, lastTerm, last uint64) any {
		return &raft.RequestPreVoteRequest{Term: term, LastLogTerm: lastTerm, LastLogIndex: last}
	}
	for _, ask := range []func(term, lastTerm, last uint64) any{vote, preVote} {
		for _, tt := range []struct {
			term, lastTerm, last uint64
			refused              bool
		}{
			{6, 4, 58, true},
			{6, 5, 65, true},
			{6, 4, 100, true},
			{5, 5, 70, true},
			{4, 5, 70, true},
			{6, 5, 66, false},
			{6, 5, 67, false},
			{7, 6, 60, false},
		} {
			if got := past.refusal(ask(tt.term, tt.lastTerm, tt.last)); (got != nil) != tt.refused {
				t.Errorf("%+v: answered with %+v", tt, got)
			}
		}
	}
	for term, refused := range map[uint64]bool{4: true, 5: false, 6: false} {
		for _, q := range []any{&raft.AppendEntriesRequest{Term: term}, &raft.InstallSnapshotRequest{Term: term}} {
			if got := past.refusal(q); (got != nil) != refused {
				t.Errorf("%T of term %d: answered with %+v", q, term, got)
			}
		}
	}
}

// TestANodeWithAPastVotesForNobodyWhoHasLess: through Raft itself, over the network, until it starts anew.
func TestANodeWithAPastVotesForNobodyWhoHasLess(t *testing.T) {
	addr, trans := raft.NewInmemTransport("a")
	store := raft.NewInmemStore()
	node, err := StartRaft(RaftConfig{
		Node: "a", Timing: Derive(time.Second), Machine: fsm.NewMachine(testLog(t)), Transport: trans, Log: testLog(t),
		Past:   &Past{Cluster: testID, Term: 5, LastTerm: 5, LastIndex: 66},
		Stores: Stores{Log: store, Stable: store, Snapshots: raft.NewInmemSnapshotStore()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := node.Shutdown(); err != nil {
			t.Error(err)
		}
	}()
	_, candidate := raft.NewInmemTransport("b")
	candidate.Connect(addr, trans)
	ask := func(last uint64) bool {
		t.Helper()
		var got raft.RequestVoteResponse
		req := &raft.RequestVoteRequest{
			RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("b"), Addr: []byte("b")}, Term: 6, LastLogTerm: 5, LastLogIndex: last,
		}
		if err := candidate.RequestVote("a", addr, req, &got); err != nil {
			t.Fatal(err)
		}
		return got.Granted
	}
	if ask(65) {
		t.Error("it voted for a node that misses an entry")
	}
	if past, err := node.Past(testID); err != nil || past != (Past{Cluster: testID, Term: 5, LastTerm: 5, LastIndex: 66}) {
		t.Errorf("before it heard of anything it leaves again with %+v, %v", past, err)
	}
	if !ask(66) {
		t.Error("it did not vote for a node that has all")
	}
	if past, err := node.Past(testID); err != nil || past != (Past{Cluster: testID, Term: 6, LastTerm: 5, LastIndex: 66}) {
		t.Errorf("it leaves again with %+v, %v", past, err)
	}
	node.Meets(testID)
	if ask(65) {
		t.Error("it forgot its past when it met its old cluster")
	}
	node.Meets("another")
	if !ask(1) {
		t.Error("in another cluster it still judges by the old log")
	}
}
