package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/fsm"
)

// wrecked writes a Raft directory of three voters whose log ends with an entry that was never committed.
func wrecked(t *testing.T, more ...*raft.Log) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s, err := OpenStores(dir)
	if err != nil {
		t.Fatal(err)
	}
	node := fsm.Node{Name: "a", Key: "00ff", Policy: fsm.AlwaysOn}
	logs := append([]*raft.Log{
		configAt(1, 1, "a", "b", "c"),
		entry(t, 2, 1, fsm.Found{Cluster: fsm.Cluster{ID: testID, Name: "home"}, Failover: time.Second, By: "a"}),
		entry(t, 3, 1, fsm.PutNode{Node: node}),
		{Index: 4, Term: 3, Type: raft.LogNoop},
		entry(t, 5, 3, fsm.SetFailover{Failover: 2 * time.Second}),
	}, more...)
	if err := errors.Join(s.Stable.SetUint64([]byte(termKey), 7), s.Log.StoreLogs(logs), s.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestRemainsAreReadAndFoundAnew(t *testing.T) {
	dir := wrecked(t)
	r, err := ReadRemains(dir)
	if err != nil {
		t.Fatal(err)
	}
	if r.Index != 5 || r.Term != 3 || r.CurrentTerm != 7 || r.State.Cluster.ID != testID || r.State.Timing.Failover != 2*time.Second || len(r.Servers) != 3 {
		t.Fatalf("got %+v, %+v", r, r.State)
	}
	again, err := ReadRemains(dir)
	if err != nil || again.Index != r.Index {
		t.Fatalf("reading changed something: %+v, %v", again, err)
	}
	next, err := fsm.Recover(r.State, r.Index+1, strings.Repeat("ab", 16), "", fsm.Recovery{By: "a"})
	if err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(t.TempDir(), "raft")
	if err := r.Found(fresh, "a", next); err != nil {
		t.Fatal(err)
	}
	got, err := ReadRemains(fresh)
	if err != nil {
		t.Fatal(err)
	}
	if got.Index != 6 || got.Term != 7+termJump || got.CurrentTerm != got.Term || got.State.Cluster.ID != next.Cluster.ID || len(got.Servers) != 1 || got.Servers[0].ID != "a" || got.Servers[0].Suffrage != raft.Voter {
		t.Errorf("got %+v, %+v", got, got.State)
	}
	// It leads by itself, in a configuration that is newer than any that the lost voters had (rule 2).
	stores, err := OpenStores(fresh)
	if err != nil {
		t.Fatal(err)
	}
	m := fsm.NewMachine(discard())
	_, trans := raft.NewInmemTransport("a")
	node, err := StartRaft(RaftConfig{Node: "a", Timing: Derive(fsm.FailoverMin), Machine: m, Stores: stores, Transport: trans, Log: discard()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := node.Shutdown(); err != nil {
			t.Error(err)
		}
	}()
	if is := <-node.Leadership(); !is || m.View().ConfigIndex < 6 || node.Journal().NewestConfig() < 6 || m.View().State.Cluster.ID != next.Cluster.ID {
		t.Errorf("leads %v, %+v", is, m.View())
	}
}

func TestRemainsThatCannotBeRead(t *testing.T) {
	empty := t.TempDir()
	if _, err := ReadRemains(empty); !errors.Is(err, ErrNoRemains) {
		t.Errorf("nothing there: %v", err)
	}
	if names, err := os.ReadDir(empty); err != nil || len(names) != 0 {
		t.Errorf("looking made %v, %v", names, err)
	}
	newer := wrecked(t, &raft.Log{Index: 6, Term: 3, Type: raft.LogCommand, Data: []byte("NP\x01\xc8\x01{}")})
	if _, err := ReadRemains(newer); err == nil || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("an entry of a newer version: %v", err)
	}
}

// A host whose log nobody has confirmed yet must not pass for one that belongs to no cluster.
func TestTheJournalKnowsWhoseLogItIs(t *testing.T) {
	store := raft.NewInmemStore()
	j, err := NewJournal(store)
	if err != nil || j.Cluster() != "" {
		t.Fatalf("%q, %v", j.Cluster(), err)
	}
	if err := j.StoreLogs([]*raft.Log{
		configAt(1, 1, "a"), entry(t, 2, 1, fsm.Found{Cluster: fsm.Cluster{ID: testID}}), entry(t, 3, 1, fsm.Found{Cluster: fsm.Cluster{ID: "late"}}),
	}); err != nil {
		t.Fatal(err)
	}
	if j, err = NewJournal(store); err != nil || j.Cluster() != testID {
		t.Errorf("after a restart: %q, %v", j.Cluster(), err)
	}
	if err := j.DeleteRange(2, 3); err != nil || j.Cluster() != "" {
		t.Errorf("its end was cut: %q, %v", j.Cluster(), err)
	}
}
