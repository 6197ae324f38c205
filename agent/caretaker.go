package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
)

// caretaker starts and stops the unit of one service on this host. It compares what is wanted with what it has done, and what systemd
// did not do is tried again.
type caretaker struct {
	service string
	unit    fsm.Unit
	world   Checks
	log     *slog.Logger
	changed func()
	nudge   func() // has the tenant look at the interlock
	lock    *interlock
	bell    bell

	mu      sync.Mutex
	want    duty
	begun   bool   // the loop has been told what is wanted
	running bool   // it was started, and not stopped since
	stopped bool   // it was stopped, or found so, and not started since
	ended   uint64 // the last tenure after which it was stopped
	trouble string // what systemd says of the last attempt; "" = it did what was asked
	leaving bool   // this host has nothing to do with it any more
	gone    bool   // the loop has ended
}

// Pauses and limits of the caretaker.
const (
	unitRetry = 2 * time.Second
	unitLimit = 10 * time.Minute // for one start or stop; systemd has a limit of its own for each unit
)

func newCaretaker(sv fsm.Service, k *checkups) *caretaker {
	return &caretaker{
		service: sv.Name, unit: sv.Unit, world: k.world, log: k.log, changed: k.bell.ring, nudge: func() {}, lock: &interlock{}, bell: newBell(),
	}
}

// wants says what is wanted now.
func (c *caretaker) wants(d duty) {
	c.mu.Lock()
	news := !c.begun || c.want.keep != d.keep || c.want.run != d.run || c.want.stop != d.stop || c.want.ended != d.ended
	c.want, c.begun, c.leaving = d, true, false
	c.mu.Unlock()
	if news {
		c.bell.ring()
	}
}

// leave is for a service that this host has nothing to do with any more, once its fence is closed. It is true when the unit is stopped
// and the loop has ended.
func (c *caretaker) leave(closed bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.want.keep, c.want.run, c.want.stop, c.begun, c.leaving = false, false, closed, true, true
	c.bell.ring()
	return c.gone
}

// over says whether the loop has ended. It takes no more orders then.
func (c *caretaker) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}

// deed is what a caretaker does next.
type deed int

const (
	rest deed = iota
	startUnit
	stopUnit
)

// next decides. After a tenure the unit is stopped even if it is wanted again: it may have been given up because it failed.
func (c *caretaker) next() deed {
	switch d := c.want; {
	case !c.begun:
		return rest
	case d.stop && ((d.ended > c.ended && !c.stopped) || (!d.keep && !c.stopped)):
		return stopUnit
	case d.run && !c.running:
		return startUnit
	}
	return rest
}

// run carries it out until ctx ends, or the unit is stopped of which nothing is wanted any more.
func (c *caretaker) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		c.mu.Lock()
		what, ended := c.next(), c.want.ended
		c.gone = c.leaving && c.stopped && what == rest
		gone := c.gone
		c.mu.Unlock()
		if gone {
			c.changed()
			return
		}
		wait := time.Hour
		if what != rest {
			if c.do(ctx, what, ended) {
				continue
			}
			wait = unitRetry
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-c.bell:
		case <-timer.C:
		}
	}
}

// do carries out one deed. A start that is not wanted any more is not waited for: the stop that follows takes its place.
func (c *caretaker) do(ctx context.Context, what deed, ended uint64) bool {
	agent := ctx
	ctx, cancel := context.WithTimeout(ctx, unitLimit)
	defer cancel()
	var err error
	switch {
	case what == startUnit:
		if err = c.start(ctx); err == nil {
			c.lock.started()
		}
	case c.lock.stop():
		err = c.world.StopUnit(ctx, c.unit.Name)
	default: // a tenure has begun again: it goes on with the unit as it is
		c.mu.Lock()
		c.ended = ended
		c.mu.Unlock()
		return false // until what is wanted has been told anew
	}
	if agent.Err() != nil && what == stopUnit {
		return false
	}
	c.mu.Lock()
	news := (err != nil) != (c.trouble != "")
	c.trouble = ""
	if err != nil {
		c.trouble = err.Error()
	}
	switch {
	case what == startUnit:
		c.running, c.stopped = err == nil, false
	case err == nil:
		c.running, c.stopped, c.ended = false, true, ended
	}
	c.mu.Unlock()
	switch {
	case err != nil && news:
		c.log.Error("a unit is not as it should be; it is tried again", "service", c.service, "unit", c.unit.Name, "err", err)
	case err == nil && what == startUnit:
		c.log.Info("unit started", "service", c.service, "unit", c.unit.Name)
	case err == nil:
		c.log.Info("unit stopped", "service", c.service, "unit", c.unit.Name)
	}
	c.nudge()
	c.changed()
	return err == nil
}

// start waits until the unit is started, or is to be stopped.
func (c *caretaker) start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- c.world.StartUnit(ctx, c.unit.Name) }()
	for {
		select {
		case err := <-ended:
			return err
		case <-c.bell:
			c.mu.Lock()
			unwanted := !c.want.keep
			c.mu.Unlock()
			if unwanted {
				cancel()
				return <-ended
			}
		}
	}
}

// end stops the unit when nothing else runs any more.
func (c *caretaker) end(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.begun || c.stopped {
		return
	}
	if err := c.world.StopUnit(ctx, c.unit.Name); err != nil {
		c.log.Error("a unit may go on running without its identity", "service", c.service, "unit", c.unit.Name, "err", err)
		return
	}
	c.stopped = true
	c.log.Info("unit stopped", "service", c.service, "unit", c.unit.Name)
}

// up says whether the unit runs as far as it is this agent's doing.
func (c *caretaker) up() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running && c.next() != stopUnit
}

// state is what is said of the service while its unit does not run.
func (c *caretaker) state() (cluster.HealthState, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trouble != "" {
		return cluster.HealthFailing, c.trouble
	}
	return cluster.HealthUnknown, c.unit.Name + " is being started"
}

// quiet says whether nothing is to be stopped, or it was tried in vain.
func (c *caretaker) quiet() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.want.keep || c.stopped || c.trouble != ""
}

func (c *caretaker) problem() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trouble
}
