package fsm

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const otherID = "abcdef00000000000000000000000001"

// liftLog has the lift of all epochs, of a service that is held, of one that never was and of one that comes later.
func liftLog() []fixture {
	a := testNode("a", AlwaysOn)
	a.Format = 2
	return []fixture{
		{"01-found", Found{Cluster: Cluster{ID: testID, Name: "home", Created: at(0)}, Failover: time.Second, Services: []Service{testService("web", 200), testService("db", 201)}, By: "a"}},
		{"02-put-node", PutNode{Node: a, At: at(1)}},
		{"03-assign", Assign{Service: "web", Owner: "a", Reason: FirstOwner, At: at(2), By: "a"}},
		{"04-lift-epochs", LiftEpochs{From: otherID, Floor: 5 << generationBits, At: at(3), By: "a"}},
		{"05-put-service", PutService{Service: testService("mail", 202), At: at(4), By: "a"}},
	}
}

func TestLiftEpochs(t *testing.T) {
	const floor = 5 << generationBits
	lift := LiftEpochs{From: otherID, Floor: floor, At: at(10), By: "b"}
	first := Lift{From: otherID, Floor: floor, At: at(10)}
	was := world(t).Ownerships["web"]
	lifted := func(s *State) error {
		web, db, h := s.Ownerships["web"], s.Ownerships["db"], s.History["web"]
		last := h[len(h)-1]
		switch {
		case web != Ownership{Owner: "a", Epoch: floor, Reason: was.Reason, Since: was.Since, By: was.By}: // an operator's move, for one, stays in force
			return want(false, "web is %+v", web)
		case db != Ownership{Epoch: floor, Reason: FirstOwner, Since: at(10), By: "b"}:
			return want(false, "db is %+v", db)
		}
		return want(last == Change{Index: 200, At: at(10), Epoch: floor, From: "a", To: "a", Reason: EpochsLifted, By: "b"} && h[0].Epoch == 1 && *s.Lifted == first && stateFormat(s) == 2,
			"history %+v, lifted %+v", h, s.Lifted)
	}
	again := func(epoch uint64, l Lift) func(*State) error {
		return func(s *State) error {
			return want(s.Ownerships["web"].Epoch == epoch && *s.Lifted == l, "web is %+v, lifted %+v", s.Ownerships["web"], s.Lifted)
		}
	}
	later := LiftEpochs{From: testID[1:] + "0", Floor: 6 << generationBits, At: at(20), By: "b"}
	gone := []Command{Assign{Service: "db", Owner: "b", Reason: FirstOwner, At: at(7)}, Assign{Service: "db", Planned: 1, Reason: ServiceChanged, At: at(8)}}
	runApplyCases(t, []applyCase{
		{name: "all services", command: lift, check: lifted},
		{name: "the same once more", given: []Command{lift}, command: lift, check: again(floor, first)},
		{name: "one that comes late", given: []Command{lift}, command: LiftEpochs{From: otherID, Floor: 4 << generationBits}, check: again(floor, first)},
		{name: "a higher one", given: []Command{lift}, command: later, check: again(6<<generationBits, Lift{later.From, later.Floor, later.At})},
		{name: "what nobody owns keeps its reason", given: gone, command: lift, check: func(s *State) error {
			db, h := s.Ownerships["db"], s.History["db"]
			return want(db == Ownership{Epoch: floor, Reason: ServiceChanged, Since: at(8)} && h[len(h)-1].Epoch == 2, "%+v, %+v", db, h)
		}},
		{
			name: "an assignment that was planned before", given: []Command{lift}, command: Assign{Service: "web", Owner: "b", Planned: 1, Reason: OperatorMoved},
			refused: StaleEpoch, epoch: floor, says: "plan again",
		},
		{name: "and one after", given: []Command{lift}, command: Assign{Service: "web", Owner: "b", Planned: floor, Reason: OperatorMoved}, epoch: floor + 1, check: again(floor+1, first)},
		{name: "a new service", given: []Command{lift}, command: PutService{Service: testService("mail", 202), At: at(11)}, epoch: floor, check: again(floor, first)},
		{name: "a deleted one that comes again", given: []Command{DeleteService{Name: "db"}, lift}, command: PutService{Service: testService("db", 201)}, epoch: floor, check: again(floor, first)},
		{name: "no cluster", command: LiftEpochs{From: "abc", Floor: floor}, refused: Invalid, says: "not the ID"},
		{name: "nowhere", command: LiftEpochs{From: otherID}, refused: Invalid, says: "no generation"},
		{name: "into a generation", command: LiftEpochs{From: otherID, Floor: floor + 1}, refused: Invalid, says: "no generation"},
	})
	if FormatOf(lift) != 2 {
		t.Error("version 0.1 has no such command, and is to halt at it")
	}
}

// An epoch may have passed into another generation, after 16 million changes of owner: nothing is lifted to below it.
func TestALiftThatIsTooLowIsRefused(t *testing.T) {
	s := *world(t)
	s.Ownerships = map[string]Ownership{"web": {Owner: "a", Epoch: 6<<generationBits + 1}, "db": {Epoch: 3}}
	if next, res := Apply(&s, 200, LiftEpochs{From: otherID, Floor: 6 << generationBits}); res.Refused != StaleEpoch || next != &s {
		t.Errorf("%+v", res)
	}
}

// Whose epochs are to be lifted before a restore, and how they stand to a recovery's.
func TestMustLift(t *testing.T) {
	s := world(t)
	recovered, err := Recover(s, 500, newID, "", Recovery{At: at(20), By: "a"})
	if err != nil {
		t.Fatal(err)
	}
	floor := recovered.floor()
	lifted := play(t, recovered, 600, LiftEpochs{From: otherID, Floor: floor + 1<<generationBits, At: at(30), By: "a"})
	for name, c := range map[string]struct {
		state *State
		from  string
		above uint64
		want  bool
	}{
		"the same cluster":               {s, testID, s.Above(), false},
		"the same, put back since":       {s, testID, s.Above() + 1, true},
		"the one that it goes on from":   {recovered, testID, floor - 1, false},
		"which was lifted without it":    {recovered, testID, floor, true},
		"the one that goes on from it":   {s, newID, 99, true},
		"another one":                    {recovered, otherID, 1, true},
		"another one that was lifted":    {lifted, otherID, floor, false},
		"which has gone on since":        {lifted, otherID, floor + 2<<generationBits, true},
		"a third one":                    {lifted, strings.Repeat("1", 32), 1, true},
		"of which this one goes on, too": {lifted, testID, 99, false},
	} {
		if got := c.state.MustLift(c.from, c.above); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if lifted.Generation() != recovered.Generation() || lifted.Above() != floor+1<<generationBits {
		t.Errorf("a lift made generation %d of %d; the epochs go up to %d", lifted.Generation(), recovered.Generation(), lifted.Above())
	}
	next, err := Recover(roundTrip(t, lifted), 700, otherID, "", Recovery{At: at(20), By: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if next.floor() <= lifted.floor() || next.Ownerships["web"].Epoch <= lifted.Ownerships["web"].Epoch || next.Generation() <= lifted.Generation() {
		t.Errorf("a recovery after it begins at %d, and it was at %d", next.floor(), lifted.floor())
	}
}

// The story tells of it, once.
func TestTheStoryOfALift(t *testing.T) {
	var told []string
	s := Empty()
	for i, f := range liftLog() {
		s = play(t, s, uint64(10+i), f.command)
	}
	for _, e := range s.EventsAfter(12) {
		told = append(told, e.Sentence())
	}
	want := []string{
		"web: a -> a (epoch 83886080), because a backup of another cluster was restored, by a",
		"all epochs are above 83886080 from now on, because a backup of another cluster was restored (cluster " + otherID + "), by a",
	}
	for _, w := range want {
		if !slices.Contains(told, w) {
			t.Errorf("the story lacks %q:\n%s", w, strings.Join(told, "\n"))
		}
	}
}
