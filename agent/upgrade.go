package agent

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"nightporter/identity"
	"nightporter/lease"
	"nightporter/wake"
)

// A planned upgrade replaces the program of the running process (exec) without a hand-over: the kernel goes on with what is open
// until its deadline, and the new program renews it before that. Nobody outside sees more than a member whose messages stop for a
// moment. What the new life needs to know before its own log tells it is in a note in the run directory.
//
// Why that is safe (I1, I2): the fences stay closed past their deadlines whatever becomes of the new program. The former life had
// applied the record that gave it the epoch; that is committed and is not taken back, so the new life may ask for it before it has
// applied as much again, in the configuration that the former one counted in; voters with newer records or a newer configuration
// refuse. It asks under its own, higher incarnation, and the adopted epoch counts as one that it asked for (lease.Holder.Adopt).

// ErrReplaced is the cause of the end of Run's context that asks for that, and then what Run returns.
var ErrReplaced = errors.New("the program of this process is replaced")

// ReplacedUnless is ErrReplaced, but where stop is closed before the fences are left open the agent ends as it otherwise would, and
// Run returns nil.
func ReplacedUnless(stop <-chan struct{}) error { return replacedUnless{stop} }

type replacedUnless struct{ stop <-chan struct{} }

func (replacedUnless) Error() string { return ErrReplaced.Error() }
func (replacedUnless) Unwrap() error { return ErrReplaced }

// makesWay says whether ctx ended for a new program, and nobody has asked since that this agent stops.
func makesWay(ctx context.Context) bool {
	cause := context.Cause(ctx)
	if unless, ok := errors.AsType[replacedUnless](cause); ok {
		select {
		case <-unless.stop:
			return false
		default:
		}
	}
	return errors.Is(cause, ErrReplaced)
}

// Estate is what one life of the process leaves to the next.
type Estate struct {
	For     life            `json:"for"`
	Index   uint64          `json:"index"` // what the tenures' wishes are based on
	Legacy  identity.Legacy `json:"legacy"`
	Tenures []tenure        `json:"tenures"`
	Wakes   []wake.Wake     `json:"wakes"` // that this host began, and whose nodes are not back
}

// life is for whom such a note is: this process, for the same cluster in the same place.
type life struct {
	Format    int       `json:"format"` // of the note
	Boot      string    `json:"boot"`   // boot id
	Process   int       `json:"process"`
	Started   string    `json:"started"` // in ticks since the boot; a replacement changes it no more than the number
	Cluster   string    `json:"cluster"`
	Node      string    `json:"node"`
	Interface string    `json:"interface"`
	Data      [2]uint64 `json:"data"` // device and inode of the data directory
}

// estateFormat changes with the meaning of the note.
const estateFormat = 1

// tenure is one that goes on.
type tenure struct {
	Wish       wish              `json:"wish"`
	Epoch      uint64            `json:"epoch"`
	Generation uint64            `json:"generation"`
	Deadline   lease.Boot        `json:"deadline"`
	Offset     time.Duration     `json:"offset"` // CLOCK_BOOTTIME minus CLOCK_MONOTONIC at the last round
	Heirloom   identity.Heirloom `json:"heirloom"`
	Shut       endpoints         `json:"shut"`  // where nobody listened yet
	Flows      []wake.Flow       `json:"flows"` // of a target that sleeps: there is nobody to ask
	Of         string            `json:"of"`    // that target
	Since      uint64            `json:"since"` // the tenure of it that they are from
}

// kernel is the part that identity.NewHost needs.
func (e *Estate) kernel() *identity.Legacy {
	if e == nil {
		return nil
	}
	return &e.Legacy
}

// adopted is a tenure of a former life that this one has in its hands.
type adopted struct {
	tenure
	hold Hold
}

// errSlept is why a tenure does not go on: nothing that was granted before a suspend opens anything after it (I3).
var errSlept = errors.New("there was a suspend meanwhile")

// adopt takes over what a former life left open, before the rest is swept away. What cannot be taken over is closed.
func adopt(deps Deps) []adopted {
	if deps.Former == nil {
		return nil
	}
	var out []adopted
	for _, t := range deps.Former.Tenures {
		var hold Hold
		err := errSlept
		if (offset(deps.Clock) - t.Offset).Abs() <= wakeJitter {
			hold, err = deps.Kernel.Adopt(t.Heirloom)
		}
		if err != nil {
			deps.Log.Warn("an identity that the former program left open is closed", "service", t.Wish.Service.Name, "epoch", t.Epoch, "err", err)
			continue
		}
		out = append(out, adopted{t, hold})
	}
	return out
}

// inherit makes the tenants of what was adopted. They begin with the loops; gossip's messages may come already.
func (a *parts) inherit(list []adopted) {
	a.tenants.mu.Lock()
	defer a.tenants.mu.Unlock()
	for _, one := range list {
		t := a.tenants.make(one.Wish.Service.Name)
		t.takeOver(one)
		a.tenants.all[t.service] = t
		a.tenants.since = a.deps.Former.Index
		a.deps.Log.Info("going on with what the former program held", "service", t.service, "epoch", t.epoch, "version", a.deps.Version,
			"left", t.deadline.Sub(a.deps.Clock.Boot()).Round(time.Millisecond).String())
	}
}

// takeOver puts a tenant where the former life's was; it renews at once.
func (t *tenant) takeOver(one adopted) {
	t.holder.Adopt(one.Epoch)
	t.unit.manage(one.Wish.Serving && one.Wish.Service.Unit.Manage)
	t.unit.claim(true)
	if !one.Heirloom.Guarded { // it served
		t.unit.started()
	}
	t.wish, t.hold, t.built, t.guarded = one.Wish, one.hold, one.Wish.Service, one.Heirloom.Guarded
	t.epoch, t.probed, t.opened, t.generation = one.Epoch, one.Epoch, true, one.Generation
	t.deadline, t.granted, t.majority = one.Deadline, one.Deadline, t.clock.Boot()
	t.offset = one.Offset
	t.doors = doors{epoch: one.Epoch, all: endpointsOf(one.Wish.Service), shut: one.Shut, began: t.clock.Boot()}
	if !one.Shut.empty() {
		if err := t.hold.GuardPorts(one.Shut.TCP, one.Shut.UDP); err != nil { // the kernel has it; the new Hold must know
			t.fail(doGuard, err)
		}
	}
	t.kept.take(func(k *kept) {
		k.of, k.since = one.Of, one.Since
		k.flows.Learn(one.Flows)
	})
	t.announced = 1 // the LAN knows; the next ones come as they would have
	t.nextCheck = t.clock.Boot().Add(checkEvery)
}

// resume starts the tenants that were there before the loops.
func (ts *tenants) resume(ctx context.Context) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.all {
		ts.start(ctx, t)
	}
}

// bequeath ends this life in the order that costs the leases least: first all that can be slow, then a last renewal, and only then
// the tenants. What is not open is closed and given back, as at every end. Whoever asks for the end of this agent meanwhile gets it:
// it is too late to hand over, but everything is closed and released.
func (a *parts) bequeath(ctx context.Context, stop, evict func(), ended func() error) error {
	began := a.deps.Clock.Boot()
	a.deps.alive()
	if a.raft.IsLeader() {
		a.sleeper.yieldLead(context.Background())
	}
	a.hooks.makeWay()
	stop()
	if err := ended(); err != nil && !errors.Is(err, context.Canceled) {
		a.deps.Log.Warn("a part of this agent ended badly", "err", err)
	}
	e := Estate{Index: a.machine.View().Index, Wakes: a.waking.wanted()}
	var err error
	goes := makesWay(ctx)
	if goes {
		if e.Legacy, err = a.deps.Kernel.Bequeath(); err == nil {
			e.Tenures = a.tenants.bequeath()
		}
	}
	evict()
	a.tenants.wait()
	if !goes {
		a.deps.Ready("STOPPING=1")
		a.finish()
		return nil
	}
	if err == nil {
		err = a.deps.Disk.Leave(e)
	}
	if err != nil { // the next life closes what it finds
		a.deps.Log.Error("the next program cannot go on with what is open here", "err", err)
	}
	a.stays = true
	a.deps.Log.Info("this program makes way for another one", "open", len(e.Tenures), "took", a.deps.Clock.Boot().Sub(began).Round(time.Millisecond).String())
	return ErrReplaced
}

// bequeath ends all tenants and gives those tenures that go on.
func (ts *tenants) bequeath() []tenure {
	ts.mu.Lock()
	ts.ended = true
	all := slices.Collect(maps.Values(ts.all))
	ts.mu.Unlock()
	wills := make(chan tenure, len(all))
	for _, t := range all {
		t.inbox <- func() { t.will, t.willAt, t.nextAsk = wills, t.clock.Boot(), 0 } // they all run until they have this
	}
	ts.running.Wait()
	close(wills)
	var out []tenure
	for w := range wills {
		out = append(out, w)
	}
	return out
}

// bequeathed says whether the tenant is done: its tenure was renewed once more, or waited for that long enough, and is written down;
// or there is none that goes on.
func (t *tenant) bequeathed() bool {
	now := t.clock.Boot()
	if !t.opened || !t.wish.Mine || t.wish.Own.Epoch != t.epoch || now >= t.deadline || t.jumped() {
		t.close()
		return true
	}
	renewed := t.asked >= t.willAt && t.majority >= t.asked
	if !renewed && now < t.willAt.Add(t.wish.Timing.TTL/4) {
		return false
	}
	left, err := t.hold.Bequeath()
	if err != nil {
		t.log.Warn("an identity cannot be left to the next program", "service", t.service, "epoch", t.epoch, "err", err)
		t.close()
		return true
	}
	t.deafen()
	t.closeReplays()
	x := tenure{Wish: t.wish, Epoch: t.epoch, Generation: t.generation, Deadline: t.deadline, Offset: t.offset, Heirloom: left, Shut: t.doors.shut}
	t.kept.take(func(k *kept) { x.Flows, x.Of, x.Since = k.flows.Flows(), k.of, k.since })
	t.will <- x
	return true
}
