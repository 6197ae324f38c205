package fsm

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

const newID = "f00102030405060708090a0b0c0d0e0f"

func TestRecover(t *testing.T) {
	s := play(t, world(t), 100,
		SetDrain{Node: "c", On: true, At: at(8)}, SetDrain{Node: "a", On: true, At: at(8)},
		Assign{Service: "db", Owner: "b", Reason: FirstOwner, At: at(9)}, DeleteService{Name: "db", At: at(10)},
		PutService{Service: testService("mail", 202), At: at(11)}, ReportFitness{Node: "c", Report: testReport("6.1"), At: at(12)})
	before := bytesOf(t, s)
	r := Recovery{At: at(20), By: "a"}
	next, err := Recover(s, 500, newID, "0badkey", r)
	if err != nil {
		t.Fatal(err)
	}
	if string(bytesOf(t, s)) != string(before) {
		t.Error("the input state was changed")
	}
	got, was := next.Recovered(testID)
	if !was || next.Cluster.ID != newID || next.Cluster.Name != "home" || !slices.Equal(got.Lost, []string{"b", "c"}) || got.By != "a" || !got.At.Equal(at(20)) {
		t.Errorf("the cluster is %+v", next.Cluster)
	}
	if _, was := next.Recovered("00"); !was {
		t.Error("the first digits of an ID stand for it")
	}
	if _, was := next.Recovered(newID); was {
		t.Error("it goes on from itself")
	}
	if names := slices.Collect(maps.Keys(next.Nodes)); !slices.Equal(names, []string{"a"}) || next.Nodes["a"].Power != Awake || !next.Nodes["a"].Maintenance {
		t.Errorf("the nodes are %+v", next.Nodes)
	}
	if next.Nodes["a"].Key != "0badkey" {
		t.Errorf("the record keeps the host out that it is of: %+v", next.Nodes["a"])
	}
	where := map[string]netip.AddrPort{"b": s.Nodes["b"].Gossip, "c": s.Nodes["c"].Gossip}
	if !maps.Equal(got.LostAt, where) || !maps.Equal(next.Missing(), where) || next.Generation() <= s.Generation() {
		t.Errorf("generation %d, lost at %v, missing %v", next.Generation(), got.LostAt, next.Missing())
	}
	back := play(t, next, 501, PutNode{Node: s.Nodes["b"], At: at(22)})
	if delete(where, "b"); !maps.Equal(back.Missing(), where) {
		t.Errorf("b is back, and missing are %v", back.Missing())
	}
	if len(next.Fitness) != 0 || len(next.Drains) != 1 || stateFormat(next) != 2 {
		t.Errorf("fitness %+v, drains %+v", next.Fitness, next.Drains)
	}
	for _, name := range []string{"web", "db", "mail"} {
		own, h := next.Ownerships[name], next.History[name]
		last := h[len(h)-1]
		if own.Owner != "" || own.Reason != ClusterRecovered || own.Epoch < got.Floor || own.Epoch >= 1<<53 || last.Epoch != own.Epoch || last.Index != 500 ||
			last.From != s.Ownerships[name].Owner || last.Detail != "a recovery without b, c" {
			t.Errorf("%s: %+v, %+v", name, own, last)
		}
	}
	// What the state has been since is as good as any other, and another recovery lifts the epochs again, also within the same minute.
	again, err := Recover(roundTrip(t, next), 900, testID, "0badkey", Recovery{At: at(21), By: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if again.Ownerships["web"].Epoch <= next.Ownerships["web"].Epoch || again.floor() <= got.Floor || len(again.Recoveries) != 2 {
		t.Errorf("the second one: %+v, %+v", again.Ownerships["web"], again.Cluster)
	}
	// A service of which this state has never heard: the lost nodes may have had it.
	after := play(t, next, 501, PutService{Service: testService("late", 203), At: at(30), By: "a"}, Assign{Service: "late", Owner: "a", Planned: got.Floor, Reason: FirstOwner})
	if e := after.Ownerships["late"].Epoch; e != got.Floor+1 {
		t.Errorf("a new service has epoch %d, the floor is %d", e, got.Floor)
	}
}

// However many there were, the first one and the last ones are remembered: by the first all know each other that ever went on from it.
func TestTheFirstRecoveryIsRemembered(t *testing.T) {
	s := world(t)
	generation := uint64(0)
	for i := range 2 * RecoveriesLimit {
		next, err := Recover(s, 500, fmt.Sprintf("%032x", i+1), "", Recovery{At: at(20), By: "a"})
		if err != nil {
			t.Fatal(err)
		}
		if s = next; s.Generation() <= generation {
			t.Fatalf("generation %d came after %d", s.Generation(), generation)
		}
		generation = s.Generation()
	}
	last := s.Recoveries[len(s.Recoveries)-1]
	if len(s.Recoveries) != RecoveriesLimit || s.Recoveries[0].From != testID || last.From != fmt.Sprintf("%032x", 2*RecoveriesLimit-1) {
		t.Errorf("%d recoveries, the first from %s, the last from %s", len(s.Recoveries), s.Recoveries[0].From, last.From)
	}
}

// Who was lost is looked for until somebody says that it does not come back, or until it was a member again. That it was lost stays known.
func TestALostNodeIsForgotten(t *testing.T) {
	once, err := Recover(world(t), 500, newID, "0badkey", Recovery{At: at(20), By: "a"})
	if err != nil {
		t.Fatal(err)
	}
	d := testNode("d", AlwaysOn)
	d.Format = 2
	twice, err := Recover(play(t, once, 501, PutNode{Node: d, At: at(21)}), 600, testID[1:]+"0", "0badkey", Recovery{At: at(30), By: "a"})
	if err != nil {
		t.Fatal(err)
	}
	missing := func(s *State) string { return strings.Join(slices.Sorted(maps.Keys(s.Missing())), ",") }
	before := bytesOf(t, twice)
	next := twice
	for i, c := range []struct {
		command Command
		want    string
	}{
		{PutNode{Node: d, At: at(40)}, "b,c"},
		{RemoveNode{Name: "c", Reason: OwnerLeft, At: at(41)}, "b"},
		{RemoveNode{Name: "d", Reason: NodeLeft, At: at(42)}, "b"},
		{RemoveNode{Name: "b", Reason: OwnerLeft, At: at(43)}, ""},
	} {
		if next = play(t, next, uint64(700+i), c.command); missing(next) != c.want {
			t.Errorf("after %+v they look for %q, want %q", c.command, missing(next), c.want)
		}
	}
	if string(bytesOf(t, twice)) != string(before) || missing(twice) != "b,c,d" {
		t.Error("the input state was changed")
	}
	if same, res := Apply(next, 800, RemoveNode{Name: "b"}); res.Refused != UnknownNode || same != next {
		t.Errorf("a second time: %+v", res)
	}
	r, _ := roundTrip(t, next).Recovered(testID)
	if !slices.Equal(r.Lost, []string{"b", "c"}) || r.LostAt != nil || next.Generation() != twice.Generation() {
		t.Errorf("%+v", r)
	}
	told := ""
	for _, e := range next.EventsAfter(700) {
		told += e.Sentence() + "\n"
	}
	for _, want := range []string{"c is not looked for any more: it was lost in a recovery", "d is no member any more", "b is not looked for any more"} {
		if !strings.Contains(told, want) || strings.Count(told, "\n") != 3 {
			t.Errorf("the story lacks %q:\n%s", want, told)
		}
	}
}

func roundTrip(t *testing.T, s *State) *State {
	t.Helper()
	_, out, err := decodeSnapshot(must(EncodeSnapshot(9, s)))
	if err != nil {
		t.Fatal(err)
	}
	sameState(t, "the snapshot of a recovery", out, s)
	return out
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestRecoverRefuses(t *testing.T) {
	s := world(t)
	last := *s
	last.Ownerships = map[string]Ownership{"web": {Owner: "a", Epoch: 1<<64 - 2}}
	for name, c := range map[string]struct {
		state *State
		id    string
		by    string
		says  string
	}{
		"no cluster":    {Empty(), newID, "a", "no cluster"},
		"a stranger":    {s, newID, "x", "x is no member"},
		"the same ID":   {s, testID, "a", "not a new"},
		"no ID":         {s, "abc", "a", "not a new"},
		"the last gasp": {&last, newID, "a", "cannot be lifted"},
	} {
		if _, err := Recover(c.state, 9, c.id, "", Recovery{By: c.by, At: at(1)}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLiftEpochOnlyRises(t *testing.T) {
	for _, now := range []time.Time{{}, generationZero, at(0), at(0).AddDate(400, 0, 0)} {
		for _, e := range []uint64{0, 1, 1<<24 - 1, 1 << 24, 1 << 45, 1<<46 + 7} {
			if got, err := LiftEpoch(e, now); err != nil || got <= e || got>>24 == e>>24 || got >= 1<<53 {
				t.Errorf("%d at %v is lifted to %d, %v", e, now, got, err)
			}
		}
	}
}

// storedRecovery is a state after a recovery as the first release with one wrote it.
func storedRecovery(t *testing.T) *State {
	t.Helper()
	now, err := Recover(world(t), 500, newID, world(t).Nodes["a"].Key, Recovery{At: at(20), By: "a"})
	if err != nil {
		t.Fatal(err)
	}
	index, s, err := decodeSnapshot(readFixture(t, "v2-recover", "snapshot", must(EncodeSnapshot(500, now))))
	if err != nil || index != 500 {
		t.Fatalf("the stored snapshot of a recovery, with index %d: %v", index, err)
	}
	sameState(t, "the stored snapshot of a recovery", s, now)
	return s
}

// The story tells of a maintenance and of a recovery, in words.
func TestTheStoryOfARecovery(t *testing.T) {
	d := testNode("d", AlwaysOn)
	d.Format = 2
	s := play(t, world(t), 100, PutNode{Node: d, At: at(8)}, SetDrain{Node: "c", On: true, Text: "new disk", At: at(9), By: "a"})
	next, err := Recover(s, 500, newID, d.Key, Recovery{At: at(20), By: "d"})
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, e := range next.EventsAfter(100) {
		told = append(told, e.Sentence())
		if e.Index == 500 && (e.By != "d" || !e.At.Equal(at(20))) {
			t.Errorf("%+v", e)
		}
		if e.What == Corrected {
			t.Errorf("nothing was wrong with why it was awake: %s", e.Sentence())
		}
	}
	story := strings.Join(told, "\n")
	for _, want := range []string{
		"c: maintenance on: new disk", "the cluster was recovered on d after the loss of its majority: it goes on without a, b, c",
		"a is no member any more, because the cluster was recovered", "web: a -> nobody (epoch ", "a recovery without a, b, c",
	} {
		if !strings.Contains(story, want) {
			t.Errorf("the story lacks %q:\n%s", want, story)
		}
	}
}
