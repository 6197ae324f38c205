package check

import (
	"slices"
	"time"

	"nightporter/chaos/history"
)

// quorumGuard counts, for every suspend that a daemon began itself, the voters that stayed awake. What fell away so
// shortly before that the cluster could not know of it still counts as awake.
func quorumGuard(h *history.History, d *docket) {
	notice := 3*h.Setup.Failover + 2*time.Second + h.Setup.Extra
	for _, s := range h.Suspends {
		if len(s.Voters) == 0 {
			d.blind = "nobody knows who the voters were when " + s.Host + " went to sleep at " + at(s.At)
			continue
		}
		d.judged++
		if !slices.Contains(s.Voters, s.Host) {
			continue // its sleep takes no vote away
		}
		awake := 0
		for _, v := range s.Voters {
			if v == s.Host {
				continue
			}
			if state, since := h.StateAt(v, s.At); state == history.Up || s.At.Sub(since) < notice {
				awake++
			}
		}
		if need := len(s.Voters)/2 + 1; awake < need {
			d.find("%s went to sleep at %s and left %d of the voters %v awake; %d are needed", s.Host, at(s.At), awake, s.Voters, need)
		}
	}
}

// handOver looks at what the log gave to a host that went to sleep by itself.
func handOver(h *history.History, d *docket) {
	for _, s := range h.Suspends {
		d.judged++
		for _, sv := range h.Setup.Services {
			var last history.Record
			for _, r := range h.Of(sv.Name) {
				if !r.At.IsZero() && !r.At.After(s.At) {
					last = r
				}
			}
			if last.To == s.Host {
				d.find("%s: %s went to sleep at %s and owned it since %s (epoch %d)", sv.Name, s.Host, at(s.At), at(last.At), last.Epoch)
			}
		}
	}
}
