package agent

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/identity"
	"nightporter/lease"
	"nightporter/wake"
)

// tenants keeps one tenant for each service that this host has, or may come to have, something to do with, and tells
// each what is wanted of it.
type tenants struct {
	self        string
	clock       Clock
	ruler       *ruler
	kernel      Kernel
	reach       Reach
	log         *slog.Logger
	out         outbox
	demand      func(wake.Demand)
	listen      func(string, wake.Guard, func(wake.Demand)) (io.Closer, error)
	onForeign   identityConflict
	desk        *desk
	incarnation uint64
	changed     func() // passed on to the tenants
	silences    *silences
	switches    switching
	halved      atomic.Uint64 // the last sleep that nothing but a half made connection put off

	mu      sync.Mutex
	all     map[string]*tenant
	ended   bool
	may     posture
	since   uint64 // the index from which on what is committed counts: a former life had applied that much
	running sync.WaitGroup
}

// with runs f in the goroutine of a service's tenant.
func (ts *tenants) with(service string, f func(*tenant)) {
	ts.mu.Lock()
	t := ts.all[service]
	ts.mu.Unlock()
	if t != nil {
		t.do(func() { f(t) })
	}
}

// each runs f in every tenant's goroutine.
func (ts *tenants) each(f func(*tenant)) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.all {
		t.do(func() { f(t) })
	}
}

// stirred has those tenants look at their identities to which something may have happened.
func (ts *tenants) stirred(s identity.Stir) {
	if s.All {
		ts.each((*tenant).disturbed)
		return
	}
	for _, service := range s.Services {
		ts.with(service, (*tenant).disturbed)
	}
}

// wereAway tells every tenant that this host was suspended or stalled. It cannot get lost.
func (ts *tenants) wereAway() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.all {
		t.away.Store(true)
		t.do(func() {})
	}
}

// known is shown, and says whether that was ever shown.
func (ts *tenants) known(service string) (tenancy, bool) {
	ts.mu.Lock()
	t := ts.all[service]
	ts.mu.Unlock()
	if t == nil {
		return tenancy{}, false
	}
	s := t.shown.Load()
	if s == nil {
		return tenancy{}, false
	}
	return *s, true
}

// interlock gives what a service's tenant shares with the caretaker of its unit; nil = it has no tenant.
func (ts *tenants) interlock(service string) *interlock {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t := ts.all[service]; t != nil {
		return &t.unit
	}
	return nil
}

// caughtUp says whether what is committed counts here already: a former life of this process had applied that much.
func (ts *tenants) caughtUp(index uint64) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return index >= ts.since
}

// shown gives what status prints of a service's tenant.
func (ts *tenants) shown(service string) tenancy {
	s, _ := ts.known(service)
	return s
}

// reconcile tells every tenant its wish as the view has it now, and starts tenants for new services. A tenant whose
// service is gone stays, empty: its highest released epoch must not be forgotten while this daemon lives.
func (ts *tenants) reconcile(ctx context.Context, v cluster.View, committed fsm.View) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if committed.Index < ts.since {
		return
	}
	quorum := lease.Quorum{Config: committed.ConfigIndex, Voters: cluster.Voters(committed.Servers)}
	for name := range v.State.Services {
		if ts.all[name] == nil && !ts.ended {
			ts.all[name] = ts.make(name)
			ts.start(ctx, ts.all[name])
		}
	}
	for name, t := range ts.all {
		w := ts.wishFor(name, v, quorum)
		if t.told != nil && t.told.same(w) {
			continue // with many services each change would wake all of them
		}
		t.told = &w
		t.want.Store(&w)
		t.do(func() {})
	}
}

// restrain says what this host may do; it counts from the next wishes on.
func (ts *tenants) restrain(may posture) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.may = may
}

// wishFor is pure: what the view wants of one service on this host. A host whose record says that it sleeps, or that has
// not reported back after a sleep or a crash, asks for nothing; one that is about to suspend serves on until it is
// relieved.
func (ts *tenants) wishFor(name string, v cluster.View, quorum lease.Quorum) wish {
	sv, exists := v.State.Services[name]
	own := v.State.Ownerships[name]
	me := v.State.Nodes[ts.self]
	w := wish{
		Service: sv, Exists: exists, Own: own, Quorum: quorum, Timing: v.Timing,
		Serving: slices.Contains(sv.Targets, ts.self),
	}
	rests := me.Power == fsm.Asleep || me.Power == fsm.Waking || me.Power == fsm.Off
	w.Mine = exists && own.Owner == ts.self && !rests && !ts.may.barred
	w.Hush, w.Waits = ts.may.hushed, !ts.may.holds()
	w.Stand = !ts.may.barred && w.Serving && exists && sv.Checked() && me.Power == fsm.Awake && !me.Maintenance
	w.Park = w.Serving && me.Power != fsm.Awake
	if w.Leaving = me.Power == fsm.Suspending; w.Leaving {
		w.Sleeps = me.Sleeps
	}
	if h := v.State.History[name]; len(h) > 0 {
		w.Prev = h[len(h)-1].From
	}
	if sv.Mode == fsm.ModeAddress {
		for _, n := range slices.Sorted(maps.Keys(v.State.Nodes)) {
			for _, mac := range v.State.Nodes[n].Wake {
				w.Cards = append(w.Cards, mac.Hardware())
			}
		}
	}
	for _, h := range v.State.History[name] {
		if slices.Contains(sv.Targets, h.To) {
			w.Served = h.Epoch
		}
	}
	w.Heir = own.Owner != "" && own.Owner != ts.self && v.Present[own.Owner].Alive
	return w
}

func (ts *tenants) make(name string) *tenant {
	return &tenant{
		service: name, self: ts.self, clock: ts.clock, kernel: ts.kernel, reach: ts.reach, log: ts.log, out: ts.out,
		demand: ts.demand, listen: ts.listen, onForeign: ts.onForeign, desk: ts.desk, changed: ts.changed, switches: &ts.switches, silences: ts.silences,
		inbox: make(chan func(), 256), ruler: ts.ruler, halved: &ts.halved,
		holder: lease.NewHolder(name, ts.self, ts.incarnation),
	}
}

func (ts *tenants) start(ctx context.Context, t *tenant) { ts.running.Go(func() { t.run(ctx) }) }

// wait waits until every tenant has closed its fence and ended. None is started any more.
func (ts *tenants) wait() {
	ts.mu.Lock()
	ts.ended = true
	ts.mu.Unlock()
	ts.running.Wait()
}

// quiet says whether no identity is open or asked for here, nor will be by a wish that was told.
func (ts *tenants) quiet() bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.all {
		if s := t.shown.Load(); s != nil && (s.Opened || s.Epoch != 0) || t.told != nil && t.told.Mine {
			return false
		}
	}
	return true
}

// closed says whether no identity is open here, nor will be by a wish that was told.
func (ts *tenants) closed() bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.all {
		told := t.told != nil && t.told.Mine && !t.told.Hush
		if s := t.shown.Load(); told || s != nil && (s.Opened || s.Epoch != 0 && !s.Hushed) {
			return false
		}
	}
	return true
}

// reporting says whether a front has yet to acknowledge which connections of this host stay.
func (ts *tenants) reporting(service string) bool { return ts.shown(service).Reporting }

// problems gathers what the tenants complain about.
func (ts *tenants) problems() []string {
	return ts.say(func(t tenancy) string { return t.Problem })
}

// strangers are the sentences about hosts outside the cluster that have an address of a service.
func (ts *tenants) strangers() []string {
	return ts.say(func(t tenancy) string { return t.Stranger })
}

func (ts *tenants) say(of func(tenancy) string) []string {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	var out []string
	for _, t := range ts.all {
		if s := t.shown.Load(); s != nil && of(*s) != "" {
			out = append(out, of(*s))
		}
	}
	slices.Sort(out)
	return out
}

// starved says whether a tenure here has found no majority for longer than limit.
func (ts *tenants) starved(now lease.Boot, limit time.Duration) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.all {
		if s := t.shown.Load(); s != nil && s.Epoch != 0 && s.Majority != 0 && now.Sub(s.Majority) > limit {
			return true
		}
	}
	return false
}
