package agent

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"nightporter/api"
	"nightporter/config"
	"nightporter/fsm"
)

// Report sums up the hours from the log, and the energy from this host's configuration.
func (b *backend) Report(_ context.Context, q api.ReportQuery) (api.Report, error) {
	state := b.machine.View().State
	if err := b.founded(state, "sum up the hours asleep"); err != nil {
		return api.Report{}, err
	}
	if q.Since < 0 {
		return api.Report{}, api.Invalid("a report cannot begin in the future", "give a time from 0 on, like 168h")
	}
	return reportOf(state, b.cfg.Watts, time.Duration(q.Since), b.deps.Clock.Wall()), nil
}

// reportOf is pure. A host's last state goes on until now.
func reportOf(state *fsm.State, watts map[string]config.Watts, since time.Duration, now time.Time) api.Report {
	out := api.Report{Until: now.UTC(), Nodes: []api.NodeReport{}, Notes: []string{}}
	if since > 0 {
		out.From = now.Add(-since).UTC().Truncate(24 * time.Hour)
	}
	var silent, unknown []string
	for _, name := range slices.Sorted(maps.Keys(state.Nodes)) {
		n := state.Nodes[name]
		l, counted := fsm.Until(state, name, now)
		r := api.NodeReport{Node: name, Policy: string(n.Policy), Wakes: []api.WakeCount{}}
		if !counted {
			unknown = append(unknown, name)
			out.Nodes = append(out.Nodes, r)
			continue
		}
		t := l.From(out.From)
		if r.Since = l.Since.UTC(); r.Since.Before(out.From) {
			r.Since = out.From
		}
		r.Awake, r.Asleep, r.Off = api.Duration(t.Awake), api.Duration(t.Asleep), api.Duration(t.Off)
		for _, w := range t.Wakes {
			r.Wakes = append(r.Wakes, api.WakeCount{Service: w.Service, Cause: string(w.Cause), Verdict: string(w.Verdict), Count: w.Count})
		}
		slices.SortFunc(r.Wakes, func(a, b api.WakeCount) int {
			return cmp.Or(cmp.Compare(a.Cause, b.Cause), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Verdict, b.Verdict))
		})
		w, has := watts[name]
		if has {
			r.Configured, r.WattsAwake, r.WattsAsleep = true, w.Awake, w.Asleep
			r.SavedWh = time.Duration(r.Asleep).Hours() * (w.Awake - w.Asleep)
		} else if r.Asleep > 0 {
			silent = append(silent, name)
		}
		out.Nodes = append(out.Nodes, r)
	}
	for _, name := range silent {
		out.Notes = append(out.Notes, "what "+name+" draws is not configured on the host that answers (watts: {awake: 60, asleep: 2}): no energy is told of it")
	}
	for _, name := range unknown {
		out.Notes = append(out.Notes, "the hours of "+name+" are not counted yet: its record is of an older version")
	}
	if first := fsm.FirstDay(state); since > 0 && !first.IsZero() && out.From.Before(first) {
		out.Notes = append(out.Notes, "single days are remembered from "+first.Format(time.DateOnly)+" on; what was before is only in the report without --since")
	}
	return out
}
