package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"nightporter/internal/labpage"
)

// alarmFile stands in for the file of the kernel's real-time clock (wakealarm in /sys/class/rtc/rtc0): the agent writes "+N", the alarm's
// time in seconds from then, or "0". The lab reads it when the host falls asleep, and wakes the host itself: the machine's clock is not touched.
var alarmFile = filepath.Join(labpage.RTCs, "rtc0", "wakealarm")

// layRTC gives the host its clock, on a thread that lives in the host.
func layRTC() error {
	if err := os.MkdirAll(filepath.Dir(alarmFile), 0o755); err != nil {
		return fmt.Errorf("make the stand-in for the host's clock: %w", err)
	}
	if err := os.WriteFile(alarmFile, nil, 0o644); err != nil {
		return fmt.Errorf("make the stand-in for the host's clock: %w", err)
	}
	return nil
}

// readAlarm gives the time that is left until the alarm of the host that the calling thread lives in; false: none is set, or it is over. A real
// one that is over does not go off either.
func readAlarm() (time.Duration, bool, error) {
	text, err := os.ReadFile(alarmFile)
	info, err2 := os.Stat(alarmFile)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil // a client
	}
	if err := errors.Join(err, err2); err != nil {
		return 0, false, fmt.Errorf("read the alarm of the host's clock: %w", err)
	}
	after, relative := strings.CutPrefix(strings.TrimSpace(string(text)), "+")
	seconds, err := strconv.ParseInt(after, 10, 64)
	if !relative || err != nil {
		return 0, false, nil
	}
	left := time.Until(info.ModTime().Add(time.Duration(seconds) * time.Second))
	return left, left > 0, nil
}

// arm sets the timer by which the host's clock ends its sleep.
func (n *node) arm() error {
	return n.space.do(func() error {
		left, set, err := readAlarm()
		if set {
			n.alarm = time.NewTimer(left)
		}
		return err
	})
}

// ring is that timer's channel, nil while the host is awake or has no alarm.
func (n *node) ring() <-chan time.Time {
	if n.alarm == nil {
		return nil
	}
	return n.alarm.C
}

func (n *node) disarmClock() {
	if n.alarm != nil {
		n.alarm.Stop()
		n.alarm = nil
	}
}
