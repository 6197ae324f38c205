package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"syscall"
	"testing"
	"time"

	"nightporter/agent"
)

// TestStoppedWhileReplaced: who asks for the end of the agent while it makes way for another program gets it, and who asks twice for
// the other program kills nothing.
func TestStoppedWhileReplaced(t *testing.T) {
	parent, stop := context.WithCancel(t.Context())
	defer stop()
	r := &replacement{program: "/bin/true", log: slog.New(slog.DiscardHandler)}
	err := r.run(parent, func(ctx context.Context) error {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for asked := 0; ctx.Err() == nil || asked < 2; asked++ { // again and again: nobody may listen yet
			if err := syscall.Kill(os.Getpid(), syscall.SIGUSR2); err != nil {
				return err
			}
			<-tick.C
		}
		if err := context.Cause(ctx); !errors.Is(err, agent.ErrReplaced) {
			t.Errorf("the cause is %v", err)
		}
		r.program = "/nonexistent" // what is started all the same gives an error
		stop()
		return agent.ErrReplaced
	})
	if err != nil {
		t.Errorf("the next program was started: %v", err)
	}
}
