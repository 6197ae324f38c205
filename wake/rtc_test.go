package wake

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clocks makes a directory as the kernel's; a file's name and what is in it.
func clocks(t *testing.T, files map[string]string) (root string, read func(name string) string) {
	t.Helper()
	root = t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root, func(name string) string {
		b, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
}

// The kernel itself is not asked here: a test machine has no such clock, or one that others use. What is written is what rtcwake(8) writes by
// another way, and what the kernel's documentation of the file names.
func TestRTC(t *testing.T) {
	root, read := clocks(t, map[string]string{
		"rtc0/since_epoch": "1000000", // a clock without an alarm
		"rtc1/wakealarm":   "", "rtc1/since_epoch": "1000000", "rtc1/device/power/wakeup": "disabled",
	})
	c := &RTC{Root: root}
	if why := c.Trouble(); why != "" {
		t.Fatal(why)
	}
	if err := c.Set(90*time.Second + time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if got := read("rtc1/wakealarm"); got != "+91" {
		t.Errorf("the alarm is %q", got)
	}
	if got := read("rtc1/device/power/wakeup"); got != "enabled" {
		t.Errorf("whether the clock may wake the host: %q", got)
	}
	if err := c.Clear(); err != nil || read("rtc1/wakealarm") != "0" {
		t.Errorf("taken back: %v, %q", err, read("rtc1/wakealarm"))
	}
}

// The nearest alarm wins, and somebody else's is there again afterwards.
func TestRTCThatSomebodyElseUses(t *testing.T) {
	const own = "rtc0/wakealarm"
	for _, tt := range []struct {
		name, theirs, set, after string
	}{
		{"theirs comes first", "1000060", "1000060", "1000060"},
		{"ours comes first", "1003600", "+120", "1003600"},
		{"theirs is over", "999000", "+120", "0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root, read := clocks(t, map[string]string{own: tt.theirs, "rtc0/since_epoch": "1000000"})
			c := &RTC{Root: root}
			if err := c.Set(2 * time.Minute); err != nil || read(own) != tt.set {
				t.Errorf("set to %q, %v; want %q", read(own), err, tt.set)
			}
			if err := c.Clear(); err != nil || read(own) != tt.after {
				t.Errorf("afterwards it is %q, %v; want %q", read(own), err, tt.after)
			}
		})
	}
}

func TestNoRTC(t *testing.T) {
	root, _ := clocks(t, map[string]string{"rtc0/since_epoch": "1000000"})
	c := &RTC{Root: root}
	if why := c.Trouble(); !strings.Contains(why, "no clock whose alarm could wake it") {
		t.Errorf("it says %q", why)
	}
	if err := c.Set(time.Hour); err == nil {
		t.Error("an alarm was set")
	}
}
