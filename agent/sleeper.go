package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/internal/mutant"
	"nightporter/lease"
	"nightporter/wake"
)

// sleeper carries out this host's own side of the sleep protocol, driven by its record alone:
//
//	awake       nothing to do
//	suspending  wait until everything is handed over and seen to be open elsewhere, then commit "asleep"
//	asleep      when this process committed it: arm the card, suspend; after that, and in any other case: report back
//	waking      report back: somebody called before the suspend, or after it
//	off         report back
//
// While somebody else suspends this host (byothers.go) the steps are the same, and the command is left out.
//
// Every step names the count of the sleep that it belongs to, so none is ever carried out late. No step compares clocks of
// two hosts. A record that is read while the log is replayed is an old one: what is proposed on it is refused, and nothing is
// suspended on it, because only the commit of "asleep" by this process leads there.
type sleeper struct {
	self     string
	clock    Clock
	machine  *fsm.Machine
	raft     raftNode
	proposer *proposer
	tenants  *tenants
	scene    *scene
	opens    *opens
	power    Power
	meta     *metaKeeper
	rejoin   func()
	alarm    *alarm
	units    func() bool   // no unit is left running whose identity has gone; nil = there are none
	leaving  func() bool   // this host is on its way out of the cluster: nobody could call it in its sleep
	timeout  time.Duration // for the hand-over
	log      *slog.Logger
	bell     bell       // rung after a resume
	delay    *inhibitor // has logind wait when others suspend this host; nil = nobody does
	others   byOthers

	began    lease.Boot // when this process first saw that it is to suspend, for the sleep that is named by beganFor
	beganFor uint64
	moving   time.Duration  // how much longer that hand-over may take because a vote moves in it; it was given that, and keeps it when the vote is gone
	stamp    time.Time      // of this process's proposals of "asleep" for that sleep, by which it knows its own; zero = none
	handed   uint64         // the sleep whose "asleep", with that stamp, it knows to be committed
	slept    uint64         // the sleep that was carried out, or given up, by this process
	running  sync.WaitGroup // the suspend command
	stopLast func()         // stops it
	away     atomic.Bool
	resumes  uint64        // the kernel's count of them when the suspend command was run
	counted  bool          // it keeps one
	refusals wake.Refusals // what it kept then of suspends that failed
	overs    uint64        // and logind's of suspends that were over
	took     atomic.Int64  // the longest hand-over of this process, a time.Duration
	problem  atomic.Pointer[string]
	saidAt   atomic.Int64 // on CLOCK_BOOTTIME
	half     time.Time    // since when it waits for the second half of a sleep; zero = it does not
	returns  uint64       // the sleep of whose return the alarm has not been told yet; 0 = none

	failed    fsm.Reason // why the sleep that is named by failedFor did not come about: the proposal that says so may be lost
	failedFor uint64
}

// retrySleep is the pause between two looks while something is under way.
const retrySleep = 100 * time.Millisecond

func (s *sleeper) run(ctx context.Context) {
	changed, cancel := s.machine.Watch()
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			s.running.Wait()
			return
		case <-changed:
		case <-s.bell:
		case <-timer.C:
		}
		timer.Reset(s.step(ctx))
	}
}

// step looks at the record once. It returns when to look again by itself.
func (s *sleeper) step(ctx context.Context) time.Duration {
	me, known := s.machine.View().State.Nodes[s.self]
	if _, on := s.pressed(); on {
		return s.giveWay(ctx, me, known)
	}
	if !known || me.Power == fsm.Awake {
		s.half, s.returns = time.Time{}, 0
		s.meta.setPower(fsm.Awake, me.Sleeps)
		return time.Minute
	}
	switch {
	case s.others.missed(me, s.slept):
		s.comeBack(ctx, me)
	case me.Power == fsm.Suspending:
		s.handOver(ctx, me)
	case me.Power == fsm.Asleep && s.handed == me.Sleeps && s.slept < me.Sleeps:
		s.suspend(ctx, me)
	case me.Power == fsm.Asleep && s.beganFor == me.Sleeps && !s.stamp.IsZero() && me.PowerSince.Equal(s.stamp) && s.handed < me.Sleeps:
		s.confirm(ctx, me)
	default:
		s.comeBack(ctx, me)
	}
	return retrySleep
}

// comeBack says that this host is back, when the sleep is over as a whole.
func (s *sleeper) comeBack(ctx context.Context, me fsm.Node) {
	if s.over(ctx, me) {
		s.report(ctx, s.record()) // it may have looked for a while
	}
}

// over says whether the sleep is over as a whole: it is not between its halves, nor when its alarm has woken the host for nothing. The
// alarm is taken back only then: it is that of the second half, too.
func (s *sleeper) over(ctx context.Context, me fsm.Node) bool {
	if s.between() {
		return false
	}
	if s.returns != me.Sleeps {
		return true
	}
	s.returns = 0
	if s.alarm.calm(ctx, me, s.wasAway()) {
		s.slept = me.Sleeps - 1 // the same sleep goes on
		return false
	}
	return true
}

// handOver waits until the host holds nothing and every heir is seen to be open, and commits "asleep".
func (s *sleeper) handOver(ctx context.Context, me fsm.Node) {
	s.meta.setPower(fsm.Suspending, me.Sleeps)
	if s.beganFor != me.Sleeps {
		s.began, s.beganFor, s.stamp, s.moving = s.clock.Boot(), me.Sleeps, time.Time{}, 0
		s.half = time.Time{}
		s.problem.Store(nil) // of an earlier sleep
		if _, on := s.pressed(); !on && !s.canSleep(ctx, me) {
			return
		}
	}
	if s.leaving() {
		s.set(ctx, me, fsm.Awake, fsm.SleepCancelled)
		return
	}
	if s.raft.IsLeader() {
		s.yieldLead(ctx)
	}
	s.moving = max(s.moving, voteMoves(s.scene.view(), s.machine.View().Servers, s.self))
	limit := s.timeout + s.moving
	if _, on := s.pressed(); !on && s.clock.Boot().Sub(s.began) > limit { // else the time is logind's: a host that says that it stays awake gets everything back
		s.complain("the hand-over before a suspend did not end in " + limit.String() + ": the host stays awake")
		s.set(ctx, me, fsm.Awake, fsm.SuspendTimeout)
		return
	}
	relieved := s.relieved()
	if _, on := s.pressed(); !on && s.tenants.owes(me.Sleeps) { // asked after that: what was handed over by then has been looked at
		s.set(ctx, me, fsm.Awake, fsm.SleepCancelled)
		return
	}
	if !relieved && !mutant.On(mutant.NoHandOver) { // breaks I7 and I8; the plan must not do it either
		return
	}
	if s.stamp.IsZero() {
		s.stamp = s.clock.Wall()
	}
	if s.set(ctx, me, fsm.Asleep, me.PowerReason) { // why it sleeps, for those who ask while it does
		s.handed = me.Sleeps
		s.took.Store(max(s.took.Load(), int64(s.clock.Boot().Sub(s.began))))
	}
}

// canSleep says whether this host could sleep; one that cannot, or cannot tell, says why, and stays awake. Its services are on their way
// since "suspending" was committed, and come back: for a sleep that the host wished for by itself the idler has asked its programs before. Who
// suspends this host meanwhile does not wait for them.
func (s *sleeper) canSleep(ctx context.Context, me fsm.Node) bool {
	ctx, cancel := s.others.unless(ctx)
	defer cancel()
	err := s.able(ctx)
	if err == nil {
		err = s.alarm.reckon(ctx)
	}
	if _, on := s.pressed(); on || err == nil {
		s.began = s.clock.Boot() // the answers took their time
		return true
	}
	s.complain("the host stays awake: " + err.Error())
	if !s.set(ctx, me, fsm.Awake, fsm.SuspendFailed) {
		s.beganFor = 0 // it is asked again
	}
	return false
}

// confirm finds out what became of a proposal of "asleep" that got no answer. It is proposed again: the answer, a refusal if
// the first one was committed, comes at an index of the log at which the record that is applied here is no old one.
func (s *sleeper) confirm(ctx context.Context, me fsm.Node) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	me.Power = fsm.Suspending
	res, err := s.propose(ctx, me, fsm.Asleep, me.PowerReason)
	if err != nil || res.Refused == quorumLost || s.machine.View().Index < res.Index { // the guard's refusal stands nowhere in the log
		return // looked at again with the next step
	}
	if now := s.machine.View().State.Nodes[s.self]; now.Power == fsm.Asleep && now.Sleeps == me.Sleeps {
		s.handed = me.Sleeps
	}
}

// relieved says whether somebody else holds everything that this host held. What an earlier life of this agent held, nobody
// is waited for: its heir said long ago that it is open, and there is nothing here to hand over.
func (s *sleeper) relieved() bool {
	if !s.tenants.quiet() || (s.units != nil && !s.units()) {
		return false
	}
	v := s.machine.View().State
	for name := range v.Services {
		own := v.Ownerships[name]
		if own.Owner == s.self {
			return false
		}
		if s.tenants.reporting(name) {
			return false
		}
		if s.awaits(v, name) {
			return false
		}
	}
	return true
}

// awaits says whether the heir of a service that this host had is not seen to be open yet.
func (s *sleeper) awaits(v *fsm.State, service string) bool {
	own, h := v.Ownerships[service], v.History[service]
	if len(h) == 0 || own.Owner == "" {
		return false
	}
	last := h[len(h)-1]
	return last.From == s.self && s.tenants.shown(service).Released+1 >= last.Epoch && s.opens.at(service) < own.Epoch
}

// yieldLead hands the leadership on: an election is cheaper before the sleep than in it.
func (s *sleeper) yieldLead(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	v := s.scene.view()
	for _, name := range cluster.Voters(s.machine.View().Servers) {
		if name == s.self || !v.Present[name].Alive || v.State.Nodes[name].Power != fsm.Awake {
			continue
		}
		if err := s.raft.Transfer(ctx, name); err == nil {
			return
		}
	}
}

// suspend arms the card and suspends. It returns after the resume, or when there was no suspend.
func (s *sleeper) suspend(ctx context.Context, me fsm.Node) {
	s.slept = me.Sleeps
	if s.leaving() {
		s.set(ctx, me, fsm.Awake, fsm.SleepCancelled)
		return
	}
	if _, on := s.pressed(); on || me.PowerReason == fsm.SuspendedByOthers {
		s.meta.setPower(fsm.Asleep, me.Sleeps)
		s.goDown(ctx)
		return
	}
	if s.alarm.soon() { // the hand-over took long, or the clock was set
		s.complain("the host stays awake: " + s.alarm.first(s.alarm.wanted, s.clock.Wall().Local()).tooSoon().Error())
		s.fail(ctx, me, fsm.SleepCancelled)
		return
	}
	if err := s.power.Arm(); err != nil {
		s.complain("the host stays awake: " + err.Error())
		s.fail(ctx, me, fsm.SuspendFailed)
		return
	}
	s.meta.setPower(fsm.Asleep, me.Sleeps)
	if now := s.machine.View().State.Nodes[s.self]; now.Power != fsm.Asleep || now.Sleeps != me.Sleeps {
		s.log.Info("called back before the suspend", "reason", now.PowerReason)
		return
	}
	s.alarm.set(me.PowerReason)
	s.log.Info("suspending", "reason", me.PowerReason)
	s.resumes, s.counted = s.power.Resumes()
	s.refusals, s.overs = s.power.Refusals(), s.delay.ended()
	s.away.Store(false)
	s.delay.stepAside()
	defer s.back()
	switch err := s.command(ctx, me); {
	case errors.Is(err, errCalled):
		s.log.Info("called back during the suspend command, which was stopped", "reason", s.record().PowerReason)
		if goes, _ := s.delay.suspending(); !goes { // else logind does not need the command any more
			return
		}
	case err != nil:
		if _, on := s.pressed(); on { // somebody else was faster, which is why
			s.goDown(ctx)
			return
		}
		if !s.overtaken(ctx) {
			s.complain(err.Error())
			s.fail(ctx, me, fsm.SuspendFailed)
			return
		}
		s.log.Info("the suspend command failed, and this host was suspended all the same: somebody else was at it in the same moment", "err", err)
		s.problem.Store(nil)
		s.rejoin()
		s.returns = me.Sleeps
		s.over(ctx, me)
		return
	}
	s.problem.Store(nil)
	if s.awaitReturn(ctx, me) {
		s.fail(ctx, me, fsm.SuspendFailed)
		return
	}
	s.rejoin()
	s.returns = me.Sleeps
	s.over(ctx, me)
}

// fail says that the suspend came to nothing. It is remembered, since a lost proposal would leave a record that says nothing of it, and the
// pauses after failures would not grow.
func (s *sleeper) fail(ctx context.Context, me fsm.Node, why fsm.Reason) {
	s.failed, s.failedFor = why, me.Sleeps
	s.alarm.drop() // the next to suspend this host may be somebody's lid
	s.set(ctx, me, fsm.Awake, s.failed)
}

// back undoes what was done for the sleep alone.
func (s *sleeper) back() {
	if err := s.power.Restore(); err != nil {
		s.log.Warn("a setting that was changed for the sleep stays", "err", err)
	}
	s.delay.stepBack()
}

func (s *sleeper) record() fsm.Node { return s.machine.View().State.Nodes[s.self] }

// report says that this host is back.
func (s *sleeper) report(ctx context.Context, me fsm.Node) {
	reason, slept := fsm.NodeReturned, s.slept == me.Sleeps && s.wasAway()
	switch {
	case me.Power != fsm.Off && s.failedFor == me.Sleeps && !slept: // that could not be said
		reason = s.failed
	case me.Power == fsm.Asleep && slept: // else it did not sleep, or lost its power in its sleep: nobody woke it
		reason = s.alarm.reason(fsm.WokeUnasked)
	case me.Power == fsm.Waking && s.slept == me.Sleeps && !slept: // it was called, and had not slept: a canary, for one, has shown nothing
		reason = fsm.SleepCancelled
	case me.Power == fsm.Waking:
		reason = fsm.WokeUp
	}
	s.meta.setPower(fsm.Awake, me.Sleeps)
	s.set(ctx, me, fsm.Awake, reason)
}

// set proposes a change of this host's own power state. Without a leader it is tried again with the next step.
// It says whether the change is known to be committed.
func (s *sleeper) set(ctx context.Context, me fsm.Node, to fsm.Power, reason fsm.Reason) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	res, err := s.propose(ctx, me, to, reason)
	switch {
	case err != nil:
		s.log.Debug("power state not recorded yet", "reason", reason, "err", err)
	case res.Err() != nil:
		s.log.Debug("power state not recorded", "reason", reason, "err", res.Err())
	default:
		s.log.Info("power state", "node", s.self, "power", to, "reason", reason)
		return true
	}
	return false
}

func (s *sleeper) propose(ctx context.Context, me fsm.Node, to fsm.Power, reason fsm.Reason) (fsm.Result, error) {
	at := s.clock.Wall()
	if to == fsm.Asleep {
		at = s.stamp
	}
	return s.proposer.propose(ctx, fsm.SetPower{
		Node: s.self, From: me.Power, To: to, Sleeps: me.Sleeps, Reason: reason, At: at, By: s.self,
	})
}

// returned is told by the ticks that this host was away. A stall is the suspend that is waited for only where the kernel does
// not count suspends: else this process was merely stopped, and the host may sleep at any moment yet.
func (s *sleeper) returned(how wake.Absence) {
	if _, counted := s.power.Resumes(); how == wake.Slept || !counted {
		s.away.Store(true)
	}
	s.bell.ring()
}

func (s *sleeper) complain(sentence string) {
	s.saidAt.Store(int64(s.clock.Boot()))
	if old := s.problem.Swap(&sentence); old == nil || *old != sentence {
		s.log.Error(sentence)
	}
}

// complaintLasts is how long one is told: a host that seldom sleeps, or is always on, has no other occasion to forget it.
const complaintLasts = 24 * time.Hour

// said is the last complaint; "" = there is none.
func (s *sleeper) said() string {
	if p := s.problem.Load(); p != nil && int64(s.clock.Boot())-s.saidAt.Load() < int64(complaintLasts) {
		return *p
	}
	return ""
}
