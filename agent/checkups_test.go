package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/lease"
)

// program is a service of this host that these tests make answer, fail or hang, with its unit.
type program struct {
	mu     sync.Mutex
	why    string // "" = it answers
	hang   bool   // deaf to ctx, as a process in the kernel's hands is
	fails  error  // what starting and stopping comes to
	slow   time.Duration
	events []string
	asked  int
}

func (p *program) Ask(ctx context.Context, _ fsm.Service, c fsm.Check) string {
	p.mu.Lock()
	why, hang := p.why, p.hang
	p.asked++
	p.mu.Unlock()
	if hang {
		time.Sleep(time.Hour)
	}
	if why != "" {
		why = c.String() + ": " + why
	}
	return why
}

func (p *program) StartUnit(ctx context.Context, unit string) error { return p.do(ctx, "start "+unit) }

func (p *program) StopUnit(ctx context.Context, unit string) error { return p.do(ctx, "stop "+unit) }

func (p *program) do(ctx context.Context, what string) error {
	p.mu.Lock()
	slow, err := p.slow, p.fails
	p.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-ctx.Done():
		err, what = ctx.Err(), what+" given up"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil || slow > 0 {
		p.events = append(p.events, what)
	}
	return err
}

func (p *program) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *program) times() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

func (p *program) did() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.events)
}

var checkedService = func() fsm.Service {
	sv := testService
	sv.Checks = []fsm.Check{{Kind: fsm.CheckTCP, Port: 80, Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 2}}
	return sv
}()

func TestDutyOf(t *testing.T) {
	managed := checkedService
	managed.Targets = []string{"b", "c"}
	managed.Unit = fsm.Unit{Name: "web.service", Manage: true}
	prepared := tenancy{Prepared: true}
	held := tenancy{Prepared: true, Epoch: 3, Opened: true}
	for _, tc := range []struct {
		name             string
		sv               fsm.Service
		owner            string
		power            fsm.Power
		here             tenancy
		maint, ending    bool
		run, stop, check bool
	}{
		{name: "a front holds: prepare, start, ask", sv: managed, owner: "a", power: fsm.Awake, here: prepared, run: true, stop: true, check: true},
		{name: "nobody holds", sv: managed, power: fsm.Awake, here: prepared, run: true, stop: true, check: true},
		{name: "not prepared yet", sv: managed, owner: "a", power: fsm.Awake, stop: true},
		{name: "it holds", sv: managed, owner: "b", power: fsm.Awake, here: held, run: true, check: true},
		{name: "it holds, and its unit is down: the guard is on", sv: managed, owner: "b", power: fsm.Awake, here: tenancy{Prepared: true, Guarded: true, Epoch: 3, Opened: true}, run: true},
		{name: "another target holds: its unit runs there alone", sv: managed, owner: "c", power: fsm.Awake, here: prepared, stop: true},
		{name: "another target holds, units are nobody's business", sv: checkedService, owner: "c", power: fsm.Awake, here: prepared, check: true},
		{name: "the fence is open yet: not stopped", sv: managed, owner: "a", power: fsm.Suspending, here: held},
		{name: "about to suspend, and still the owner", sv: managed, owner: "b", power: fsm.Suspending, here: held, run: true, check: true},
		{name: "about to suspend, and rid of it", sv: managed, owner: "a", power: fsm.Suspending, here: prepared, stop: true},
		{name: "asleep on the record", sv: managed, owner: "a", power: fsm.Asleep, here: prepared, stop: true},
		{name: "in maintenance", sv: managed, owner: "a", power: fsm.Awake, here: prepared, maint: true, stop: true},
		{name: "the agent stops and still holds", sv: managed, owner: "b", power: fsm.Awake, here: held, ending: true, run: true},
		{name: "the agent stops", sv: managed, owner: "b", power: fsm.Awake, here: prepared, ending: true, stop: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := dutyOf(tc.sv, fsm.Ownership{Owner: tc.owner}, fsm.Node{Name: "b", Power: tc.power, Maintenance: tc.maint}, tc.here, tc.ending)
			if keep := tc.run || (tc.name == "not prepared yet"); d.keep != keep {
				t.Errorf("%+v, want keep %v", d, keep)
			}
			if d.run != tc.run || d.stop != tc.stop || d.check != tc.check || (d.why == "") != tc.check {
				t.Errorf("%+v, want run %v, stop %v, check %v", d, tc.run, tc.stop, tc.check)
			}
		})
	}
}

// cared runs a caretaker of web.service; tell says what is wanted.
func cared(t *testing.T, p *program) (c *caretaker, tell func(run, stop bool, ended uint64)) {
	k := &checkups{world: p, log: slog.New(slog.DiscardHandler), bell: newBell()}
	sv := checkedService
	sv.Unit = fsm.Unit{Name: "web.service", Manage: true}
	c = newCaretaker(sv, k)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return c, func(run, stop bool, ended uint64) {
		c.wants(duty{service: sv, keep: run, run: run, stop: stop, ended: ended})
		synctest.Wait()
	}
}

func TestCaretaker(t *testing.T) {
	did := func(t *testing.T, p *program, want ...string) {
		t.Helper()
		if got := p.did(); !slices.Equal(got, want) {
			t.Errorf("it did %q, want %q", got, want)
		}
	}
	t.Run("a life of a unit", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := &program{}
			c, tell := cared(t, p)
			tell(true, true, 0) // a front holds
			did(t, p, "start web.service")
			tell(true, false, 0) // it has the identity
			tell(true, false, 0)
			did(t, p, "start web.service")
			tell(false, false, 0) // it is to give it up, and the fence is open
			did(t, p, "start web.service")
			if c.quiet() {
				t.Error("quiet while the unit runs that is to be stopped")
			}
			tell(false, true, 7)
			did(t, p, "start web.service", "stop web.service")
			tell(true, true, 7) // it may have it again
			did(t, p, "start web.service", "stop web.service", "start web.service")
			tell(true, true, 9) // lost for a failure, and wanted again at once: it begins anew
			did(t, p, "start web.service", "stop web.service", "start web.service", "stop web.service", "start web.service")
			if !c.up() || !c.quiet() || c.problem() != "" {
				t.Errorf("up %v, quiet %v, problem %q", c.up(), c.quiet(), c.problem())
			}
		})
	})
	t.Run("nothing is stopped once a tenure has begun", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := &program{slow: time.Second}
			c, tell := cared(t, p)
			tell(true, true, 0)
			if c.lock.manage(true); c.lock.serves() {
				t.Error("it serves before the unit runs")
			}
			time.Sleep(2 * time.Second)
			if !c.lock.serves() {
				t.Error("it does not serve though the unit runs")
			}
			c.lock.claim(true) // given back before anybody has stopped it
			tell(true, true, 4)
			time.Sleep(time.Minute)
			did(t, p, "start web.service")
			c.lock.claim(false)
			tell(true, true, 5)
			time.Sleep(500 * time.Millisecond)
			if c.lock.claim(true); c.lock.serves() {
				t.Error("it serves while the unit is on its way down")
			}
			time.Sleep(2 * time.Second)
			did(t, p, "start web.service", "stop web.service", "start web.service")
			if !c.lock.serves() {
				t.Error("it does not serve though the unit runs again")
			}
		})
	})
	t.Run("what a former life left is kept until the address is prepared", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := &program{}
			c, tell := cared(t, p)
			c.wants(duty{keep: true, stop: true})
			time.Sleep(time.Minute)
			did(t, p)
			tell(true, true, 0)
			did(t, p, "start web.service") // which changes nothing where it runs
		})
	})
	t.Run("what a former life left running is stopped", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := &program{}
			_, tell := cared(t, p)
			tell(false, true, 0)
			tell(false, true, 0)
			did(t, p, "stop web.service")
		})
	})
	t.Run("it is tried again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := &program{fails: errors.New("systemd cannot be reached")}
			c, tell := cared(t, p)
			tell(true, true, 0)
			if state, why := c.state(); state != cluster.HealthFailing || why != "systemd cannot be reached" || c.up() {
				t.Errorf("%s because %q", state, why)
			}
			p.set(func() { p.fails = nil })
			time.Sleep(unitRetry)
			synctest.Wait()
			did(t, p, "start web.service")
			if !c.up() || c.problem() != "" {
				t.Errorf("up %v, problem %q", c.up(), c.problem())
			}
		})
	})
	t.Run("a start that takes too long is given up for a stop", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := &program{slow: time.Minute}
			_, tell := cared(t, p)
			tell(true, true, 0)
			time.Sleep(time.Second)
			tell(false, true, 0)
			time.Sleep(2 * time.Minute)
			did(t, p, "start web.service given up", "stop web.service")
		})
	})
}

// TestACheckThatHangsIsNotHealthy: one that does not even end when its time is over makes the last result too old.
func TestACheckThatHangsIsNotHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &program{}
		k := &checkups{clock: &fakeClock{began: time.Now()}, world: p, bell: newBell()}
		ctx, stop := context.WithCancel(t.Context())
		c := k.begin(ctx, checkedService)
		want := func(what string, state cluster.HealthState) {
			t.Helper()
			synctest.Wait()
			if got, why := c.state(k.clock.Boot()); got != state {
				t.Errorf("%s: %s (%s), want %s", what, got, why, state)
			}
		}
		want("asked at once", cluster.HealthReady)
		p.set(func() { p.why = "connection refused" })
		time.Sleep(1500 * time.Millisecond)
		want("one failure of two", cluster.HealthReady)
		time.Sleep(time.Second)
		want("two failures", cluster.HealthFailing)
		before := p.times()
		time.Sleep(400 * time.Millisecond)
		p.set(func() { p.why = "" })
		time.Sleep(800 * time.Millisecond)
		want("it answers again", cluster.HealthReady)
		if n := p.times() - before; n < 2 || n > 4 {
			t.Errorf("asked %d times in 1.2 s while it failed", n)
		}
		p.set(func() { p.hang = true })
		time.Sleep(3 * time.Second)
		want("it hangs", cluster.HealthReady)
		time.Sleep(4 * time.Second)
		want("it hangs for too long", cluster.HealthUnknown)
		c.forget()
		want("after a suspend", cluster.HealthUnknown)
		stop()
		time.Sleep(2 * time.Hour)
		k.asking.Wait()
	})
}

// TestATargetStandsByBehindTheClosedFence: the address is there, without the guard, and stays; it opens when it is given, and is
// taken away when the host is no target any more.
func TestATargetStandsByBehindTheClosedFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.hosts["b"]
		stand := func(on, mine bool, epoch uint64) {
			owner := "a"
			if mine {
				owner = "b"
			}
			x := wish{
				Service: checkedService, Exists: true, Own: fsm.Ownership{Owner: owner, Epoch: epoch}, Mine: mine, Serving: true, Stand: on,
				Quorum: lease.Quorum{Config: 1, Voters: []string{"a", "b", "c"}}, Timing: cluster.Derive(time.Second),
			}
			b.tenant.want.Store(&x)
			b.tenant.do(func() {})
		}
		stand(true, false, 1)
		w.pass(time.Minute)
		if !b.kernel.isPrepared() || b.kernel.guarded() || b.kernel.open() {
			t.Errorf("prepared %v, guarded %v, open %v", b.kernel.isPrepared(), b.kernel.guarded(), b.kernel.open())
		}
		stand(true, true, 2)
		w.pass(time.Second)
		if !b.kernel.open() || b.kernel.guarded() {
			t.Error("it does not serve")
		}
		stand(true, false, 3)
		w.pass(time.Minute)
		if !b.kernel.isPrepared() || b.kernel.guarded() || b.kernel.open() {
			t.Error("it does not stand by any more")
		}
		if n := len(slices.DeleteFunc(b.kernel.log(), func(e string) bool { return e != "prepare" })); n != 1 {
			t.Errorf("prepared %d times", n)
		}
		stand(false, false, 3)
		w.pass(time.Second)
		if b.kernel.isPrepared() {
			t.Error("the address is left")
		}
		w.end()
	})
}

// TestReportsFitIntoMessages: however many services there are, and whatever their programs say.
func TestReportsOfHealthFitIntoMessages(t *testing.T) {
	var r cluster.HealthReport
	for range reportMost {
		r.Services = append(r.Services, cluster.ServiceHealth{
			Service: strings.Repeat("s", 32), Sum: 1 << 31, State: cluster.HealthFailing, Why: bounded(strings.Repeat("<", 1000)),
		})
	}
	if _, err := cluster.EncodeMessage(cluster.Message{From: strings.Repeat("n", 64), Cluster: strings.Repeat("c", 32), Health: &r}); err != nil {
		t.Error(err)
	}
	if got := bounded(strings.Repeat("\u00e9", 121) + "xyz"); len(got) > whyMost+3 || !utf8.ValidString(got) {
		t.Errorf("%q is no sentence any more", got)
	}
}
