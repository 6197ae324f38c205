package agent

import (
	"context"
	"sync"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/health"
	"nightporter/lease"
)

// checkup carries out the checks of one service on this host, each in a goroutine of its own: one that hangs delays no other.
type checkup struct {
	service fsm.Service
	sum     uint32
	clock   Clock
	world   Checks
	changed func()
	stop    context.CancelFunc

	mu     sync.Mutex
	pulses []health.Pulse // of each of service.Asks()
	over   bool
}

// begin starts one. The first results come at once.
func (k *checkups) begin(ctx context.Context, sv fsm.Service) *checkup {
	c := &checkup{service: sv, sum: cluster.ChecksSum(sv), clock: k.clock, world: k.world, changed: k.bell.ring}
	ctx, stop := context.WithCancel(ctx)
	c.stop = func() {
		c.mu.Lock()
		c.over = true
		c.mu.Unlock()
		stop()
	}
	asks := sv.Asks()
	for _, a := range asks {
		c.pulses = append(c.pulses, health.Pulse{Rise: a.Rise, Fall: a.Fall, Interval: a.Interval, Timeout: a.Timeout})
	}
	for i, a := range asks {
		k.asking.Go(func() { c.repeat(ctx, i, a) })
	}
	return c
}

// repeat asks one thing again and again.
func (c *checkup) repeat(ctx context.Context, i int, a fsm.Check) {
	for {
		why := c.world.Ask(ctx, c.service, a)
		if ctx.Err() != nil {
			return // it was not the service that did not answer
		}
		pause := time.NewTimer(c.result(i, why))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}

// result takes in what one check came to and says when to ask again.
func (c *checkup) result(i int, why string) time.Duration {
	now := c.clock.Boot()
	before, said := c.state(now)
	c.mu.Lock()
	p := &c.pulses[i]
	if !c.over {
		p.Result(time.Duration(now), why)
	}
	pause := p.Pause()
	c.mu.Unlock()
	if after, say := c.state(now); after != before || say != said {
		c.changed()
	}
	return pause
}

// state is the worst of all checks: failing if one of them fails, ready if all of them pass.
func (c *checkup) state(now lease.Boot) (cluster.HealthState, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	state, why := cluster.HealthReady, ""
	for i := range c.pulses {
		switch s, say := c.pulses[i].State(time.Duration(now)); s {
		case health.Failing:
			return cluster.HealthFailing, say
		case health.Unknown:
			state, why = cluster.HealthUnknown, c.service.Asks()[i].String()+": "+say
		}
	}
	return state, why
}

// forget is for after a suspend.
func (c *checkup) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.pulses {
		c.pulses[i].Forget()
	}
}
