package agent

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"nightporter/identity"
)

// heirless is a kernel that can leave nothing to a next life.
type heirless struct{ *fakeKernel }

func (heirless) Bequeath() (identity.Legacy, error) {
	return identity.Legacy{}, errors.New("no descriptor is left")
}

// follower is a Raft that does not lead.
type follower struct{ raftNode }

func (follower) IsLeader() bool { return false }

// noted is a disk that keeps the note.
type noted struct {
	Disk
	left *Estate
}

func (d *noted) Leave(e Estate) error { d.left = &e; return nil }

// TestAnEndThatLeavesNothing: where the kernel cannot go on, or somebody wants this agent to end meanwhile, everything is closed and
// given back, and nobody waits for ever.
func TestAnEndThatLeavesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*parts, context.CancelFunc)
		err   error
		open  bool
	}{
		"as it should be":        {func(*parts, context.CancelFunc) {}, ErrReplaced, true},
		"nothing can be left":    {func(a *parts, _ context.CancelFunc) { a.deps.Kernel = heirless{a.deps.Kernel.(*fakeKernel)} }, ErrReplaced, false},
		"asked to stop, instead": {func(_ *parts, stop context.CancelFunc) { stop() }, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(t *testing.T, w *world) {
				w.give("a", 1, "")
				w.pass(5 * time.Second)
				h, log, note := w.hosts["a"], slog.New(slog.DiscardHandler), &noted{}
				var told []string
				a := &parts{
					checkups: &checkups{}, hooks: &hooks{},
					deps:    Deps{Clock: w.clock, Kernel: h.kernel, Log: log, Disk: note, Watchdog: time.Second, Ready: func(s string) { told = append(told, s) }},
					machine: foundedMachine(t, log), raft: follower{}, waking: newWaking(time.Second), tenants: &tenants{all: map[string]*tenant{"web": h.tenant}},
				}
				a.tenants.running.Go(func() { <-h.ended })
				asked, stop := context.WithCancel(context.Background())
				defer stop()
				ctx, replace := context.WithCancelCause(context.Background())
				replace(ReplacedUnless(asked.Done()))
				c.spoil(a, stop)
				if err := a.bequeath(ctx, func() {}, h.stop, func() error { return nil }); !errors.Is(err, c.err) {
					t.Errorf("it ended with %v", err)
				}
				if len(told) == 0 || told[0] != "WATCHDOG=1" { // a whole silence is ahead
					t.Errorf("the service manager was told %q", told)
				}
				if h.kernel.open() != c.open || (note.left != nil) != c.open {
					t.Errorf("open: %v, the note: %+v", h.kernel.open(), note.left)
				}
				h.kernel.mu.Lock()
				h.kernel.deadline = 0 // its time is over
				h.kernel.mu.Unlock()
			})
		})
	}
}

// TestAProbeDoesNotHoldTheEndUp: one that ends when nobody reads its tenant's inbox any more.
func TestAProbeDoesNotHoldTheEndUp(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.give("a", 1, "")
		w.pass(5 * time.Second)
		h, wills := w.hosts["a"], make(chan tenure, 1)
		h.kernel.mu.Lock()
		h.kernel.foreign = []identity.Foreign{{}}
		h.kernel.mu.Unlock()
		h.tenant.do(func() { h.tenant.foreign = make([]identity.Foreign, 1) })
		<-time.After(time.Millisecond)
		h.tenant.do(func() { // a probe is under way: it takes 25 ms
			h.tenant.will, h.tenant.willAt, h.tenant.nextAsk = wills, w.clock.Boot(), 0
		})
		<-time.After(5 * time.Millisecond)
		if len(wills) != 1 {
			t.Fatal("it has left nothing yet")
		}
		for h.tenant.do(func() {}) {
		}
		select {
		case <-h.ended:
		case <-time.After(time.Second):
			t.Error("the tenant has not ended")
		}
		h.kernel.mu.Lock()
		h.kernel.deadline = 0
		h.kernel.mu.Unlock()
	})
}

// TestASuspendBetweenTwoLives: what a tenure was granted before it opens nothing, so it does not go on; without one it does.
func TestASuspendBetweenTwoLives(t *testing.T) {
	for _, slept := range []bool{false, true} {
		story(t, func(t *testing.T, w *world) {
			w.give("a", 1, "")
			w.pass(5 * time.Second)
			left, _ := w.replace("a", 0)
			if slept {
				w.clock.slept.Add(int64(200 * time.Millisecond)) // less than what is left of the lease
			}
			k := w.hosts["a"].kernel
			list := adopt(Deps{Clock: w.clock, Kernel: k, Log: slog.New(slog.DiscardHandler), Former: &Estate{Tenures: []tenure{left}}})
			if (len(list) == 0) != slept {
				t.Errorf("slept: %v; %d tenures go on", slept, len(list))
			}
		})
	}
}

// TestInheritWhileGossipRuns: messages come before the loops begin; the race detector judges.
func TestInheritWhileGossipRuns(t *testing.T) {
	a := &parts{
		checkups: &checkups{},
		deps:     Deps{Clock: &fakeClock{began: time.Now()}, Log: slog.New(slog.DiscardHandler), Former: &Estate{Index: 7}},
		tenants:  &tenants{clock: &fakeClock{began: time.Now()}, all: make(map[string]*tenant)},
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range 1000 {
			a.tenants.with("web", func(*tenant) {})
		}
	}()
	for range 100 {
		a.inherit([]adopted{{tenure: tenure{Wish: wish{Service: testService}, Epoch: 9}}})
	}
	<-ended
	if a.tenants.since != 7 || a.tenants.all["web"].epoch != 9 {
		t.Errorf("%+v", a.tenants.all)
	}
}
