package agent

import (
	"testing"
	"time"

	"nightporter/api"
	"nightporter/fsm"
)

// What a node's last change of power came from is the wake that was under way then, not one that others tried later.
func TestWhichWakeBroughtIt(t *testing.T) {
	up := noon.Add(time.Minute)
	demand := fsm.Wake{Node: "n", Cause: fsm.Demand, Client: "192.0.2.7:5000", Service: "web", Port: "tcp/80", Started: noon, Ended: up, Result: fsm.WokeUp}
	later := fsm.Wake{Node: "n", Cause: fsm.QuorumLost, Started: up.Add(time.Hour), Ended: up.Add(2 * time.Hour), Result: fsm.GaveUp}
	for name, c := range map[string]struct {
		wakes  []fsm.Wake
		reason fsm.Reason
		want   string
	}{
		"the one that ended it":                     {[]fsm.Wake{demand, later}, fsm.WokeUp, "it was woken: the client 192.0.2.7:5000 wanted web (tcp/80)"},
		"by a clock that is before its own":         {[]fsm.Wake{later}, fsm.WokeUp, "it was woken: the cluster needs its vote"},
		"by nobody":                                 {nil, fsm.WokeUnasked, causes[fsm.WokeUnasked]},
		"by itself, long after somebody had called": {[]fsm.Wake{{Node: "n", Cause: fsm.Demand, Started: noon.Add(-time.Hour), Ended: noon.Add(-59 * time.Minute), Result: fsm.WokeUp}}, fsm.WokeUnasked, causes[fsm.WokeUnasked]},
	} {
		got := cause(&fsm.State{Wakes: c.wakes}, fsm.Node{Name: "n", Power: fsm.Awake, PowerReason: c.reason, PowerSince: up})
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A host that sleeps and could not be woken says so first, and promises nothing.
func TestWhyOfOneThatCannotBeWoken(t *testing.T) {
	state := &fsm.State{
		Nodes:   map[string]fsm.Node{"n": {Name: "n", Policy: fsm.Sleeps, Power: fsm.Asleep, PowerReason: fsm.GaveUp, PowerSince: noon, Format: 2}},
		Fitness: map[string]fsm.Fitness{"n": {Report: goodReport(), Revoked: fsm.Revocation{Reason: fsm.WakeFailed, Detail: "called 9 times"}}},
		Wakes:   []fsm.Wake{{Node: "n", Cause: fsm.OperatorWake, Started: noon, Ended: noon, Result: fsm.GaveUp}},
	}
	w := recorded(state, state.Nodes["n"])
	if w.Summary != "n is asleep and CANNOT BE WOKEN: n could not be woken from its last sleep (called 9 times)" {
		t.Error(w.Summary)
	}
	if len(w.Notes) != 2 || w.Notes[1] != "it was called last, in vain, at 2026-01-02 12:00:00 UTC: somebody called it with `nightporter wake`" {
		t.Errorf("%q", w.Notes)
	}
}

// That nothing is heard of anybody is one thing, not one for each of them.
func TestUnheard(t *testing.T) {
	node := func(name, power string, alive bool) api.NodeStatus {
		return api.NodeStatus{Name: name, Power: power, Alive: alive}
	}
	for name, c := range map[string]struct {
		nodes []api.NodeStatus
		want  int
	}{
		"cut off":                {[]api.NodeStatus{node("a", "awake", true), node("b", "awake", false), node("c", "awake", false), node("d", "asleep", false)}, 2},
		"one of them is there":   {[]api.NodeStatus{node("a", "awake", true), node("b", "awake", false), node("c", "awake", true)}, 0},
		"the others are asleep":  {[]api.NodeStatus{node("a", "awake", true), node("d", "asleep", false)}, 0},
		"it is the only one yet": {[]api.NodeStatus{node("a", "awake", true)}, 0},
	} {
		if got := unheard(api.Status{Node: "a", Nodes: c.nodes}); len(got) != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
