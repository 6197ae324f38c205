package fsm

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// applyCase is one command on world(), after the commands of given.
type applyCase struct {
	name    string
	given   []Command
	command Command
	refused Refusal
	says    string // part of the refusal's message
	epoch   uint64
	check   func(*State) error // of the state afterwards; nil for a refusal, which must change nothing
}

func runApplyCases(t *testing.T, cases []applyCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := play(t, world(t), 100, c.given...)
			before := bytesOf(t, s)
			next, res := Apply(s, 200, c.command)
			if string(bytesOf(t, s)) != string(before) {
				t.Fatal("the input state was changed")
			}
			if res.Refused != c.refused || res.Index != 200 || res.Epoch != c.epoch || !strings.Contains(res.Message, c.says) {
				t.Fatalf("result is %+v", res)
			}
			if (res.Message == "") != (c.refused == "") {
				t.Fatalf("a message belongs to a refusal and to nothing else: %+v", res)
			}
			if c.refused != "" {
				if next != s {
					t.Fatal("a refused command gave another state")
				}
				if !errors.Is(res.Err(), c.refused) || res.Err().Error() != res.Message {
					t.Fatalf("error is %v", res.Err())
				}
				return
			}
			if res.Err() != nil {
				t.Fatalf("error is %v", res.Err())
			}
			if err := c.check(next); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// want fails with the sentence unless ok.
func want(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func TestFound(t *testing.T) {
	good := Found{
		Cluster: Cluster{ID: testID, Name: "home", Created: at(9)}, Failover: 2 * time.Second,
		Services: []Service{testService("web", 1), testService("db", 2)},
	}
	with := func(change func(*Found)) Found {
		f := good
		f.Services = []Service{testService("web", 1), testService("db", 2)}
		change(&f)
		return f
	}
	cases := []struct {
		name    string
		command Command
		refused Refusal
	}{
		{"good", good, ""},
		{"id is no number", with(func(f *Found) { f.Cluster.ID = "home" }), Invalid},
		{"id is too short", with(func(f *Found) { f.Cluster.ID = "0102" }), Invalid},
		{"no name", with(func(f *Found) { f.Cluster.Name = "" }), Invalid},
		{"failover too short", with(func(f *Found) { f.Failover = FailoverMin - 1 }), Invalid},
		{"failover too long", with(func(f *Found) { f.Failover = FailoverMax + 1 }), Invalid},
		{"bad service", with(func(f *Found) { f.Services[1].Hold = "" }), Invalid},
		{"service twice", with(func(f *Found) { f.Services[1].Name = "web" }), Invalid},
		{"address twice", with(func(f *Found) { f.Services[1].Addresses = f.Services[0].Addresses }), AddressInUse},
		{"before the founding", DeleteService{Name: "web"}, NotFounded},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, res := Apply(nil, 3, c.command)
			if res.Refused != c.refused || res.Index != 3 {
				t.Fatalf("result is %+v", res)
			}
			if c.refused != "" {
				sameState(t, "state after a refusal", s, Empty())
				return
			}
			timing := Timing{Failover: 2 * time.Second, Largest: 2 * time.Second, Changed: at(9)}
			if s.Cluster != good.Cluster || s.Timing != timing || len(s.Services) != 2 || len(s.Ownerships) != 0 {
				t.Fatalf("state is %+v", s)
			}
		})
	}
	runApplyCases(t, []applyCase{{name: "twice", command: good, refused: AlreadyFounded, says: testID}})
}

func TestPutService(t *testing.T) {
	moved := testService("web", 210)
	free := Assign{Service: "web", Owner: "", Planned: 1, Reason: ServiceChanged}
	retargeted := testService("web", 200)
	retargeted.Targets = []string{"b"}
	sameMAC := testService("new", 202)
	sameMAC.MAC = testService("web", 200).MAC
	nodesMAC := testService("new", 202)
	nodesMAC.MAC = testNode("a", AlwaysOn).Wake[0]
	shared := testService("web", 200)
	shared.Mode, shared.MAC = ModeAddress, ""
	shared2 := testService("new", 202)
	shared2.Mode, shared2.MAC = ModeAddress, ""
	bad := testService("web", 200)
	bad.Ports, bad.Hold = nil, "reset"
	runApplyCases(t, []applyCase{
		{name: "new", command: PutService{Service: testService("new", 202)}, check: func(s *State) error {
			return want(sameDefinition(s.Services["new"], testService("new", 202)), "service is %+v", s.Services["new"])
		}},
		{name: "other targets while owned", command: PutService{Service: retargeted}, epoch: 1, check: func(s *State) error {
			return want(len(s.Services["web"].Targets) == 1 && s.Ownerships["web"].Owner == "a", "service is %+v", s.Services["web"])
		}},
		{name: "other address while owned", command: PutService{Service: moved}, refused: StillOwned, says: "owned by a"},
		{name: "other address while nobody's", given: []Command{free}, command: PutService{Service: moved}, epoch: 2, check: func(s *State) error {
			return want(sameIdentity(s.Services["web"], moved), "service is %+v", s.Services["web"])
		}},
		{name: "another mode while owned", command: PutService{Service: shared}, refused: StillOwned, says: "owned by a"},
		{name: "another mode while nobody's", given: []Command{free}, command: PutService{Service: shared}, epoch: 2, check: func(s *State) error {
			return want(s.Services["web"].Mode == ModeAddress, "service is %+v", s.Services["web"])
		}},
		{name: "two without a MAC", given: []Command{free, PutService{Service: shared}}, command: PutService{Service: shared2}, check: func(s *State) error {
			return want(s.Services["new"].Mode == ModeAddress, "service is %+v", s.Services["new"])
		}},
		{name: "address of another", command: PutService{Service: testService("new", 201)}, refused: AddressInUse, says: "service db"},
		{name: "MAC of another", command: PutService{Service: sameMAC}, refused: AddressInUse, says: "02:00:5e:00:00:c8 already belongs to service web"},
		{name: "address of a node", command: PutService{Service: testService("new", 11)}, refused: AddressInUse, says: "10.77.0.11 is the node a's own"},
		{name: "MAC of a node", command: PutService{Service: nodesMAC}, refused: AddressInUse, says: "02:00:00:00:01:0b is the node a's own"},
		{name: "not valid", command: PutService{Service: bad}, refused: Invalid, says: "; hold"},
	})
	s := world(t)
	if next, _ := Apply(s, 50, PutService{Service: testService("web", 200), At: at(60)}); next != s {
		t.Fatal("the same definition again is a change")
	}
}

func TestDeleteService(t *testing.T) {
	runApplyCases(t, []applyCase{
		{name: "owned", command: DeleteService{Name: "web", At: at(9), By: "b"}, epoch: 2, check: func(s *State) error {
			_, there := s.Services["web"]
			own := Ownership{Epoch: 2, Reason: ServiceDeleted, Since: at(9), By: "b"}
			change := Change{Index: 200, At: at(9), Epoch: 2, From: "a", Reason: ServiceDeleted, By: "b"}
			h := s.History["web"]
			return want(!there && s.Ownerships["web"] == own && len(h) == 2 && h[1] == change, "%v, %+v, %+v", there, s.Ownerships["web"], h)
		}},
		{name: "never assigned", command: DeleteService{Name: "db"}, epoch: 1, check: func(s *State) error {
			return want(s.Ownerships["db"].Epoch == 1, "%+v", s.Ownerships["db"])
		}},
		{name: "twice", given: []Command{DeleteService{Name: "web"}}, command: DeleteService{Name: "web"}, refused: UnknownService},
		{name: "unknown", command: DeleteService{Name: "none"}, refused: UnknownService, says: `"none"`},
	})
}

func TestAssign(t *testing.T) {
	good := Assign{Service: "web", Owner: "b", Planned: 1, Reason: OwnerFailed, Detail: "silent for 1 s", At: at(9), By: "b"}
	with := func(change func(*Assign)) Assign { a := good; change(&a); return a }
	again := []Command{DeleteService{Name: "web"}, PutService{Service: testService("web", 200)}}
	runApplyCases(t, []applyCase{
		{name: "to another", command: good, epoch: 2, check: func(s *State) error {
			own := Ownership{Owner: "b", Epoch: 2, Reason: OwnerFailed, Since: at(9), By: "b"}
			change := Change{Index: 200, At: at(9), Epoch: 2, From: "a", To: "b", Reason: OwnerFailed, By: "b", Detail: "silent for 1 s"}
			h := s.History["web"]
			return want(s.Ownerships["web"] == own && len(h) == 2 && h[1] == change, "%+v, %+v", s.Ownerships["web"], h)
		}},
		{name: "to the same", command: with(func(a *Assign) { a.Owner = "a" }), epoch: 2, check: func(s *State) error {
			return want(s.Ownerships["web"].Owner == "a", "%+v", s.Ownerships["web"])
		}},
		{name: "to nobody", command: with(func(a *Assign) { a.Owner = "" }), epoch: 2, check: func(s *State) error {
			return want(s.Ownerships["web"].Owner == "", "%+v", s.Ownerships["web"])
		}},
		{name: "planned too early", given: []Command{good}, command: good, refused: StaleEpoch, says: "epoch 1, which is 2 now", epoch: 2},
		{name: "planned from the future", command: with(func(a *Assign) { a.Planned = 2 }), refused: StaleEpoch, epoch: 1},
		{name: "planned before a deletion", given: again, command: good, refused: StaleEpoch, epoch: 2},
		{name: "after a deletion", given: again, command: with(func(a *Assign) { a.Planned = 2 }), epoch: 3, check: func(s *State) error {
			return want(s.Ownerships["web"].Owner == "b", "%+v", s.Ownerships["web"])
		}},
		{name: "deleted service", given: again[:1], command: with(func(a *Assign) { a.Planned = 2 }), refused: UnknownService, epoch: 2},
		{name: "unknown service", command: with(func(a *Assign) { a.Service = "none" }), refused: UnknownService},
		{name: "unknown node", command: with(func(a *Assign) { a.Owner = "z" }), refused: UnknownNode, epoch: 1},
		{name: "no reason", command: with(func(a *Assign) { a.Reason = "" }), refused: Invalid, epoch: 1},
	})
}

// An epoch that wrapped around would repeat (I9).
func TestEpochNeverWraps(t *testing.T) {
	s := world(t)
	last := *s
	last.Ownerships = map[string]Ownership{"web": {Owner: "a", Epoch: math.MaxUint64}}
	for _, c := range []Command{
		Assign{Service: "web", Owner: "b", Planned: math.MaxUint64, Reason: OwnerFailed},
		DeleteService{Name: "web"},
	} {
		if next, res := Apply(&last, 9, c); res.Refused != Invalid || next != &last {
			t.Fatalf("%T: %+v", c, res)
		}
	}
}

func TestSetFailover(t *testing.T) {
	set := func(d time.Duration, sec int) Command { return SetFailover{Failover: d, At: at(sec)} }
	is := func(failover, largest time.Duration, sec int) func(*State) error {
		return func(s *State) error {
			return want(s.Timing == Timing{failover, largest, at(sec)}, "timing is %+v", s.Timing)
		}
	}
	// world() was founded at 0 s with 1 s.
	runApplyCases(t, []applyCase{
		{name: "longer", command: set(5*time.Second, 50), check: is(5*time.Second, 5*time.Second, 50)},
		{name: "shorter", command: set(500*time.Millisecond, 50), check: is(500*time.Millisecond, time.Second, 50)},
		{
			name: "shorter, then soon shorter", given: []Command{set(9*time.Second, 50), set(5*time.Second, 90)},
			command: set(time.Second, 107), check: is(time.Second, 9*time.Second, 107),
		},
		{
			name: "shorter, then later shorter", given: []Command{set(9*time.Second, 50), set(5*time.Second, 90)},
			command: set(time.Second, 108), check: is(time.Second, 5*time.Second, 108),
		},
		{
			name: "by a clock that is behind", given: []Command{set(9*time.Second, 50), set(5*time.Second, 90)},
			command: set(time.Second, 10), check: is(time.Second, 9*time.Second, 90),
		},
		{
			name: "by a clock that is ahead, with the age that its proposer has seen", given: []Command{set(9*time.Second, 50), set(5*time.Second, 90)},
			command: set(time.Second, 90), check: is(time.Second, 9*time.Second, 90),
		},
		{
			name: "by a clock that is ahead and is believed", given: []Command{set(9*time.Second, 50), set(5*time.Second, 90)},
			command: set(time.Second, 3690), check: is(time.Second, 5*time.Second, 3690),
		},
		{name: "shortest", command: set(FailoverMin, 50), check: is(FailoverMin, time.Second, 50)},
		{name: "longest", command: set(FailoverMax, 50), check: is(FailoverMax, FailoverMax, 50)},
		{name: "too short", command: set(FailoverMin-1, 50), refused: Invalid, says: "choose 200ms to 30s"},
		{name: "too long", command: set(FailoverMax+1, 50), refused: Invalid, says: "out of range"},
	})
}

func TestApplyRefusesPointers(t *testing.T) {
	if _, res := Apply(world(t), 9, &DeleteService{Name: "web"}); res.Refused != Invalid {
		t.Fatalf("result is %+v", res)
	}
}

// The two positions of a Machine may go on from one state in two ways; neither may write into what they share.
func TestSuccessorsOfOneStateAreIndependent(t *testing.T) {
	s := world(t)
	for i := range uint64(5) { // so that the history has room behind its end
		s = play(t, s, 100+i, Assign{Service: "web", Owner: "b", Planned: 1 + i, Reason: OperatorMoved})
		s = play(t, s, 200+i, BeginWake{Wake{ID: fmt.Sprint(i), Node: "c"}})
		one := play(t, s, 300, Assign{Service: "web", Owner: "a", Planned: 2 + i, Reason: TargetReady}, BeginWake{Wake{ID: "one", Node: "c"}})
		before := string(bytesOf(t, one))
		play(t, s, 400, Assign{Service: "web", Owner: "c", Planned: 2 + i, Reason: OwnerFailed}, BeginWake{Wake{ID: "two", Node: "c"}})
		if string(bytesOf(t, one)) != before {
			t.Fatalf("after %d assignments two successors share memory", i)
		}
	}
}

func TestTheProposersSlicesAreNotKept(t *testing.T) {
	sv, n := testService("web", 210), testNode("d", Sleeps)
	found := testService("web", 200)
	first := play(t, nil, 1, Found{Cluster: Cluster{ID: testID, Name: "home"}, Failover: time.Second, Services: []Service{found}})
	s := play(t, first, 2, PutService{Service: sv}, PutNode{Node: n})
	before, founded := string(bytesOf(t, s)), string(bytesOf(t, first))
	for _, x := range []Service{sv, found} {
		x.Addresses[0], x.Ports[0].Number, x.Targets[0] = x.Addresses[0].Next(), 9, "z"
	}
	n.Wake[0] = MAC("\x02\x00\x00\x00\x00\x09")
	if string(bytesOf(t, s)) != before || string(bytesOf(t, first)) != founded {
		t.Fatal("the state changed with the proposer's slices")
	}
}

// TestEffect: of two definitions that are proposed at once, one creates.
func TestEffect(t *testing.T) {
	s := world(t)
	other := testService("new", 202)
	other.Targets = []string{"b"}
	for i, step := range []struct {
		sv   Service
		want Effect
	}{{testService("new", 202), Created}, {testService("new", 202), Unchanged}, {other, Changed}} {
		var res Result
		if s, res = Apply(s, uint64(50+i), PutService{Service: step.sv}); res.Effect != step.want || res.Err() != nil {
			t.Errorf("step %d: %+v, want %s", i, res, step.want)
		}
	}
}
