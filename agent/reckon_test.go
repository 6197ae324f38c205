package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"nightporter/config"
	"nightporter/fsm"
)

func TestReadWakeTime(t *testing.T) {
	at := time.Date(2026, 1, 31, 6, 30, 0, 0, time.UTC)
	for line, want := range map[string]time.Time{
		"": {}, "  ": {}, "1769841000": at, "1769841000.5": at.Add(500 * time.Millisecond), "2026-01-31T06:30:00Z": at, "2026-01-31T07:30:00+01:00": at,
	} {
		if got, err := readWakeTime(line); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v", line, got, err)
		}
	}
	for _, line := range []string{"tomorrow", "-1", "NaN", "1e300", "2026-01-31 06:30"} {
		if at, err := readWakeTime(line); err == nil || !strings.Contains(err.Error(), "seconds since 1970") {
			t.Errorf("%q: %v, %v", line, at, err)
		}
	}
}

// The first time that lies ahead counts, as real programs print it; one that cannot tell may be the first.
func TestWhenProgramsWantTheHost(t *testing.T) {
	ask := func(scripts ...string) (wakeTime, error) {
		cfg := &config.Config{}
		for _, s := range scripts {
			cfg.StayAwake.WakeAsk = append(cfg.StayAwake.WakeAsk, config.Busy{Command: []string{"sh", "-c", s}, Timeout: 10 * time.Second})
		}
		return systemWakeTimes(cfg)(t.Context(), time.Unix(1000, 0))
	}
	if w, err := ask("echo 3000", "echo 2000", "echo 999", "true"); err != nil || !w.at.Equal(time.Unix(2000, 0)) || w.of != "`sh -c echo 2000`" {
		t.Errorf("%+v, %v", w, err)
	}
	if w, err := ask("echo 999", "true"); err != nil || !w.at.IsZero() {
		t.Errorf("%+v, %v", w, err)
	}
	if w, err := ask("echo 2000", "echo no network; exit 2"); err == nil || !w.at.IsZero() || !strings.Contains(err.Error(), "when `sh -c echo no network; exit 2` wants it awake cannot be found out: exit status 2") {
		t.Errorf("%+v, %v", w, err)
	}
	if systemWakeTimes(&config.Config{}) != nil {
		t.Error("nobody is named, and somebody is asked")
	}
}

// The alarm is set for that time where it is the first; a host that cannot find it out stays awake, and says so.
func TestAHostThatItsProgramsWant(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.alarm.after = 12 * time.Second
		wants := map[string]time.Duration{"soon": 8 * time.Second, "later": time.Hour, "nothing": 0}
		for what, in := range wants {
			s.alarms = nil
			s.alarm.times = func(_ context.Context, now time.Time) (wakeTime, error) {
				if in == 0 {
					return wakeTime{}, nil
				}
				return wakeTime{now.Add(in), "backup.timer"}, nil
			}
			want, why := 12*time.Second, fsm.WokeAlarm
			if what == "soon" {
				want, why = in, fsm.WokeOnTime
			}
			s.during = func() { <-time.After(want) }
			s.order()
			s.steps(4)
			if me := s.record(); len(s.alarms) != 2 || s.alarms[0] > want || s.alarms[0] < want-time.Second || me.PowerReason != why {
				t.Errorf("%s: the alarms are %v; %+v", what, s.alarms, me)
			}
		}
		before := s.suspends
		s.alarm.times = func(context.Context, time.Time) (wakeTime, error) {
			return wakeTime{}, errors.New("systemd does not answer")
		}
		s.order()
		s.steps(3)
		if me := s.record(); s.suspends != before || me.Power != fsm.Awake || me.PowerReason != fsm.SuspendFailed || s.said() != "the host stays awake: systemd does not answer" {
			t.Errorf("%d suspends, %+v, %q", s.suspends-before, me, s.said())
		}
	})
}
