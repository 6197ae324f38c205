package cluster

import (
	"time"

	"nightporter/fsm"
)

// dampWindow is how far back failures are counted; each doubles the time for which the node is passed over.
const dampWindow = 5 * time.Minute

// restMost is the longest that a node is passed over, or a change put off.
const restMost = time.Minute

// damped says whether a node lost this service by failure so recently, and so often, that giving it back would only
// make it flap: after n losses within dampWindow it is passed over for 2^n times failover (at most a minute).
func (v View) damped(service, node string) bool {
	var losses int
	var last time.Time
	for _, c := range v.State.History[service] {
		if c.From == node && (c.Reason == fsm.OwnerFailed || c.Reason == fsm.OwnerUnfit || c.Reason == fsm.CheckFailed) && v.Wall.Sub(c.At) < dampWindow {
			losses++
			last = c.At
		}
	}
	if losses == 0 {
		return false
	}
	rest := min(v.Timing.Failover<<min(losses, 10), restMost)
	age := v.Wall.Sub(last)
	return age < rest && age > -stampsDiffer
}

// stampsDiffer is how far in the future a stamp may lie that still counts: another leader's wall clock made it. One that was
// set wrong must not keep a node from its services for as long as it was wrong by.
const stampsDiffer = 5 * time.Second

// restless says whether the service went from owner to owner so fast, none of them getting or keeping a lease, that the
// next change is to wait: then it is not the owners that fail. Where UDP is blocked between hosts that gossip keeps in
// touch over TCP, no owner finds a majority, and each change would write to every disk for nothing. After n such changes
// in a row (n > 1) an owner that is in touch is given 2^n times failover, at most a minute.
func (v View) restless(service string, own fsm.Ownership) bool {
	h := v.State.History[service]
	n := 0
	for i := 1; i < len(h); i++ {
		kept := h[i].At.Sub(h[i-1].At)
		if h[i].Reason == fsm.OwnerFailed && kept >= 0 && kept < restAfter(v.Timing, n)+4*v.Timing.Failover {
			n++
		} else {
			n = 0
		}
	}
	waited := v.Wall.Sub(own.Since)
	return waited >= 0 && waited < restAfter(v.Timing, n)
}

func restAfter(t Timing, n int) time.Duration {
	if n < 2 {
		return 0
	}
	return min(t.Failover<<min(n, 10), restMost)
}
