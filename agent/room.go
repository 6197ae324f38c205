package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"nightporter/fsm"
	"nightporter/identity"
	"nightporter/internal/mutant"
	"nightporter/lease"
	"nightporter/wake"
)

type foreign = identity.Foreign

// announceWait is the pause before the nth announcement of a tenure.
func announceWait(n int) time.Duration { return identity.AnnounceSchedule(n) }

func compareStrings(a, b string) int { return strings.Compare(a, b) }

// made is an identity that was prepared for a definition, or why it could not be.
type made struct {
	hold    Hold
	service fsm.Service
	err     error
}

// build has the identity prepared behind a closed fence, beside the tenant's goroutine. False: it is not yet, or could not be, and is
// tried again later.
func (t *tenant) build(ctx context.Context, now lease.Boot) bool {
	if t.hold != nil && !sameIdentity(t.built, t.wish.Service) {
		t.tearDown()
	}
	if t.hold != nil {
		t.listenFor()
		return true
	}
	if now < t.retryAt || t.making {
		return false
	}
	done := make(chan made, 1)
	t.making, t.made, t.madeSince = true, done, now
	service := t.wish.Service
	t.probes.Go(func() {
		hold, err := t.kernel.Prepare(specOf(service))
		done <- made{hold, service, err}
		t.do(func() {}) // a full inbox wakes it as well
	})
	return false
}

// take takes over what was prepared. What was granted meanwhile does not count: the fence's count of suspends was not read before it was
// asked for.
func (t *tenant) take(ctx context.Context, m made) {
	t.making = false
	now := t.clock.Boot()
	if m.err != nil {
		t.fail(doPrepare, m.err)
		t.retryAt = now.Add(time.Second)
		t.holder.Abandon()
		t.epoch, t.granted = 0, 0 // who cannot use it keeps silent, so that somebody else gets it
		return
	}
	t.well(doPrepare)
	if !sameIdentity(m.service, t.wish.Service) { // the definition has changed meanwhile: another one is prepared
		if err := m.hold.Remove(); err != nil { // it was never open
			t.log.Warn("cleaning up an identity", "service", t.service, "err", err)
		}
		return
	}
	t.hold, t.built, t.guarded, t.closedAt = m.hold, m.service, true, now
	t.nextCheck, t.nextEars, t.faults = now.Add(checkEvery), 0, 0
	t.setGuard((!t.wish.Serving || (t.wish.Mine && !t.unit.serves())) && !mutant.On(mutant.LateGuard)) // the mutant breaks I5: see keep
	t.listenFor()
	if t.epoch != 0 {
		t.holder.Abandon()
		t.granted, t.nextAsk = 0, now
		t.startProbe(ctx)
	}
}

// specOf is a service as the kernel knows it.
func specOf(s fsm.Service) identity.Spec {
	spec := identity.Spec{Service: s.Name, Addrs: s.Addresses}
	if s.Mode == fsm.ModeAddress {
		spec.Mode = identity.HostMAC
	} else {
		spec.MAC = s.MAC.Hardware()
	}
	return spec
}

// sameIdentity says whether a prepared identity fits a definition.
func sameIdentity(a, b fsm.Service) bool {
	return a.MAC == b.MAC && a.Mode == b.Mode && slices.Equal(a.Addresses, b.Addresses)
}

// mustGuard says whether nothing here may answer: a front, or a target whose unit does not run yet.
func (t *tenant) mustGuard() bool { return !t.wish.Serving || !t.unit.serves() }

// setGuard puts the drop rules in force or takes them off. A target that holds serves; everybody else swallows.
func (t *tenant) setGuard(on bool) {
	if t.hold == nil || t.guarded == on {
		return
	}
	if err := t.hold.Guard(on); err != nil {
		t.fail(doGuard, err)
		return
	}
	t.well(doGuard)
	t.guarded = on
	if !on && t.opened { // a target that held and was not to serve yet
		t.giveMyself(t.doors.open(), t.clock.Boot())
		t.sayListening()
	}
	t.listenFor()
}

// listenFor keeps the ears that hear demand: on the identity's link (in mode address the LAN interface), and on the loopback for clients on this host itself, whose
// packets never reach the wire. A serving host hears at those of its ports only at which nobody listens yet.
func (t *tenant) listenFor() {
	want := t.wantsEars()
	if t.hears == want && (want != latecomers || t.hearsAt == t.doors.shut.count()) {
		return
	}
	t.deafen()
	now := t.clock.Boot()
	if want == nobody || now < t.nextEars {
		return
	}
	g := t.guardFor(want)
	if want == everybody {
		t.openReplays()
	}
	t.kept.take(func(k *kept) { k.attempts.UDP = t.wish.Service.Replay == fsm.ReplayAll })
	for _, link := range []string{t.hold.Link(), "lo"} {
		ear, err := t.listen(link, g, t.heard)
		if err != nil {
			t.fail(doListen, fmt.Errorf("on %s: %w", link, err))
			t.deafen()
			t.nextEars = now.Add(time.Second)
			return
		}
		t.ears = append(t.ears, ear)
	}
	t.hears, t.hearsAt = want, t.doors.shut.count()
	t.serves.Store(want == latecomers)
	t.well(doListen)
}

// audience is whom the ears are for.
type audience int

const (
	nobody     audience = iota
	everybody           // the front's: whoever wants the service
	latecomers          // the target's: who asks at a port at which nobody listens yet
)

func (t *tenant) wantsEars() audience {
	switch {
	case t.hold == nil:
		return nobody
	case t.guarded:
		return everybody
	case t.opened && t.wish.Serving && t.doors.epoch == t.epoch && !t.doors.shut.empty():
		return latecomers
	}
	return nobody
}

func (t *tenant) guardFor(a audience) wake.Guard {
	e := endpointsOf(t.wish.Service)
	if a == latecomers {
		e = t.doors.shut
	}
	ports := func(in []netip.AddrPort) []uint16 {
		var out []uint16
		for _, one := range in {
			if !slices.Contains(out, one.Port()) {
				out = append(out, one.Port())
			}
		}
		return out
	}
	return wake.Guard{Service: t.service, Addrs: t.wish.Service.Addresses, TCP: ports(e.TCP), UDP: ports(e.UDP), Later: a == everybody}
}

func (t *tenant) deafen() {
	for _, ear := range t.ears {
		if err := ear.Close(); err != nil {
			t.log.Warn("a demand listener did not close", "service", t.service, "err", err)
		}
	}
	t.ears, t.hears = nil, nobody
}

// standBy prepares the address of a target that does not have the service: its checks are carried out there. The guard is off, as local
// connections go through it; nothing from outside passes the closed fence.
func (t *tenant) standBy(ctx context.Context, now lease.Boot) {
	if t.stands(now) && t.build(ctx, now) {
		t.setGuard(!t.wish.Serving)
		if t.wish.Serving && !t.wish.Stand { // its program may not be up yet
			t.keepDoors(now)
		}
		t.sayStands()
	}
}

// tidy removes what is prepared once it has been closed for a while; a sleeping target's address stays parked.
func (t *tenant) tidy(now lease.Boot) {
	if t.hold != nil && t.wish.Park {
		t.parkedAt = now
	}
	if t.hold == nil || t.wish.Park || t.stands(now) || t.wish.Mine || (t.wish.Exists && now < t.leaveAt()) {
		return
	}
	t.tearDown()
}

// stay is how long a host that is back from its sleep keeps the address parked while a front has the identity: it is about to get it
// back, and connections that have something to send would slow down without the address.
const stay = 15 * time.Second

// leaveAt is when a closed identity may be removed.
func (t *tenant) leaveAt() lease.Boot {
	at := t.closedAt.Add(settle)
	if t.parkedAt != 0 && t.wish.Serving && !slices.Contains(t.wish.Service.Targets, t.wish.Own.Owner) {
		at = max(at, t.parkedAt.Add(stay))
	}
	return at
}

// tearDown removes the identity from this host, the fence last.
func (t *tenant) tearDown() {
	t.deafen()
	t.muteReplays()
	if err := t.hold.Remove(); err != nil {
		t.log.Warn("cleaning up an identity", "service", t.service, "err", err)
	}
	t.hold, t.guarded, t.parkedAt, t.doors = nil, false, 0, doors{}
}

// check looks whether others removed something: an address taken by a network manager, a flushed rule. The look waits for the kernel
// where many identities come and go, and the lease does not wait for the look.
func (t *tenant) check(ctx context.Context, now lease.Boot) {
	t.nextCheck, t.checking = now.Add(checkEvery), true
	hold := t.hold
	t.probes.Go(func() {
		drift, err := hold.Check()
		select {
		case t.inbox <- func() { t.checked(hold, drift, err) }:
		case <-ctx.Done():
		}
	})
}

// checked repairs what the look has found.
func (t *tenant) checked(hold Hold, drift []identity.Drift, err error) {
	t.checking = false
	if hold != t.hold {
		return // it was given up meanwhile
	}
	now := t.clock.Boot()
	if err == nil && len(drift) == 0 {
		t.faults = 0
		t.well(doRepair, doClose)
		return
	}
	if err == nil && !slices.ContainsFunc(drift, func(d identity.Drift) bool { return !d.Routine() }) {
		t.log.Info("following the routes of the LAN interface", "service", t.service, "drift", fmt.Sprint(drift))
	} else {
		t.log.Warn("the identity was changed by somebody else; repairing it", "service", t.service, "drift", fmt.Sprint(drift), "err", err)
	}
	if err := t.hold.Repair(); err != nil {
		t.fail(doRepair, err)
		if t.faults++; t.faults < 2 {
			t.nextCheck = now.Add(checkAgain) // netlink may only have been busy
			return
		}
		t.rebuild(now)
		return
	}
	t.faults = 0
	t.well(doRepair)
	t.deafen() // an ear ends when its link goes down
	t.listenFor()
	if t.opened {
		t.announceAgain()
	}
}

// announceAgain begins the announcements anew: after a repair, or when a part of the network is back that did not hear
// the first ones.
func (t *tenant) announceAgain() { t.announced, t.nextSay = 0, t.clock.Boot() }

// checkAgain is the pause before the second attempt at a repair.
const checkAgain = 100 * time.Millisecond

// rebuild drops a hold that cannot be repaired (its link or the LAN interface is gone) and starts over, closed.
func (t *tenant) rebuild(now lease.Boot) {
	t.opened, t.probed, t.granted = false, 0, 0
	t.holder.Abandon()
	t.tearDown()
	t.retryAt = now.Add(200 * time.Millisecond)
	t.epoch, t.closedAt = 0, now
}

// disturbed is told when the kernel says that links, addresses, routes or rules changed.
func (t *tenant) disturbed() { t.nextCheck = 0 }

// close ends the tenant for good: fence closed, lease released, everything removed.
func (t *tenant) close() {
	now := t.clock.Boot()
	t.switches.leave(t)
	if t.epoch != 0 {
		t.wish.Own.Owner = t.lastHeir()
		t.giveUp(now)
		for range lastWords - 1 {
			if t.release != nil && !t.acked {
				t.sendRelease()
			}
		}
	}
	if t.hold != nil {
		t.tearDown()
	}
	t.closeReplays()
	t.unit.claim(false)
}

func (t *tenant) lastHeir() string {
	if t.wish.Own.Owner == t.self {
		return ""
	}
	return t.wish.Own.Owner
}
