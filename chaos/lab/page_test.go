package lab_test

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

	"nightporter/chaos/lab"
	"nightporter/internal/labpage"
)

// page reads the page as the host's agent does.
func page(t *testing.T, h *lab.Host) labpage.Values {
	t.Helper()
	out, err := h.Output(limit(t), "nightporter", "lab", "page")
	must(t, err)
	var v labpage.Values
	must(t, json.Unmarshal([]byte(out), &v))
	return v
}

func TestClocksJump(t *testing.T) {
	l := up(t, lab.Options{Hosts: 2, NoAgent: true})
	ctx := limit(t)
	h1, h2 := l.Host("h1"), l.Host("h2")
	must(t, l.Clock(ctx, "h1", lab.ClockShift{Boot: time.Hour, Mono: time.Hour}))
	must(t, l.Clock(ctx, "h1", lab.ClockShift{Boot: -time.Minute, Wall: 24 * time.Hour}))
	want := labpage.Values{Boot: 59 * time.Minute, Mono: time.Hour, Wall: 24 * time.Hour}
	if v := page(t, h1); v != want {
		t.Errorf("h1 reads %+v, want %+v", v, want)
	}
	if v := page(t, h2); v != (labpage.Values{}) {
		t.Errorf("h2 reads %+v, and nothing was done to it", v)
	}
	st, err := l.Status(ctx)
	must(t, err)
	if c := st.Hosts[0].Clock; c != (lab.ClockShift{Boot: 59 * time.Minute, Mono: time.Hour, Wall: 24 * time.Hour}) {
		t.Errorf("the status says %+v", c)
	}
	_, err = h1.Kill(ctx)
	must(t, err)
	must(t, l.Clock(ctx, "h1", lab.ClockShift{Wall: -time.Hour}))
	if err := l.Clock(ctx, "h1", lab.ClockShift{Boot: time.Hour}); err == nil {
		t.Error("CLOCK_BOOTTIME of a host that is off jumped")
	}
	must(t, h1.Start(ctx))
	if v := page(t, h1); v != (labpage.Values{Wall: 23 * time.Hour}) {
		t.Errorf("after a start h1 reads %+v; only the wall clock goes on", v)
	}
	if err := l.Clock(ctx, "c1", lab.ClockShift{Wall: 1}); err == nil {
		t.Error("a client's clock jumped")
	}
}

// A sleep is one that a host can see: the difference of its clocks has changed by the time asleep.
func TestASleepStopsTheMonotonicClock(t *testing.T) {
	for name, noCgroup := range map[string]bool{"best freezer": false, "signals": true} {
		t.Run(name, func(t *testing.T) {
			l := up(t, lab.Options{Hosts: 1, NoAgent: true, NoCgroup: noCgroup})
			ctx := limit(t)
			h := l.Host("h1")
			must(t, l.Clock(ctx, "h1", lab.ClockShift{Boot: time.Minute, Mono: time.Minute}))
			before := time.Now()
			must(t, h.Freeze(ctx))
			asleep := time.Now()
			eventually(t, "the host slept for 50 ms", func() bool { return time.Since(asleep) > 50*time.Millisecond })
			slept := time.Since(asleep)
			must(t, h.PressPower(ctx))
			must(t, h.AwaitPower(ctx, lab.PowerUp))
			longest := time.Since(before)
			v := page(t, h)
			if v.Resumes != 1 || v.Boot != time.Minute || time.Minute-v.Mono < slept || time.Minute-v.Mono > longest {
				t.Errorf("after a sleep of %v to %v the host reads %+v", slept, longest, v)
			}
			st, err := l.Status(ctx)
			must(t, err)
			if s := st.Hosts[0]; s.Slept != time.Minute-v.Mono || len(s.Faults()) != 2 {
				t.Errorf("the status says that it slept for %v, and %q; the sleep is no fault", s.Slept, s.Faults())
			}
		})
	}
}

func TestTheDiskAilsOverStarts(t *testing.T) {
	l := up(t, lab.Options{Hosts: 1, NoAgent: true})
	ctx := limit(t)
	h := l.Host("h1")
	must(t, l.Disk(ctx, "h1", lab.DiskFault{Delay: time.Second, Errno: syscall.ENOSPC}))
	_, err := h.Kill(ctx)
	must(t, err)
	must(t, h.Start(ctx))
	want := labpage.Values{DiskDelay: time.Second, DiskErrno: syscall.ENOSPC, DiskShare: 1}
	if v := page(t, h); v != want {
		t.Errorf("h1 reads %+v, want %+v", v, want)
	}
	must(t, l.Disk(ctx, "h1", lab.DiskFault{Errno: syscall.EIO, Share: 0.25}))
	if v := page(t, h); v != (labpage.Values{DiskErrno: syscall.EIO, DiskShare: 0.25}) {
		t.Errorf("h1 reads %+v", v)
	}
	must(t, l.Disk(ctx, "h1", lab.DiskFault{}))
	if v := page(t, h); v != (labpage.Values{}) {
		t.Errorf("the disk is healthy and h1 reads %+v", v)
	}
	for _, f := range []lab.DiskFault{{Delay: -1}, {Share: 0.5}, {Errno: syscall.EIO, Share: 2}} {
		if err := l.Disk(ctx, "h1", f); err == nil {
			t.Errorf("%+v was taken", f)
		}
	}
}

// A page is its own host's. A copy elsewhere, and the machine itself, are refused.
func TestAPageIsOneHosts(t *testing.T) {
	l := up(t, lab.Options{Hosts: 2, NoAgent: true})
	ctx := limit(t)
	copied := l.Dir() + "/copied"
	_, err := l.Host("h1").Output(ctx, "cp", labpage.Path, copied)
	must(t, err)
	for name, script := range map[string]string{
		"h2": "cp " + copied + " /run/page && exec nightporter lab page",
		"h1": "exec nightporter lab page",
		"c1": "mkdir /run/nightporter-lab && cp " + copied + " /run/page && exec nightporter lab page",
	} {
		place := copied
		if name != "h1" {
			place = "/run/page"
		}
		_, err := l.Host(name).Output(ctx, "sh", "-c", "export "+labpage.Env+"="+place+"; "+script)
		if err == nil || !strings.Contains(err.Error(), labpage.Env+" is set, but this is not a host of a lab") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
