package health

import (
	"context"
	"math"
	"testing"
	"time"
)

// When the timers of a real systemd elapse by the clock on the wall.
func TestNextElapse(t *testing.T) {
	service := "[Service]\nExecStart=/bin/true\n"
	s := manager(t, map[string]string{
		"night.timer": "[Timer]\nOnCalendar=*-*-* 03:00:00 UTC\nOnActiveSec=1000h\n", "night.service": service,
		"awake.timer": "[Timer]\nOnActiveSec=1000h\n", "awake.service": service,
		"over.timer": "[Timer]\nOnCalendar=2001-01-01\n", "over.service": service,
		"busy.timer": "[Timer]\nOnCalendar=*-*-* *:*:*\nAccuracySec=1ms\n", "busy.service": "[Service]\nType=oneshot\nExecStart=/bin/sleep infinity\nTimeoutStartSec=infinity\n",
		"still.timer": "[Timer]\nOnCalendar=hourly\n", "still.service": service,
	})
	for _, name := range []string{"night.timer", "awake.timer", "over.timer", "busy.timer"} {
		if err := s.Start(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	at, err := s.NextElapse(t.Context(), "night.timer")
	if left := time.Until(at); err != nil || left <= 0 || left > 24*time.Hour || at.UTC().Hour() != 3 || at.Minute() != 0 {
		t.Errorf("at %v, %v", at, err)
	}
	for _, name := range []string{"over.timer", "still.timer"} {
		if at, err := s.NextElapse(t.Context(), name); err != nil || !at.IsZero() {
			t.Errorf("%s: %v, %v", name, at, err)
		}
	}
	for name, says := range map[string]string{"awake.timer": "use OnCalendar", "absent.timer": "there is no such timer on this host (systemd calls it not-found)"} {
		_, err := s.NextElapse(t.Context(), name)
		want(t, fmtErr(err), says)
	}
	for state := ""; state != "activating"; {
		pause(t, "what busy.timer starts is "+state)
		if state, err = s.State(t.Context(), "busy.service"); err != nil {
			t.Fatal(err)
		}
	}
	_, err = s.NextElapse(t.Context(), "busy.timer")
	want(t, fmtErr(err), "it has elapsed, and what it starts still runs")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.NextElapse(ctx, "night.timer")
	want(t, fmtErr(err), "systemd does not answer")
}

// What systemd's numbers come to.
func TestElapses(t *testing.T) {
	now := time.Unix(1000, 0)
	const never = math.MaxUint64
	if at, err := elapses(1001e6, 5, now); err != nil || !at.Equal(time.Unix(1001, 0)) {
		t.Errorf("%v, %v", at, err)
	}
	for _, c := range []struct {
		wall, counted uint64
		says          string
	}{
		{1000e6, never, "its time has come"}, {1, 0, "its time has come"}, {never, 5, "use OnCalendar"}, {never, never, "no next time"}, {0, 0, "no next time"},
	} {
		_, err := elapses(c.wall, c.counted, now)
		want(t, fmtErr(err), c.says)
	}
}

// What a program prints, without what it complains of; nothing of one that fails or hangs.
func TestOutput(t *testing.T) {
	for script, want := range map[string]string{"echo 17; echo 18": "17", "echo oh >&2": "", "printf ' a\\033b'": "a b", "printf 'a\\302\\2331m'": "a 1m"} {
		if got, err := Output(t.Context(), []string{"sh", "-c", script}); err != nil || got != want {
			t.Errorf("%s: %q, %v", script, got, err)
		}
	}
	for script, says := range map[string]string{"echo 17; echo oh >&2; exit 3": "exit status 3: oh", "sleep infinity": "no answer in time"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		line, err := Output(ctx, []string{"sh", "-c", script})
		cancel()
		if line != "" || err == nil {
			t.Errorf("%s: %q, %v", script, line, err)
		}
		want(t, fmtErr(err), says)
	}
}
