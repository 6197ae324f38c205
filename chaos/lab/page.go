package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"nightporter/internal/labpage"
)

// layPage makes the page that the host's agent reads its clocks' and its disk's faults from. CLOCK_BOOTTIME and
// CLOCK_MONOTONIC begin anew with the host; the wall clock and the disk are as they were.
func (n *node) layPage() error {
	if n.client {
		return nil
	}
	n.clock, n.slept, n.resumes = ClockShift{Wall: n.clock.Wall}, 0, 0
	err := n.space.do(func() (err error) {
		if err = os.MkdirAll(filepath.Dir(labpage.Path), 0o755); err != nil {
			return fmt.Errorf("make the lab page's directory: %w", err)
		}
		if n.page, err = labpage.Create(labpage.Path, n.space.net); err != nil {
			return err
		}
		return layRTC()
	})
	if err != nil {
		return err
	}
	n.fillPage()
	return nil
}

func (n *node) fillPage() {
	if n.page == nil {
		return // the host is off: it gets the values when it starts
	}
	n.page.Store(labpage.Values{
		Boot: n.clock.Boot, Mono: n.clock.Mono, Wall: n.clock.Wall,
		DiskDelay: n.disk.Delay, DiskErrno: n.disk.Errno, DiskShare: n.disk.Share, Resumes: n.resumes,
	})
}

func (n *node) dropPage() error {
	if n.page == nil {
		return nil
	}
	err := n.page.Close()
	n.page = nil
	return err
}

// shiftClock lets the clocks of the host's agent jump.
func (n *node) shiftClock(s ClockShift) error {
	switch {
	case n.client:
		return fmt.Errorf("%s is a client and has no agent whose clocks could jump", n.name)
	case n.power == PowerOff && (s.Boot != 0 || s.Mono != 0):
		return fmt.Errorf("%s is off; only its wall clock goes on and can jump", n.name)
	}
	n.clock.Boot += s.Boot
	n.clock.Mono += s.Mono
	n.clock.Wall += s.Wall
	n.fillPage()
	return nil
}

// ailDisk makes the disk of the host's agent faulty, or healthy.
func (n *node) ailDisk(f DiskFault) error {
	if f.Errno != 0 && f.Share == 0 {
		f.Share = 1
	}
	switch {
	case n.client:
		return fmt.Errorf("%s is a client and has no agent that writes to a disk", n.name)
	case f.Delay < 0:
		return fmt.Errorf("a disk cannot be faster by %v; write a delay from 0 on", -f.Delay)
	case !(f.Share >= 0 && f.Share <= 1):
		return fmt.Errorf("the share of failing writes is %v; write one from 0 to 1", f.Share)
	case f.Errno == 0 && f.Share > 0:
		return errors.New("writes are to fail, but not how; name the error")
	}
	n.disk = f
	n.fillPage()
	return nil
}

// monotonic reads CLOCK_MONOTONIC, which the lab's hosts have in common and nobody sets. It exists on every kernel, and the
// arguments are sound.
func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(fmt.Sprintf("read CLOCK_MONOTONIC: %v", err))
	}
	return time.Duration(ts.Nano())
}

// sleptOver counts the sleep, and lets the host's CLOCK_MONOTONIC go on from where it was when the host fell asleep, before
// any process runs again. On a real machine both are the kernel's.
func (n *node) sleptOver() {
	length := monotonic() - n.asleepAt
	n.clock.Mono -= length
	n.slept += length
	n.resumes++
	n.fillPage()
}
