package agent

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"nightporter/config"
	"nightporter/health"
)

// A host may be wanted at times that only its programs know: a timer of systemd, a recorder, a calendar. They are asked before each sleep, and
// the alarm is set for the first of these times.

// wakeTime is when something wants this host awake; zero = it does not.
type wakeTime struct {
	at time.Time
	of string
}

// systemWakeTimes asks what the configuration names; nil: it names nothing.
func systemWakeTimes(cfg *config.Config) func(ctx context.Context, now time.Time) (wakeTime, error) {
	var ask []func(context.Context) (wakeTime, error)
	for _, timer := range cfg.StayAwake.WakeTimers {
		ask = append(ask, func(ctx context.Context) (wakeTime, error) {
			ctx, cancel := context.WithTimeout(ctx, senseLimit)
			defer cancel()
			at, err := health.Systemd{}.NextElapse(ctx, timer)
			return namedTime(timer, at, err)
		})
	}
	for _, c := range cfg.StayAwake.WakeAsk {
		ask = append(ask, func(ctx context.Context) (wakeTime, error) {
			ctx, cancel := context.WithTimeout(ctx, c.Timeout)
			defer cancel()
			line, err := health.Output(ctx, c.Command)
			var at time.Time
			if err == nil {
				at, err = readWakeTime(line)
			}
			return namedTime("`"+strings.Join(c.Command, " ")+"`", at, err)
		})
	}
	if len(ask) == 0 {
		return nil
	}
	return func(ctx context.Context, now time.Time) (wakeTime, error) { return firstOf(ctx, now, ask) }
}

func namedTime(of string, at time.Time, err error) (wakeTime, error) {
	if err != nil {
		return wakeTime{}, fmt.Errorf("when %s wants it awake cannot be found out: %w", of, err)
	}
	return wakeTime{at, of}, nil
}

// firstOf asks all of them side by side, and gives the first time after now. One that cannot tell is an error, since it may be the first.
func firstOf(ctx context.Context, now time.Time, ask []func(context.Context) (wakeTime, error)) (first wakeTime, err error) {
	times, errs := make([]wakeTime, len(ask)), make([]error, len(ask))
	var asking sync.WaitGroup
	for i, one := range ask {
		asking.Go(func() { times[i], errs[i] = one(ctx) })
	}
	asking.Wait()
	for i, one := range times {
		if errs[i] != nil {
			return wakeTime{}, errs[i]
		}
		if one.at.After(now) && (first.at.IsZero() || one.at.Before(first.at)) {
			first = one
		}
	}
	return first, nil
}

// lastSecond is far enough: the year 9999.
const lastSecond = 253402300799

// readWakeTime reads what a command prints: seconds since 1970, or a time as RFC 3339 has it; nothing is no time.
func readWakeTime(line string) (time.Time, error) {
	line = strings.TrimSpace(line)
	if line == "" {
		return time.Time{}, nil
	}
	if s, err := strconv.ParseFloat(line, 64); err == nil && s >= 0 && s <= lastSecond {
		whole, part := math.Modf(s)
		return time.Unix(int64(whole), int64(part*1e9)), nil
	}
	at, err := time.Parse(time.RFC3339, line)
	if err != nil {
		return time.Time{}, fmt.Errorf("it prints %q; it must print seconds since 1970, a time like 2026-01-31T06:30:00Z, or nothing", line)
	}
	return at, nil
}
