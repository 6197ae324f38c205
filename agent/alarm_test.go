package agent

import (
	"testing"
	"time"

	"nightporter/fsm"
	"nightporter/idle"
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
		moment  bool
	}{
		{"none", 0, nil, 0, false},
		{"to look", 6 * hour, nil, 6 * hour, false},
		{"to look before the moment", 6 * hour, early, 6 * hour, false},
		{"the moment before the look", 12 * hour, early, 8*hour + 30*time.Minute, true},
		{"the moment alone", 0, early, 8*hour + 30*time.Minute, true},
		{"a moment in some days is waited for in several sleeps", 0, friday, 24 * hour, false},
		{"both at the same time", 8*hour + 30*time.Minute, early, 8*hour + 30*time.Minute, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := &alarm{after: tt.after, moments: tt.moments}
			if in, moment := a.next(now); in != tt.in || moment != tt.moment {
				t.Errorf("in %s, moment %v; want %s, %v", in, moment, tt.in, tt.moment)
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
