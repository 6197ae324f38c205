package agent

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"nightporter/fsm"
)

// TestFormerServicesAreUnsealed: also those of an earlier life of the agent, but only when the services are known for sure.
func TestFormerServicesAreUnsealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		solo := &soloRaft{machine: foundedMachine(t, log), t: t, index: 2}
		k := &fakeKernel{}
		away := &leading{raftNode: leaderless{}}
		u := &unseal{machine: solo.machine, raft: away, kernel: k, log: log}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); u.run(ctx) }()
		pass := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		want := func(when string, events ...string) {
			t.Helper()
			if got := k.log(); !slices.Equal(got, events) {
				t.Errorf("%s: %v, want %v", when, got, events)
			}
		}
		pass(time.Minute)
		want("without a leader")
		away.raftNode = solo
		pass(unsealAfter / 2)
		solo.must(fsm.PutNode{Node: fsm.Node{Name: "b", Key: "k", Policy: fsm.AlwaysOn}})
		solo.must(fsm.PutService{Service: testService})
		pass(unsealAfter - time.Second)
		want("right after a service came")
		pass(2 * time.Second)
		want("when the services have settled", "retain [web]")
		pass(time.Hour)
		want("when nothing changes", "retain [web]")
		solo.must(fsm.DeleteService{Name: "web"})
		pass(unsealAfter + time.Second)
		want("after it was deleted", "retain [web]", "retain []")
		stop()
		<-done
	})
}

// leading is a Raft whose leader can change.
type leading struct{ raftNode }
