package report

import (
	"maps"
	"slices"
	"strings"
	"time"

	"nightporter/chaos/check"
	"nightporter/chaos/history"
	"nightporter/internal/markup"
)

// row is a distribution.
type row struct {
	Name          string
	Count         int
	P50, P95, Max time.Duration
}

func (r row) markup() markup.Text {
	return markup.Fill("<tr><td>%v<td class=\"n\">%v<td class=\"n\">%v<td class=\"n\">%v<td class=\"n\">%v\n", r.Name, r.Count, ms(r.P50), ms(r.P95), ms(r.Max))
}

func distribution(name string, d []time.Duration) row {
	slices.Sort(d)
	r := row{Name: name, Count: len(d)}
	if len(d) > 0 {
		r.P50, r.P95, r.Max = d[(len(d)-1)/2], d[(len(d)-1)*95/100], d[len(d)-1]
	}
	return r
}

// waits are how long clients waited: for every answer, and where they had to wait for longer than half the failover, by the kind of
// fault or change that was on.
func waits(h *history.History) []row {
	var all, blackouts []time.Duration
	for _, r := range h.Requests {
		if r.OK() {
			all = append(all, r.Ended.Sub(r.Began))
		}
	}
	by := map[string][]time.Duration{}
	for _, s := range check.Silences(h, h.Setup.Failover/2) {
		blackouts = append(blackouts, s.Length)
		seen := map[string]bool{}
		for _, c := range s.Causes {
			kind, _, _ := strings.Cut(c, " ")
			if strings.HasPrefix(kind, "h") && len(kind) <= 3 { // a target that slept
				kind = "a target that was away"
			}
			if !seen[kind] {
				seen[kind] = true
				by[kind] = append(by[kind], s.Length)
			}
		}
	}
	out := []row{distribution("requests that were answered", all), distribution("blackouts: longer than half the failover", blackouts)}
	for _, k := range slices.Sorted(maps.Keys(by)) {
		out = append(out, distribution("blackouts during "+k, by[k]))
	}
	return out
}

// phases are the parts of the wakes that a client's connection attempt set off: until the magic packet, until the machine
// ran, until its target used the identity.
func phases(h *history.History) []row {
	var magic, up, held []time.Duration
	done := map[string]time.Time{}
	for _, k := range h.Demands {
		sv, _ := h.Setup.Service(k.Service)
		if k.At.Before(done[k.Service]) {
			continue // the same wake
		}
		m := slices.IndexFunc(h.Magics, func(m history.Magic) bool {
			return !m.At.Before(k.At) && m.At.Sub(k.At) < time.Second && slices.Contains(sv.Targets, m.Target)
		})
		if m < 0 {
			continue
		}
		call := h.Magics[m]
		if state, _ := h.StateAt(call.Target, call.At); state != history.Asleep {
			continue
		}
		done[k.Service] = k.At.Add(5 * time.Second)
		magic = append(magic, call.At.Sub(k.At))
		u := slices.IndexFunc(h.Powers, func(p history.Power) bool {
			return p.Host == call.Target && p.State == history.Up && p.At.After(call.At)
		})
		if u < 0 {
			continue
		}
		up = append(up, h.Powers[u].At.Sub(call.At))
		for _, s := range h.Spans {
			if s.Service == k.Service && s.Host == call.Target && s.First.After(h.Powers[u].At) {
				if d := s.First.Sub(h.Powers[u].At); d < 10*time.Second {
					held = append(held, d)
				}
				break
			}
		}
	}
	return []row{
		distribution("from the connection attempt to the magic packet", magic), distribution("from the magic packet until the machine runs", up),
		distribution("from there until the target uses the identity", held),
	}
}

// longest gives the longest silences, longest first.
func longest(all []check.Silence, most int) []check.Silence {
	slices.SortFunc(all, func(a, b check.Silence) int { return int(b.Length - a.Length) })
	return all[:min(len(all), most)]
}
