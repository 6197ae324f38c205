package run

import (
	"slices"
	"time"

	"nightporter/chaos/history"
)

// tidy brings what several sources tell into agreement.
func tidy(h *history.History) {
	for i := range h.Faults {
		woken(h, &h.Faults[i])
	}
	for i := range h.Records {
		unskew(h, &h.Records[i])
	}
	h.Suspends = suspends(h)
}

// woken shortens a freeze that somebody ended before the nemesis did.
func woken(h *history.History, f *history.Fault) {
	if f.Kind != history.Freeze || !f.Dark {
		return
	}
	for _, p := range h.Powers {
		if p.Host == f.Host && p.State != history.Asleep && p.At.After(f.Took) && p.At.Before(f.To) {
			f.To = p.At
			return
		}
	}
}

// stamped is how far a stamp may be from the time at which the shift was in force.
const stamped = 5 * time.Second

// unskew gives a record its true time, where the agent that stamped it had its wall clock shifted. Shifts are a minute and
// more, so that a stamp fits only one side.
func unskew(h *history.History, r *history.Record) {
	for _, f := range h.Faults {
		if f.Wall == 0 || f.Host != r.By {
			continue
		}
		at := r.At.Add(-f.Wall)
		if at.After(f.From.Add(-stamped)) && (f.To.IsZero() || at.Before(f.To.Add(stamped))) {
			r.At = at
			return
		}
	}
}

// suspends are the sleeps that no freeze of the nemesis explains, with the voters as the cluster had them shortly before.
func suspends(h *history.History) []history.Suspend {
	var out []history.Suspend
	for _, p := range h.Powers {
		if p.State != history.Asleep || p.At.Before(h.Began) {
			continue
		}
		forced := slices.ContainsFunc(h.Faults, func(f history.Fault) bool {
			return f.Kind == history.Freeze && f.Host == p.Host && !p.At.Before(f.From) && !p.At.After(f.Took.Add(time.Second))
		})
		if !forced {
			out = append(out, history.Suspend{Host: p.Host, At: p.At, Voters: h.VotersAt(p.At), After: h.VotersAfter(p.Host, p.At)})
		}
	}
	return out
}
