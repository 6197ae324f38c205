package agent

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/identity"
	"nightporter/lease"
)

// replace is the upgrade of a host in this world: its tenant leaves its tenure, and a new one of a later incarnation takes it over,
// after a while.
func (w *world) replace(name string, after time.Duration) (left tenure, goesOn bool) {
	w.t.Helper()
	h := w.hosts[name]
	wills := make(chan tenure, 1)
	old := h.tenant
	old.do(func() { old.will, old.willAt, old.nextAsk = wills, w.clock.Boot(), 0 })
	<-h.ended
	h.stop()
	w.pass(after)
	next := &tenant{
		service: old.service, self: old.self, clock: old.clock, kernel: old.kernel, log: old.log, out: old.out, onForeign: old.onForeign,
		inbox: make(chan func(), 64), holder: lease.NewHolder("web", name, 1000), demand: old.demand, listen: old.listen, reach: old.reach,
	}
	select {
	case left = <-wills:
		goesOn = true
		next.takeOver(adopted{left, &fakeHold{h.kernel}})
	default:
	}
	w.mu.Lock()
	h.tenant = next
	w.mu.Unlock()
	h.ended = make(chan struct{})
	var ctx context.Context
	ctx, h.stop = context.WithCancel(context.Background())
	go func() { defer close(h.ended); next.run(ctx) }()
	return left, goesOn
}

// closes counts how often a host's fence was closed.
func (k *fakeKernel) closes() (n int) {
	for _, e := range k.log() {
		if e == "close" {
			n++
		}
	}
	return n
}

// TestReplacedHolderGoesOn: the new life renews the epoch before the old deadline; nothing was closed, nothing announced again.
func TestReplacedHolderGoesOn(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.give("a", 1, "")
		w.pass(5 * time.Second)
		a := w.hosts["a"].kernel
		events := len(a.log())
		began := w.clock.Boot()
		left, ok := w.replace("a", 400*time.Millisecond)
		if !ok || left.Epoch != 1 {
			t.Fatalf("%+v is left, %v", left, ok)
		}
		if ttl := cluster.Derive(time.Second).TTL; left.Deadline.Sub(began) < ttl*9/10 {
			t.Errorf("it was left with %v of %v: not renewed before", left.Deadline.Sub(began), ttl)
		}
		w.pass(10 * time.Second)
		if !a.open() || slices.Contains(a.log()[events:], "close") || slices.Contains(a.log()[events:], "prepare") {
			t.Errorf("since the upgrade: %v", a.log()[events:])
		}
		// It gives the epoch up like one of its own: the voters let the next owner in at once.
		w.give("b", 2, "a")
		w.pass(100 * time.Millisecond)
		if a.open() || !w.hosts["b"].kernel.open() {
			t.Error("the adopted epoch was not handed over at once")
		}
		// And it does not come back to it.
		w.give("a", 1, "b")
		w.pass(2 * time.Second)
		if a.open() {
			t.Error("the released epoch was opened again")
		}
	})
}

// TestReplacedTooLate: the kernel closes at the old deadline; the new life asks again, and nobody overlaps.
func TestReplacedTooLate(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.give("a", 1, "")
		w.pass(5 * time.Second)
		w.replace("a", 3*time.Second)
		if w.hosts["a"].kernel.open() {
			t.Error("open past the deadline")
		}
		w.pass(time.Second)
		if !w.hosts["a"].kernel.open() {
			t.Error("the epoch that is still this host's was not asked for again")
		}
	})
}

// TestReplacedWhileTheServiceMoves: what was given to another host meanwhile is closed and released by the new life.
func TestReplacedWhileTheServiceMoves(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.give("a", 1, "")
		w.pass(5 * time.Second)
		w.replace("a", 50*time.Millisecond)
		w.give("b", 2, "a")
		w.pass(100 * time.Millisecond)
		if w.hosts["a"].kernel.open() || !w.hosts["b"].kernel.open() {
			t.Error("the adopted tenure was not given up")
		}
	})
}

// TestNothingIsLeftOfWhatIsNotOpen: a host that does not hold, or that is to give up, leaves nothing.
func TestNothingIsLeftOfWhatIsNotOpen(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.give("a", 1, "")
		w.pass(5 * time.Second)
		if left, ok := w.replace("b", 0); ok {
			t.Errorf("a host that holds nothing left %+v", left)
		}
		w.mu.Lock()
		w.cut["b"] = true // it never says that it is ready, so a holds until its lease is over
		w.mu.Unlock()
		w.give("b", 2, "a")
		if left, ok := w.replace("a", 0); ok {
			t.Errorf("a tenure that is over left %+v", left)
		}
		if a := w.hosts["a"].kernel; a.open() || a.closes() == 0 {
			t.Error("what is not left must be closed")
		}
		w.mu.Lock()
		w.cut["b"] = false
		w.mu.Unlock()
	})
}

// TestEstateNote: it counts once, for this process in this boot, and only if nobody else could have written it.
func TestEstateNote(t *testing.T) {
	left := Estate{Index: 7, Legacy: identity.Legacy{Count: 5}, Tenures: []tenure{{
		Wish: wish{Service: testService, Timing: cluster.Derive(time.Second), Quorum: lease.Quorum{Config: 3, Voters: []string{"a"}}}, Epoch: 9, Deadline: 77,
		Heirloom: identity.Heirloom{Spec: identity.Spec{Service: "web", MAC: testService.MAC.Hardware(), Addrs: testService.Addresses}, Table: 1, Gate: 6},
	}}}
	log := slog.New(slog.DiscardHandler)
	for name, c := range map[string]struct {
		spoil func(*testing.T, systemDisk)
		want  bool
	}{
		"as it was left":        {func(*testing.T, systemDisk) {}, true},
		"readable by others":    {func(t *testing.T, d systemDisk) { must(t, os.Chmod(d.estate(), 0o644)) }, false},
		"of another boot":       {func(t *testing.T, d systemDisk) { edit(t, d, `"boot":"`, `"boot":"0`) }, false},
		"for another process":   {func(t *testing.T, d systemDisk) { edit(t, d, `"process":`, `"process":9`) }, false},
		"an earlier one":        {func(t *testing.T, d systemDisk) { edit(t, d, `"started":"`, `"started":"1`) }, false},
		"of another cluster":    {func(t *testing.T, d systemDisk) { edit(t, d, `"cluster":"`, `"cluster":"x`) }, false},
		"of another node":       {func(t *testing.T, d systemDisk) { edit(t, d, `"node":"`, `"node":"x`) }, false},
		"on another interface":  {func(t *testing.T, d systemDisk) { edit(t, d, `"interface":"`, `"interface":"x`) }, false},
		"of another directory":  {func(t *testing.T, d systemDisk) { edit(t, d, `"data":[`, `"data":[9`) }, false},
		"in another form":       {func(t *testing.T, d systemDisk) { edit(t, d, `"format":`, `"format":9`) }, false},
		"cut off":               {func(t *testing.T, d systemDisk) { must(t, os.Truncate(d.estate(), 50)) }, false},
		"read by somebody else": {func(_ *testing.T, d systemDisk) { d.inherit(log) }, false},
		"a link to another file": {func(t *testing.T, d systemDisk) {
			must(t, os.Rename(d.estate(), d.estate()+"2"))
			must(t, os.Symlink(d.estate()+"2", d.estate()))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := newSystemDisk(t.TempDir(), t.TempDir())
			must(t, d.Leave(left))
			c.spoil(t, d)
			got := d.inherit(log)
			if (got != nil) != c.want {
				t.Fatalf("read: %v", got != nil)
			}
			if got != nil && (got.Index != 7 || got.Legacy != left.Legacy || got.Tenures[0].Wish.Service.MAC != testService.MAC || got.Tenures[0].Heirloom.Gate != 6) {
				t.Errorf("%+v became %+v", left, *got)
			}
			if _, err := os.Lstat(d.estate()); !os.IsNotExist(err) {
				t.Errorf("the note is still there: %v", err)
			}
		})
	}
}

func edit(t *testing.T, d systemDisk, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(d.estate())
	must(t, err)
	if !strings.Contains(string(raw), from) {
		t.Fatalf("%s has no %s", raw, from)
	}
	must(t, os.WriteFile(d.estate(), []byte(strings.Replace(string(raw), from, to, 1)), 0o600))
}

// TestASuspendThatOnlyTheKernelSaw: it was too short for the clocks, or was called off. The fence is shut, and the next round acquires
// anew; what was granted before opens nothing.
func TestASuspendThatOnlyTheKernelSaw(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.give("a", 1, "")
		w.pass(5 * time.Second)
		a := w.hosts["a"].kernel
		for range 20 {
			a.suspendBegins()
			w.pass(time.Millisecond)
			if a.open() {
				t.Fatal("open by what was granted before")
			}
			w.pass(17 * time.Millisecond)
		}
		w.pass(cluster.Derive(time.Second).Renew)
		if !a.open() {
			t.Errorf("it was not acquired anew: %v", a.log())
		}
		order(t, a.log(), "open", "close", "open")
	})
}

// TestAnAdoptedTenureKeepsItsGuard: where the former life had not started the unit yet, the next one lets nobody through to it before
// it runs, from its first moment on.
func TestAnAdoptedTenureKeepsItsGuard(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		sv := testService
		sv.Unit = fsm.Unit{Name: "nas.service", Manage: true}
		for _, guarded := range []bool{true, false} {
			next := &tenant{service: "web", self: "b", clock: w.clock, log: slog.New(slog.DiscardHandler), holder: lease.NewHolder("web", "b", 1000)}
			one := adopted{tenure{Wish: wish{Service: sv, Serving: true}, Epoch: 2, Heirloom: identity.Heirloom{Guarded: guarded}}, &fakeHold{w.hosts["b"].kernel}}
			next.takeOver(one)
			if next.mustGuard() != guarded {
				t.Errorf("a guard that was on: %v; now it must be on: %v", guarded, next.mustGuard())
			}
		}
	})
}
