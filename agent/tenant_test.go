package agent

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/identity"
	"nightporter/lease"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// story runs f in virtual time and checks at its end that I1 held and that every fence is closed.
func story(t *testing.T, f func(*testing.T, *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f(t, w)
		w.end()
	})
}

// order checks that events came in the given order; others may stand between.
func order(t *testing.T, got []string, want ...string) {
	t.Helper()
	i := 0
	for _, e := range got {
		if i < len(want) && e == want[i] {
			i++
		}
	}
	if i < len(want) {
		t.Errorf("%v does not have %v in this order", got, want)
	}
}

func TestFirstOwnerOpens(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.give("a", 1, "")
		w.pass(200 * time.Millisecond)
		if !w.hosts["a"].kernel.open() || w.hosts["b"].kernel.open() {
			t.Error("a alone should be open")
		}
		order(t, w.hosts["a"].kernel.log(), "prepare", "probe", "open", "announce", "announce")
		if !w.hosts["a"].kernel.guarded() {
			t.Error("a front must keep its guard")
		}
		if !w.toldOpen("c", 1) {
			t.Error("the others were not told that it is open")
		}
		w.pass(20 * time.Second)
		if !w.hosts["a"].kernel.open() {
			t.Error("the lease was not renewed")
		}
	})
}

// TestPlannedHandOver: the heir prepares first, the holder closes then, and the gap is two messages and one question.
func TestPlannedHandOver(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.give("a", 1, "")
		w.pass(300 * time.Millisecond)
		w.give("b", 2, "a")
		a, b := w.hosts["a"].kernel, w.hosts["b"].kernel
		var closed, opened time.Time
		for opened.IsZero() {
			w.pass(100 * time.Microsecond)
			if closed.IsZero() && !a.open() {
				closed = time.Now()
				order(t, b.log(), "prepare", "guard false", "probe")
			}
			if b.open() {
				opened = time.Now()
			}
			if !closed.IsZero() && time.Since(closed) > time.Second {
				t.Fatal("b did not open")
			}
		}
		// Hand-over hint, question and answer: three times the latency, on a grid of 100 us.
		if gap := opened.Sub(closed); gap > 3*latency+200*time.Microsecond {
			t.Errorf("the gap was %s", gap)
		}
		if b.guarded() {
			t.Error("a target must serve without the guard")
		}
		w.pass(5 * time.Second)
		order(t, a.log(), "open", "close", "remove")
		if a.isPrepared() {
			t.Error("the former holder did not clean up")
		}
	})
}

// TestHandOverSurvivesLostMessages: each kind of message of the hand-over is lost once, or for good where the protocol
// has a second way.
func TestHandOverSurvivesLostMessages(t *testing.T) {
	kinds := map[string]func(cluster.Message) bool{
		"prepared":       func(m cluster.Message) bool { return len(m.Prepared) > 0 },
		"handed":         func(m cluster.Message) bool { return len(m.Handed) > 0 },
		"releases":       func(m cluster.Message) bool { return len(m.Releases) > 0 },
		"acks":           func(m cluster.Message) bool { return len(m.Acks) > 0 },
		"open":           func(m cluster.Message) bool { return len(m.Open) > 0 },
		"half of all":    nil,
		"all but leases": func(m cluster.Message) bool { return len(m.Requests)+len(m.Answers) == 0 },
	}
	for name, match := range kinds {
		t.Run(name, func(t *testing.T) {
			story(t, func(t *testing.T, w *world) {
				w.give("a", 1, "")
				w.pass(300 * time.Millisecond)
				dice := rand.New(rand.NewPCG(1, 2))
				w.mu.Lock()
				w.lose = func(_, _ string, m cluster.Message) bool {
					return match == nil && dice.IntN(2) == 0 || match != nil && match(m)
				}
				w.mu.Unlock()
				w.give("b", 2, "a")
				w.pass(3 * time.Second)
				if !slices.Contains(w.hosts["b"].kernel.log(), "open") {
					t.Error("b did not open within 3 s of the assignment")
				}
			})
		})
	}
}

// TestAFormerOwnerHearsThatTheHeirIsOpen: though he was cut off when the heir said so. He may wait for that before he sleeps.
func TestAFormerOwnerHearsThatTheHeirIsOpen(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.give("a", 1, "")
		w.pass(300 * time.Millisecond)
		w.give("b", 2, "a")
		w.mu.Lock()
		w.lose = func(_, to string, m cluster.Message) bool { return to == "a" && len(m.Open) > 0 }
		w.mu.Unlock()
		w.pass(3 * time.Second)
		w.mu.Lock()
		w.lose = nil
		w.mu.Unlock()
		w.pass(time.Second)
		if !w.toldOpen("a", 2) {
			t.Error("it was not told again")
		}
		w.pass(35 * time.Second) // and of what comes with the announcements, the next of which is 45 s away
		w.mu.Lock()
		told := len(w.hosts["a"].opens)
		w.mu.Unlock()
		w.pass(5 * time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		if now := len(w.hosts["a"].opens); now != told {
			t.Errorf("it is told for ever: %d and then %d times", told, now)
		}
	})
}

// TestCrash: the holder falls silent; its fence stays open until its deadline, and the heir opens after it.
func TestCrash(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.give("a", 1, "")
		w.pass(300 * time.Millisecond)
		w.mu.Lock()
		w.cut["a"] = true
		w.mu.Unlock()
		died := time.Now()
		w.give("c", 2, "a")
		for !w.hosts["c"].kernel.open() {
			w.pass(time.Millisecond)
			if time.Since(died) > time.Second {
				t.Fatal("c did not open within failover")
			}
		}
		if w.hosts["a"].kernel.open() {
			t.Error("a is still open")
		}
	})
}

// TestCutHolderFallsSilent: a holder that finds no majority is closed by its deadline, and opens again when it is heard.
func TestCutHolderFallsSilent(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.give("a", 1, "")
		w.pass(300 * time.Millisecond)
		w.mu.Lock()
		w.cut["a"] = true
		w.mu.Unlock()
		w.pass(cluster.Derive(time.Second).TTL)
		if w.hosts["a"].kernel.open() {
			t.Error("open without a lease")
		}
		w.mu.Lock()
		w.cut["a"] = false
		w.mu.Unlock()
		w.pass(400 * time.Millisecond)
		if !w.hosts["a"].kernel.open() {
			t.Error("not open again")
		}
	})
}

// TestForeignHolder: an address that a stranger has is not taken, the lease is kept, and it is taken when he is gone.
func TestForeignHolder(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		k := w.hosts["a"].kernel
		k.mu.Lock()
		k.foreign = []identity.Foreign{{IP: netip.MustParseAddr("10.0.0.200"), MAC: net.HardwareAddr{0xaa, 0, 0, 0, 0, 1}}}
		k.mu.Unlock()
		w.give("a", 1, "")
		w.pass(5 * time.Second)
		if k.open() {
			t.Error("the address was taken although a stranger has it")
		}
		if p := w.hosts["a"].tenant.shown.Load().Stranger; !strings.Contains(p, "aa:00:00:00:00:01") {
			t.Errorf("the problem does not name the stranger: %q", p)
		}
		if a, ok := w.hosts["c"].ballot.lastAsked("web", "a"); !ok || w.clock.Boot().Sub(a.at) > time.Second {
			t.Error("the owner gives no sign of life, so the leader would take the service away")
		}
		k.mu.Lock()
		k.foreign = nil
		k.mu.Unlock()
		w.pass(3 * time.Second)
		if !k.open() {
			t.Error("not taken after the stranger left")
		}
		// One that comes when it is open takes nothing away, and is told.
		k.mu.Lock()
		k.foreign = []identity.Foreign{{IP: netip.MustParseAddr("10.0.0.200"), MAC: net.HardwareAddr{0xaa, 0, 0, 0, 0, 2}}}
		k.mu.Unlock()
		w.pass(2 * strangerEvery)
		if p := w.hosts["a"].tenant.shown.Load().Stranger; !strings.Contains(p, "aa:00:00:00:00:02") || !strings.Contains(p, "now this one, now the other") {
			t.Errorf("the problem does not name the stranger who came later: %q", p)
		}
		if !k.open() {
			t.Error("a stranger took the address away from its holder")
		}
		k.mu.Lock()
		k.foreign = nil
		k.mu.Unlock()
		w.pass(2 * strangerEvery)
		if p := w.hosts["a"].tenant.shown.Load().Stranger; p != "" || !k.open() {
			t.Errorf("when he is gone: %q", p)
		}
	})
}

// TestResume: a clock jump closes at once and asks anew; answers to rounds from before do not count.
func TestResume(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.give("a", 1, "")
		w.pass(300 * time.Millisecond)
		before := len(w.hosts["a"].kernel.log())
		w.clock.slept.Add(int64(10 * time.Second))
		w.hosts["a"].tenant.do(w.hosts["a"].tenant.resumed)
		w.pass(time.Millisecond)
		order(t, w.hosts["a"].kernel.log()[before:], "close")
		w.pass(5 * time.Second)
		if !w.hosts["a"].kernel.open() {
			t.Error("not open again after the resume")
		}
	})
}

// TestResumeInTheMiddleOfAHandOver: a host that was suspended before its hand-over had ended asks for nothing until the log has it awake.
func TestResumeInTheMiddleOfAHandOver(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.give("a", 1, "")
		w.pass(300 * time.Millisecond)
		a := w.hosts["a"].tenant
		record := func(leaving bool) {
			wish := a.wish
			wish.Leaving = leaving
			a.want.Store(&wish)
			a.do(func() {})
			w.pass(time.Second)
		}
		record(true)
		if !w.hosts["a"].kernel.open() {
			t.Fatal("it does not serve until it is relieved")
		}
		w.clock.slept.Add(int64(10 * time.Second))
		a.away.Store(true)
		a.do(func() {})
		for range 50 {
			w.pass(100 * time.Millisecond)
			if w.hosts["a"].kernel.open() {
				t.Fatal("it serves after a sleep in which the log did not have it asleep")
			}
		}
		record(false)
		if !w.hosts["a"].kernel.open() {
			t.Error("it does not serve when it is awake in the log")
		}
	})
}

// TestReleaseWaitsForTheFence: a fence that cannot be closed releases nothing before the kernel's own deadline.
func TestReleaseWaitsForTheFence(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.give("a", 1, "")
		w.pass(300 * time.Millisecond)
		k := w.hosts["a"].kernel
		k.mu.Lock()
		k.failNext = errors.New("netlink is broken")
		deadline := k.deadline
		k.mu.Unlock()
		released := lease.Boot(0)
		w.mu.Lock()
		w.lose = func(_, _ string, m cluster.Message) bool {
			if len(m.Releases)+len(m.Handed) > 0 && released == 0 {
				released = w.clock.Boot()
			}
			return false
		}
		w.mu.Unlock()
		w.give("b", 2, "a")
		w.pass(3 * time.Second)
		if !w.hosts["b"].kernel.open() {
			t.Error("b did not open")
		}
		closedAt := slices.Contains(k.log(), "close")
		w.mu.Lock()
		defer w.mu.Unlock()
		if released != 0 && released < deadline && !closedAt {
			t.Error("released before the fence was closed")
		}
	})
}

// TestPrepareIsTriedAgain: a kernel that cannot prepare now may do so later.
func TestPrepareIsTriedAgain(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		k := w.hosts["a"].kernel
		k.mu.Lock()
		k.failNext = errors.New("eth0 does not exist")
		k.mu.Unlock()
		w.give("a", 1, "")
		w.pass(100 * time.Millisecond)
		if p := w.hosts["a"].tenant.shown.Load().Problem; !strings.Contains(p, "eth0 does not exist") {
			t.Errorf("problem: %q", p)
		}
		w.pass(3 * time.Second)
		if !k.open() {
			t.Error("not tried again")
		}
	})
}

// TestAnotherDefinitionWhileTheIdentityIsPrepared: what was under way is of the former address, and is never opened.
func TestAnotherDefinitionWhileTheIdentityIsPrepared(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		k := w.hosts["a"].kernel
		k.mu.Lock()
		k.slow = 2 * time.Second
		k.mu.Unlock()
		w.give("a", 1, "")
		w.pass(500 * time.Millisecond)
		other := testService
		other.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.77")}
		w.giveAs(other, "a", 3, "")
		w.pass(2 * time.Second)
		if k.open() {
			t.Error("the former address was opened under the new definition's epoch")
		}
		w.pass(5 * time.Second)
		k.mu.Lock()
		defer k.mu.Unlock()
		if len(k.spec.Addrs) != 1 || k.spec.Addrs[0] != other.Addresses[0] || k.deadline == 0 {
			t.Errorf("in the end %+v is prepared, open until %v", k.spec, k.deadline)
		}
	})
}

// TestAHostThatNeverGetsReadyFallsSilent, so that the voters and the leader hear nothing of it any more.
func TestAHostThatNeverGetsReadyFallsSilent(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a := w.hosts["a"]
		a.kernel.mu.Lock()
		a.kernel.slow = 2 * makesMost
		a.kernel.mu.Unlock()
		w.give("a", 1, "")
		w.pass(makesMost + time.Second)
		before := a.tenant.shown.Load().Majority
		w.pass(5 * time.Second)
		if after := a.tenant.shown.Load().Majority; after != before {
			t.Errorf("a lease was granted at %v, long after the identity should have been there", after)
		}
	})
}

// TestDeletedServiceClosesAtOnce: nobody inherits, so there is nobody to wait for.
func TestDeletedServiceClosesAtOnce(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.give("a", 1, "")
		w.pass(300 * time.Millisecond)
		x := wish{Own: fsm.Ownership{Epoch: 2, Reason: fsm.ServiceDeleted}, Quorum: lease.Quorum{Config: 1, Voters: []string{"a", "b", "c"}}, Timing: cluster.Derive(time.Second)}
		w.hosts["a"].tenant.want.Store(&x)
		w.hosts["a"].tenant.do(func() {})
		w.pass(time.Millisecond)
		if w.hosts["a"].kernel.open() {
			t.Error("still open")
		}
	})
}

// TestGrantsEndWithASuspend: what was granted before a suspend opens nothing after it, whether the tenant was told of it or a probe
// ends first.
func TestGrantsEndWithASuspend(t *testing.T) {
	for _, told := range []bool{true, false} {
		grantsEnd(t, told)
	}
}

func grantsEnd(t *testing.T, told bool) {
	story(t, func(t *testing.T, w *world) {
		w.give("a", 1, "")
		w.pass(10 * time.Millisecond) // granted; the probe takes 25 ms
		a := w.hosts["a"]
		w.mu.Lock()
		w.lose = func(string, string, cluster.Message) bool { return true }
		w.mu.Unlock()
		w.clock.slept.Add(int64(200 * time.Millisecond))
		if told {
			a.tenant.away.Store(true)
			a.tenant.do(func() {})
		}
		w.pass(100 * time.Millisecond)
		if slices.Contains(a.kernel.log(), "open") {
			t.Errorf("opened by grants from before the suspend: %v", a.kernel.log())
		}
	})
}

// TestLostRoundsAreMadeUpFor: a lease that is renewed three times in its life survives all messages of more than half of it
// being lost, since the pauses between the rounds get shorter; otherwise it asks three times, not more.
func TestLostRoundsAreMadeUpFor(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.give("a", 1, "")
		w.pass(time.Second)
		a, timing := w.hosts["a"], cluster.Derive(time.Second)
		requests := 0
		var lossy bool
		w.mu.Lock()
		w.lose = func(from, to string, m cluster.Message) bool {
			if from == "a" && to == "b" && len(m.Requests) > 0 {
				requests++
			}
			return lossy
		}
		w.mu.Unlock()
		set := func(on bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			lossy = on
		}
		w.pass(10 * timing.TTL)
		if requests < 29 || requests > 31 {
			t.Errorf("%d rounds in ten ttl", requests)
		}
		for range 20 { // begins at different moments between two rounds
			set(true)
			for range 38 { // 380 of 667 ms
				w.pass(10 * time.Millisecond)
				if !a.kernel.open() {
					t.Fatal("the fence closed though the loss was short")
				}
			}
			set(false)
			w.pass(timing.TTL + 13*time.Millisecond)
			if !a.kernel.open() {
				t.Fatal("not renewed after the loss")
			}
		}
	})
}
