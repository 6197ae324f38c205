package health

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// NextElapse is when a timer unit of this host elapses next, by the clock on the wall; zero: it does not, since it is not started, or all of its
// times are over. While what it has started still runs, systemd names no next time, which is an error. One that only counts the time for
// which the host is awake (OnActiveSec, OnUnitActiveSec, OnBootSec) has no such moment while it sleeps, which is one, too; and so is a time that has
// come while systemd waits for others that it takes together with it.
func (s Systemd) NextElapse(ctx context.Context, timer string) (time.Time, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return time.Time{}, err
	}
	defer c.Close()
	unit, err := c.GetUnitPropertiesContext(ctx, timer)
	if err != nil {
		return time.Time{}, fmt.Errorf("systemd does not tell about it: %w", err)
	}
	switch {
	case unit["LoadState"] != "loaded":
		return time.Time{}, fmt.Errorf("there is no such timer on this host (systemd calls it %v)", unit["LoadState"])
	case unit["ActiveState"] != "active", unit["SubState"] == "elapsed":
		return time.Time{}, nil
	case unit["SubState"] == "running":
		return time.Time{}, errors.New("it has elapsed, and what it starts still runs: systemd names its next time after that")
	}
	return nextElapse(ctx, c, timer)
}

func nextElapse(ctx context.Context, c *dbus.Conn, timer string) (time.Time, error) {
	have, err := c.GetUnitTypePropertiesContext(ctx, timer, "Timer")
	if err != nil {
		return time.Time{}, fmt.Errorf("systemd does not tell about it: %w", err)
	}
	wall, _ := have["NextElapseUSecRealtime"].(uint64)
	counted, _ := have["NextElapseUSecMonotonic"].(uint64)
	return elapses(wall, counted, time.Now())
}

// elapses judges the two next times of a timer that waits, in microseconds.
func elapses(wall, counted uint64, now time.Time) (time.Time, error) {
	switch {
	case wall > 0 && wall < math.MaxInt64: // the greatest number stands for never
		at := time.UnixMicro(int64(wall))
		if !at.After(now) {
			return time.Time{}, errors.New("its time has come, and systemd is about to let it elapse (AccuracySec)")
		}
		return at, nil
	case counted > 0 && counted < math.MaxInt64:
		return time.Time{}, fmt.Errorf("it counts the time that the host is awake, and has no time at which to wake: use OnCalendar")
	}
	return time.Time{}, errors.New("systemd names no next time for it, as if it had elapsed just now")
}
