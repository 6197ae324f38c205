package agent

import (
	"context"
	"log/slog"
	"time"

	"nightporter/identity"
	"nightporter/wake"
)

// tickEvery is how often the clocks are compared: an absence is noticed within one tick of the return.
const tickEvery = 500 * time.Millisecond

// stall is the gap between ticks from which on this process counts as having been away although the clocks agree.
const stall = 1500 * time.Millisecond

// ticks notices that this host, or this process, was away, and that the LAN interface came or went.
type ticks struct {
	clock   Clock
	kernel  Kernel
	tenants *tenants
	sleeper *sleeper
	touch   *touch
	meta    *metaKeeper
	log     *slog.Logger
	bell    bell // rung when a message found the clocks changed
}

func (k *ticks) run(ctx context.Context) {
	edge := wake.Edge{Stall: stall}
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	disturbed := k.kernel.Watch(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-disturbed:
			if !open {
				disturbed = nil
				continue
			}
			k.tenants.each(func(t *tenant) { t.disturbed() })
			k.fitness()
		case <-k.bell:
			k.look(&edge)
		case <-tick.C:
			k.look(&edge)
		}
	}
}

func (k *ticks) look(edge *wake.Edge) {
	if away, gap := edge.Tick(time.Duration(k.clock.Boot()), k.clock.Mono()); away {
		k.returned(gap)
	}
}

// returned closes everything that was open: nothing that was known before still counts.
func (k *ticks) returned(gap time.Duration) {
	k.log.Info("this host was away: everything is closed and checked anew", "for", gap.Round(time.Millisecond).String())
	k.tenants.wereAway()
	k.sleeper.returned()
	k.touch.bell.ring()
	k.fitness()
}

// fitness tells the others whether this host's LAN interface could carry an identity.
func (k *ticks) fitness() {
	lan, err := k.kernel.LAN()
	k.meta.setUnfit(unfit(lan, err))
}

func unfit(lan identity.LAN, err error) string {
	switch {
	case err != nil:
		return "the LAN interface cannot be used: " + err.Error()
	case !lan.Up:
		return "the LAN interface " + lan.Name + " is down"
	}
	return ""
}
