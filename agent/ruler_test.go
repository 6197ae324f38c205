package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"nightporter/cluster"
	"nightporter/lease"
)

// tenth is the most by which the kernel lets a tick be bent, in millionths.
const tenth = 100_000

// left is for how long the kernel of b keeps the fence open by CLOCK_BOOTTIME, without its daemon.
func (w *world) left(host string) time.Duration {
	k := w.hosts[host].kernel
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.deadline.Sub(w.clock.Boot())
}

// TestTheDeadlineAllowsForASlowClock: the kernel counts by a clock that is slowed down, and the daemon may die at any time.
func TestTheDeadlineAllowsForASlowClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.end()
		timing := cluster.Derive(time.Second)
		full := timing.TTL - timing.Margin
		most := func() (most time.Duration) {
			for range 400 {
				w.pass(5 * time.Millisecond)
				left := w.left("b")
				if left <= 0 {
					t.Fatal("the fence closed")
				}
				most = max(most, left)
			}
			return most
		}
		w.give("b", 1, "")
		w.pass(time.Second)
		if left := most(); left > full || left < full-20*time.Millisecond {
			t.Errorf("at its own pace the clock leaves %v of %v", left, full)
		}
		w.clock.bend(-tenth)
		w.pass(time.Second)
		if left := most(); left > full*9/10 || left < full*9/10-20*time.Millisecond {
			t.Errorf("slower by a tenth it leaves %v, which takes %v", left, left*10/9)
		}
		w.clock.bend(tenth) // then nothing is given that would not be given otherwise
		w.pass(time.Second)
		if left := most(); left > full {
			t.Errorf("faster by a tenth it leaves %v of %v", left, full)
		}
	})
}

// TestAHolderThatIsCutOffSeesItsClockSlowDown: the clock is bent when the last renewal is over.
func TestAHolderThatIsCutOffSeesItsClockSlowDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.end()
		timing := cluster.Derive(time.Second)
		w.give("b", 1, "")
		w.pass(2 * time.Second)
		w.mu.Lock()
		w.cut["b"] = true
		w.mu.Unlock()
		left := w.left("b")
		w.clock.bend(-tenth)
		began := time.Now()
		for w.hosts["b"].kernel.open() {
			w.pass(100 * time.Microsecond)
		}
		if took := time.Since(began); took > left+time.Millisecond || took < left-10*time.Millisecond {
			t.Errorf("with %v left it was open for %v (margin %v)", left, took, timing.Margin)
		}
	})
}

// TestAVoterWithAFastClockWaits: a ttl is over when it is over, and not when its clock says so.
func TestAVoterWithAFastClockWaits(t *testing.T) {
	voting(t, func(life func() *ballot, _ *brittleMirror, ask func(*ballot, string, uint64) (lease.Answer, bool)) {
		b := life()
		clock := b.clock.(*fakeClock)
		ttl := cluster.Derive(time.Second).TTL
		clock.bend(tenth)
		time.Sleep(ttl - time.Millisecond)
		if a, ok := ask(b, "a", 1); !ok || a.Refusal != lease.Amnesia || b.warm() {
			t.Errorf("too early a voter that remembers nothing says %+v", a)
		}
		time.Sleep(2 * time.Millisecond)
		if a, ok := ask(b, "a", 1); !ok || a.Refusal != lease.Granted {
			t.Fatalf("got %+v", a)
		}
		time.Sleep(ttl - time.Millisecond)
		if a, ok := ask(b, "b", 2); !ok || a.Refusal != lease.HeldByOther {
			t.Errorf("too early another node gets %+v", a)
		}
		time.Sleep(2 * time.Millisecond)
		if a, ok := ask(b, "b", 2); !ok || a.Refusal != lease.Granted {
			t.Errorf("then another node gets %+v", a)
		}
		time.Sleep(ttl - 10*time.Millisecond) // nobody looks
		if a, ok := ask(life(), "a", 3); !ok || a.Refusal != lease.HeldByOther {
			t.Errorf("after a restart another node gets %+v", a)
		}
	})
}

// TestSteadyTimeNeverRunsAhead: what waits for leases to end counts by it.
func TestSteadyTimeNeverRunsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &fakeClock{began: time.Now()}
		r := &ruler{clock: clock}
		for _, faster := range []int64{tenth, -tenth, 0, tenth} {
			clock.bend(faster)
			began, from := time.Now(), r.steady()
			time.Sleep(time.Second)
			passed := r.steady().Sub(from)
			if most := time.Since(began) + 100*time.Microsecond; passed > most || passed < most*8/10 {
				t.Errorf("faster by %d millionths: %v in a second", faster, passed)
			}
		}
	})
}
