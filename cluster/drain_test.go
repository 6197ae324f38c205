package cluster

import (
	"strings"
	"testing"

	"nightporter/fsm"
)

func TestDrainPlan(t *testing.T) {
	forced := map[string]fsm.Drain{"b": {Force: true}}
	for _, tt := range []struct {
		name   string
		world  world
		drains map[string]fsm.Drain
		owner  string
		reason fsm.Reason
	}{
		{"to the other target", world{nodes: "a:awake b:awake!maint c:awake", targets: []string{"b", "c"}, owner: "b", epoch: 3}, nil, "c", fsm.OwnerDrained},
		{"to a front", world{nodes: "a:awake b:awake!maint c:asleep", targets: []string{"b", "c"}, owner: "b", epoch: 3}, nil, "a", fsm.OwnerDrained},
		{"nobody else: it stays", world{nodes: "a:asleep b:awake!maint", targets: []string{"b"}, owner: "b", epoch: 3}, nil, "", ""},
		{"nobody else, by force: nobody", world{nodes: "a:asleep b:awake!maint", targets: []string{"b"}, owner: "b", epoch: 3}, forced, "", fsm.OwnerDrained},
		{"by force, but there is somebody", world{nodes: "a:awake b:awake!maint", targets: []string{"b"}, owner: "b", epoch: 3}, forced, "a", fsm.OwnerDrained},
		{"and stays with nobody", world{nodes: "a:asleep b:awake!maint", targets: []string{"b"}, reason: fsm.OwnerDrained, epoch: 4}, forced, "", ""},
		{"until somebody comes", world{nodes: "a:awake b:awake!maint", targets: []string{"b"}, reason: fsm.OwnerDrained, epoch: 4}, forced, "a", fsm.DrainEnded},
		{"or it is over", world{nodes: "a:asleep b:awake", targets: []string{"b"}, reason: fsm.OwnerDrained, epoch: 4}, nil, "b", fsm.DrainEnded},
		{"a drained target gets nothing back", world{nodes: "a:awake b:awake!maint", targets: []string{"b"}, owner: "a", epoch: 3}, nil, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := tt.world.view()
			v.State.Drains = tt.drains
			plan := Plan(v)
			if tt.reason == "" && len(plan) != 0 || tt.reason != "" && (len(plan) != 1 || plan[0].Owner != tt.owner || plan[0].Reason != tt.reason) {
				t.Errorf("the plan is %+v", plan)
			}
		})
	}
}

func TestMayDrain(t *testing.T) {
	for nodes, says := range map[string]string{
		"a:awake b:awake":                        "",
		"a:asleep b:awake c:awake":               "",
		"a:asleep b:awake c:awake!maint":         "nobody else could hold service web now (a is asleep, c is in maintenance)",
		"a:awake!witness b:awake c:awake!dead":   "(a is a witness: it votes, and holds no service, c is not in touch)",
		"b:awake":                                "(none)",
		"a:awake!unfit b:awake c:off d:awake!up": "", // d
	} {
		err := MayDrain(world{nodes: nodes, targets: []string{"b"}, owner: "b", epoch: 3}.view(), "b")
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", nodes, err, says)
		}
	}
	if err := MayDrain(world{nodes: "a:asleep b:awake", targets: []string{"b"}, owner: "a", epoch: 3}.view(), "b"); err != nil {
		t.Errorf("a host that holds nothing: %v", err)
	}
}

// A leader that is to be switched off hands the lead on, also where it holds nothing.
func TestADrainedLeaderLeadsElsewhere(t *testing.T) {
	v := world{nodes: "a:awake!maint b:awake c:awake", targets: []string{"b"}, owner: "b", epoch: 3}.view()
	if to := LeadElsewhere(v, []string{"a", "b", "c"}); to != "c" {
		t.Errorf("to %q, want c", to)
	}
}
