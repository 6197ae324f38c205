package agent

import (
	"testing"
	"time"

	"nightporter/fsm"
	"nightporter/idle"
	"nightporter/lease"
)

// The nearest alarm counts, and none is set further ahead than a day.
func TestTheNextAlarm(t *testing.T) {
	const hour = time.Hour
	now := time.Date(2026, 1, 5, 22, 0, 0, 0, time.UTC) // a Monday
	early := []idle.Moment{{Days: 1<<7 - 1, At: 6*hour + 30*time.Minute}}
	friday := []idle.Moment{{Days: 1 << time.Friday, At: 7 * hour}}
	tests := []struct {
		name    string
		after   time.Duration
		moments []idle.Moment
		in      time.Duration
		what    goal
	}{
		{"none", 0, nil, 0, toLook},
		{"to look", 6 * hour, nil, 6 * hour, toLook},
		{"to look before the moment", 6 * hour, early, 6 * hour, toLook},
		{"the moment before the look", 12 * hour, early, 8*hour + 30*time.Minute, toStay},
		{"the moment alone", 0, early, 8*hour + 30*time.Minute, toStay},
		{"a moment in some days is waited for in several sleeps", 0, friday, 24 * hour, further},
		{"that looks meanwhile", 24 * hour, friday, 24 * hour, toLook},
		{"both at the same time", 8*hour + 30*time.Minute, early, 8*hour + 30*time.Minute, toStay},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := &alarm{after: tt.after, moments: tt.moments}
			if in, what := a.next(now); in != tt.in || what != tt.what {
				t.Errorf("in %s, for %d; want %s, %d", in, what, tt.in, tt.what)
			}
		})
	}
}

// Why the host is back follows from who woke it: its alarm at a moment, its alarm where nobody is left who leads, or neither.
func TestWhyItWokeByItself(t *testing.T) {
	tests := []struct {
		name   string
		moment bool
		slept  time.Duration
		want   fsm.Reason
	}{
		{"by somebody's hand", false, 5 * time.Second, fsm.WokeUnasked},
		{"by its alarm, and it would lead itself", false, 10 * time.Second, fsm.WokeAlarm},
		{"by its alarm, as its clock has it", false, 9 * time.Second, fsm.WokeAlarm},
		{"at a moment", true, 10 * time.Second, fsm.WokeOnTime},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onStage(t, func(t *testing.T, s *stage) {
				<-time.After(50 * time.Second) // to ten seconds before a full minute
				s.alarm.after = 12 * time.Second
				if tt.moment {
					at := s.clock.Wall().Local().Add(10 * time.Second)
					s.alarm.moments = []idle.Moment{{Days: 1<<7 - 1, At: time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute}}
				}
				s.during = func() { <-time.After(tt.slept) }
				s.order()
				s.steps(4)
				if me := s.record(); me.Power != fsm.Awake || me.PowerReason != tt.want {
					t.Errorf("it is %s (%s), want %s", me.Power, me.PowerReason, tt.want)
				}
				if s.suspends != 1 || len(s.alarms) != 2 || s.alarms[1] != 0 || s.alarms[0] > 12*time.Second || (s.alarms[0] <= 10*time.Second) != tt.moment {
					t.Errorf("%d suspends with the alarms %v", s.suspends, s.alarms)
				}
			})
		})
	}
}

// nights is a clock that the test sets forward by whole nights.
type nights struct {
	Clock
	over time.Duration
}

func (n *nights) Boot() lease.Boot { return n.Clock.Boot().Add(n.over) }
func (n *nights) Wall() time.Time  { return n.Clock.Wall().Add(n.over) }

// A host that is not to look after the others, and whose moment is days ahead, is woken by its clock only to set the next alarm: it asks
// nobody, and sleeps on, wherever it is.
func TestTheWayToAMomentIsNoLook(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		clock := &nights{Clock: s.clock}
		s.alarm.clock = clock
		at := clock.Wall().Local().Add(60 * time.Hour).Truncate(time.Minute)
		s.alarm.moments = []idle.Moment{{Days: 1 << at.Weekday(), At: time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute}}
		s.alarm.link = func() bool { t.Error("it looks for a link"); return false }
		s.during = func() { clock.over += s.alarms[len(s.alarms)-1] }
		s.order()
		written := s.raft.index
		s.steps(3)
		if s.suspends != 2 || s.record().Power != fsm.Asleep {
			t.Fatalf("after %d suspends it is %s (%s)", s.suspends, s.record().Power, s.record().PowerReason)
		}
		if n := s.raft.index - written; n != 1 { // "asleep"
			t.Errorf("%d entries were written", n)
		}
		s.steps(4)
		if me := s.record(); s.suspends != 3 || me.Power != fsm.Awake || me.PowerReason != fsm.WokeOnTime {
			t.Errorf("after %d suspends with the alarms %v it is %s (%s)", s.suspends, s.alarms, me.Power, me.PowerReason)
		}
	})
}

// While a look waits for a holder that does not answer, it asks the leader once in a failover: that is an entry of the log each time.
func TestALookWritesLittle(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.order()
		me := s.record()
		s.raft.must(fsm.SetPower{Node: "b", From: fsm.Suspending, To: fsm.Asleep, Sleeps: me.Sleeps, Reason: fsm.OperatorSleep})
		failover := s.machine.View().State.Timing.Failover
		written := s.raft.index
		for began := s.clock.Boot(); s.clock.Boot().Sub(began) < lookFailovers*failover; <-time.After(betweenLooks) {
			if !s.alarm.led(t.Context(), s.record()) {
				t.Fatal("somebody leads")
			}
		}
		if n := s.raft.index - written; n < 2 || n > lookFailovers {
			t.Errorf("%d entries in %d failovers", n, lookFailovers)
		}
	})
}
