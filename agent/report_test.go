package agent

import (
	"strings"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/config"
	"nightporter/fsm"
)

func TestReport(t *testing.T) {
	began := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	day := func(n int64, asleep time.Duration) fsm.DayTally {
		return fsm.DayTally{Day: began.Unix()/86400 + n, Tally: fsm.Tally{Asleep: asleep, Awake: time.Hour, Wakes: []fsm.WakeCount{{Service: "web", Cause: fsm.Demand, Verdict: fsm.Useful, Count: 2}}}}
	}
	node := func(name string, format uint8) fsm.Node {
		return fsm.Node{Name: name, Policy: fsm.Sleeps, Power: fsm.Asleep, PowerSince: began.Add(48 * time.Hour), Format: format}
	}
	state := &fsm.State{
		Nodes: map[string]fsm.Node{"b": node("b", 2), "c": node("c", 2), "old": node("old", 0)},
		Ledger: map[string]fsm.NodeLedger{"b": {
			Since: began.Add(-1000 * time.Hour), Total: fsm.Tally{Asleep: 500 * time.Hour, Wakes: []fsm.WakeCount{{Cause: fsm.OperatorWake, Count: 9}, {Service: "web", Cause: fsm.Demand, Verdict: fsm.Useful, Count: 40}}},
			Days: []fsm.DayTally{day(0, 7*time.Hour), day(1, 5*time.Hour)},
		}},
	}
	now := began.Add(50 * time.Hour) // asleep for two hours
	all := reportOf(state, map[string]config.Watts{"b": {Awake: 62, Asleep: 2}}, 0, now)
	b, c, old := all.Nodes[0], all.Nodes[1], all.Nodes[2]
	if !all.From.IsZero() || time.Duration(b.Asleep) != 502*time.Hour || !b.Configured || b.SavedWh != 502*60 || len(b.Wakes) != 2 || b.Wakes[0].Count != 40 {
		t.Errorf("in all: %+v", b)
	}
	if c.Configured || c.SavedWh != 0 || time.Duration(c.Asleep) != 2*time.Hour || old.Asleep != 0 {
		t.Errorf("without watts: %+v, of an old version: %+v", c, old)
	}
	if notes := strings.Join(all.Notes, "\n"); len(all.Notes) != 2 || !strings.Contains(notes, "what c draws is not configured") || !strings.Contains(notes, "hours of old are not counted") {
		t.Errorf("notes: %s", notes)
	}
	some := reportOf(state, nil, 24*time.Hour, now)
	b = some.Nodes[0]
	if want := began.Add(12 * time.Hour); !some.From.Equal(want) || !b.Since.Equal(want) || time.Duration(b.Asleep) != 7*time.Hour || time.Duration(b.Awake) != time.Hour ||
		len(b.Wakes) != 1 || b.Wakes[0] != (api.WakeCount{Service: "web", Cause: "demand", Verdict: "useful", Count: 2}) {
		t.Errorf("from %s: %+v", some.From, b)
	}
}
