package agent

import (
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/fsm"
)

// phases are those of a wake, in their order, with the names that people read.
var phases = []struct {
	name string
	of   cluster.Phase
}{
	{"called", func(p fsm.Phases) time.Duration { return p.Called }},
	{"back", func(p fsm.Phases) time.Duration { return p.Back }},
	{"awake", cluster.PhaseAwake},
	{"ready", cluster.PhaseReady},
	{"served", func(p fsm.Phases) time.Duration { return p.Served }},
}

// wakeTimes sums up what is remembered of a host's wakes.
func wakeTimes(t fsm.WakeTimes, most time.Duration) api.WakeTimes {
	out := api.WakeTimes{
		Woken: t.Woken, Failures: t.Failed, Limit: api.Duration(cluster.WakeLimit(t, cluster.PhaseAwake, most)), Phases: []api.PhaseTimes{},
	}
	for _, p := range phases {
		if s := cluster.SpreadOf(t, p.of); s.Count > 0 {
			out.Phases = append(out.Phases, api.PhaseTimes{
				Phase: p.name, Count: s.Count, P50: api.Duration(s.P50), P95: api.Duration(s.P95), Max: api.Duration(s.Max),
			})
		}
	}
	return out
}

// phaseTimes lists the phases that one wake came to.
func phaseTimes(p fsm.Phases) []api.PhaseTime {
	out := []api.PhaseTime{}
	for _, one := range phases {
		if d := one.of(p); d > 0 {
			out = append(out, api.PhaseTime{Phase: one.name, After: api.Duration(d)})
		}
	}
	return out
}
