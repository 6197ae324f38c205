package agent

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nightporter/fsm"
	"nightporter/login"
	"nightporter/wake"
)

// scriptedLogind says what the test says, at the instants of virtual time; the real one is spoken to in package login's tests, and by the real
// agent in chaos/scenarios.
type scriptedLogind struct {
	longest time.Duration
	mu      sync.Mutex
	err     error // of whatever is asked
	events  chan login.Event
	held    int // locks that are given out
}

func (l *scriptedLogind) Link(context.Context) (LogindLink, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l, l.err
}

// Events implements LogindLink.
func (l *scriptedLogind) Events() <-chan login.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.events
}

func (l *scriptedLogind) Close() error { return nil }
func (l *scriptedLogind) DelayMax(context.Context) (time.Duration, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.longest, l.err
}

func (l *scriptedLogind) Delay(context.Context, string, string) (io.Closer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	l.held++
	return closeFunc(func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.held--
		return nil
	}), nil
}

func (l *scriptedLogind) fails(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

func (l *scriptedLogind) locks() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

// withLogind runs the sleeper's loop and the inhibitor beside it.
func withLogind(t *testing.T, f func(*testing.T, *stage, *scriptedLogind)) {
	t.Helper()
	onStage(t, func(t *testing.T, s *stage) {
		l := &scriptedLogind{longest: 5 * time.Second, events: make(chan login.Event)}
		s.delay = &inhibitor{self: "b", logind: l, press: s.press, ease: s.ease, late: s.late, log: s.log, bell: newBell()}
		ctx, stop := context.WithCancel(t.Context())
		var loops sync.WaitGroup
		loops.Go(func() { s.run(ctx) })
		loops.Go(func() { s.delay.run(ctx) })
		synctest.Wait()
		f(t, s, l)
		stop()
		loops.Wait()
		if n := l.locks(); n != 0 {
			t.Errorf("%d locks are left", n)
		}
	})
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// holds makes this host look as if it held a service that nobody takes.
func (s *stage) holds() {
	keeper := &tenant{}
	keeper.shown.Store(&tenancy{Opened: true, Epoch: 1})
	s.tenants.all = map[string]*tenant{"web": keeper}
}

// The whole way: handed over, asleep in the log, card armed, lock given back; after the resume back in the log, and the lock taken again.
// No command is run.
func TestSuspendedByOthers(t *testing.T) {
	withLogind(t, func(t *testing.T, s *stage, l *scriptedLogind) {
		for n := range uint64(2) {
			if l.locks() != 1 {
				t.Fatalf("%d locks, want one", l.locks())
			}
			l.events <- login.Sleeping
			pass(time.Second)
			if me := s.record(); me.Power != fsm.Asleep || me.PowerReason != fsm.SuspendedByOthers || me.Sleeps != n+1 {
				t.Fatalf("%+v", me)
			}
			if l.locks() != 0 || s.arms != int(n)+1 {
				t.Fatalf("%d locks, armed %d times", l.locks(), s.arms)
			}
			s.resumed.Add(1)
			if n == 0 {
				s.returned(wake.Slept) // the ticks are first, or logind is
			}
			l.events <- login.Resumed
			pass(2 * time.Second)
			if me := s.record(); me.Power != fsm.Awake || me.PowerReason != fsm.WokeUnasked || s.suspends != 0 {
				t.Fatalf("after the resume: %d commands, %+v", s.suspends, me)
			}
			pass(time.Minute) // the time of the lock that was given back is none of the new one's
		}
		if p := s.problem.Load(); p != nil {
			t.Error(*p)
		}
	})
}

// A host whose sleep is refused (here: it is always on) goes down all the same. Its record says so, and the reason is told.
func TestSuspendedByOthersAgainstTheRules(t *testing.T) {
	withLogind(t, func(t *testing.T, s *stage, l *scriptedLogind) {
		s.raft.must(fsm.PutNode{Node: fsm.Node{Name: "b", Key: "k", Policy: fsm.AlwaysOn}})
		l.events <- login.Sleeping
		pass(time.Second)
		if me := s.record(); me.Power != fsm.Asleep || me.PowerReason != fsm.SuspendedByOthers || l.locks() != 0 || s.arms != 1 {
			t.Errorf("%+v, %d locks, armed %d times", me, l.locks(), s.arms)
		}
		if p := s.problem.Load(); p == nil || !strings.Contains(*p, "was suspended by others") || !strings.Contains(*p, "always-on") {
			t.Errorf("problem: %v", p)
		}
		s.resumed.Add(1)
		l.events <- login.Resumed
		pass(time.Second)
		if me := s.record(); me.Power != fsm.Awake || me.PowerReason != fsm.WokeUnasked || s.suspends != 0 || l.locks() != 1 {
			t.Errorf("after the resume: %d commands, %d locks, %+v", s.suspends, l.locks(), me)
		}
	})
}

// logind's time is over before the hand-over is. The lock is given back in time, and after the resume the host does not go on with the sleep.
func TestSuspendedByOthersTooSoon(t *testing.T) {
	for name, ordered := range map[string]bool{"by others alone": false, "in the middle of a sleep of its own": true} {
		t.Run(name, func(t *testing.T) {
			withLogind(t, func(t *testing.T, s *stage, l *scriptedLogind) {
				s.holds()
				if ordered {
					s.order()
					pass(time.Second)
				}
				l.events <- login.Sleeping
				pass(delayed(5*time.Second) - time.Millisecond)
				if l.locks() != 1 {
					t.Fatal("the lock was given back early")
				}
				pass(2 * time.Millisecond)
				if me := s.record(); l.locks() != 0 || me.Power != fsm.Suspending {
					t.Fatalf("%d locks, %+v", l.locks(), me)
				}
				if p := s.problem.Load(); p == nil || !strings.Contains(*p, "InhibitDelayMaxSec") {
					t.Errorf("problem: %v", p)
				}
				pass(time.Hour / 60)
				l.events <- login.Resumed
				pass(2 * time.Second)
				if me := s.record(); me.Power != fsm.Awake || s.suspends != 0 || l.locks() != 1 {
					t.Errorf("after the resume: %d commands, %d locks, %+v", s.suspends, l.locks(), me)
				}
			})
		})
	}
}

// logind waits for longer than a hand-over of this host's own may take: that limit is not the one that counts. A host that said that it stays
// awake would get everything back, to give it away once more.
func TestSuspendedByOthersWhoWaitLong(t *testing.T) {
	withLogind(t, func(t *testing.T, s *stage, l *scriptedLogind) {
		l.mu.Lock()
		l.longest = time.Minute
		l.mu.Unlock()
		l.events <- login.Changed
		pass(time.Second)
		s.holds()
		l.events <- login.Sleeping
		pass(delayed(time.Minute) - time.Second)
		if me := s.record(); me.Power != fsm.Suspending || me.Sleeps != 1 || l.locks() != 1 {
			t.Errorf("%+v, %d locks", me, l.locks())
		}
		pass(2 * time.Second)
		l.events <- login.Resumed
		pass(2 * time.Second)
		if me := s.record(); me.Power != fsm.Awake || me.PowerReason != fsm.NodeReturned {
			t.Errorf("after the resume: %+v", me)
		}
	})
}

// Others suspend the host in the middle of its own sleep, and it is back before it knows that "asleep" was committed: it does not run its own
// command after that.
func TestSuspendedByOthersBeforeItKnows(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.order()
		s.press(time.Second)
		s.raft.mu.Lock()
		s.raft.lose = true
		s.raft.mu.Unlock()
		s.step(t.Context())
		if me := s.record(); me.Power != fsm.Asleep || s.handed != 0 {
			t.Fatalf("%+v, handed over in sleep %d", me, s.handed)
		}
		s.resumed.Add(1)
		s.returned(wake.Slept)
		s.ease()
		s.steps(4)
		if me := s.record(); me.Power != fsm.Awake || s.suspends != 0 {
			t.Errorf("%d commands, %+v", s.suspends, me)
		}
	})
}

// A complaint is over with the next suspend, also by others, and after a day.
func TestAComplaintEnds(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.late()
		pass(complaintLasts - time.Second)
		if s.said() == "" {
			t.Error("it is forgotten early")
		}
		pass(2 * time.Second)
		if p := s.said(); p != "" {
			t.Errorf("after a day: %q", p)
		}
		s.late()
		if s.said() == "" {
			t.Error("the same complaint is not made anew")
		}
		s.press(time.Second)
		if p := s.said(); p != "" {
			t.Errorf("with the next suspend: %q", p)
		}
	})
}

// The host's own sleep is not delayed by the host itself.
func TestItsOwnSleepIsNotDelayed(t *testing.T) {
	withLogind(t, func(t *testing.T, s *stage, l *scriptedLogind) {
		s.during = func() {
			if l.locks() != 0 {
				t.Error("the lock is held while the command runs")
			}
			l.events <- login.Sleeping
			synctest.Wait()
			if _, on := s.pressed(); on {
				t.Error("its own sleep is taken for somebody else's")
			}
			l.events <- login.Resumed
		}
		s.order()
		pass(3 * time.Second)
		if me := s.record(); s.suspends != 1 || me.Power != fsm.Awake || l.locks() != 1 || s.restored != 1 {
			t.Errorf("%d commands, %d locks, restored %d times, %+v", s.suspends, l.locks(), s.restored, me)
		}
	})
}

// logind waits for another program's lock, and somebody calls meanwhile: the host does not say that it is back before it was away, since
// nothing takes the suspend back; and it does when logind says that it is over.
func TestCalledWhileLogindWaits(t *testing.T) {
	for name, sleeps := range map[string]bool{"and sleeps": true, "and does not": false} {
		t.Run(name, func(t *testing.T) {
			withLogind(t, func(t *testing.T, s *stage, l *scriptedLogind) {
				s.hang = func(context.Context) error { // as systemctl, which does not wait
					l.events <- login.Sleeping
					return nil
				}
				s.order()
				pass(time.Second)
				s.raft.must(fsm.SetPower{Node: "b", From: fsm.Asleep, To: fsm.Waking, Sleeps: 1, Reason: fsm.Demand})
				pass(calledGrace + lastTick + time.Second)
				if me := s.record(); me.Power != fsm.Waking {
					t.Fatalf("before it was away: %+v", me)
				}
				if sleeps {
					s.resumed.Add(1)
					s.returned(wake.Slept)
				}
				l.events <- login.Resumed
				pass(2 * time.Second)
				want := fsm.SleepCancelled
				if sleeps {
					want = fsm.WokeUp
				}
				if me := s.record(); me.Power != fsm.Awake || me.PowerReason != want || s.problem.Load() != nil || l.locks() != 1 {
					t.Errorf("%+v, %v, %d locks", me, s.problem.Load(), l.locks())
				}
			})
		})
	}
}

// A lid is closed in the moment in which the host suspends itself: its command fails, since logind is at it already, and that is no failure.
func TestALidClosedDuringTheCommand(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.hang = func(context.Context) error {
			s.press(time.Second)
			return errors.New("there is already a suspend in progress")
		}
		s.order()
		resumed := time.AfterFunc(500*time.Millisecond, func() {
			s.resumed.Add(1)
			s.ease()
		})
		defer resumed.Stop()
		s.steps(1)
		if me := s.record(); me.Power != fsm.Asleep || s.problem.Load() != nil {
			t.Errorf("%+v, %v", me, s.problem.Load())
		}
		s.steps(2)
		if me := s.record(); me.Power != fsm.Awake || me.PowerReason != fsm.WokeUnasked {
			t.Errorf("%+v", me)
		}
	})
}

// The same before the command was run, when the lock had been given back: no lock, no word to the sleeper. The host does not say that it stays
// awake before it was away, or logind says that it is over; and it does when its own command has failed for itself.
func TestALidClosedBeforeTheCommand(t *testing.T) {
	for name, c := range map[string]struct {
		lid, sleeps bool
		want        fsm.Reason
	}{"and the host sleeps": {true, true, fsm.WokeUnasked}, "and it does not": {true, false, fsm.NodeReturned}, "there was no lid": {false, false, fsm.SuspendFailed}} {
		t.Run(name, func(t *testing.T) {
			withLogind(t, func(t *testing.T, s *stage, l *scriptedLogind) {
				s.hang = func(context.Context) error {
					if c.lid { // systemctl is told that it is too late before logind's signal is read here
						go func() { time.Sleep(100 * time.Millisecond); l.events <- login.Sleeping }()
					}
					return errors.New("there is already a suspend in progress")
				}
				s.order()
				pass(3 * time.Second)
				if c.lid {
					if me := s.record(); me.Power != fsm.Asleep {
						t.Fatalf("before it was away: %+v", me)
					}
					if c.sleeps {
						s.resumed.Add(1)
					}
					l.events <- login.Resumed
					pass(2 * time.Second)
				}
				if me := s.record(); me.Power != fsm.Awake || me.PowerReason != c.want || (s.problem.Load() != nil) == c.lid || l.locks() != 1 {
					t.Errorf("%+v, %v, %d locks", me, s.said(), l.locks())
				}
			})
		})
	}
}

// An agent that starts on a record that says "suspending", for a suspend by others, reports back.
func TestNoSleepOnAFoundSuspendByOthers(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.raft.must(fsm.SetPower{Node: "b", From: fsm.Awake, To: fsm.Suspending, Sleeps: 0, Reason: fsm.SuspendedByOthers})
		s.steps(3)
		if me := s.record(); me.Power != fsm.Awake || s.suspends != 0 {
			t.Errorf("%d commands, %+v", s.suspends, me)
		}
	})
}

// A host that cannot sleep, or cannot tell, hands nothing over.
func TestUnableToSleep(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.unable = errors.New("systemd-logind does not answer")
		s.order()
		s.steps(2)
		if me := s.record(); me.Power != fsm.Awake || me.PowerReason != fsm.SuspendFailed || s.suspends+s.arms != 0 {
			t.Errorf("%d commands, %+v", s.suspends, me)
		}
		if p := s.problem.Load(); p == nil || !strings.Contains(*p, "stays awake: systemd-logind does not answer") {
			t.Errorf("problem: %v", p)
		}
	})
}

// What is to be done next, for each record that a suspend by others can meet.
func TestStepsOfASuspendByOthers(t *testing.T) {
	for _, c := range []struct {
		name                 string
		power                fsm.Power
		known, leaving, mine bool
		denied               bool
		handed, slept        uint64
		want                 wayDown
	}{
		{"no record", "", false, false, false, false, 0, 0, letGo},
		{"awake", fsm.Awake, true, false, false, false, 0, 0, wishToSleep},
		{"awake and refused", fsm.Awake, true, false, false, true, 0, 0, sayAsleep},
		{"refused, and said to be asleep", fsm.Asleep, true, false, true, true, 7, 7, untilRelieved},
		{"on its way out", fsm.Awake, true, true, false, false, 0, 0, untilRelieved},
		{"granted", fsm.Suspending, true, false, false, false, 0, 0, handOverFirst},
		{"asleep", fsm.Asleep, true, false, true, false, 7, 6, goDown},
		{"asleep, or not", fsm.Asleep, true, false, true, false, 6, 6, askAgain},
		{"asleep in an earlier life", fsm.Asleep, true, false, false, false, 0, 0, letGo},
		{"it was asleep just now", fsm.Asleep, true, false, true, false, 7, 7, letGo},
		{"called", fsm.Waking, true, false, true, false, 7, 6, letGo},
		{"off on the record", fsm.Off, true, false, false, false, 0, 0, letGo},
	} {
		o := byOthers{denied: c.denied}
		if got := o.step(fsm.Node{Power: c.power, Sleeps: 7}, c.known, c.leaving, c.mine, c.handed, c.slept); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// What status says of the lock, as logind and the bus come and go.
func TestDelayIsShown(t *testing.T) {
	withLogind(t, func(t *testing.T, s *stage, l *scriptedLogind) {
		shows := func(want, problem string, usual time.Duration) {
			t.Helper()
			state, _, _ := s.delay.delay()
			if p := s.delay.problem(usual); state != want || (p == "") != (problem == "") || !strings.Contains(p, problem) {
				t.Errorf("%s: %q, want %s: %q", state, p, want, problem)
			}
		}
		shows("held", "", 4*time.Second)
		shows("held", "InhibitDelayMaxSec=21s", 10*time.Second)
		l.fails(errors.New("no answer"))
		l.events <- login.Changed
		pass(time.Millisecond)
		shows("unknown", "without a hand-over: no answer", time.Second)
		l.fails(login.ErrNoLogind)
		l.events <- login.Changed
		pass(time.Millisecond)
		shows("none", "", time.Second)
		l.fails(nil)
		l.events <- login.Changed
		pass(time.Millisecond)
		shows("held", "", time.Second)
		close(l.events) // the bus ends, and is back
		pass(time.Millisecond)
		shows("unknown", "the connection to the bus has ended", time.Second)
		l.mu.Lock()
		l.events = make(chan login.Event)
		l.mu.Unlock()
		pass(linkRetry)
		shows("held", "", time.Second)
	})
}

func TestDelayed(t *testing.T) {
	for longest, want := range map[time.Duration]time.Duration{
		0: 0, 100 * time.Millisecond: 50 * time.Millisecond, time.Second: 750 * time.Millisecond, 5 * time.Second: 4500 * time.Millisecond, time.Minute: 54 * time.Second,
	} {
		if got := delayed(longest); got != want {
			t.Errorf("of %v: %v, want %v", longest, got, want)
		}
	}
}

func TestJudged(t *testing.T) {
	for answer, want := range map[string]string{"yes": "", "challenge": "", "na": "cannot do it (CanHibernate: na)", "no": "may not (CanHibernate: no)", "": "may not"} {
		err := judged("CanHibernate", answer)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", answer, err)
		}
	}
}
