package agent

import (
	"time"

	"nightporter/lease"
	"nightporter/metrics"
)

// silences estimates for how long nobody held an identity, at each change of holder, on the clock of the new one: from the former one's
// release, as it came here, or, if there was none, from his last request for the lease that this host, as a voter, heard. He may have held
// a moment longer than that, at most for a ttl, so the estimate is rather too long; of a former holder that released, too short by one message.
type silences struct {
	blackouts *metrics.Vec  // by reason: of each service it would be 16 lines for each reason
	sums      metrics.Count // by service
	asked     func(service, node string) (asking, bool)
}

// ended is called when a tenant's fence has opened.
func (s *silences) ended(t *tenant, now lease.Boot) {
	prev := t.wish.Prev
	if s == nil || prev == "" || prev == t.self || t.measured == t.epoch {
		return
	}
	t.measured = t.epoch
	since := t.handedAt
	if t.handedEpoch+1 != t.epoch {
		last, heard := s.asked(t.service, prev)
		if !heard {
			return
		}
		since = last.at
	}
	gap := max(now.Sub(since), 0)
	s.blackouts.Observe(gap, string(t.wish.Own.Reason))
	s.sums.Add(gap.Seconds(), t.service)
}

// silenceBounds are from a planned move to a lease of half a minute.
var silenceBounds = []time.Duration{
	5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute,
}

// wakeBounds are from the first magic packet to a host that boots from its disk.
var wakeBounds = []time.Duration{
	10 * time.Millisecond, 50 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second,
	5 * time.Second, 7500 * time.Millisecond, 10 * time.Second, 15 * time.Second, 20 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
}
