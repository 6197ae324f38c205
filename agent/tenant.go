package agent

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/identity"
	"nightporter/internal/mutant"
	"nightporter/lease"
	"nightporter/wake"
)

// tenancy is what status shows of a tenant.
type tenancy struct {
	Epoch     uint64
	Released  uint64 // the last tenure that ended here
	Opened    bool
	Hushed    bool // it stays closed while it is in doubt who else is there
	Deadline  lease.Boot
	Majority  lease.Boot // when a majority last answered, or the tenure began; 0 = no tenure
	Prepared  bool
	Guarded   bool
	Serving   bool
	Refused   []lease.Answer
	FenceKind string
	Limits    []string
	Problem   string
	Stranger  string    // has the address: a sentence
	Reporting bool      // the heir has not acknowledged yet which connections stay
	Owes      uint64    // the sleep before which a client waited for an answer when the fence was closed; 0 = none
	Waiting   int       // attempts of clients that are kept for a target
	Stay      int       // connections of a target that sleeps
	Shut      endpoints // where nobody listens yet
}

// tenant is one service on this host. All of its state belongs to one goroutine, so closing the fence and moving its
// deadline can never overtake each other; everything that happens to it comes through the inbox as a function.
type tenant struct {
	service   string
	self      string
	clock     Clock
	kernel    Kernel
	reach     Reach
	log       *slog.Logger
	out       outbox
	demand    func(wake.Demand)
	listen    func(link string, g wake.Guard, on func(wake.Demand)) (io.Closer, error)
	onForeign identityConflict
	desk      *desk // what clients get while this host is the front
	unit      interlock
	ruler     *ruler

	silences    *silences  // nil = nobody wants to know
	handedAt    lease.Boot // when the newest release of a former owner came
	handedEpoch uint64     // and of which epoch
	measured    uint64     // the epoch before which the silence was measured

	changed func() // called when what is shown of the tenure or of the preparation changed; nil = nobody cares
	inbox   chan func()
	shown   atomic.Pointer[tenancy]
	want    atomic.Pointer[wish] // the newest wish; the inbox only wakes the loop for it
	told    *wish                // the newest wish, for whoever tells it

	wish   wish
	holder *lease.Holder

	hold    Hold        // nil = nothing prepared
	built   fsm.Service // what hold was prepared for
	guarded bool
	ears    []io.Closer
	hears   audience
	hearsAt int         // at how many doors, as a target
	serves  atomic.Bool // the ears are a target's own

	epoch      uint64 // the tenure that is asked for or held; 0 = none
	released   uint64 // the last tenure that ended in this life of the agent
	opened     bool
	openedAt   lease.Boot
	deadline   lease.Boot // until when the fence may be open
	generation uint64     // of the fence when the running round began
	granted    lease.Boot // until when a majority's grants run that were not made void by a suspend, by a clock that is not bent from now on
	bent       lease.Bent // how this host's clock was bent, as far as what is granted is corrected for it
	majority   lease.Boot
	asked      lease.Boot // when the current round began
	nextAsk    lease.Boot
	offset     time.Duration // boot minus mono when the current round began
	prior      *lease.Release
	prepared   map[uint64]bool // epochs whose new owner said that it is ready to take over

	switches    *switching
	switchUntil lease.Boot // this tenant is one of those that take over now
	passedBy    bool       // it was, in this tenure, and its former owner did not answer
	call        call       // the leader's, to prepare it before the record changes
	making      bool       // the identity is being prepared
	made        chan made  // what came of it; it has room for that
	madeSince   lease.Boot // since when it is being prepared
	checking    bool       // a look at the kernel is under way
	probing     bool
	probes      sync.WaitGroup
	probed      uint64 // the epoch whose probe ended
	foreign     []identity.Foreign

	announced int
	nextSay   lease.Boot
	nextCheck lease.Boot
	nextProbe lease.Boot
	nextEars  lease.Boot  // after a listener could not be opened
	faults    int         // checks in a row that failed
	overslept bool        // this host was away in the middle of a hand-over: it asks for nothing before the log has it awake
	away      atomic.Bool // this host was suspended or stalled: nothing that was known still counts

	will   chan<- tenure // set: this life of the process ends, and the next one goes on with an open tenure
	willAt lease.Boot

	kept    kept // what this host swallowed as a front
	replays replays
	voice   atomic.Pointer[Wire] // replays.own, for the ears
	doors   doors
	report  reporting
	owes    uint64         // as it is shown
	halved  *atomic.Uint64 // of all services: the last of them for which nothing but a half made connection spoke

	release   *lease.Release
	heir      string
	acked     bool
	nextTell  lease.Boot
	tellUntil lease.Boot

	closedAt lease.Boot
	parkedAt lease.Boot        // when it was last parked for a sleep
	retryAt  lease.Boot        // after a failed Prepare
	trouble  map[string]string // by what failed: the sentence
	seized   error             // the fence could not be closed
}

// identityConflict says what to do when a host outside the cluster answers for the address.
type identityConflict string

const (
	conflictStop     identityConflict = "stop"
	conflictOverride identityConflict = "override"
)

// settle is how long a closed identity stays prepared: an owner that gets it back at once finds everything in place. A
// client on this host, whose packets to the address stay on this host for as long, repeats its SYN after a second.
const settle = 500 * time.Millisecond

// strangerEvery is how often the holder of an open identity looks whether a stranger has come by the address.
const strangerEvery = time.Minute

// foreignEvery is how often a host that found a stranger with the address looks whether he is gone; it is also the pause
// between two attempts to close a fence that did not close.
const foreignEvery = time.Second

// checkEvery is how often an identity is compared with what it should be when no notification came.
const checkEvery = 30 * time.Second

// run is the tenant's goroutine. It ends with the context, with the fence closed and the lease given back.
func (t *tenant) run(ctx context.Context) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		t.step(ctx)
		if t.will != nil && t.bequeathed() {
			end() // nobody reads the inbox any more, which a probe may be writing to
			t.wait()
			return
		}
		t.show()
		if d := t.due(); d >= 0 {
			timer.Reset(d)
		}
		select {
		case <-ctx.Done():
			t.close()
			t.wait()
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

// wait waits for what goes on beside the tenant's goroutine. An identity that is finished only now is removed: nobody opens it.
func (t *tenant) wait() {
	t.probes.Wait()
	select {
	case m := <-t.made:
		if m.err == nil {
			t.hold = m.hold
			t.tearDown()
		}
	default:
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
	if t.away.Swap(false) {
		t.resumed()
	}
	t.measure()
	now := t.clock.Boot()
	if w := t.want.Swap(nil); w != nil {
		t.setWish(*w)
	}
	select {
	case m := <-t.made:
		t.take(ctx, m)
	default:
	}
	if t.opened && now >= t.deadline {
		t.lapse("the lease ran out")
	}
	if t.wish.Hush && (t.opened || t.granted != 0) {
		t.hush()
	}
	if t.hold != nil && now >= t.nextCheck && !t.checking {
		t.check(ctx, now) // a closed identity as well: without its fence a parked one would answer
	}
	if t.epoch != 0 && (!t.wish.Mine || t.wish.Own.Epoch != t.epoch) && !(t.opened && mutant.On(mutant.KeepsOn)) { // breaks I1 and I2
		if t.waitForHeir(now) {
			t.tell(now)
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
		t.standBy(ctx, now)
		t.tidy(now)
	}
	t.keepSwitch(now)
	t.keepReplays(now)
	t.keepReport(now)
	if t.hold == nil && !t.wish.Mine && !t.stands(now) {
		clear(t.trouble) // whatever it was, this host has no part in it any more
	}
	t.tell(now)
}

// lapse is the end of a lease that was not renewed. The kernel has closed the fence at the deadline; this is for a wall
// clock that was set back meanwhile, and for a deadline that could not be made earlier.
func (t *tenant) lapse(why string) {
	t.opened = false
	t.log.Warn(why+": the fence is closed", "service", t.service, "epoch", t.epoch)
	if t.hold == nil {
		return
	}
	if err := t.hold.Close(); err != nil {
		t.fail(doClose, err)
		t.nextCheck = 0
	}
}

// waitForHeir says whether a planned hand-over should still wait for the new owner to be prepared: the old tenure serves
// on until then, at most until its own deadline (the voters refuse to renew it once they have the new record).
func (t *tenant) waitForHeir(now lease.Boot) bool {
	return t.opened && t.wish.Heir && t.wish.Exists && !t.prepared[t.wish.Own.Epoch] && now < t.deadline
}

// begin starts the tenure that the committed record gives to this host. Where it takes long to prepare, with many others, the voters are
// asked all the same after a while, as a sign of life.
func (t *tenant) begin(ctx context.Context, now lease.Boot) {
	ready := t.build(ctx, now)
	if !ready && !t.making {
		return
	}
	t.unit.claim(true)
	t.epoch, t.call, t.passedBy = t.wish.Own.Epoch, call{}, false
	t.nextAsk, t.majority, t.announced, t.nextProbe = now, now, 0, 0
	if !ready || t.isHeir() {
		t.nextAsk = now.Add(t.wish.Timing.Renew)
	}
	t.foreign = nil
	for e := range t.prepared {
		if e <= t.epoch {
			delete(t.prepared, e)
		}
	}
	t.beginKeeping()
	if ready {
		t.startProbe(ctx)
	}
}

// isHeir says whether the former owner hands over by himself: his word comes before anything could be granted.
func (t *tenant) isHeir() bool {
	return t.wish.Prev != "" && t.wish.Prev != t.self && cluster.Serves(t.wish.Own.Reason) && t.prior == nil
}

// makesMost is for how long a host that still prepares an identity asks for its lease: one at which that hangs falls silent, and another
// host gets the service.
const makesMost = 15 * time.Second

// keep asks for the lease when it is time to, announces, and repairs.
func (t *tenant) keep(ctx context.Context, now lease.Boot) {
	if t.hold == nil && !t.build(ctx, now) {
		switch {
		case !t.making || now < t.nextAsk:
		case now.Sub(t.madeSince) < makesMost:
			t.ask(now)
		default:
			t.nextAsk = now.Add(makesMost) // silent until it is there
		}
		return
	}
	if !mutant.On(mutant.LateGuard) || t.announced > 1 { // breaks I5
		t.setGuard(t.mustGuard())
	}
	t.setAnswers()
	t.listenFor()
	if t.wish.Serving {
		t.keepDoors(now)
	}
	if t.wantsProbe() && now >= t.nextProbe {
		t.startProbe(ctx)
	}
	if now >= t.nextAsk {
		t.ask(now)
	}
	if t.opened && now >= t.nextSay {
		t.announce(now)
	}
}

// wantsProbe says whether the LAN is to be asked again: the last question failed, a stranger had the address, or one may have come since.
func (t *tenant) wantsProbe() bool {
	return !t.probing && t.hold != nil && (t.probed != t.epoch || len(t.foreign) > 0 || t.opened)
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
	keeps := mine && (t.wish.Mine && t.wish.Own.Epoch == t.epoch || mutant.On(mutant.KeepsOn))
	earliest(t.nextAsk, keeps)
	earliest(t.nextSay, keeps && t.opened)
	earliest(t.nextProbe, keeps && t.wantsProbe())
	earliest(t.nextEars, keeps && t.hears != t.wantsEars())
	earliest(t.nextCheck, t.hold != nil && !t.checking)
	earliest(t.deadline, t.opened)
	earliest(now.Add(unrenewed(t.deadline.Sub(now))), t.opened && !keeps) // else the rounds look
	earliest(t.retryAt, (t.wish.Mine || t.stands(now)) && t.hold == nil && !t.making)
	earliest(t.switchUntil, t.switchUntil != 0)
	earliest(t.willAt.Add(t.wish.Timing.TTL/4), t.will != nil)
	earliest(t.nextTell, t.release != nil && !t.acked)
	earliest(max(t.leaveAt(), t.call.until), t.hold != nil && !mine && !t.wish.Park && !t.wish.Stand)
	earliest(t.doors.nextLook, keeps && t.wish.Serving && t.hold != nil && !t.doors.shut.empty())
	earliest(t.replays.nextAt, t.replays.word != nil || t.replays.lan != nil && t.hold == nil && !mine)
	earliest(t.report.nextAt, len(t.report.reports) > 0)
	if t.seized != nil {
		return min(max(t.deadline.Sub(now), 0), foreignEvery/10)
	}
	return max(next.Sub(now), 0)
}

// show publishes what status prints.
func (t *tenant) show() {
	v := tenancy{
		Epoch: t.epoch, Released: t.released, Opened: t.opened, Hushed: t.wish.Hush, Deadline: t.deadline, Majority: t.majority,
		Prepared: t.hold != nil, Guarded: t.guarded, Serving: t.wish.Serving, Problem: t.problem(), Stranger: t.trouble[doClaim], Reporting: len(t.report.reports) > 0, Owes: t.owes,
	}
	t.kept.take(func(k *kept) {
		k.attempts.Age(time.Duration(t.clock.Boot()))
		v.Waiting, v.Stay = k.attempts.Len(), k.flows.Len()
	})
	if t.opened && t.wish.Serving {
		v.Shut = t.doors.shut
	}
	if t.epoch == 0 {
		t.unit.claim(false)
	}
	if t.hold != nil {
		v.FenceKind, v.Limits = t.hold.Fence().Kind(), t.hold.Fence().Limits()
	}
	for _, a := range t.holder.Refused() {
		v.Refused = append(v.Refused, a)
	}
	slices.SortFunc(v.Refused, func(a, b lease.Answer) int { return compareStrings(a.Voter, b.Voter) })
	old := t.shown.Swap(&v)
	if t.changed != nil && (old == nil || old.Epoch != v.Epoch || old.Released != v.Released || old.Opened != v.Opened ||
		old.Prepared != v.Prepared || old.Guarded != v.Guarded || old.Serving != v.Serving) {
		t.changed()
	}
}

// setWish takes a new wish over. A newer configuration is asked in at once, and a service whose address or MAC changed
// is built anew.
func (t *tenant) setWish(w wish) {
	if w.Quorum.Config != t.wish.Quorum.Config || w.Timing != t.wish.Timing || t.wish.Hush && !w.Hush {
		t.nextAsk = 0
	}
	ports := !slices.Equal(w.Service.Ports, t.wish.Service.Ports)
	news := w.Own.Epoch != t.wish.Own.Epoch
	t.wish = w
	t.overslept = t.overslept && w.Leaving
	if w.Own.Epoch >= t.call.epoch && !w.Mine {
		t.call = call{} // somebody else got it
	}
	t.unit.manage(w.Serving && w.Service.Unit.Manage)
	if mutant.On(mutant.GARP) && news && w.Exists && w.Own.Owner != t.self {
		t.boast()
	}
	if ports && len(t.ears) > 0 {
		t.deafen()
		t.listenFor()
	}
}

// boast is a mutant (breaks I1): a host that learns of somebody else's record tells the LAN where the identity is, as if it
// were here. Its own fence would stop that, so it is opened for the moment.
func (t *tenant) boast() {
	if t.epoch != 0 {
		return
	}
	if t.hold == nil {
		hold, err := t.kernel.Prepare(specOf(t.wish.Service))
		if err != nil {
			return
		}
		t.take(context.Background(), made{hold, t.wish.Service, nil})
	}
	if n, err := t.hold.Generation(); err != nil || t.hold.Open(time.Duration(t.clock.Boot().Add(time.Second)), n) != nil {
		return
	}
	_ = t.hold.Announce(func() bool { return true }) // a mistake has no second chance
	_ = t.hold.Close()
}

// resumed is told after a suspend, or a stall that may have been one: nothing that was known still counts.
func (t *tenant) resumed() {
	t.holder.Abandon()
	t.opened, t.nextAsk, t.granted = false, 0, 0
	t.overslept = t.wish.Leaving
	if t.hold != nil {
		if err := t.hold.Close(); err != nil {
			t.log.Error("fence cannot be closed after a resume; the kernel closes it at its deadline", "service", t.service, "err", err)
		}
	}
}

// foreignProblem is the sentence about a host outside the cluster that has the address.
func (t *tenant) foreignProblem(f identity.Foreign) string {
	what := "this host does not take it: find that host and free the address, or set on_conflict: override"
	switch {
	case t.onForeign == conflictOverride:
		what = "this host takes it all the same (on_conflict: override), and clients reach now one, now the other: find that host and free the address"
	case t.opened:
		what = "clients reach now this one, now the other, and nobody else takes it: find that host and free the address"
	}
	return fmt.Sprintf("service %s: %s is in use by %s, a host outside the cluster; %s", t.service, f.IP, f.MAC, what)
}
