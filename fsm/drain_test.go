package fsm

import (
	"strings"
	"testing"
	"time"
)

// drainLog has the commands of a maintenance, with every field set, and what they need to be applied.
func drainLog() []fixture {
	return []fixture{
		{"01-found", Found{Cluster: Cluster{ID: testID, Name: "home", Created: at(0)}, Failover: time.Second, Services: []Service{testService("web", 200)}, By: "a"}},
		{"02-put-node", PutNode{Node: testNode("c", Sleeps), At: at(1)}},
		{"03-put-node", PutNode{Node: testNode("b", Sleeps), At: at(1)}},
		{"04-set-drain", SetDrain{Node: "c", On: true, Force: true, Text: "new disk", At: at(2), By: "a"}},
		{"05-set-drain", SetDrain{Node: "b", On: true, Text: "new fan", At: at(3), By: "a"}},
		{"06-set-drain", SetDrain{Node: "b", At: at(4), By: "c"}},
	}
}

func TestSetDrain(t *testing.T) {
	begin := SetDrain{Node: "c", On: true, Text: "new disk", At: at(10), By: "a"}
	drained := func(d Drain) func(*State) error {
		return func(s *State) error {
			return want(s.Nodes["c"].Maintenance && s.Drains["c"] == d && stateFormat(s) == 2, "node %+v, drain %+v", s.Nodes["c"], s.Drains)
		}
	}
	over := func(s *State) error {
		return want(!s.Nodes["c"].Maintenance && s.Drains == nil && stateFormat(s) == 1, "node %+v, drains %+v", s.Nodes["c"], s.Drains)
	}
	runApplyCases(t, []applyCase{
		{name: "begins", command: begin, check: drained(Drain{Since: at(10), By: "a", Text: "new disk"})},
		{
			name: "again, for another reason", given: []Command{begin}, command: SetDrain{Node: "c", On: true, Force: true, Text: "new fan", At: at(20), By: "b"},
			check: drained(Drain{Since: at(10), By: "b", Text: "new fan", Force: true}),
		},
		{
			name: "again, the same", given: []Command{begin}, command: SetDrain{Node: "c", On: true, Text: "new disk", At: at(20), By: "b"},
			check: drained(Drain{Since: at(10), By: "a", Text: "new disk"}),
		},
		{
			name: "outlives a restart of the agent", given: []Command{begin}, command: PutNode{Node: testNode("c", Sleeps), At: at(30)},
			check: drained(Drain{Since: at(10), By: "a", Text: "new disk"}),
		},
		{
			name: "outlives a crash", given: []Command{begin}, command: SetPower{Node: "c", From: Awake, To: Off, Reason: NodeFailed, At: at(30)},
			check: drained(Drain{Since: at(10), By: "a", Text: "new disk"}),
		},
		{name: "ends", given: []Command{begin}, command: SetDrain{Node: "c", At: at(20), By: "b"}, check: over},
		{name: "ends once more", command: SetDrain{Node: "c", At: at(20)}, check: over},
		{name: "ends where only the record knew of it", given: []Command{RemoveNode{Name: "c"}, PutNode{Node: inMaintenance(testNode("c", Sleeps))}}, command: SetDrain{Node: "c"}, check: over},
		{name: "is forgotten with the node", given: []Command{begin, RemoveNode{Name: "c"}}, command: PutNode{Node: testNode("c", Sleeps), At: at(20)}, check: over},
		{name: "no such node", command: SetDrain{Node: "x", On: true}, refused: UnknownNode, says: `"x"`},
		{name: "a long reason", command: SetDrain{Node: "c", On: true, Text: strings.Repeat("x", DrainTextMax+1)}, refused: Invalid, says: "at most 200"},
		{name: "a reason that takes over the terminal", command: SetDrain{Node: "c", On: true, Text: "\x1b[2J"}, refused: Invalid, says: "plain text"},
		{name: "a reason that is no text", command: SetDrain{Node: "c", On: true, Text: "\xff"}, refused: Invalid, says: "plain text"},
	})
	if FormatOf(begin) != 2 {
		t.Error("version 0.1 has no such command, and is to halt at it")
	}
}

func inMaintenance(n Node) Node {
	n.Maintenance = true
	return n
}
