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
	stamp    time.Time      // of this process's proposals of "asleep" for that sleep, by which it knows its own; zero = none
	handed   uint64         // the sleep whose "asleep", with that stamp, it knows to be committed
	slept    uint64         // the sleep that was carried out, or given up, by this process
	running  sync.WaitGroup // the suspend command
	stopLast func()         // stops it
	away     atomic.Bool
	resumes  uint64       // the kernel's count of them when the suspend command was run
	counted  bool         // it keeps one
	took     atomic.Int64 // the longest hand-over of this process, a time.Duration
	problem  atomic.Pointer[string]
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
		s.meta.setPower(fsm.Awake, me.Sleeps)
		return time.Minute
	}
	switch {
	case s.others.missed(me):
		s.report(ctx, me)
	case me.Power == fsm.Suspending:
		s.handOver(ctx, me)
	case me.Power == fsm.Asleep && s.handed == me.Sleeps && s.slept < me.Sleeps:
		s.suspend(ctx, me)
	case me.Power == fsm.Asleep && s.beganFor == me.Sleeps && !s.stamp.IsZero() && me.PowerSince.Equal(s.stamp) && s.handed < me.Sleeps:
		s.confirm(ctx, me)
	default:
		s.report(ctx, me)
	}
	return retrySleep
}

// handOver waits until the host holds nothing and every heir is seen to be open, and commits "asleep".
func (s *sleeper) handOver(ctx context.Context, me fsm.Node) {
	s.meta.setPower(fsm.Suspending, me.Sleeps)
	if s.beganFor != me.Sleeps {
		s.began, s.beganFor, s.stamp = s.clock.Boot(), me.Sleeps, time.Time{}
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
	limit := s.timeout + voteMoves(s.scene.view(), s.machine.View().Servers, s.self)
	if s.clock.Boot().Sub(s.began) > limit {
		s.complain("the hand-over before a suspend did not end in " + limit.String() + ": the host stays awake")
		s.set(ctx, me, fsm.Awake, fsm.SuspendTimeout)
		return
	}
	if !s.relieved() && !mutant.On(mutant.NoHandOver) { // breaks I7 and I8; the plan must not do it either
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

// canSleep says whether this host could sleep; one that cannot, or cannot tell, hands nothing over, and says why.
func (s *sleeper) canSleep(ctx context.Context, me fsm.Node) bool {
	err := s.able(ctx)
	if err == nil {
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
	if err := s.power.Arm(); err != nil {
		s.complain("the host stays awake: " + err.Error())
		s.set(ctx, me, fsm.Awake, fsm.SuspendFailed)
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
		s.complain(err.Error())
		s.set(ctx, me, fsm.Awake, fsm.SuspendFailed)
		return
	}
	s.problem.Store(nil)
	s.awaitReturn(ctx, me)
	s.rejoin()
	if s.alarm.calm(ctx, me, s.wasAway()) {
		s.slept = me.Sleeps - 1 // the same sleep goes on
	}
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
	reason := fsm.NodeReturned
	switch me.Power {
	case fsm.Asleep:
		if s.slept == me.Sleeps && s.wasAway() { // else it did not sleep, or lost its power in its sleep: nobody woke it
			reason = s.alarm.reason(fsm.WokeUnasked)
		}
	case fsm.Waking:
		reason = fsm.WokeUp
		if s.slept == me.Sleeps && !s.wasAway() { // it was called, and had not slept: a canary, for one, has shown nothing
			reason = fsm.SleepCancelled
		}
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
	if old := s.problem.Swap(&sentence); old == nil || *old != sentence {
		s.log.Error(sentence)
	}
}
