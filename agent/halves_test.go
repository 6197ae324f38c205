package agent

import (
	"slices"
	"testing"
	"time"

	"nightporter/fsm"
)

// TestASleepOfTwoHalves: suspend-then-hibernate wakes by its own alarm and hibernates, and nobody announces the second half. Between them the
// host does not say that it is back, or it would get its services and take them along, and keeps its alarm, which is to wake it from the second;
// where systemd never ends, it comes back after all.
func TestASleepOfTwoHalves(t *testing.T) {
	for name, ends := range map[string]bool{"it ends": true, "it hangs": false} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(t *testing.T, s *stage) {
				s.alarm.after = 6 * time.Hour
				s.during = func() { s.halfway = true }
				s.order()
				s.steps(50)
				if me := s.record(); me.Power != fsm.Asleep || s.suspends != 1 || !slices.Equal(s.alarms, []time.Duration{6 * time.Hour}) {
					t.Fatalf("between the halves: %d commands, the alarms %v, %+v", s.suspends, s.alarms, me)
				}
				if ends {
					s.halfway = false
					s.steps(2)
				} else {
					s.steps(int(halfwayMost / retrySleep))
				}
				if me := s.record(); me.Power != fsm.Awake || me.PowerReason != fsm.WokeUnasked || s.suspends != 1 || (s.said() == "") != ends || len(s.alarms) != 2 || s.alarms[1] != 0 {
					t.Errorf("%d commands, the alarms %v, %+v, %q", s.suspends, s.alarms, me, s.said())
				}
				s.during, s.halfway = nil, false
				s.order()
				s.steps(4)
				if me := s.record(); me.Power != fsm.Awake || s.suspends != 2 || s.said() != "" {
					t.Errorf("the next sleep: %d commands, %+v, %q", s.suspends, me, s.said())
				}
			})
		})
	}
}

// The second half ends by the alarm that was set before the first.
func TestTheAlarmEndsTheSecondHalf(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.alarm.after = 6 * time.Hour
		s.during = func() { s.halfway = true }
		s.order()
		s.steps(10)
		<-time.After(6 * time.Hour)
		s.halfway = false
		s.steps(2)
		if me := s.record(); me.Power != fsm.Awake || me.PowerReason != fsm.WokeAlarm {
			t.Errorf("%+v", me)
		}
	})
}

// A sleep whose second half somebody cut short leaves nothing behind: the next one has its minute between the halves, too.
func TestEachSleepHasItsOwnMinuteBetweenTheHalves(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.during = func() { s.halfway = true }
		s.order()
		s.steps(5)
		s.raft.must(fsm.SetPower{Node: "b", From: fsm.Asleep, To: fsm.Awake, Sleeps: 1, Reason: fsm.NodeReturned}) // by an earlier proposal of its own
		s.steps(2)
		s.halfway = false
		<-time.After(time.Hour)
		s.order()
		s.steps(5)
		if me := s.record(); me.Power != fsm.Asleep || s.suspends != 2 || s.said() != "" {
			t.Errorf("%d commands, %+v, %q", s.suspends, me, s.said())
		}
	})
}
