package agent

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/identity"
	"nightporter/lease"
	"nightporter/wake"
)

// wish is what the replicated state and this host's own condition want of one service here. It is a value, computed
// anew whenever something changed.
type wish struct {
	Service fsm.Service
	Exists  bool // the service is defined
	Own     fsm.Ownership
	Prev    string // the owner before Own
	Mine    bool   // this host owns it and may ask for it
	Serving bool   // this host is one of its targets
	Park    bool   // keep the address behind the closed fence (a target on its way into sleep or out of it)
	Heir    bool   // another host owns it now and is in touch
	Quorum  lease.Quorum
	Timing  cluster.Timing
}

// tenancy is what status shows of a tenant.
type tenancy struct {
	Epoch     uint64
	Opened    bool
	Deadline  lease.Boot
	Majority  lease.Boot // when a majority last answered, or the tenure began; 0 = no tenure
	Prepared  bool
	Serving   bool
	Refused   []lease.Answer
	FenceKind string
	Limits    []string
	Problem   string
}

// tenant is one service on this host. All of its state belongs to one goroutine, so closing the fence and moving its
// deadline can never overtake each other; everything that happens to it comes through the inbox as a function.
type tenant struct {
	service   string
	self      string
	clock     Clock
	kernel    Kernel
	log       *slog.Logger
	out       outbox
	demand    func(wake.Demand)
	listen    func(link string, g wake.Guard, on func(wake.Demand)) (io.Closer, error)
	onForeign identityConflict

	inbox chan func()
	shown atomic.Pointer[tenancy]
	want  atomic.Pointer[wish] // the newest wish; the inbox only wakes the loop for it

	wish   wish
	holder *lease.Holder

	hold    Hold        // nil = nothing prepared
	built   fsm.Service // what hold was prepared for
	guarded bool
	ears    []io.Closer

	epoch    uint64 // the tenure that is asked for or held; 0 = none
	opened   bool
	deadline lease.Boot
	majority lease.Boot
	nextAsk  lease.Boot
	offset   time.Duration // boot minus mono when the current round began
	prior    *lease.Release
	prepared map[uint64]bool // epochs whose new owner said that it is ready to take over

	probing bool
	probed  uint64 // the epoch whose probe ended
	foreign []identity.Foreign

	announced int
	nextSay   lease.Boot
	nextCheck lease.Boot

	release   *lease.Release
	heir      string
	acked     bool
	nextTell  lease.Boot
	tellUntil lease.Boot

	closedAt lease.Boot
	retryAt  lease.Boot // after a failed Prepare
	problem  string
	seized   error // the fence could not be closed
}

// identityConflict says what to do when a host outside the cluster answers for the address.
type identityConflict string

const (
	conflictStop     identityConflict = "stop"
	conflictOverride identityConflict = "override"
)

// settle is how long a closed identity stays prepared: an owner that gets it back at once finds everything in place.
const settle = 2 * time.Second

// foreignEvery is how often a host that found a stranger with the address looks whether he is gone; it is also the pause
// between two attempts to close a fence that did not close.
const foreignEvery = time.Second

// checkEvery is how often an identity is compared with what it should be when no notification came.
const checkEvery = 30 * time.Second

// run is the tenant's goroutine. It ends with the context, with the fence closed and the lease given back.
func (t *tenant) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		t.step(ctx)
		t.show()
		if d := t.due(); d >= 0 {
			timer.Reset(d)
		}
		select {
		case <-ctx.Done():
			t.close()
			return
		case f := <-t.inbox:
			f()
			for range len(t.inbox) {
				(<-t.inbox)()
			}
		case <-timer.C:
		}
	}
}

// do hands f to the tenant's goroutine. A full inbox drops it, as the network would: every message is repeated.
func (t *tenant) do(f func()) bool {
	select {
	case t.inbox <- f:
		return true
	default:
		return false
	}
}

// step compares what is wanted with what is and does the next things. It can be run at any time.
func (t *tenant) step(ctx context.Context) {
	now := t.clock.Boot()
	if w := t.want.Swap(nil); w != nil {
		t.setWish(*w)
	}
	if t.opened && now >= t.deadline {
		t.opened = false // the kernel closed it at the deadline
		t.log.Warn("lease ran out: the kernel fence is closed", "service", t.service, "epoch", t.epoch)
	}
	if t.epoch != 0 && (!t.wish.Mine || t.wish.Own.Epoch != t.epoch) {
		if t.waitForHeir(now) {
			return
		}
		t.giveUp(now)
		if t.seized != nil {
			return // tried again, and at the latest when the kernel has closed it
		}
	}
	t.seized = nil // given back to this host, or closed
	if t.wish.Mine && t.epoch == 0 {
		t.begin(ctx, now)
	}
	if t.epoch != 0 {
		t.keep(ctx, now)
	} else {
		t.tidy(now)
	}
	t.tell(now)
}

// waitForHeir says whether a planned hand-over should still wait for the new owner to be prepared: the old tenure serves
// on until then, at most until its own deadline (the voters refuse to renew it once they have the new record).
func (t *tenant) waitForHeir(now lease.Boot) bool {
	return t.opened && t.wish.Heir && t.wish.Exists && !t.prepared[t.wish.Own.Epoch] && now < t.deadline
}

// begin starts the tenure that the committed record gives to this host.
func (t *tenant) begin(ctx context.Context, now lease.Boot) {
	if !t.build(now) {
		return
	}
	t.epoch = t.wish.Own.Epoch
	t.nextAsk, t.majority, t.announced = now, now, 0
	t.foreign, t.problem = nil, ""
	for e := range t.prepared {
		if e <= t.epoch {
			delete(t.prepared, e)
		}
	}
	t.startProbe(ctx)
}

// keep asks for the lease when it is time to, announces, and repairs.
func (t *tenant) keep(ctx context.Context, now lease.Boot) {
	if t.hold == nil && !t.build(now) {
		return
	}
	t.setGuard(!t.wish.Serving)
	if len(t.foreign) > 0 && t.onForeign == conflictStop && !t.probing && now >= t.nextCheck {
		t.nextCheck = now.Add(foreignEvery)
		t.startProbe(ctx) // look again whether the foreign host is gone
	}
	if now >= t.nextAsk {
		t.ask(now)
	}
	if t.opened && now >= t.nextSay {
		t.announce(now)
	}
	if t.opened && now >= t.nextCheck {
		t.check(now)
	}
}

// due is the time until the tenant has something to do by itself; negative: never.
func (t *tenant) due() time.Duration {
	now := t.clock.Boot()
	next := now.Add(time.Hour)
	earliest := func(b lease.Boot, when bool) {
		if when && b < next {
			next = b
		}
	}
	mine := t.epoch != 0
	earliest(t.nextAsk, mine && t.wish.Mine && t.wish.Own.Epoch == t.epoch)
	earliest(t.nextSay, t.opened)
	earliest(t.nextCheck, mine && (t.opened || len(t.foreign) > 0))
	earliest(t.deadline, t.opened)
	earliest(t.retryAt, t.wish.Mine && t.hold == nil)
	earliest(t.nextTell, t.release != nil && !t.acked)
	earliest(t.closedAt.Add(settle), t.hold != nil && !mine && !t.wish.Park)
	if t.seized != nil {
		return min(max(t.deadline.Sub(now), 0), foreignEvery/10)
	}
	return max(next.Sub(now), 0)
}

// show publishes what status prints.
func (t *tenant) show() {
	v := tenancy{
		Epoch: t.epoch, Opened: t.opened, Deadline: t.deadline, Majority: t.majority,
		Prepared: t.hold != nil, Serving: t.wish.Serving, Problem: t.problem,
	}
	if t.hold != nil {
		v.FenceKind, v.Limits = t.hold.Fence().Kind(), t.hold.Fence().Limits()
	}
	for _, a := range t.holder.Refused() {
		v.Refused = append(v.Refused, a)
	}
	slices.SortFunc(v.Refused, func(a, b lease.Answer) int { return compareStrings(a.Voter, b.Voter) })
	t.shown.Store(&v)
}

// setWish takes a new wish over. A newer configuration is asked in at once, and a service whose address or MAC changed
// is built anew.
func (t *tenant) setWish(w wish) {
	if w.Quorum.Config != t.wish.Quorum.Config {
		t.nextAsk = 0
	}
	t.wish = w
}

// resumed is told after a suspend, or a stall that may have been one: nothing that was known still counts.
func (t *tenant) resumed() {
	t.holder.Abandon()
	t.opened, t.nextAsk = false, 0
	if t.hold != nil {
		if err := t.hold.Close(); err != nil {
			t.log.Error("fence cannot be closed after a resume; the kernel closes it at its deadline", "service", t.service, "err", err)
		}
	}
}

// clockOffset is CLOCK_BOOTTIME minus CLOCK_MONOTONIC: it changes over a suspend.
func (t *tenant) clockOffset() time.Duration { return time.Duration(t.clock.Boot()) - t.clock.Mono() }

// foreignProblem is the sentence about a host outside the cluster that has the address.
func (t *tenant) foreignProblem() string {
	f := t.foreign[0]
	return fmt.Sprintf("service %s: %s is in use by %s, a host outside the cluster; this host does not take it: find that host and free the address, or set on_conflict: override", t.service, f.IP, f.MAC)
}
