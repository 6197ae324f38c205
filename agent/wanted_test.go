package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/fsm"
	"nightporter/idle"
	"nightporter/login"
)

// wantedIn has a program say that it wants the host after a time. It returns how often it was asked.
func (s *stage) wantedIn(in time.Duration) *int {
	at, asked := s.alarm.clock.Wall().Add(in), 0
	s.alarm.times = func(context.Context, time.Time) (wakeTime, error) {
		asked++
		return wakeTime{at, "backup.timer"}, nil
	}
	return &asked
}

// A time that comes before the host could sleep would be lost, since its alarm would go off while it is still awake.
func TestNoSleepRightBeforeAWantedTime(t *testing.T) {
	for in, sleeps := range map[time.Duration]bool{20 * time.Millisecond: false, 39 * time.Second: false, 41 * time.Second: true} {
		onStage(t, func(t *testing.T, s *stage) {
			s.alarm.handOver, s.alarm.falls = s.timeout, fallsAsleep
			s.wantedIn(in)
			s.order()
			s.steps(3)
			me, said := s.record(), s.said()
			if (s.suspends == 1) != sleeps || (len(s.alarms) == 2) != sleeps || (me.PowerReason == fsm.SuspendFailed) == sleeps || strings.Contains(said, "it is wanted at 20") == sleeps {
				t.Errorf("in %v: %d suspends with the alarms %v, %+v, %q", in, s.suspends, s.alarms, me, said)
			}
		})
	}
	onStage(t, func(t *testing.T, s *stage) { // the same for its own
		<-time.After(30 * time.Second)
		s.alarm.handOver, s.alarm.falls = s.timeout, fallsAsleep
		at := s.clock.Wall().Local().Add(30 * time.Second)
		s.alarm.moments = []idle.Moment{{Days: 1<<7 - 1, At: time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute}}
		s.order()
		s.steps(3)
		if s.suspends != 0 || !strings.Contains(s.said(), "by wake_at, too soon") {
			t.Errorf("%d suspends, %q", s.suspends, s.said())
		}
	})
}

// A hand-over that took longer than it should, as one does in which a vote moves, has used up what was left.
func TestAWantedTimeThatComesDuringTheHandOver(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.alarm.falls = 3 * time.Second
		s.wantedIn(5 * time.Second)
		s.holds()
		s.order()
		s.steps(80)
		s.tenants.all = nil
		s.steps(3)
		if me := s.record(); s.suspends != 0 || me.Power != fsm.Awake || me.PowerReason != fsm.SleepCancelled || !strings.Contains(s.said(), "it is wanted at") {
			t.Errorf("%d suspends, %+v, %q", s.suspends, me, s.said())
		}
	})
}

// A host whose look ends right before a time stays up for it: it would not sleep before the alarm.
func TestALookRightBeforeAWantedTime(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.alarm.after, s.alarm.falls = time.Hour, fallsAsleep
		s.wantedIn(time.Hour + 20*time.Second)
		s.alarm.link = func() bool { t.Error("it looks"); return false }
		s.during = func() { <-time.After(time.Hour) }
		s.order()
		s.steps(4)
		if me := s.record(); s.suspends != 1 || me.Power != fsm.Awake || me.PowerReason != fsm.WokeOnTime {
			t.Errorf("%d suspends with the alarms %v, %+v", s.suspends, s.alarms, me)
		}
	})
}

// A host that goes to sleep by itself asks its programs before it wishes to: while they cannot say, or want it, nothing moves. What they have said then
// counts for that sleep.
func TestAnIdleHostAsksBeforeItWishes(t *testing.T) {
	onNapper(t, func(t *testing.T, n *napper) {
		n.alarm.handOver, n.alarm.falls = n.timeout, fallsAsleep
		for says, times := range map[string]func(context.Context, time.Time) (wakeTime, error){
			"backup.timer does not answer": func(context.Context, time.Time) (wakeTime, error) {
				return wakeTime{}, errors.New("backup.timer does not answer")
			},
			"by backup.timer, too soon for a sleep": func(_ context.Context, now time.Time) (wakeTime, error) {
				return wakeTime{now.Add(10 * time.Second), "backup.timer"}, nil
			},
		} {
			n.alarm.times = times
			n.looksFor(20 * time.Minute)
			o, _ := n.idler.outlook()
			if me, r := n.stage.record(), o.verdict.Reasons; me.Power != fsm.Awake || me.Sleeps != 0 || len(r) != 1 || r[0].Kind != idle.Hold || !strings.Contains(r[0].Sentence, says) {
				t.Fatalf("%+v, %+v", me, r)
			}
		}
		asked := n.wantedIn(5 * time.Hour)
		for end := time.Now().Add(31 * time.Minute); n.stage.record().Power == fsm.Awake && time.Now().Before(end); {
			n.looksFor(10 * time.Second)
		}
		n.steps(4)
		if me := n.stage.record(); n.suspends != 1 || me.PowerReason != fsm.WokeUnasked || *asked != 1 {
			t.Errorf("%d suspends, asked %d times, %+v", n.suspends, *asked, me)
		}
	})
}

// Its programs may take as long as they were given; somebody's lid does not wait for them, and the services are handed over.
func TestALidDoesNotWaitForWakeCommands(t *testing.T) {
	withLogind(t, func(t *testing.T, s *stage, l *scriptedLogind) {
		s.alarm.times = func(ctx context.Context, _ time.Time) (wakeTime, error) {
			<-ctx.Done()
			return wakeTime{}, ctx.Err()
		}
		s.order()
		pass(time.Second)
		l.events <- login.Sleeping
		pass(time.Second)
		if me := s.record(); me.Power != fsm.Asleep || l.locks() != 0 || s.said() != "" {
			t.Errorf("%+v, %d locks, %q", me, l.locks(), s.said())
		}
		s.resumed.Add(1)
		l.events <- login.Resumed
		pass(time.Second)
		if s.alarm.answer.Load() != nil {
			t.Error("an answer that was cut off is remembered")
		}
	})
}

// `why` shows what they said last, and when, and runs nothing.
func TestWhyShowsTheLastAnswer(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		b := &backend{&parts{alarm: s.alarm}}
		why := func() api.Why {
			t.Helper()
			var out api.Why
			b.showWakeTime(s.scene.view(), &out)
			return out
		}
		if w := why(); len(w.Notes) != 0 {
			t.Errorf("without any: %q", w.Notes)
		}
		asked := s.wantedIn(time.Hour)
		if w := why(); *asked != 0 || !strings.Contains(w.Notes[0], "have not been asked yet") {
			t.Errorf("asked %d times: %q", *asked, w.Notes)
		}
		if _, err := s.alarm.ask(t.Context()); err != nil {
			t.Fatal(err)
		}
		at := s.clock.Wall().Add(time.Hour)
		<-time.After(3 * time.Minute)
		if w := why(); *asked != 1 || !w.WakesAt.Equal(at) || !strings.HasSuffix(w.Notes[0], "UTC (asked 3m0s ago)") {
			t.Errorf("asked %d times: %v, %q", *asked, w.WakesAt, w.Notes)
		}
		<-time.After(time.Hour)
		if w := why(); !w.WakesAt.IsZero() || !strings.Contains(w.Notes[0], "no time that is still to come") {
			t.Errorf("%v, %q", w.WakesAt, w.Notes)
		}
		s.alarm.times = func(context.Context, time.Time) (wakeTime, error) { return wakeTime{}, errLost }
		_ = s.alarm.mayRest(t.Context())
		if w := why(); !strings.Contains(w.Notes[0], "does not go to sleep: "+errLost.Error()+" (asked ") {
			t.Errorf("%q", w.Notes)
		}
	})
}
