package agent

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"nightporter/cluster"
	"nightporter/config"
	"nightporter/fsm"
)

// stuckDisk lets go of the old state only after a while.
type stuckDisk struct {
	Disk
	tries, until int
}

func (d *stuckDisk) SavePast(cluster.Past) error { return nil }
func (d *stuckDisk) Forget() error {
	if d.tries++; d.tries < d.until {
		return errors.New("no space left on device")
	}
	return nil
}

// TestAFullDiskDoesNotKeepANodeThatLeft: it would go on without the others, and never hear that it belongs nowhere.
func TestAFullDiskDoesNotKeepANodeThatLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &stuckDisk{until: 4}
		solo := &soloRaft{machine: foundedMachine(t, slog.New(slog.DiscardHandler)), t: t}
		a := &parts{raft: solo, machine: solo.machine, applied: &applied{}, deps: Deps{Disk: disk, Log: slog.New(slog.DiscardHandler)}, left: newBell()}
		a.departure.bell, a.departure.turn = newBell(), make(turn, 1)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		done := make(chan struct{})
		go func() { defer close(done); a.depart(ctx) }()
		a.departure.bell.ring()
		a.departure.gone.Store(true)
		if err := (&backend{a}).putAway(); err == nil {
			t.Fatal("the operator is not told")
		}
		select {
		case <-a.left:
		case <-time.After(time.Minute):
			t.Errorf("the agent does not end; its state was to be put away %d times", disk.tries)
		}
		stop()
		<-done
	})
}

// An agent that stops waits for the services that somebody else takes, and not for those that nobody can.
func TestWhatAStopWaitsFor(t *testing.T) {
	onHookStage(t, config.Hooks{}, func(s *hookStage) {
		s.raft.must(fsm.Assign{Service: "web", Owner: "b", Planned: s.machine.View().State.Ownerships["web"].Epoch, Reason: fsm.FirstOwner})
		own := s.machine.View().State.Ownerships["web"]
		s.has("web", own.Epoch, true)
		a := &parts{cfg: &config.Config{Node: "b"}, machine: s.machine, tenants: s.tenants, post: &post{opens: &opens{}}, checkups: &checkups{}}
		if !a.relieved(nil) {
			t.Error("it waits for a service that nobody can take")
		}
		plan := []fsm.Assign{{Service: "web", Owner: "a", Planned: own.Epoch}}
		if a.relieved(plan) {
			t.Error("it does not wait for its heir")
		}
		s.raft.must(fsm.PutNode{Node: fsm.Node{Name: "a", Key: "ka", Policy: fsm.AlwaysOn, Format: fsm.Format}})
		s.raft.must(fsm.Assign{Service: "web", Owner: "a", Planned: own.Epoch, Reason: fsm.OwnerDrained})
		s.has("web", 0, true)
		if a.relieved(plan) {
			t.Error("the heir is not open yet")
		}
		a.post.opens.note("web", s.machine.View().State.Ownerships["web"].Epoch)
		if !a.relieved(plan) {
			t.Error("everything is done")
		}
	})
}
