package agent

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"nightporter/fsm"
	"nightporter/wake"
)

// handedOver is a target b that gave the service to the front a, on its way into its seventh sleep if leaving, with a client that waits.
func handedOver(w *world, service fsm.Service, leaving, half bool, halved uint64) (b *worldHost) {
	b = w.hosts["b"]
	b.ether.set(func(e *fakeEther) {
		e.owed = []wake.Owed{{Client: someone, Dest: webDoor, Why: "what it said is not read yet", Half: half}}
	})
	w.giveAs(service, "b", 1, "")
	w.pass(time.Second)
	b.tenant.halved = new(atomic.Uint64)
	b.tenant.halved.Store(halved)
	x := b.tenant.wish
	w.giveAs(service, "a", 2, "b")
	x.Own, x.Prev, x.Mine, x.Heir = fsm.Ownership{Owner: "a", Epoch: 2, Reason: fsm.OwnerSleeps}, "b", false, true
	if x.Leaving = leaving; leaving {
		x.Sleeps = 7
	}
	b.tenant.want.Store(&x)
	b.tenant.do(func() {})
	w.pass(100 * time.Millisecond) // a's word that it is prepared takes longer than this wish
	return b
}

// A target that closes its fence to sleep knows of a client that waits; but not of one that may wake nobody, and not when it merely gives the service away.
func TestOwesAtTheFencesEnd(t *testing.T) {
	denied, other := testService, testService
	denied.Wake.Deny = []netip.Prefix{netip.PrefixFrom(someone.Addr(), 24).Masked()}
	other.Wake.Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for _, c := range []struct {
		name    string
		service fsm.Service
		leaving bool
		half    bool
		halved  uint64
		want    uint64
	}{
		{"to sleep", testService, true, false, 0, 7},
		{"a move", testService, false, false, 0, 0},
		{"a client that is denied", denied, true, false, 0, 0},
		{"a client that is not allowed", other, true, false, 0, 0},
		{"a half made connection", testService, true, true, 5, 7},
		{"a half made connection once more", testService, true, true, 6, 0},
		{"and then one that is made", testService, true, false, 6, 7},
	} {
		story(t, func(t *testing.T, w *world) {
			b := handedOver(w, c.service, c.leaving, c.half, c.halved)
			s := b.tenant.shown.Load()
			if s.Opened || s.Epoch != 0 {
				t.Fatalf("%s: it was not handed over: %+v", c.name, s)
			}
			if s.Owes != c.want {
				t.Errorf("%s: it owes something before sleep %d, want %d", c.name, s.Owes, c.want)
			}
		})
	}
}

// A host that finds at the end of its hand-over that a client waits stays awake, says why, and sleeps the next time.
func TestAClientThatWaitsCancelsTheSleep(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		keeper := &tenant{}
		keeper.shown.Store(&tenancy{Released: 1, Owes: 1})
		s.tenants.all = map[string]*tenant{"web": keeper}
		s.order()
		s.raft.mu.Lock()
		s.raft.drop = true // it is said again
		s.raft.mu.Unlock()
		s.steps(2)
		if me := s.record(); s.suspends != 0 || me.Power != fsm.Awake || me.PowerReason != fsm.SleepCancelled {
			t.Fatalf("%d suspends, %+v", s.suspends, me)
		}
		s.order()
		s.steps(4)
		if me := s.record(); s.suspends != 1 || me.Power != fsm.Awake {
			t.Errorf("%d suspends after the second order, %+v", s.suspends, me)
		}
	})
}

// Before it has handed over everything as well: it gets back what has gone.
func TestAClientThatWaitsIsNotKeptWaiting(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		gone, held := &tenant{}, &tenant{}
		gone.shown.Store(&tenancy{Released: 1, Owes: 1})
		held.shown.Store(&tenancy{Opened: true, Epoch: 1})
		s.tenants.all = map[string]*tenant{"web": gone, "other": held}
		s.order()
		s.steps(1)
		if me := s.record(); me.Power != fsm.Awake || me.PowerReason != fsm.SleepCancelled {
			t.Errorf("%+v", me)
		}
	})
}

// A suspend that somebody else began cannot be refused.
func TestAClientThatWaitsWhenOthersSuspend(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		keeper := &tenant{}
		keeper.shown.Store(&tenancy{Released: 1, Owes: 1})
		s.tenants.all = map[string]*tenant{"web": keeper}
		s.order()
		s.press(time.Second)
		s.step(t.Context())
		if me := s.record(); me.Power != fsm.Asleep {
			t.Errorf("%+v", me)
		}
	})
}
