package agent

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"nightporter/fsm"
	"nightporter/identity"
	"nightporter/wake"
)

// tickEvery is how often the clocks are compared: an absence is noticed within one tick of the return.
const tickEvery = 500 * time.Millisecond

// stall is the gap between ticks from which on this process counts as having been away although the clocks agree.
const stall = 1500 * time.Millisecond

// ticks notices that this host, or this process, was away, that the LAN interface came or went, and that the disk fails.
type ticks struct {
	clock    Clock
	ruler    *ruler
	kernel   Kernel
	tenants  *tenants
	sleeper  *sleeper
	touch    *touch
	checks   *checkups
	idler    *idler
	reporter *reporter
	meta     *metaKeeper
	log      *slog.Logger
	bell     bell // rung when a message found the clocks changed
	disk     func() string
	machine  *fsm.Machine
	oneMAC   atomic.Bool // the LAN interface carries services in mode address only: which ones there are is looked at with each tick
	witness  bool        // this host is one
	rounds   atomic.Uint64
	doubt    *doubt
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
		case stir, open := <-disturbed:
			if !open {
				disturbed = nil
				continue
			}
			k.tenants.stirred(stir)
			k.fitness()
		case <-k.bell:
			k.look(&edge)
		case <-tick.C:
			k.look(&edge)
		}
	}
}

func (k *ticks) look(edge *wake.Edge) {
	k.doubt.present()
	k.ruler.look()
	boot, mono := k.clock.Both()
	if away, gap := edge.Tick(time.Duration(boot), mono); away != wake.Present {
		k.returned(away, gap)
	}
	k.rounds.Add(1)
	if k.disk() != "" || k.meta.now().Unfit != "" || k.oneMAC.Load() {
		k.fitness() // until it is over and said to be
	}
}

// returned closes everything that was open: nothing that was known before still counts.
func (k *ticks) returned(away wake.Absence, gap time.Duration) {
	k.log.Info("this host was away: everything is closed and checked anew", "how", away, "for", gap.Round(time.Millisecond).String())
	k.tenants.wereAway()
	k.checks.returned()
	k.sleeper.returned(away)
	k.idler.returned()
	k.reporter.bell.ring()
	k.touch.bell.ring()
	k.fitness()
}

// fitness tells the others whether this host could hold an identity: its LAN interface carries it, it has the fence that its
// configuration wants, and its disk takes the log that gives it and takes it away.
func (k *ticks) fitness() {
	lan, err := k.kernel.LAN()
	k.oneMAC.Store(lan.OneMAC != "")
	k.doubt.linked(err == nil && lan.Up)
	why := ""
	if !k.witness { // which is to hold nothing
		why = unfit(k.kernel, lan, err, k.machine.View().State.Services)
	}
	if why == "" {
		why = k.disk()
	}
	k.meta.setUnfit(why)
}

func unfit(k Kernel, lan identity.LAN, err error, services map[string]fsm.Service) string {
	switch {
	case err != nil:
		return "the LAN interface cannot be used: " + err.Error()
	case !lan.Up:
		return "the LAN interface " + lan.Name + " is down"
	}
	if why := k.Refusal(); why != "" || lan.OneMAC == "" {
		return why
	}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		if services[name].Mode == fsm.ModeMAC {
			return "this host can hold nothing while there are services in mode mac, such as " + name + ": " + lan.OneMAC
		}
	}
	return ""
}
