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
			if s.wasAway() { // what failed then failed after the resume
				return nil
			}
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
// them along. It says whether nothing came of the command, though nobody called. When the kernel has refused and logind is not at it any more (systemd
// tries one kind of suspend after the other), or logind says that it is over, nothing will.
func (s *sleeper) awaitReturn(ctx context.Context, me fsm.Node) (failed bool) {
	changed, cancel := s.machine.Watch()
	defer cancel()
	_, locks := s.delay.suspending() // other programs' may hold it up as well
	began, grace := s.clock.Boot(), wakeGrace+locks
	limit := time.NewTimer(grace)
	defer limit.Stop()
	look := time.NewTicker(tickEvery)
	defer look.Stop()
	called, last, refused := false, false, 0
	for !s.wasAway() {
		if now := s.record(); !called && (now.Power != fsm.Asleep || now.Sleeps != me.Sleeps) {
			called, last = true, false
			limit.Reset(calledGrace)
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		case <-s.bell:
		case <-look.C:
			if goes, _ := s.delay.suspending(); goes || (s.refusal() == "" && s.delay.ended() == s.overs) {
				refused = 0
			} else if refused++; refused == refusedLooks {
				last = true
				limit.Reset(0)
			}
		case <-limit.C:
			if goes, _ := s.delay.suspending(); goes && s.clock.Boot().Sub(began) < grace {
				limit.Reset(tickEvery)
				continue
			}
			if last && called {
				s.log.Info("called back, and this host did not sleep", "reason", s.record().PowerReason)
				return false
			}
			if last {
				s.complain("the suspend command ended without an error, but this host did not sleep" + s.nothing())
				return true
			}
			last = true
			limit.Reset(lastTick)
		}
	}
	return false
}

// refusedLooks is how often it must be seen that nothing will come of a suspend: what logind says comes by another way, and after a sleep that
// the kernel does not count the ticks must have had their time.
const refusedLooks = 3

// nothing is why nothing came of the suspend command, for the end of a sentence; "" = nobody knows.
func (s *sleeper) nothing() string {
	if why := s.refusal(); why != "" {
		return why
	}
	if s.delay.ended() != s.overs {
		return ": logind began it and says that it is over; `systemctl status systemd-suspend` tells why"
	}
	return ""
}

// refusal is by what the kernel has refused a suspend since the command was run, for the end of a sentence; "" = it has not, or does not tell.
func (s *sleeper) refusal() string {
	if why := s.power.Refusals().Since(s.refusals); why != "" {
		return ": " + why
	}
	return ""
}

// announced is how long after a command that has failed logind may still say that it is at a suspend: systemctl is told first.
const announced = 500 * time.Millisecond

// overtaken says whether the command has failed because somebody else was faster (a lid that was closed between this host's giving back the
// lock and its command), and waits until that is over: a host that said now that it stays awake would get its services and take them into
// the sleep. logind that never says so has ended, or holds on to other programs' locks.
func (s *sleeper) overtaken(ctx context.Context) bool {
	look := time.NewTicker(announced / 10)
	defer look.Stop()
	began, seen := s.clock.Boot(), false
	for !s.wasAway() {
		goes, locks := s.delay.suspending()
		waits := announced
		if goes && !seen {
			s.alarm.drop() // there is none in a sleep that others have begun
		}
		if seen = seen || goes; seen {
			waits = wakeGrace + locks
		}
		if (seen && !goes) || s.clock.Boot().Sub(began) > waits {
			return seen
		}
		select {
		case <-ctx.Done():
			return true
		case <-s.bell:
		case <-look.C:
		}
	}
	return true
}

// halfwayMost is how long a host waits between the two halves of a sleep. systemd needs a second or two.
const halfwayMost = time.Minute

// between says whether this host is awake between the two halves of a sleep: a host that said now that it is back would get its services, and
// take them into the second. Whoever calls is heard all the same: a wake by anything but its own alarm makes systemd end it.
func (s *sleeper) between() bool {
	switch {
	case !s.power.Halfway():
		s.half = time.Time{}
		return false
	case s.half.IsZero():
		s.log.Info("systemd may be about to hibernate this host: it waits for that", "node", s.self)
		s.half = time.Now() // its monotonic clock stands still while the host hibernates
	case time.Since(s.half) > halfwayMost:
		s.complain("systemd has been at a suspend-then-hibernate for " + halfwayMost.String() + " without an end (systemctl status systemd-suspend-then-hibernate)")
		return false
	}
	return true
}
