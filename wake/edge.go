package wake

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// ClockStep is how far boot-minus-monotonic may move before it counts as a suspend. Two readings of an awake host
	// differ by microseconds. A suspend of a fraction of a second can move it by less than this, which is why the
	// fence does not depend on this test alone.
	ClockStep = 50 * time.Millisecond
	// DefaultStall is the gap between two ticks that counts as an absence although the clocks agree: the process was
	// stopped, the host was frozen, or it slept in a way that does not stop CLOCK_MONOTONIC (suspend to idle on some
	// machines). It is far above what a busy host does to a process that ticks a few times a second.
	DefaultStall = 2 * time.Second
)

// Absence is what two readings of the clocks tell of the time between them.
type Absence int

const (
	Present Absence = iota // the host was awake
	Stalled                // nobody ticked for long, though the clocks agree: a stopped process, or a sleep that they do not tell of
	Slept                  // the clocks moved against each other, which only a suspend does
)

func (a Absence) String() string {
	switch a {
	case Stalled:
		return "stalled"
	case Slept:
		return "slept"
	}
	return "present"
}

// Edge notices that this host, or this process, was away. It is fed with readings of both clocks at each tick and keeps
// no clock itself. The zero value is ready. Not safe for concurrent use.
type Edge struct {
	Stall time.Duration // longest gap between ticks of a host that is awake; 0 = DefaultStall

	ticked bool
	last   time.Duration // boot at the last tick
	offset time.Duration // boot minus mono when last found changed: small sleeps add up against it
}

// Tick takes one reading. It reports whether, and how, the host was away since the last one, and for how long at most: the
// time between the two ticks (0 if it was present). The first tick only takes the measure.
func (e *Edge) Tick(boot, mono time.Duration) (away Absence, gap time.Duration) {
	offset := boot - mono
	if !e.ticked {
		e.ticked, e.last, e.offset = true, boot, offset
		return Present, 0
	}
	gap = boot - e.last
	e.last = boot
	stall := e.Stall
	if stall <= 0 {
		stall = DefaultStall
	}
	switch step := (offset - e.offset).Abs(); {
	case step > ClockStep:
		away = Slept
	case gap > stall:
		away = Stalled
	default:
		return Present, 0
	}
	e.offset = offset
	return away, gap
}

const (
	clockTries = 8
	// clockSpread is the accepted time between the two readings of CLOCK_BOOTTIME that enclose the one of
	// CLOCK_MONOTONIC: it bounds the error of boot-minus-monotonic, and is far below ClockStep.
	clockSpread = 200 * time.Microsecond
)

// Clocks reads CLOCK_BOOTTIME and CLOCK_MONOTONIC as nearly at the same instant as it can: a process that was preempted
// between two plain readings would see a suspend that never was.
func Clocks() (boot, mono time.Duration) {
	best := time.Duration(-1)
	for range clockTries {
		before, between, after := readClock(unix.CLOCK_BOOTTIME), readClock(unix.CLOCK_MONOTONIC), readClock(unix.CLOCK_BOOTTIME)
		spread := after - before
		if best < 0 || spread < best {
			best, boot, mono = spread, before+spread/2, between
		}
		if best <= clockSpread {
			break
		}
	}
	return boot, mono
}

// unbentSpread is the accepted time between the two outer readings of Unbent: it bounds the error of what is measured by it. Two of it are less
// than what a ruler counts (lease.Ruler); a program of 32 bits on a kernel of 64 may need 7 us for each reading.
const unbentSpread = 20 * time.Microsecond

// Unbent reads CLOCK_MONOTONIC between two readings of CLOCK_MONOTONIC_RAW, which adjtimex does not bend, as nearly at one instant
// as it can.
func Unbent() (before, mono, after time.Duration) {
	for i := range clockTries {
		b, m, a := readClock(unix.CLOCK_MONOTONIC_RAW), readClock(unix.CLOCK_MONOTONIC), readClock(unix.CLOCK_MONOTONIC_RAW)
		if i == 0 || a-b < after-before {
			before, mono, after = b, m, a
		}
		if after-before <= unbentSpread {
			break
		}
	}
	return before, mono, after
}

// BootTime reads CLOCK_BOOTTIME alone.
func BootTime() time.Duration { return readClock(unix.CLOCK_BOOTTIME) }

func readClock(id int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		// These clocks exist on every kernel that this program runs on (2.6.39), and the argument is ours.
		panic(fmt.Sprintf("read clock %d: %v", id, err))
	}
	return time.Duration(ts.Nano())
}
