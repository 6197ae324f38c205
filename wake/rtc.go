package wake

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// RTCs is where the kernel shows this host's clocks that run through a sleep.
const RTCs = "/sys/class/rtc"

// RTC is the alarm of such a clock, which ends a suspend. It is set by the kernel's own file (Documentation/ABI/testing/sysfs-class-rtc,
// wakealarm), which is there only for a clock that can wake the machine. It is not safe for concurrent use.
type RTC struct {
	Root   string // RTCs, or in its place the directory of a lab's stand-in
	ours   bool   // one of ours is set
	former string // somebody else's alarm that ours has taken the place of: seconds of that clock
}

// errNoRTC is a sentence for a person.
var errNoRTC = errors.New("this host has no clock whose alarm could wake it (no wakealarm in " + RTCs + "/rtc*; is the driver rtc_cmos loaded, and the alarm allowed by the firmware?)")

// Trouble says why no alarm could wake this host, or "".
func (c *RTC) Trouble() string {
	if _, err := c.find(); err != nil {
		return err.Error()
	}
	return ""
}

// find gives the directory of the first clock that can wake this host.
func (c *RTC) find() (string, error) {
	dirs, err := filepath.Glob(filepath.Join(c.Root, "rtc*"))
	if err != nil {
		return "", fmt.Errorf("look for this host's clocks: %w", err)
	}
	slices.Sort(dirs)
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "wakealarm")); err == nil {
			return dir, nil
		}
	}
	return "", errNoRTC
}

// Set has the host woken after a time, rounded up to seconds. Somebody else's alarm that comes sooner stays, and wakes it then.
func (c *RTC) Set(in time.Duration) error {
	dir, err := c.find()
	if err != nil {
		return err
	}
	if err := mayWake(dir); err != nil {
		return err
	}
	if c.ours { // of a sleep that did not come, or was ended otherwise: else it would be taken for somebody else's
		if err := c.Clear(); err != nil {
			return err
		}
	}
	seconds := int64((in + time.Second - 1) / time.Second)
	if theirs, left := pending(dir); theirs != "" {
		if left <= seconds {
			return nil
		}
		c.former = theirs
	}
	// What was set must be taken back first (EBUSY). The time is relative, since the clock may be set to any zone.
	if err := alarm(dir, "0"); err != nil {
		return err
	}
	c.ours = true
	return alarm(dir, "+"+strconv.FormatInt(seconds, 10))
}

// Clear takes the alarm back, and leaves somebody else's as it was before.
func (c *RTC) Clear() error {
	if !c.ours {
		return nil
	}
	c.ours = false
	dir, err := c.find()
	if err != nil {
		return err
	}
	if err := alarm(dir, "0"); err != nil {
		return err
	}
	former := c.former
	c.former = ""
	if at, err := strconv.ParseInt(former, 10, 64); err == nil && at > rtcNow(dir) {
		return alarm(dir, former)
	}
	return nil
}

func alarm(dir, value string) error {
	// The kernel takes the whole value in one write; there is nothing to be made, or cut short.
	f, err := os.OpenFile(filepath.Join(dir, "wakealarm"), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return fmt.Errorf("set the alarm of this host's clock: %w", err)
	}
	_, err = f.WriteString(value + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("set the alarm of this host's clock to %s (some cannot be set further ahead than a day): %w", value, err)
	}
	return nil
}

// pending gives the alarm that is set already, and how many seconds are left until then; "" = none is.
func pending(dir string) (at string, left int64) {
	b, err := os.ReadFile(filepath.Join(dir, "wakealarm"))
	at = strings.TrimSpace(string(b))
	n, bad := strconv.ParseInt(at, 10, 64)
	now := rtcNow(dir)
	if err != nil || bad != nil || now == 0 || n <= now {
		return "", 0
	}
	return at, n - now
}

// rtcNow reads the clock; 0 = it cannot be read.
func rtcNow(dir string) int64 {
	b, err := os.ReadFile(filepath.Join(dir, "since_epoch"))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// mayWake allows the clock to wake the host, which may be switched off by itself.
func mayWake(dir string) error {
	path := filepath.Join(dir, "device", "power", "wakeup")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // what cannot be switched off
	}
	if err == nil && strings.TrimSpace(string(b)) == "disabled" {
		err = os.WriteFile(path, []byte("enabled\n"), 0)
	}
	if err != nil {
		return fmt.Errorf("allow the clock to wake this host: %w", err)
	}
	return nil
}
