package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestAbility: one who asks waits no longer than he wants to while another one's question goes on, and an answer that nobody waited for is not remembered.
func TestAbility(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, clock := ability{turn: make(turn, 1)}, &fakeClock{began: time.Now()}
		asked := 0
		slow := func(ctx context.Context) error {
			asked++
			select {
			case <-time.After(time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		look := func(patience time.Duration) (time.Duration, error) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			began := time.Now()
			err := a.look(ctx, clock, slow)
			return time.Since(began), err
		}
		first := make(chan error)
		go func() { _, err := look(500 * time.Millisecond); first <- err }()
		synctest.Wait()
		if took, err := look(100 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) || took != 100*time.Millisecond {
			t.Errorf("the second one got %v after %s", err, took)
		}
		if err := <-first; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the first one got %v", err)
		}
		if took, err := look(time.Minute); err != nil || took != time.Second || asked != 2 {
			t.Errorf("the third one got %v after %s, question %d", err, took, asked)
		}
		if took, err := look(time.Minute); err != nil || took != 0 || asked != 2 {
			t.Errorf("the fourth one got %v after %s, question %d", err, took, asked)
		}
		time.Sleep(abilityFresh)
		if took, err := look(time.Minute); err != nil || took != time.Second || asked != 3 {
			t.Errorf("half a minute later it is %v after %s, question %d", err, took, asked)
		}
		time.Sleep(abilityFresh)
		slow = func(ctx context.Context) error { asked++; <-ctx.Done(); return ctx.Err() }
		for _, took := range []time.Duration{abilityLimit, 0} { // an answer that is too late counts as one
			if is, err := look(time.Minute); !errors.Is(err, context.DeadlineExceeded) || is != took || asked != 4 {
				t.Errorf("without an answer it is %v after %s, question %d", err, is, asked)
			}
		}
	})
}
