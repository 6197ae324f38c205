package lab_test

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"nightporter/chaos/lab"
)

// busy is an agent that says which process it is and then has much to do.
var busy = []string{"sh", "-c", "echo $$ >{dir}/pid; while :; do :; done"}

// stopped tells whether the agent is stopped by a signal. The answer takes longer than a short phase, so the test asks often.
func stopped(t *testing.T, h *lab.Host) bool {
	t.Helper()
	out, err := h.Output(limit(t), "sh", "-c", "cat /proc/$(cat pid)/stat")
	if err != nil || !strings.Contains(out, ")") {
		return false // it has just begun and not yet written down who it is
	}
	return strings.HasPrefix(out[strings.LastIndexByte(out, ')'):], ") T")
}

func begun(t *testing.T, h *lab.Host) {
	t.Helper()
	eventually(t, "the agent has begun", func() bool { i, err := os.Stat(h.Dir() + "/pid"); return err == nil && i.Size() > 0 })
}

func TestStarvation(t *testing.T) {
	for name, noCgroup := range map[string]bool{"best freezer": false, "signals": true} {
		t.Run(name, func(t *testing.T) {
			starvation(t, up(t, lab.Options{Hosts: 2, NoCgroup: noCgroup, Agent: busy}))
		})
	}
}

func starvation(t *testing.T, l *lab.Lab) {
	ctx := limit(t)
	h := l.Host("h1")
	both := func(when string) {
		t.Helper()
		eventually(t, when+": the agent is stopped", func() bool { return stopped(t, h) })
		eventually(t, when+": the agent runs", func() bool { return !stopped(t, h) })
	}
	runs := func(when string) {
		t.Helper()
		for range 20 {
			if stopped(t, h) {
				t.Errorf("%s: the agent is stopped", when)
				return
			}
		}
	}
	begun(t, h)
	must(t, l.Starve(ctx, "h1", 0.5, 40*time.Millisecond))
	both("starved")

	eventually(t, "stopped again", func() bool { return stopped(t, h) })
	must(t, h.Freeze(ctx))
	must(t, h.PressPower(ctx))
	must(t, h.AwaitPower(ctx, lab.PowerUp))
	both("after a sleep")

	must(t, h.Signal(ctx, syscall.SIGKILL))
	_, err := h.AwaitAgentExit(ctx)
	must(t, err)
	must(t, h.Start(ctx))
	both("after a restart")

	must(t, l.Starve(ctx, "h1", 0, 0))
	runs("fed")

	// Ended in the middle of a sleep, with the agent stopped on both accounts.
	must(t, l.Starve(ctx, "h1", 0.9, 200*time.Millisecond))
	eventually(t, "stopped again", func() bool { return stopped(t, h) })
	must(t, h.Freeze(ctx))
	must(t, l.Starve(ctx, "h1", 0, 0))
	must(t, h.PressPower(ctx))
	must(t, h.AwaitPower(ctx, lab.PowerUp))
	runs("fed asleep")
	starvedWithoutPower(t, l, runs)
}

// starvedWithoutPower ends the starvation by a loss of power.
func starvedWithoutPower(t *testing.T, l *lab.Lab, runs func(string)) {
	t.Helper()
	ctx, h := limit(t), l.Host("h1")
	must(t, l.Starve(ctx, "h1", 0.9, 200*time.Millisecond))
	st, err := l.Status(ctx)
	must(t, err)
	if s := st.Hosts[0].Starved; s != (lab.Starvation{Share: 0.9, Period: 200 * time.Millisecond}) {
		t.Errorf("the status says %+v", s)
	}
	_, err = h.Kill(ctx)
	must(t, errors.Join(err, os.Remove(h.Dir()+"/pid")))
	must(t, h.Start(ctx))
	begun(t, h)
	runs("after a loss of power")
}

func TestStarvationsThatMakeNoSense(t *testing.T) {
	l := up(t, lab.Options{Hosts: 1, Agent: busy})
	ctx := limit(t)
	for _, c := range []struct {
		host   string
		share  float64
		period time.Duration
	}{{"h1", 1, time.Second}, {"h1", -0.1, time.Second}, {"h1", 0.5, 0}, {"h1", 0.999, 100 * time.Millisecond}, {"c1", 0.5, time.Second}} {
		if err := l.Starve(ctx, c.host, c.share, c.period); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}
