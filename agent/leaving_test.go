package agent

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// stuckDisk lets go of the old state only after a while.
type stuckDisk struct {
	Disk
	tries, until int
}

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
		a := &parts{deps: Deps{Disk: disk, Log: slog.New(slog.DiscardHandler)}, left: newBell()}
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
