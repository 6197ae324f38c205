package agent

import (
	"testing"
	"time"

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

// A host that was called for its vote could not be said to be called before it came up: nobody led. It is not told that nobody had called it.
func TestWokenForItsVote(t *testing.T) {
	up := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	n := fsm.Node{Name: "nas", Power: fsm.Awake, PowerReason: fsm.WokeUnasked, PowerSince: up}
	for _, c := range []struct {
		name   string
		wake   fsm.Wake
		reason fsm.Reason
		cause  string
	}{
		{"the call is recorded", fsm.Wake{Node: "nas", Cause: fsm.QuorumLost, Ended: up, Result: fsm.WokeUp}, fsm.WokeUp, "it was woken: the cluster needs its vote"},
		{"it goes on", fsm.Wake{Node: "nas", Cause: fsm.QuorumLost}, fsm.WokeUp, "it was woken: the cluster needs its vote"},
		{"that was before this sleep", fsm.Wake{Node: "nas", Cause: fsm.QuorumLost, Ended: up.Add(-time.Minute), Result: fsm.WokeUp}, fsm.WokeUnasked, causes[fsm.WokeUnasked]},
		{"it was given up", fsm.Wake{Node: "nas", Cause: fsm.QuorumLost, Ended: up, Result: fsm.GaveUp}, fsm.WokeUnasked, causes[fsm.WokeUnasked]},
		{"another host's", fsm.Wake{Node: "desk", Cause: fsm.QuorumLost, Ended: up, Result: fsm.WokeUp}, fsm.WokeUnasked, causes[fsm.WokeUnasked]},
		{"nobody called", fsm.Wake{Node: "nas", Cause: fsm.WokeUnasked, Ended: up, Result: fsm.WokeUp}, fsm.WokeUnasked, causes[fsm.WokeUnasked]},
	} {
		state := &fsm.State{Nodes: map[string]fsm.Node{"nas": n}, Wakes: []fsm.Wake{c.wake}}
		if why, told := powerReason(state, n), cause(state, n); why != c.reason || told != c.cause {
			t.Errorf("%s: %s, %q; want %s, %q", c.name, why, told, c.reason, c.cause)
		}
	}
}
