package agent

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/lease"
)

// checkups looks after the services with checks of which this host is a target: it has their units run, asks whether they answer at
// the prepared address, and tells everybody. Nothing of it goes through the log.
//
// The order is: the address is prepared behind its closed fence (tenant), the unit is started (caretaker), the checks pass (checkup),
// the host says that it is ready, the leader assigns the service, the fence opens. On the way back the fence is closed first and the
// unit stopped after.
type checkups struct {
	self        string
	clock       Clock
	machine     *fsm.Machine
	scene       *scene
	tenants     *tenants
	world       Checks
	out         outbox
	incarnation uint64
	log         *slog.Logger
	bell        bell        // rung when a result, a tenant or a unit changed
	ending      atomic.Bool // this agent stops: units go with their identities, and none is started

	mu    sync.Mutex
	all   map[string]*checkup   // by service: the checks that are carried out
	units map[string]*caretaker // by service: the units that are looked after

	// Of the loop alone.
	seq    uint64
	said   map[string]cluster.ServiceHealth
	sayAt  lease.Boot
	pause  time.Duration // until it is said again
	asking sync.WaitGroup
}

// Checks asks the services of this host, and starts and stops their units.
type Checks interface {
	// Ask carries out one check at the service's addresses, for at most its timeout. It gives the sentence that says why it did not
	// pass; "" = it passed.
	Ask(ctx context.Context, sv fsm.Service, c fsm.Check) string
	StartUnit(ctx context.Context, unit string) error // returns when it is started
	StopUnit(ctx context.Context, unit string) error  // returns when it is stopped
}

// run keeps up with the state until ctx ends, and then waits for what was asked.
func (k *checkups) run(ctx context.Context) {
	changed, cancel := k.machine.Watch()
	defer cancel()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if next := k.look(ctx); next > 0 {
			timer.Reset(next)
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			k.asking.Wait()
			return
		case <-changed:
		case <-k.bell:
		case <-timer.C:
		}
	}
}

// look does what is due. It gives the time after which to look again by itself; 0 = not before something happens.
func (k *checkups) look(ctx context.Context) time.Duration {
	state := k.machine.View().State
	if !k.tenants.caughtUp(k.machine.View().Index) {
		return time.Second
	}
	mine := make(map[string]duty)
	for name, sv := range state.Services {
		if t, shown := k.tenants.known(name); shown && sv.Checked() && slices.Contains(sv.Targets, k.self) {
			mine[name] = dutyOf(sv, state.Ownerships[name], state.Nodes[k.self], t, k.ending.Load())
		}
	}
	k.bring(ctx, mine)
	return k.tell(state, mine)
}

// duty is what this host has to do for one service of which it is a target.
type duty struct {
	service fsm.Service
	keep    bool   // its unit is to run, or stays as it is until the address is prepared
	run     bool   // it is to run now
	stop    bool   // the identity is not here: the unit may be stopped
	ended   uint64 // the last tenure that ended here
	check   bool   // it is to be asked whether it answers, once its unit runs
	why     string // else why not
}

// dutyOf is pure. A target that is awake runs the unit while it has the service, and while nobody has it who runs one: a front, or
// nobody. Two targets do not run it side by side, but for the moment in which both come up while a front holds.
func dutyOf(sv fsm.Service, own fsm.Ownership, me fsm.Node, t tenancy, ending bool) duty {
	d := duty{service: sv, ended: t.Released}
	mine := own.Owner == me.Name && me.Name != ""
	awake := me.Power == fsm.Awake && !me.Maintenance && !ending
	wanted := mine || (awake && !slices.Contains(sv.Targets, own.Owner))
	d.keep = sv.Unit.Manage && wanted && !(ending && t.Epoch == 0)
	d.run = d.keep && t.Prepared
	d.stop = sv.Unit.Manage && t.Epoch == 0 && !t.Opened
	switch {
	case ending:
		d.why = "its agent stops"
	case !awake && !mine:
		d.why = "it is " + string(me.Power)
		if me.Maintenance {
			d.why = "it is in maintenance"
		}
	case t.Guarded: // it keeps local connections away, too
		d.why = "the guard is on there: its unit is not up yet"
	case !t.Prepared:
		d.why = "the address is not prepared there yet"
	case sv.Unit.Manage && !d.run:
		d.why = sv.Unit.Name + " is not started there while " + own.Owner + " has the service; move it to a front first, then every target starts it"
	default:
		d.check = true
	}
	return d
}

// bring starts and ends checks and caretakers.
func (k *checkups) bring(ctx context.Context, mine map[string]duty) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, c := range k.units {
		if c.over() { // its loop has ended: whoever is wanted again gets a new one
			delete(k.units, name)
			continue
		}
		d, still := mine[name]
		if !still || d.service.Unit != c.unit {
			if t, _ := k.tenants.known(name); c.leave(t.Epoch == 0 && !t.Opened) {
				delete(k.units, name)
			}
		}
	}
	for name, d := range mine {
		if d.service.Unit.Manage && k.units[name] == nil {
			c := newCaretaker(d.service, k)
			c.lock, c.nudge = k.tenants.interlock(name), func() { k.tenants.with(name, func(*tenant) {}) }
			k.units[name] = c
			k.asking.Go(func() { c.run(ctx) })
		}
		if c := k.units[name]; c != nil && d.service.Unit == c.unit {
			c.wants(d)
		}
	}
	for name, c := range k.all {
		if d, still := mine[name]; !still || !k.asks(name, d) || c.sum != cluster.ChecksSum(d.service) {
			c.stop()
			delete(k.all, name)
		}
	}
	for name, d := range mine {
		if k.all[name] == nil && k.asks(name, d) {
			k.all[name] = k.begin(ctx, d.service)
		}
	}
}

// asks says whether the checks of a service are to be carried out now.
func (k *checkups) asks(name string, d duty) bool {
	if !d.check {
		return false
	}
	c := k.units[name]
	return !d.service.Unit.Manage || (c != nil && c.up())
}

// tell says what has changed, and all of it again after a while: what is said gets lost now and then. It gives when it is due again.
func (k *checkups) tell(state *fsm.State, mine map[string]duty) time.Duration {
	now := k.clock.Boot()
	health := make(map[string]cluster.ServiceHealth, len(mine))
	for name, d := range mine {
		health[name] = k.health(now, name, d)
	}
	if len(health) == 0 {
		k.said = nil
		return 0
	}
	if news := !maps.Equal(health, k.said); !news && now < k.sayAt {
		return k.sayAt.Sub(now)
	} else if news {
		k.pause = sayAgain
	}
	k.said, k.sayAt = health, now.Add(k.pause)
	pause := k.pause
	k.pause = min(2*k.pause, cluster.HealthRepeat)
	names := slices.Sorted(maps.Keys(health))
	for some := range slices.Chunk(names, reportMost) {
		k.seq++
		r := cluster.HealthReport{Incarnation: k.incarnation, Seq: k.seq, Sleeps: state.Nodes[k.self].Sleeps}
		for _, name := range some {
			r.Services = append(r.Services, health[name])
		}
		k.scene.hear(k.self, r)
		k.out.all(cluster.Message{Health: &r})
	}
	return pause
}

// sayAgain is the first pause between two words about the same; it doubles up to cluster.HealthRepeat. With reportMost services in one
// message, and whyMost bytes of a sentence for each, it stays below cluster.MaxMessage even if JSON needs six bytes for each.
const (
	sayAgain   = 100 * time.Millisecond
	reportMost = 16
	whyMost    = 240
)

func bounded(why string) string {
	if len(why) > whyMost {
		return strings.ToValidUTF8(why[:whyMost], "") + "..."
	}
	return why
}

// health is what this host says of one service.
func (k *checkups) health(now lease.Boot, name string, d duty) cluster.ServiceHealth {
	h := cluster.ServiceHealth{Service: name, Sum: cluster.ChecksSum(d.service), State: cluster.HealthUnknown, Why: d.why}
	k.mu.Lock()
	c, u := k.all[name], k.units[name]
	k.mu.Unlock()
	switch {
	case !d.check:
	case c != nil:
		h.State, h.Why = c.state(now)
	case u != nil:
		h.State, h.Why = u.state()
	}
	h.Why = bounded(h.Why)
	return h
}

// returned is told after a suspend, or a stall: nothing that was known still counts.
func (k *checkups) returned() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.all {
		c.forget()
	}
	k.bell.ring()
}

// stop is told that this agent stops: its targets are not ready any more, and their units go with the identities.
func (k *checkups) stop() {
	k.ending.Store(true)
	k.bell.ring()
}

// goOn is told that it does not stop after all: a leave was refused.
func (k *checkups) goOn() {
	k.ending.Store(false)
	k.bell.ring()
}

// quiet says whether no unit is left running whose identity has gone. One that cannot be stopped keeps nobody waiting; status tells.
func (k *checkups) quiet() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.units {
		if !c.quiet() {
			return false
		}
	}
	return true
}

// finishTime is for the units that are stopped when the agent has ended: systemd goes on by itself with those that take longer.
const finishTime = 20 * time.Second

// finish stops the units that still run, when the fences are closed and the loops have ended.
func (k *checkups) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), finishTime)
	defer cancel()
	k.mu.Lock()
	defer k.mu.Unlock()
	var all sync.WaitGroup
	for _, c := range k.units {
		all.Go(func() { c.end(ctx) })
	}
	all.Wait()
}

// problems are the sentences about units that systemd does not start or stop.
func (k *checkups) problems() (out []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(k.units)) {
		if why := k.units[name].problem(); why != "" {
			out = append(out, "service "+name+": "+why)
		}
	}
	return out
}
