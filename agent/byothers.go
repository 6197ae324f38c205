package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/lease"
)

// byOthers is a suspend that somebody else has begun, as logind tells it. The host goes down when the delay lock is given back, or at
// the end of logind's patience, whatever this agent does: nothing here can refuse it.
type byOthers struct {
	mu     sync.Mutex
	on     bool
	by     lease.Boot    // when the lock is given back at the latest
	denied bool          // the leader has refused "suspending"
	over   chan struct{} // closed when it is over
	undone uint64        // the sleep in which this happened, where that was not over
	cut    func()        // ends what is being asked before a sleep of the host's own; nil = nothing is
}

// press is told that somebody else suspends this host, and for how long that waits.
func (s *sleeper) press(within time.Duration) {
	s.others.mu.Lock()
	if !s.others.on {
		s.others.over = make(chan struct{})
	}
	s.others.on, s.others.by, s.others.denied = true, s.clock.Boot().Add(within), false
	if s.others.cut != nil {
		s.others.cut()
	}
	s.others.mu.Unlock()
	s.problem.Store(nil) // of an earlier sleep
	s.away.Store(false)
	s.bell.ring()
}

// ease is told that it is over: the host is back, or was never gone.
func (s *sleeper) ease() {
	s.others.mu.Lock()
	was := s.others.on
	s.others.on, s.others.denied = false, false
	if was {
		close(s.others.over)
		if me := s.record(); me.Power == fsm.Suspending || me.Power == fsm.Asleep {
			s.others.undone = me.Sleeps
		}
	}
	s.others.mu.Unlock()
	s.bell.ring()
}

// pressed says whether somebody else suspends this host, and for how long it can still be delayed.
func (s *sleeper) pressed() (left time.Duration, on bool) {
	s.others.mu.Lock()
	defer s.others.mu.Unlock()
	return s.others.by.Sub(s.clock.Boot()), s.others.on
}

// unless gives a context that ends when somebody else suspends this host.
func (o *byOthers) unless(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.cut = cancel; o.on {
		cancel()
	}
	return ctx, func() {
		o.mu.Lock()
		o.cut = nil
		o.mu.Unlock()
		cancel()
	}
}

// pressedRetry is the pause between two looks then: a tenth of what a hand-over takes.
const pressedRetry = 20 * time.Millisecond

// giveWay is one look while somebody else suspends this host: the same steps as before a sleep of its own, as far as time allows, and at
// their end the lock is given back instead of a command being run.
func (s *sleeper) giveWay(ctx context.Context, me fsm.Node, known bool) time.Duration {
	s.alarm.drop() // of a sleep of its own: it would wake a laptop in its bag
	s.returns = 0
	mine := s.beganFor == me.Sleeps && !s.stamp.IsZero() && me.PowerSince.Equal(s.stamp)
	switch s.others.step(me, known, s.leaving(), mine, s.handed, s.slept) {
	case wishToSleep:
		s.wish(ctx, me)
	case sayAsleep:
		s.sayAsleep(ctx, me)
	case handOverFirst:
		s.handOver(ctx, me)
	case goDown:
		s.suspend(ctx, me)
	case askAgain:
		s.confirm(ctx, me)
	case untilRelieved:
		if s.asFarAsPossible() {
			if s.raft.IsLeader() {
				s.yieldLead(ctx)
			}
			s.meta.setPower(me.Power, me.Sleeps)
			s.slept = me.Sleeps
			s.goDown(ctx)
		}
	case letGo:
		s.goDown(ctx)
	}
	return pressedRetry
}

// wayDown is what is to be done next.
type wayDown int

const (
	wishToSleep   wayDown = iota // ask for "suspending"
	sayAsleep                    // it was refused: the services go all the same, and the record has "asleep" at once
	handOverFirst                // it is granted
	askAgain                     // "asleep" was proposed, and nobody knows what became of it
	goDown                       // "asleep" is committed
	untilRelieved                // that is so, and the services are on their way
	letGo                        // there is nothing to do
)

// step is the decision. A host on its way up from a sleep, or without a record, holds nothing.
func (o *byOthers) step(me fsm.Node, known, leaving, mine bool, handed, slept uint64) wayDown {
	o.mu.Lock()
	denied := o.denied
	o.mu.Unlock()
	switch {
	case !known:
		return letGo
	case me.Power == fsm.Awake && leaving, me.Power == fsm.Asleep && denied: // who leaves hands over by itself
		return untilRelieved
	case me.Power == fsm.Awake && denied:
		return sayAsleep
	case me.Power == fsm.Awake:
		return wishToSleep
	case me.Power == fsm.Suspending:
		return handOverFirst
	case me.Power == fsm.Asleep && handed == me.Sleeps && slept < me.Sleeps:
		return goDown
	case me.Power == fsm.Asleep && mine && handed < me.Sleeps:
		return askAgain
	}
	return letGo
}

// wish asks for the sleep that comes in any case.
func (s *sleeper) wish(ctx context.Context, me fsm.Node) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	res, err := s.proposer.propose(ctx, fsm.SetPower{
		Node: s.self, From: fsm.Awake, To: fsm.Suspending, Sleeps: me.Sleeps, Reason: fsm.SuspendedByOthers, At: s.clock.Wall(), By: s.self,
	})
	switch {
	case err != nil:
		s.log.Debug("the suspend by others is not recorded yet", "node", s.self, "err", err)
	case res.Err() == nil || res.Refused == fsm.WrongPower:
	default:
		s.complain("this host was suspended by others, and its own wish would have been refused: " + res.Err().Error())
		s.others.mu.Lock()
		s.others.denied = true
		s.others.mu.Unlock()
	}
}

// sayAsleep gives away what others can take, and has the record say what cannot be refused: that this host sleeps, without the step between
// that is granted or not. Without the second the leader would give everything back at once to a host that is awake.
func (s *sleeper) sayAsleep(ctx context.Context, me fsm.Node) {
	moves, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var g errgroup.Group
	g.SetLimit(64)
	for _, c := range cluster.Relieve(s.scene.view(), s.self) {
		g.Go(func() error {
			c.Reason = fsm.OwnerSleeps
			if _, err := s.proposer.propose(moves, c); err != nil {
				s.log.Debug("not handed over yet", "service", c.Service, "err", err)
			}
			return nil
		})
	}
	_ = g.Wait() // each reports for itself
	s.stamp = s.clock.Wall()
	s.set(ctx, me, fsm.Asleep, fsm.SuspendedByOthers)
}

// asFarAsPossible says whether everything that others can take is open there, and nothing of it here.
func (s *sleeper) asFarAsPossible() bool {
	if len(cluster.Relieve(s.scene.view(), s.self)) > 0 || !s.tenants.quiet() {
		return false
	}
	v := s.machine.View().State
	for name := range v.Services {
		if v.Ownerships[name].Owner != s.self && (s.tenants.reporting(name) || s.awaits(v, name)) {
			return false
		}
	}
	return true
}

// goDown arms the card, gives the lock back, and waits until the sleep is over.
func (s *sleeper) goDown(ctx context.Context) {
	s.alarm.drop()
	s.half = time.Time{}
	if err := s.power.Arm(); err != nil {
		s.complain("this host was suspended by others and may not wake when it is called: " + err.Error())
	}
	s.resumes, s.counted = s.power.Resumes()
	s.away.Store(false)
	s.log.Info("suspended by others: everything that could be is handed over", "node", s.self)
	s.delay.stepAside()
	s.awaitOthers(ctx)
	s.ease()
	s.delay.stepBack()
	s.rejoin()
}

// othersGrace is how long after the lock was given back at the latest the host may still be awake, beside what is left of logind's time for
// the locks of others.
const othersGrace = wakeGrace

// awaitOthers waits until this host was away, or logind says that it is over, or neither happens: logind has ended.
func (s *sleeper) awaitOthers(ctx context.Context) {
	s.others.mu.Lock()
	over, on := s.others.over, s.others.on
	s.others.mu.Unlock()
	if !on {
		return
	}
	left, _ := s.pressed()
	limit := time.NewTimer(max(left, 0) + othersGrace)
	defer limit.Stop()
	look := time.NewTicker(tickEvery)
	defer look.Stop()
	for !s.wasAway() {
		select {
		case <-ctx.Done():
			return
		case <-over:
			return
		case <-s.bell:
		case <-look.C:
		case <-limit.C:
			s.complain("somebody else was to suspend this host, and nothing more was heard of that")
			return
		}
	}
}

// late is told that the lock was given back before the hand-over had ended.
func (s *sleeper) late() {
	s.complain("somebody else suspended this host, and the time that logind leaves did not do to hand over everything (InhibitDelayMaxSec in logind.conf)")
}

// missed says whether the sleep that the record is on the way to was carried out by somebody else, or taken back, before the hand-over had
// ended, or before this host knew that "asleep" is committed. It does not go to sleep by itself after that. slept is the sleep that it was
// in last.
func (o *byOthers) missed(me fsm.Node, slept uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.on:
		return false
	case me.Power == fsm.Suspending:
		return me.PowerReason == fsm.SuspendedByOthers || me.Sleeps == o.undone
	}
	return me.Power == fsm.Asleep && me.Sleeps == o.undone && slept < me.Sleeps
}

// able asks whether this host could sleep at all; what cannot be found out is a no.
func (s *sleeper) able(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, linkLimit)
	defer cancel()
	err := s.power.Able(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("whether it can sleep is not answered within " + linkLimit.String())
	}
	return err
}
