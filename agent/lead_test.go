package agent

import (
	"testing"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
)

// TestOrphanedWakes: the leader ends what the host that began it does not, and leaves alone what is under way.
func TestOrphanedWakes(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := []struct {
		name   string
		age    time.Duration
		ended  bool
		caller bool // is in touch
		node   fsm.Node
		alive  bool
		want   fsm.Reason // "" = left alone
	}{
		{"its host lives and is at it", time.Second, false, true, fsm.Node{Power: fsm.Awake}, true, ""},
		{"its host lives, and forgot", 2 * orphanAfter, false, true, fsm.Node{Power: fsm.Awake}, true, fsm.WokeUp},
		{"its host died, and the node is back", time.Second, false, false, fsm.Node{Power: fsm.Awake}, true, fsm.WokeUp},
		{"its host died, and the node is not back yet", time.Second, false, false, fsm.Node{Power: fsm.Waking}, false, ""},
		{"its host died, and the node was called in vain", time.Hour, false, false, fsm.Node{Power: fsm.Asleep, PowerReason: fsm.GaveUp}, false, fsm.GaveUp},
		{"its host died, and the node is off", time.Hour, false, false, fsm.Node{Power: fsm.Off}, false, fsm.GaveUp},
		{"it ended", time.Hour, true, false, fsm.Node{Power: fsm.Awake}, true, ""},
	}
	for _, tt := range tests {
		v := cluster.View{
			Wall: now, State: &fsm.State{Nodes: map[string]fsm.Node{"h4": tt.node}},
			Present: map[string]cluster.Presence{"h2": {Alive: tt.caller}, "h4": {Alive: tt.alive}},
		}
		w := fsm.Wake{ID: "w", Node: "h4", By: "h2", Started: now.Add(-tt.age)}
		if tt.ended {
			w.Ended = now
		}
		var got fsm.Reason
		if c, ok := orphaned(v, w).(fsm.EndWake); ok {
			got = c.Result
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	gone := orphaned(cluster.View{Wall: now, State: &fsm.State{}}, fsm.Wake{ID: "w", Node: "h4", By: "h2", Started: now})
	if c, ok := gone.(fsm.EndWake); !ok || c.Result != fsm.GaveUp {
		t.Errorf("a node that was forgotten: %v", gone)
	}
}
