package cluster

import (
	"testing"
	"time"

	"nightporter/fsm"
	"nightporter/lease"
)

// TestPlanned: a record waits for its heir only where somebody serves on meanwhile, and where the heir can say that it is prepared.
func TestPlanned(t *testing.T) {
	now := lease.Boot(time.Hour)
	base := func() (View, fsm.Assign) {
		s := &fsm.State{Nodes: map[string]fsm.Node{}, Services: map[string]fsm.Service{}, Ownerships: map[string]fsm.Ownership{}}
		s.Services["web"] = fsm.Service{Name: "web", Targets: []string{"b"}}
		s.Ownerships["web"] = fsm.Ownership{Owner: "a", Epoch: 7, Reason: fsm.FirstOwner}
		v := View{
			Now: now, State: s, Timing: Derive(time.Second), TableAge: time.Minute,
			Present: map[string]Presence{"a": {Alive: true}, "b": {Alive: true}},
			Tenures: map[string]Sign{"web": {Epoch: 7, Seen: now}},
		}
		for _, n := range []string{"a", "b"} {
			s.Nodes[n] = fsm.Node{Name: n, Power: fsm.Awake, Format: standsFormat}
		}
		return v, fsm.Assign{Service: "web", Owner: "b", Planned: 7, Reason: fsm.OperatorMoved}
	}
	for _, r := range []fsm.Reason{fsm.OperatorMoved, fsm.OwnerSleeps, fsm.OwnerDrained, fsm.OwnerLeft, fsm.TargetReady, fsm.CheckPassed} {
		v, a := base()
		if a.Reason = r; !v.Planned(a) {
			t.Errorf("%s: it does not wait", r)
		}
	}
	node := func(v *View, name string, f func(*fsm.Node)) {
		n := v.State.Nodes[name]
		f(&n)
		v.State.Nodes[name] = n
	}
	for what, change := range map[string]func(*View, *fsm.Assign){
		"the owner failed":                func(_ *View, a *fsm.Assign) { a.Reason = fsm.OwnerFailed },
		"its check failed":                func(_ *View, a *fsm.Assign) { a.Reason = fsm.CheckFailed },
		"it is unfit":                     func(_ *View, a *fsm.Assign) { a.Reason = fsm.OwnerUnfit },
		"it sleeps already":               func(_ *View, a *fsm.Assign) { a.Reason = fsm.OwnerAsleep },
		"the record is another one":       func(_ *View, a *fsm.Assign) { a.Planned = 6 },
		"nobody is to have it":            func(_ *View, a *fsm.Assign) { a.Owner = "" },
		"it stays where it is":            func(_ *View, a *fsm.Assign) { a.Owner = "a" },
		"nobody knows the service":        func(_ *View, a *fsm.Assign) { a.Service = "mail" },
		"the owner is out of touch":       func(v *View, _ *fsm.Assign) { v.Present["a"] = Presence{} },
		"the owner is silent":             func(v *View, _ *fsm.Assign) { v.Tenures["web"] = Sign{Epoch: 7, Seen: now.Add(-2 * time.Second)} },
		"the owner sleeps, says the log":  func(v *View, _ *fsm.Assign) { node(v, "a", func(n *fsm.Node) { n.Power = fsm.Asleep }) },
		"the heir is out of touch":        func(v *View, _ *fsm.Assign) { v.Present["b"] = Presence{} },
		"the heir does not know the word": func(v *View, _ *fsm.Assign) { node(v, "b", func(n *fsm.Node) { n.Format = standsFormat - 1 }) },
		"the heir's checks pass": func(v *View, _ *fsm.Assign) {
			sv := v.State.Services["web"]
			sv.Checks = []fsm.Check{{Kind: fsm.CheckTCP, Port: 80}}
			v.State.Services["web"] = sv
		},
	} {
		v, a := base()
		change(&v, &a)
		if v.Planned(a) {
			t.Errorf("%s: it waits", what)
		}
	}
}
