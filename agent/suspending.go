package agent

import (
	"context"
	"errors"
	"time"

	"nightporter/fsm"
)

// wakeGrace is how long the suspend command may run, and after its end the host may still be awake (systemctl returns
// before): as much time as the host is awake, since the clock behind it stands still during a suspend.
const wakeGrace = 20 * time.Second

// calledGrace is what is left of that when somebody calls this host back.
const calledGrace = 2 * time.Second

// lastTick is how long a limit that has passed waits for the ticks to find out that the host was away: where the clocks go on
// (a frozen process), both are due at the same moment.
const lastTick = 2 * tickEvery

// What a suspend command that had to be stopped ends with.
var (
	errStayed = errors.New("the suspend command has run for " + wakeGrace.String() + " and this host did not sleep; the command was stopped, and the host stays awake")
	errCalled = errors.New("called back")
)

// wasAway says whether this host was away since the suspend command was run: the ticks saw it by the clocks, or the kernel has
// counted it. A sleep of a moment leaves the clocks as they were.
func (s *sleeper) wasAway() bool {
	if s.away.Load() {
		return true
	}
	n, counted := s.power.Resumes()
	return counted && s.counted && n != s.resumes
}

// command runs the suspend command. It returns when the command has ended, or was stopped; or as soon as the host was away,
// though the command may have more to do: what runs after the resume is nobody's business here.
func (s *sleeper) command(ctx context.Context, me fsm.Node) error {
	if s.stopLast != nil {
		s.stopLast() // one that still had more to do after an earlier resume
		s.running.Wait()
	}
	ctx, stop := context.WithCancel(ctx)
	s.stopLast = stop
	ended := make(chan error, 1)
	s.running.Go(func() { ended <- s.power.Suspend(ctx) })
	err := s.awaitAway(me, ended)
	if errors.Is(err, errStayed) || errors.Is(err, errCalled) {
		stop()
		<-ended
	}
	return err
}

// awaitAway waits until the host was away, or the command has ended, or has had its time: all of it, or, when somebody calls
// meanwhile, a moment.
func (s *sleeper) awaitAway(me fsm.Node, ended <-chan error) error {
	changed, cancel := s.machine.Watch()
	defer cancel()
	limit := time.NewTimer(wakeGrace)
	defer limit.Stop()
	look := time.NewTicker(tickEvery)
	defer look.Stop()
	verdict, last := errStayed, false
	for !s.wasAway() {
		if now := s.record(); verdict == errStayed && (now.Power != fsm.Asleep || now.Sleeps != me.Sleeps) {
			verdict = errCalled
			limit.Reset(calledGrace)
		}
		select {
		case err := <-ended:
			return err
		case <-changed:
		case <-s.bell:
		case <-look.C:
		case <-limit.C:
			if last {
				return verdict
			}
			last = true
			limit.Reset(lastTick)
		}
	}
	return nil
}

// awaitReturn waits, after the suspend command, until the host was away; when somebody calls meanwhile, for a moment only. It may be on its
// way into the sleep all the same: the command may end before that begins, and a host that reports back would get its services and take
// them along.
func (s *sleeper) awaitReturn(ctx context.Context, me fsm.Node) {
	changed, cancel := s.machine.Watch()
	defer cancel()
	_, locks := s.delay.suspending() // other programs' may hold it up as well
	began, grace := s.clock.Boot(), wakeGrace+locks
	limit := time.NewTimer(grace)
	defer limit.Stop()
	look := time.NewTicker(tickEvery)
	defer look.Stop()
	called, last := false, false
	for !s.wasAway() {
		if now := s.record(); !called && (now.Power != fsm.Asleep || now.Sleeps != me.Sleeps) {
			called, last = true, false
			limit.Reset(calledGrace)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-s.bell:
		case <-look.C:
		case <-limit.C:
			if goes, _ := s.delay.suspending(); goes && s.clock.Boot().Sub(began) < grace {
				limit.Reset(tickEvery)
				continue
			}
			if last && called {
				s.log.Info("called back, and this host did not sleep", "reason", s.record().PowerReason)
				return
			}
			if last {
				s.complain("the suspend command ended without an error, but this host did not sleep")
				return
			}
			last = true
			limit.Reset(lastTick)
		}
	}
}
