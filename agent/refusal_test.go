package agent

import (
	"context"
	"strings"
	"testing"
	"time"

	"nightporter/fsm"
	"nightporter/login"
)

// TestTheKernelRefuses: systemctl has ended long before systemd comes to ask the kernel. The refusal is the end of it, and the reason that is told.
func TestTheKernelRefuses(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.hang = func(context.Context) error { return nil }
		s.order()
		refused := time.AfterFunc(3*time.Second, func() { s.refused.Add(1) })
		defer refused.Stop()
		began := time.Now()
		s.steps(2)
		if me, took := s.record(), time.Since(began); me.Power != fsm.Awake || me.PowerReason != fsm.SuspendFailed || took < 3*time.Second || took > 5*time.Second {
			t.Errorf("after %v: %+v", took, me)
		}
		if p := s.problem.Load(); p == nil || !strings.HasSuffix(*p, "this host did not sleep: the kernel refused it (cannot allocate memory)") {
			t.Errorf("problem: %v", p)
		}
	})
}

// systemd's own unit fails before it comes to the kernel: systemctl has ended long before, and logind says that it is over.
func TestNothingComesOfTheSuspend(t *testing.T) {
	withLogind(t, func(t *testing.T, s *stage, l *scriptedLogind) {
		s.hang = func(context.Context) error {
			l.events <- login.Sleeping
			return nil
		}
		s.order()
		pass(3 * time.Second)
		if me := s.record(); me.Power != fsm.Asleep {
			t.Fatalf("while logind is at it: %+v", me)
		}
		l.events <- login.Resumed
		pass(3 * time.Second)
		if me := s.record(); me.Power != fsm.Awake || me.PowerReason != fsm.SuspendFailed || l.locks() != 1 {
			t.Errorf("%+v, %d locks", me, l.locks())
		}
		if p := s.problem.Load(); p == nil || !strings.Contains(*p, "logind began it and says that it is over") {
			t.Errorf("problem: %v", p)
		}
	})
}
