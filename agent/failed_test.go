package agent

import (
	"context"
	"errors"
	"testing"
	"time"

	"nightporter/fsm"
	"nightporter/login"
	"nightporter/wake"
)

// A suspend that failed is told as one, also when the first word of it is lost, and somebody calls meanwhile.
func TestAFailureIsToldThoughAProposalIsLost(t *testing.T) {
	for name, called := range map[string]bool{"nobody calls": false, "somebody calls": true} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(t *testing.T, s *stage) {
				s.hang = func(context.Context) error {
					s.raft.drop = true
					return errors.New("device r8169 refuses to suspend")
				}
				s.order()
				s.steps(2)
				if me := s.record(); me.Power != fsm.Asleep {
					t.Fatalf("the proposal was not lost: %+v", me)
				}
				if called {
					s.raft.must(fsm.SetPower{Node: "b", From: fsm.Asleep, To: fsm.Waking, Sleeps: 1, Reason: fsm.Demand})
				}
				s.steps(2)
				if me := s.record(); me.Power != fsm.Awake || me.PowerReason != fsm.SuspendFailed {
					t.Errorf("%+v", me)
				}
				s.hang = nil
				s.order()
				s.steps(4)
				if me := s.record(); me.PowerReason != fsm.WokeUnasked {
					t.Errorf("the next sleep: %+v", me)
				}
			})
		})
	}
}

// A suspend command that blocks until the resume and then ends with an error has done its work: the alarm that ended the sleep is known by it.
func TestACommandThatFailsAfterTheResume(t *testing.T) {
	for name, ticks := range map[string]bool{"the kernel counts": false, "the ticks come later": true} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(t *testing.T, s *stage) {
				clock := &fakeClock{began: time.Now()}
				s.sleeper.clock, s.alarm.clock = clock, clock
				s.alarm.after, s.countless = 6*time.Hour, ticks
				s.hang = func(context.Context) error {
					clock.slept.Add(int64(6 * time.Hour))
					if ticks {
						time.AfterFunc(200*time.Millisecond, func() { s.returned(wake.Slept) })
					} else {
						s.resumed.Add(1)
					}
					return errors.New("exit status 1")
				}
				s.order()
				s.steps(4)
				if me := s.record(); me.Power != fsm.Awake || me.PowerReason != fsm.WokeAlarm || len(s.alarms) != 2 || s.alarms[1] != 0 || s.said() != "" {
					t.Errorf("%+v with the alarms %v, %q", me, s.alarms, s.said())
				}
			})
		})
	}
}

// No alarm of this host's own is left when somebody else suspends it: it would wake a laptop in its bag.
func TestNoAlarmOfItsOwnIsLeftForALid(t *testing.T) {
	lid := func(t *testing.T, s *stage, l *scriptedLogind) {
		t.Helper()
		l.events <- login.Sleeping
		pass(time.Second)
		if n := len(s.alarms); n != 2 || s.alarms[1] != 0 {
			t.Errorf("the alarms are %v", s.alarms)
		}
		s.resumed.Add(1)
		l.events <- login.Resumed
		pass(time.Second)
	}
	t.Run("its suspend failed", func(t *testing.T) {
		withLogind(t, func(t *testing.T, s *stage, l *scriptedLogind) {
			s.alarm.after = 6 * time.Hour
			s.hang = func(context.Context) error { return errors.New("no") }
			s.order()
			pass(3 * time.Second)
			if n := len(s.alarms); n != 2 || s.alarms[1] != 0 {
				t.Errorf("after the failure the alarms are %v", s.alarms)
			}
			lid(t, s, l)
		})
	})
	t.Run("it was called back", func(t *testing.T) {
		withLogind(t, func(t *testing.T, s *stage, l *scriptedLogind) {
			s.alarm.after = 6 * time.Hour
			s.hang = untilStopped
			s.order()
			pass(time.Second)
			s.raft.must(fsm.SetPower{Node: "b", From: fsm.Asleep, To: fsm.Waking, Sleeps: 1, Reason: fsm.Demand})
			pass(calledGrace + 2*time.Second)
			if me := s.record(); me.Power != fsm.Awake {
				t.Fatalf("%+v", me)
			}
			lid(t, s, l)
		})
	})
	t.Run("it was overtaken", func(t *testing.T) {
		withLogind(t, func(t *testing.T, s *stage, l *scriptedLogind) {
			s.alarm.after = 6 * time.Hour
			s.hang = func(context.Context) error {
				go func() { l.events <- login.Sleeping }()
				return errors.New("there is already a suspend in progress")
			}
			s.order()
			pass(time.Second)
			if n := len(s.alarms); n != 2 || s.alarms[1] != 0 {
				t.Errorf("the alarms are %v", s.alarms)
			}
			s.resumed.Add(1)
			l.events <- login.Resumed
			pass(time.Second)
		})
	})
	t.Run("the next one is a canary", func(t *testing.T) {
		onStage(t, func(t *testing.T, s *stage) {
			s.alarm.after = 5 * time.Minute
			s.alarm.set(fsm.NodeIdle)
			s.alarm.set(fsm.CanarySleep)
			if n := len(s.alarms); n != 2 || s.alarms[1] != 0 {
				t.Errorf("the alarms are %v", s.alarms)
			}
		})
	})
}
