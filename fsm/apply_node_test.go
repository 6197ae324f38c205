package fsm

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestPutNode(t *testing.T) {
	asleep := []Command{
		SetPower{Node: "c", From: Awake, To: Suspending, Reason: OperatorSleep, At: at(10)},
		SetPower{Node: "c", From: Suspending, To: Asleep, Sleeps: 1, Reason: HandedOver, At: at(11)},
	}
	with := func(name string, change func(*Node)) PutNode {
		n := testNode(name, Sleeps)
		change(&n)
		return PutNode{Node: n, At: at(20)}
	}
	refreshed := with("c", func(n *Node) {
		n.Version, n.Policy, n.Power, n.Sleeps, n.Joined, n.Maintenance = "v0.2", AlwaysOn, Off, 77, at(99), true
		n.Wake = []MAC{MAC("\x02\x00\x00\x00\x09\x09")}
	})
	runApplyCases(t, []applyCase{
		{name: "new", command: with("d", func(*Node) {}), check: func(s *State) error {
			n := s.Nodes["d"]
			return want(n.Power == Awake && n.PowerReason == NodeJoined && n.PowerSince.Equal(at(20)) && n.Joined.Equal(at(20)), "node is %+v", n)
		}},
		{name: "new with power", command: with("d", func(n *Node) { n.Power, n.PowerReason = Off, NodeFailed }), check: func(s *State) error {
			return want(s.Nodes["d"].Power == Off && s.Nodes["d"].PowerReason == NodeFailed, "node is %+v", s.Nodes["d"])
		}},
		{name: "known", given: asleep, command: refreshed, check: func(s *State) error {
			n := s.Nodes["c"]
			return want(n.Version == "v0.2" && n.Policy == AlwaysOn && n.Wake[0] == refreshed.Node.Wake[0] && n.Power == Asleep &&
				n.PowerReason == HandedOver && n.PowerSince.Equal(at(11)) && n.Sleeps == 1 && !n.Maintenance && n.Joined.Equal(at(3)), "node is %+v", n)
		}},
		{name: "other key", command: with("c", func(n *Node) { n.Key = "ffff" }), refused: WrongKey, says: "nightporter forget c"},
		{name: "other key after forget", given: []Command{RemoveNode{Name: "c"}}, command: with("c", func(n *Node) { n.Key = "ffff" }), check: func(s *State) error {
			return want(s.Nodes["c"].Key == "ffff", "node is %+v", s.Nodes["c"])
		}},
		{name: "no key", command: with("d", func(n *Node) { n.Key = "" }), refused: Invalid},
		{name: "no name", command: with("", func(*Node) {}), refused: Invalid},
		{name: "name with a slash", command: with("a/../b", func(*Node) {}), refused: Invalid},
		{name: "name with an empty label", command: with("a..b", func(*Node) {}), refused: Invalid},
		{name: "name with a dot at its end", command: with("a.", func(*Node) {}), refused: Invalid},
		{name: "address of a service", command: with("d", func(n *Node) { n.Addr = netip.MustParseAddrPort("10.77.0.200:7374") }), refused: AddressInUse, says: "10.77.0.200 belongs to service web"},
		{name: "MAC of a service", command: with("d", func(n *Node) { n.Wake = []MAC{testService("web", 200).MAC} }), refused: AddressInUse, says: "belongs to service web"},
		{name: "no policy", command: with("d", func(n *Node) { n.Policy = "" }), refused: Invalid, says: "always-on or sleeps"},
		{name: "no such power", command: with("d", func(n *Node) { n.Power = "tired" }), refused: Invalid, says: "tired"},
		{name: "multicast wake address", command: with("d", func(n *Node) { n.Wake = []MAC{MAC("\x01\x00\x00\x00\x00\x01")} }), refused: Invalid, says: "multicast"},
	})
}

func TestRemoveNode(t *testing.T) {
	runApplyCases(t, []applyCase{
		{name: "owns nothing", command: RemoveNode{Name: "c"}, check: func(s *State) error {
			return want(!hasNode(s, "c") && s.Services["web"].Targets[0] == "c", "nodes %v, targets %v", s.Nodes, s.Services["web"].Targets)
		}},
		{name: "owns a service", command: RemoveNode{Name: "a"}, refused: StillOwned, says: "service web"},
		{
			name: "owned a service", given: []Command{Assign{Service: "web", Owner: "b", Planned: 1, Reason: OwnerLeft}}, command: RemoveNode{Name: "a"},
			check: func(s *State) error { return want(!hasNode(s, "a"), "nodes %v", s.Nodes) },
		},
		{name: "unknown", command: RemoveNode{Name: "z"}, refused: UnknownNode},
	})
}

func TestSetPower(t *testing.T) {
	move := func(from, to Power, sleeps uint64) SetPower {
		return SetPower{Node: "c", From: from, To: to, Sleeps: sleeps, Reason: OperatorSleep, At: at(30), By: "a"}
	}
	is := func(power Power, sleeps uint64) func(*State) error {
		return func(s *State) error {
			n := s.Nodes["c"]
			return want(n.Power == power && n.Sleeps == sleeps && n.PowerReason == OperatorSleep && n.PowerSince.Equal(at(30)), "node is %+v", n)
		}
	}
	slept := []Command{move(Awake, Suspending, 0)}
	cases := []applyCase{
		{name: "begins to suspend", command: move(Awake, Suspending, 0), check: is(Suspending, 1)},
		{name: "is asleep", given: slept, command: move(Suspending, Asleep, 1), check: is(Asleep, 1)},
		{name: "cancelled", given: slept, command: move(Suspending, Awake, 1), check: is(Awake, 1)},
		{name: "second sleep", given: append(slept, move(Suspending, Awake, 1)), command: move(Awake, Suspending, 1), check: is(Suspending, 2)},
		{
			name: "late, of an earlier sleep", given: append(slept, move(Suspending, Awake, 1), move(Awake, Suspending, 1)),
			command: move(Suspending, Asleep, 1), refused: WrongPower, says: "suspending in sleep 2, not suspending in sleep 1",
		},
		{name: "count before the decision", given: slept, command: move(Suspending, Asleep, 0), refused: WrongPower},
		{name: "from another state", command: move(Asleep, Waking, 0), refused: WrongPower},
		{name: "missed hand-over", command: move(Awake, Asleep, 0), check: is(Asleep, 0)},
		{name: "crashed", command: move(Awake, Off, 0), check: is(Off, 0)},
		{name: "suspends from off", given: []Command{move(Awake, Off, 0)}, command: move(Off, Suspending, 0), refused: Invalid},
		{name: "to the same", command: move(Awake, Awake, 0), refused: Invalid},
		{name: "to nonsense", command: move(Awake, "tired", 0), refused: Invalid},
		{name: "always on", command: SetPower{Node: "a", From: Awake, To: Suspending}, refused: NeverSleeps},
		{name: "unknown", command: SetPower{Node: "z", From: Awake, To: Off}, refused: UnknownNode},
	}
	runApplyCases(t, cases)
}

func TestWakes(t *testing.T) {
	sleeper := testNode("n", Sleeps)
	sleeper.Format, sleeper.Power, sleeper.Wake = Format, Asleep, nil
	up := []Command{PutNode{Node: sleeper, At: at(30)}, SetPower{Node: "n", From: Asleep, To: Awake, Reason: WokeUnasked, At: at(40)}}
	runApplyCases(t, []applyCase{
		{name: "begins", command: BeginWake{Wake{ID: "w2", Node: "c", Cause: OperatorWake}}, check: func(s *State) error {
			return want(len(s.Wakes) == 2 && s.Wakes[1].ID == "w2", "wakes %+v", s.Wakes)
		}},
		{name: "begins twice", command: BeginWake{Wake{ID: "w1", Node: "c", Cause: OperatorWake}}, check: func(s *State) error {
			return want(len(s.Wakes) == 1 && s.Wakes[0].Cause == Demand, "wakes %+v", s.Wakes)
		}},
		{name: "no ID", command: BeginWake{Wake{Node: "c"}}, refused: Invalid},
		{name: "unknown node", command: BeginWake{Wake{ID: "w2", Node: "z"}}, refused: UnknownNode},
		{name: "of a node that was faster than its call", given: up, command: BeginWake{Wake{ID: "w2", Node: "n", Cause: QuorumLost, Started: at(38)}}, check: func(s *State) error {
			return want(s.Nodes["n"].PowerReason == WokeUp, "%+v", s.Nodes["n"])
		}},
		{name: "of a node that was up long before", given: up, command: BeginWake{Wake{ID: "w2", Node: "n", Cause: Demand, Started: at(46)}}, check: func(s *State) error {
			return want(s.Nodes["n"].PowerReason == WokeUnasked, "%+v", s.Nodes["n"])
		}},
		{
			name: "of a node that is back before it is shown as waking", given: []Command{up[0], BeginWake{Wake{ID: "w2", Node: "n", Cause: Demand, Started: at(39)}}}, command: up[1],
			check: func(s *State) error { return want(s.Nodes["n"].PowerReason == WokeUp, "%+v", s.Nodes["n"]) },
		},
		{
			name: "of a sleep before, whose caller died", given: []Command{up[0], BeginWake{Wake{ID: "w2", Node: "n", Cause: Demand, Started: at(20)}}}, command: up[1],
			check: func(s *State) error { return want(s.Nodes["n"].PowerReason == WokeUnasked, "%+v", s.Nodes["n"]) },
		},
		{name: "that nobody asked for", given: up, command: BeginWake{Wake{ID: "w2", Node: "n", Cause: WokeUnasked, Started: at(40)}}, check: func(s *State) error {
			return want(s.Nodes["n"].PowerReason == WokeUnasked, "%+v", s.Nodes["n"])
		}},
		{name: "ends", command: EndWake{ID: "w1", Result: WokeUp, At: at(40)}, check: func(s *State) error {
			return want(s.Wakes[0].Result == WokeUp && s.Wakes[0].Ended.Equal(at(40)), "wakes %+v", s.Wakes)
		}},
		{
			name: "ends twice", given: []Command{EndWake{ID: "w1", Result: WokeUp, At: at(40)}}, command: EndWake{ID: "w1", Result: GaveUp, At: at(50)},
			check: func(s *State) error { return want(s.Wakes[0].Result == WokeUp, "wakes %+v", s.Wakes) },
		},
		{name: "unknown end", command: EndWake{ID: "none", Result: WokeUp, At: at(40)}, check: func(s *State) error {
			return want(s.Wakes[0].Ended.IsZero(), "wakes %+v", s.Wakes)
		}},
	})
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	s := world(t)
	var mid *State
	for i := range uint64(2 * WakesLimit) {
		s = play(t, s, 100+2*i,
			Assign{Service: "web", Owner: "b", Planned: 1 + i, Reason: OperatorMoved},
			BeginWake{Wake{ID: fmt.Sprint(i), Node: "c"}})
		if i == WakesLimit {
			mid = s
		}
	}
	h := s.History["web"]
	if len(h) != HistoryLimit || h[0].Epoch != 2*WakesLimit+1-HistoryLimit+1 || h[HistoryLimit-1].Epoch != 2*WakesLimit+1 {
		t.Fatalf("history of %d, epochs %d to %d", len(h), h[0].Epoch, h[len(h)-1].Epoch)
	}
	if len(s.Wakes) != WakesLimit || s.Wakes[0].ID != fmt.Sprint(WakesLimit) {
		t.Fatalf("%d wakes from %s", len(s.Wakes), s.Wakes[0].ID)
	}
	if h := mid.History["web"]; h[len(h)-1].Epoch != WakesLimit+2 || mid.Wakes[WakesLimit-1].ID != fmt.Sprint(WakesLimit) {
		t.Fatal("a state from the middle was changed by what came after it")
	}
}
