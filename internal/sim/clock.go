package sim

import (
	"sync"
	"time"

	"nightporter/lease"
)

// clock is one machine's clocks. They run at a rate of their own, and CLOCK_MONOTONIC stands still in a suspend.
type clock struct {
	mu     sync.Mutex
	at     time.Time     // true time of the last change
	boot   time.Duration // at that time
	mono   time.Duration
	quartz float64       // seconds of CLOCK_MONOTONIC_RAW in a true second
	rate   float64       // of the other clocks: quartz, but where somebody bends them
	mute   bool          // nobody is shown how they are bent
	raw    time.Duration // CLOCK_MONOTONIC_RAW, at that time
	asleep bool
	wall   time.Duration // what the wall clock is wrong by
}

// sinceBoot is how long machines have been up when a run begins.
const sinceBoot = time.Hour

func newClock(rate float64, wall time.Duration) *clock {
	return &clock{at: time.Now(), boot: sinceBoot, mono: sinceBoot, raw: sinceBoot, quartz: rate, rate: rate, wall: wall}
}

// since is what has passed on this machine since the last change. It is counted from there each time: many short steps must
// not lose their fractions. The caller holds mu.
func (c *clock) since() time.Duration { return time.Duration(float64(time.Since(c.at)) * c.rate) }

// settle makes now the time of the last change. The caller holds mu.
func (c *clock) settle() {
	passed, raw := c.since(), c.sinceRaw()
	c.at = time.Now()
	c.boot += passed
	if !c.asleep {
		c.mono += passed
		c.raw += raw
	}
}

func (c *clock) sinceRaw() time.Duration { return time.Duration(float64(time.Since(c.at)) * c.quartz) }

// bend makes the clocks run faster or slower than their quartz by that share, as adjtimex does.
func (c *clock) bend(by float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle()
	c.rate = c.quartz * (1 + by)
}

// sight shows how they are bent.
func (c *clock) sight() lease.Sight {
	c.mu.Lock()
	defer c.mu.Unlock()
	mono, raw := c.mono, c.raw
	if !c.asleep {
		mono, raw = mono+c.since(), raw+c.sinceRaw()
	}
	if c.mute {
		raw = mono
	}
	return lease.Sight{Before: raw, Mono: mono, After: raw}
}

func (c *clock) read() (boot, mono time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	passed := c.since()
	if c.asleep {
		return c.boot + passed, c.mono
	}
	return c.boot + passed, c.mono + passed
}

// until gives the true time at which CLOCK_BOOTTIME reads boot, as the clock runs now.
func (c *clock) until(boot time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at.Add(time.Duration(float64(boot-c.boot) / c.rate))
}

// now is the wall clock.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.wall).UTC()
}

// shift sets the wall clock.
func (c *clock) shift(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall += by
}

// sleep begins a suspend.
func (c *clock) sleep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle()
	c.asleep = true
}

// wake ends it. wrong is the error of the length of the sleep, which many machines read from an RTC of whole seconds.
func (c *clock) wake(wrong time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle()
	c.asleep = false
	c.boot = max(c.boot+wrong, c.mono)
}

// restart is a boot.
func (c *clock) restart() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle()
	c.boot, c.mono, c.raw, c.asleep = 10*time.Second, 10*time.Second, 10*time.Second, false
}

// lifeClock is what one life of the daemon reads: a process that is stopped reads nothing new until it goes on.
type lifeClock struct {
	machine *clock

	mu         sync.Mutex
	still      int
	boot, mono time.Duration
	wall       time.Time
	sight      lease.Sight
}

func (c *lifeClock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.still++; c.still == 1 {
		c.boot, c.mono = c.machine.read()
		c.wall = c.machine.now()
		c.sight = c.machine.sight()
	}
}

func (c *lifeClock) goOn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.still--
}

// Boot implements agent.Clock.
func (c *lifeClock) Boot() lease.Boot {
	boot, _ := c.Both()
	return boot
}

// Both implements agent.Clock.
func (c *lifeClock) Both() (lease.Boot, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	boot, mono := c.boot, c.mono
	if c.still == 0 {
		boot, mono = c.machine.read()
	}
	return lease.Boot(boot), mono
}

// Sight implements agent.Clock.
func (c *lifeClock) Sight() lease.Sight {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.still > 0 {
		return c.sight
	}
	return c.machine.sight()
}

// Wall implements agent.Clock.
func (c *lifeClock) Wall() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.still > 0 {
		return c.wall
	}
	return c.machine.now()
}
