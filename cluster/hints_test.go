package cluster

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/fsm"
)

// TestHints: a hint waits for its entry, is not held up by wrong ones, and a wrong one does nothing.
func TestHints(t *testing.T) {
	j, err := NewJournal(raft.NewInmemStore())
	if err != nil {
		t.Fatal(err)
	}
	r := &Raft{conf: RaftConfig{Machine: fsm.NewMachine(testLog(t))}, journal: j, quit: make(chan struct{})}
	r.running.Go(r.followHints)
	defer r.running.Wait()
	defer close(r.quit)
	view := func() uint64 { return r.conf.Machine.View().Index }
	store := func(logs ...*raft.Log) {
		t.Helper()
		if err := j.StoreLogs(logs); err != nil {
			t.Fatal(err)
		}
	}

	store(configAt(1, 1, "a", "b"), entry(t, 2, 1, fsm.Found{Cluster: fsm.Cluster{ID: testID, Name: "home"}, Failover: time.Second}))
	r.Committed(Mark{2, 7}) // of another term
	r.Committed(Mark{1 << 60, 3})
	if view() != 0 {
		t.Fatalf("wrong hints moved the view to %d", view())
	}
	r.Committed(Mark{2, 1})
	if v := r.conf.Machine.View(); v.Index != 2 || v.State.Cluster.ID != testID || v.ConfigIndex != 1 {
		t.Fatalf("the view is at %d", v.Index)
	}
	for i := range uint64(4 * hintsKept) { // garbage must not grow without bound either
		r.Committed(Mark{1<<50 + i, 1})
	}
	r.Committed(Mark{4, 2}) // comes before its entries
	r.Committed(Mark{3, 2}) // and this even after the later one
	if view() != 2 {
		t.Fatalf("the view is at %d without the entries", view())
	}
	store(&raft.Log{Index: 3, Term: 2, Type: raft.LogNoop}, entry(t, 4, 2, fsm.SetFailover{Failover: 2 * time.Second}))
	until(t, "the hint finds its entries", func() bool { return view() == 4 })
	r.mu.Lock()
	waiting := len(r.hints)
	r.mu.Unlock()
	if waiting > hintsKept {
		t.Errorf("%d hints wait", waiting)
	}

	// The follower's own uncommitted entry 5 is replaced by the one that was committed.
	store(entry(t, 5, 2, fsm.SetFailover{Failover: 7 * time.Second}))
	r.Committed(Mark{5, 3})
	if view() != 4 {
		t.Fatal("an entry of another term was foreseen")
	}
	if err := j.DeleteRange(5, 5); err != nil {
		t.Fatal(err)
	}
	store(entry(t, 5, 3, fsm.SetFailover{Failover: 5 * time.Second}))
	until(t, "the right entry 5", func() bool { return view() == 5 })
	if got := r.conf.Machine.View().State.Timing.Failover; got != 5*time.Second {
		t.Errorf("failover is %s", got)
	}
}
