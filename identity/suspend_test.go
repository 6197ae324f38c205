//go:build vm

package identity

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// entry is what a slow machine may need for its way into the sleep; it then sleeps for longer.
const entry = 2 * time.Second

// alarm wakes it from S3. The clock on the board knows whole seconds: it rings up to one sooner, and the kernel takes the sleep's length from it, up to
// 1.1 s too short.
const alarm = "+6"

// set writes a setting of the kernel.
func set(t *testing.T, path, value string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

// sleeps are ways of suspending a whole machine, and of waking it without anybody's help.
func sleeps() map[string]func(*testing.T) {
	return map[string]func(*testing.T){
		"S3": func(t *testing.T) { // woken by the clock
			set(t, "/sys/power/pm_test", "none")
			set(t, "/sys/power/mem_sleep", "deep")
			set(t, "/sys/class/rtc/rtc0/wakealarm", alarm)
			set(t, "/sys/power/state", "mem")
		},
		"s2idle": func(t *testing.T) { // the kernel's own test: with all devices suspended it waits for five seconds, and goes back
			set(t, "/sys/power/pm_test", "devices")
			set(t, "/sys/power/state", "freeze")
		},
	}
}

// TestRealSuspend: a deadline an hour ahead, a flood, and a writer who goes on renewing: from the entry into a suspend on nothing passes,
// until an acquisition that began after it. Without the counter the same flood goes on after the resume, so the test can tell.
func TestRealSuspend(t *testing.T) {
	for name, sleep := range sleeps() {
		for round := range 3 {
			for _, counted := range []bool{true, false} {
				if name == "S3" && (round > 0 || !counted) || !counted && round > 0 {
					continue // QEMU's alarm clock wakes once in a boot; and in S3 the clocks shut it as well
				}
				t.Run(name, func(t *testing.T) { suspendOnce(t, sleep, counted) })
			}
		}
	}
}

func suspendOnce(t *testing.T, sleep func(*testing.T), counted bool) {
	l := newLAN(t, "a", "c")
	h, p, _, _ := l.exact("a", dual)
	a := l.host["a"]
	if h.suspends.link == nil || h.suspends.mortal() {
		t.Fatalf("the counter: %q", h.suspends.limits)
	}
	if !counted {
		if err := os.Remove(h.suspends.pin); err != nil {
			t.Fatal(err)
		}
		if err := h.suspends.link.Close(); err != nil {
			t.Fatal(err)
		}
		h.suspends.link = nil
	}
	a.do(func() error { return p.Guard(false) })
	eye := l.camera("a")
	l.flood("a", dual)
	until(t, "every protocol is heard", func() bool {
		_, kinds := eye.frames()
		return kinds[0] > 5 && kinds[unix.ETH_P_IP] > 5 && kinds[unix.ETH_P_IPV6] > 5 && kinds[unix.ETH_P_ARP] > 5
	})
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() { // a daemon that knows nothing of the suspend
		defer close(ended)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				_ = p.Extend(soon(time.Hour))
			}
		}
	}()
	began := soon(0)
	sleep(t)
	back := soon(0)
	if back < began+entry+time.Second {
		t.Fatalf("the machine was away for %v only", back-began)
	}
	until(t, "the flood went on after the resume", func() bool { return soon(0) > back+time.Second })
	close(stop)
	<-ended
	frames, _ := eye.frames()
	var last time.Duration
	after := 0
	for _, at := range frames {
		if at > began+entry {
			after++
		} else {
			last = max(last, at)
		}
	}
	n, err := h.suspends.now()
	t.Logf("away for %v, %d steps counted, the last frame %v after the command, %d frames after the sleep began (%d in all)",
		back-began, n, last-began, after, len(frames))
	if err != nil || (n > 0) != counted {
		t.Errorf("%d steps counted, %v", n, err)
	}
	if counted && after > 0 {
		t.Errorf("%d frames passed after the suspend began", after)
	}
	if !counted && after == 0 {
		t.Error("without the counter nothing passed either: this proves nothing")
	}
	a.do(func() error { return p.openFor(time.Hour) })
	until(t, "an acquisition after it opens", func() bool { now, _ := eye.frames(); return len(now) > len(frames)+20 })
}
