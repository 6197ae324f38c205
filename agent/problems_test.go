package agent

import (
	"testing"

	"nightporter/cluster"
	"nightporter/fsm"
)

// That the log does not reach a host is news only while gossip does, and while the host is awake.
func TestDeaf(t *testing.T) {
	for _, c := range []struct {
		name   string
		status cluster.Status
		deaf   bool
		power  fsm.Power
		want   bool
	}{
		{"its Raft port is blocked", cluster.Alive, true, fsm.Awake, true},
		{"all is well", cluster.Alive, false, fsm.Awake, false},
		{"its plug is out", cluster.Failed, true, fsm.Awake, false},
		{"it sleeps", cluster.Alive, true, fsm.Asleep, false},
	} {
		v := cluster.View{
			State:   &fsm.State{Nodes: map[string]fsm.Node{"nas": {Power: c.power}}},
			Present: map[string]cluster.Presence{"nas": {Deaf: c.deaf}},
		}
		if got := deaf(v, cluster.Member{Name: "nas", Status: c.status}); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
