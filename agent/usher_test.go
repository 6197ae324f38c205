package agent

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/lease"
)

// callBox notes who was called; it answers nothing.
type callBox struct {
	outbox
	calls []string
}

func (b *callBox) send(node string, m cluster.Message) {
	for _, s := range m.Stand {
		b.calls = append(b.calls, node+" "+s.Service)
	}
}

// usherWorld is an usher of a leader a, and a view in which a serves web and b is its heir.
func usherWorld(t *testing.T) (*usher, *callBox, cluster.View, fsm.Assign) {
	t.Helper()
	box := &callBox{}
	clock := &fakeClock{began: time.Now()}
	u := &usher{self: "a", clock: clock, out: box, log: slog.New(slog.DiscardHandler), news: func() {}}
	s := &fsm.State{Nodes: map[string]fsm.Node{}, Services: map[string]fsm.Service{}, Ownerships: map[string]fsm.Ownership{}}
	s.Services["web"] = testService
	s.Ownerships["web"] = fsm.Ownership{Owner: "a", Epoch: 7}
	for _, n := range []string{"a", "b"} {
		s.Nodes[n] = fsm.Node{Name: n, Power: fsm.Awake, Format: fsm.Format}
	}
	v := cluster.View{State: s, Timing: cluster.Derive(time.Second), Present: map[string]cluster.Presence{"a": {Alive: true}, "b": {Alive: true}}}
	return u, box, v, fsm.Assign{Service: "web", Owner: "b", Planned: 7, Reason: fsm.OperatorMoved}
}

// still is a view that does not change.
func still(v cluster.View) func() cluster.View { return func() cluster.View { return v } }

// TestARecordWaitsForItsHeir: it is called, with growing pauses, and the record may change as soon as it has answered for that epoch.
func TestARecordWaitsForItsHeir(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, box, v, a := usherWorld(t)
		done := make(chan error, 1)
		go func() { done <- u.await(t.Context(), still(v), a) }()
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(box.calls); n < 4 || n > 6 {
			t.Errorf("it was called %d times in a second", n)
		}
		u.stands("c", cluster.Tenure{Service: "web", Epoch: 8})
		u.stands("b", cluster.Tenure{Service: "web", Epoch: 7})
		synctest.Wait()
		if len(done) > 0 {
			t.Fatal("the word of another, or about another epoch, counts")
		}
		u.stands("b", cluster.Tenure{Service: "web", Epoch: 8})
		u.stands("b", cluster.Tenure{Service: "web", Epoch: 8})
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got, next := u.sift(v, []fsm.Assign{a}); len(got) != 1 || next != 0 {
			t.Errorf("the plan may not: %v, %v", got, next)
		}
	})
}

// TestAnHeirThatIsSilent: it gets the service all the same after a while, sooner where the owner stops; and whoever asks may give up.
func TestAnHeirThatIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for reason, limit := range map[fsm.Reason]time.Duration{fsm.OperatorMoved: callLimit, fsm.OwnerDrained: cluster.Derive(time.Second).TTL} {
			u, _, v, a := usherWorld(t)
			a.Reason = reason
			began := time.Now()
			if err := u.await(t.Context(), still(v), a); err != nil || time.Since(began) != limit {
				t.Errorf("%s: after %v: %v", reason, time.Since(began), err)
			}
		}
		u, _, v, a := usherWorld(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := u.await(ctx, still(v), a); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who gave up got %v", err)
		}
		time.Sleep(time.Minute) // that hand-over was given up: another one begins anew
		if got, next := u.sift(v, []fsm.Assign{a}); len(got) != 0 || next <= 0 {
			t.Errorf("what was heard a minute ago counts: %v, %v", got, next)
		}
	})
}

// TestWhatIsKnownWhileAnHeirIsWaitedFor: one that dies does not get the service, a record that changed is left to the state machine, and
// one that is at work for others is waited for longer, but not for ever.
func TestWhatIsKnownWhileAnHeirIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, _, v, a := usherWorld(t)
		began := time.Now()
		dies := func() cluster.View {
			w := v
			w.Present = map[string]cluster.Presence{"a": {Alive: true}, "b": {Alive: time.Since(began) < time.Second}}
			return w
		}
		if err := u.await(t.Context(), dies, a); err == nil || !strings.Contains(err.Error(), "b is not in touch") {
			t.Errorf("an heir that died: %v", err)
		}
		u, _, v, a = usherWorld(t)
		began = time.Now()
		moves := func() cluster.View {
			w := v
			if time.Since(began) >= time.Second {
				w.State = &fsm.State{Ownerships: map[string]fsm.Ownership{"web": {Owner: "c", Epoch: 8}}}
			}
			return w
		}
		if err := u.await(t.Context(), moves, a); err != nil || time.Since(began) > 3*time.Second {
			t.Errorf("a record that changed: after %v: %v", time.Since(began), err)
		}
		for reason, whole := range map[fsm.Reason]time.Duration{fsm.OperatorMoved: callWhole, fsm.OwnerDrained: callLimit} {
			u, _, v, a = usherWorld(t)
			a.Reason = reason
			v.State.Services["other"] = testService
			began = time.Now()
			done := make(chan error, 1)
			go func() { done <- u.await(t.Context(), still(v), a) }()
			for i := uint64(1); len(done) == 0; i++ {
				one := fsm.Assign{Service: "other", Owner: "b", Planned: i, Reason: fsm.OperatorMoved}
				w := v
				w.State = &fsm.State{Services: v.State.Services, Nodes: v.State.Nodes, Ownerships: map[string]fsm.Ownership{"other": {Owner: "a", Epoch: i}}}
				u.ready(w, one)
				u.stands("b", cluster.Tenure{Service: "other", Epoch: i + 1})
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
			}
			if took := time.Since(began); took < whole || took > whole+2*callMost {
				t.Errorf("%s: an heir at work was waited for for %v, want %v", reason, took, whole)
			}
		}
	})
}

// TestThePlanGoesOn: what waits for an heir holds up nothing else, stays with that heir, and is forgotten with its record.
func TestThePlanGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, _, v, a := usherWorld(t)
		v.State.Services["mail"] = testService
		v.State.Ownerships["mail"] = fsm.Ownership{Owner: "b", Epoch: 3}
		failed := fsm.Assign{Service: "mail", Owner: "a", Planned: 3, Reason: fsm.OwnerFailed}
		now, next := u.sift(v, []fsm.Assign{a, failed})
		if len(now) != 1 || now[0].Service != "mail" || next != callFirst {
			t.Errorf("%v at once, the rest in %v", now, next)
		}
		if h := u.heirs(v.State); len(h) != 1 || h["web"] != "b" {
			t.Errorf("the heirs: %v", h)
		}
		v.State.Ownerships["web"] = fsm.Ownership{Owner: "b", Epoch: 8}
		u.sift(v, nil)
		if h := u.heirs(v.State); len(h) != 0 || len(u.calls) != 0 {
			t.Errorf("after the change: %v, %d calls", h, len(u.calls))
		}
	})
}

// TestTheCalledPrepare: a host that is called prepares behind its closed fence and says so once for each call; what does not come is
// cleared away, what comes opens sooner.
func TestTheCalledPrepare(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.give("a", 1, "")
		w.pass(200 * time.Millisecond)
		b := w.hosts["b"]
		words := 0
		w.mu.Lock()
		w.lose = func(from, _ string, m cluster.Message) bool {
			if from == "b" && len(m.Stands) > 0 {
				words++
			}
			return false
		}
		w.mu.Unlock()
		said := func() int {
			w.mu.Lock()
			defer w.mu.Unlock()
			return words
		}
		call := func(epoch uint64) { b.tenant.do(func() { b.tenant.called("a", epoch) }) }
		call(1)
		w.pass(time.Second)
		if b.kernel.isPrepared() || said() != 0 {
			t.Error("a call that comes late is answered")
		}
		call(2)
		call(2)
		w.pass(time.Second)
		if !b.kernel.isPrepared() || b.kernel.open() || said() != 1 || !w.hosts["a"].kernel.open() {
			t.Errorf("it is prepared: %v, open: %v, said %d times", b.kernel.isPrepared(), b.kernel.open(), said())
		}
		call(2)
		w.pass(time.Second)
		if n := said(); n != 2 {
			t.Errorf("a call that was repeated is answered %d times", n)
		}
		w.pass(callLasts + 2*settle)
		if b.kernel.isPrepared() {
			t.Error("what did not come is still prepared")
		}
		call(2)
		w.pass(100 * time.Millisecond)
		w.give("b", 2, "a")
		w.pass(time.Second)
		if !b.kernel.open() {
			t.Error("it did not take over")
		}
	})
}

// TestAFewAtOneTime: of many heirs on a host only a few tell their former owners to close at one moment; the next one does when one is
// open, or its former owner does not answer.
func TestAFewAtOneTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &switching{}
		box := &readyBox{}
		clock := &fakeClock{began: time.Now()}
		var all []*tenant
		for range 5 {
			one := &tenant{
				self: "b", clock: clock, out: box, switches: s, epoch: 8, probed: 8, inbox: make(chan func(), 4),
				wish: wish{Prev: "a", Mine: true, Own: fsm.Ownership{Reason: fsm.OperatorMoved}}, holder: lease.NewHolder("web", "b", 1),
			}
			all = append(all, one)
			one.sayReady()
		}
		run := func() {
			for _, one := range all {
				for range len(one.inbox) {
					(<-one.inbox)()
				}
			}
		}
		if box.ready != switchesMost {
			t.Fatalf("%d at one time", box.ready)
		}
		all[0].sayReady() // repeated with its next round
		all[3].sayReady()
		if box.ready != switchesMost+1 {
			t.Errorf("%d words", box.ready)
		}
		all[0].opened = true
		all[0].keepSwitch(clock.Boot())
		run()
		if box.ready != switchesMost+2 || !s.under[all[2]] {
			t.Errorf("after one has opened: %d words", box.ready)
		}
		time.Sleep(switchesLimit)
		for _, one := range all[1:3] {
			one.keepSwitch(clock.Boot())
		}
		run()
		if box.ready != switchesMost+4 || !s.under[all[3]] || !s.under[all[4]] {
			t.Errorf("after two got no answer: %d words", box.ready)
		}
		all[1].sayReady()
		if box.ready != switchesMost+5 {
			t.Error("who was passed by does not repeat itself any more")
		}
		for _, one := range all {
			s.leave(one)
		}
		if len(s.under)+len(s.waiting) != 0 {
			t.Errorf("%d under way and %d waiting are left", len(s.under), len(s.waiting))
		}
	})
}

// readyBox counts the words that everything is prepared.
type readyBox struct {
	outbox
	ready int
}

func (b *readyBox) send(_ string, m cluster.Message) { b.ready += len(m.Prepared) }

// TestTheCalledSayNothingInDoubt: a host that could not open what it gets prepares it, and says so only when it could.
func TestTheCalledSayNothingInDoubt(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.give("a", 1, "")
		w.pass(200 * time.Millisecond)
		b := w.hosts["b"]
		said := false
		w.mu.Lock()
		w.lose = func(from, _ string, m cluster.Message) bool {
			said = said || from == "b" && len(m.Stands) > 0
			return false
		}
		w.mu.Unlock()
		waits := func(is bool) {
			b.tenant.do(func() {
				next := b.tenant.wish
				next.Waits = is
				b.tenant.want.Store(&next)
			})
		}
		heard := func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return said
		}
		waits(true)
		b.tenant.do(func() { b.tenant.called("a", 2) })
		w.pass(time.Second)
		if !b.kernel.isPrepared() || heard() {
			t.Errorf("in doubt: prepared %v, said %v", b.kernel.isPrepared(), heard())
		}
		waits(false)
		w.pass(10 * time.Millisecond)
		if !heard() {
			t.Error("it says nothing when the doubt is over")
		}
	})
}

// TestUndone: a move is done where the host has opened the service, or has it by now; else it is said who has it, and why.
func TestUndone(t *testing.T) {
	for name, c := range map[string]struct {
		now  fsm.Ownership
		at   uint64
		says string
	}{
		"it opened":                   {fsm.Ownership{Owner: "b", Epoch: 5}, 5, ""},
		"it opened, and went on":      {fsm.Ownership{Owner: "a", Epoch: 6, Reason: fsm.OwnerSleeps}, 5, ""},
		"it opened with its next":     {fsm.Ownership{Owner: "b", Epoch: 6, Reason: fsm.OwnerFailed}, 6, ""},
		"another one opened":          {fsm.Ownership{Owner: "a", Epoch: 6, Reason: fsm.OwnerFailed}, 6, "given to b under epoch 5; since then a has it under epoch 6: owner-failed"},
		"nobody has it now":           {fsm.Ownership{Epoch: 7, Reason: fsm.NobodyAvailable}, 6, "nobody has it under epoch 7"},
		"the record is not here yet":  {fsm.Ownership{Owner: "b", Epoch: 5}, 6, "it is open under epoch 6 since"},
		"nor that of the move itself": {fsm.Ownership{Owner: "a", Epoch: 4}, 6, "it is open under epoch 6 since"},
	} {
		if got := undone(c.now, "b", 5, c.at); (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestOpensAwait: who waits for a service is told of that epoch or a later one, and of no other service's.
func TestOpensAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o opens
		type said struct {
			at  uint64
			err error
		}
		await := func(ctx context.Context, epoch uint64) said {
			at, err := o.await(ctx, "web", epoch)
			return said{at, err}
		}
		done := make(chan said, 2)
		go func() { done <- await(t.Context(), 8) }()
		synctest.Wait()
		o.note("mail", 9)
		o.note("web", 7)
		synctest.Wait()
		if len(done) > 0 {
			t.Fatal("another service, or an earlier epoch, counts")
		}
		o.note("web", 9)
		o.note("web", 10)
		if got := <-done; got != (said{9, nil}) {
			t.Errorf("who waited got %v", got)
		}
		if got := await(t.Context(), 9); got != (said{10, nil}) {
			t.Errorf("who came late got %v", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := await(ctx, 11); got.err == nil || len(o.waiting) != 0 {
			t.Errorf("who gave up got %v, %d are left", got, len(o.waiting))
		}
	})
}
