package agent

import (
	"sync"

	"nightporter/lease"
)

// ruler measures how this host's clocks are bent, for all who count leases by them. The ticks look now and then, so that the rate is
// known when a tenure begins.
type ruler struct {
	clock Clock

	mu   sync.Mutex
	rule lease.Ruler
}

// look measures up to now. Without a ruler nothing is known to be bent.
func (r *ruler) look() lease.Bent {
	if r == nil {
		return lease.Bent{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rule.Look(r.clock.Sight()) // read under the lock: looks must not overtake each other
}

// steady is CLOCK_BOOTTIME less what it gained by being bent: between two readings no less time has passed than it says. Waits for the
// end of leases count by it.
func (r *ruler) steady() lease.Boot {
	now := r.clock.Boot()
	return now.Add(-r.look().Ahead)
}

// mark is the same where a wait begins: what the clock gains while it is read must not make the mark earlier.
func (r *ruler) mark() lease.Boot {
	ahead := r.look().Ahead
	return r.clock.Boot().Add(-ahead)
}
