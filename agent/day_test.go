package agent

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"nightporter/fsm"
)

// The day is cut out of what is longer, and what is not known is in no span.
func TestTheLastDay(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := func(hours float64) time.Time { return now.Add(-time.Duration(hours * float64(time.Hour))) }
	power := func(hours float64, from, to fsm.Power, r fsm.Reason) powerChange {
		return powerChange{at: at(hours), node: "b", from: from, to: to, reason: r}
	}
	node := fsm.Node{Name: "b", Power: fsm.Asleep, PowerReason: fsm.NodeIdle, PowerSince: at(2), Joined: at(100)}
	for name, c := range map[string]struct {
		node    fsm.Node
		changes []powerChange
		want    string
	}{
		"only now is known":    {node, nil, "asleep 10-12 idle"},
		"longer than the day":  {node, []powerChange{power(50, fsm.Waking, fsm.Awake, fsm.WokeUp), power(2, fsm.Awake, fsm.Asleep, fsm.NodeIdle)}, "awake -12-10 woke-up, asleep 10-12 idle"},
		"before the first one": {node, []powerChange{power(3, fsm.Asleep, fsm.Awake, fsm.WokeUp), power(2, fsm.Awake, fsm.Asleep, fsm.NodeIdle)}, "asleep -12-9 , awake 9-10 woke-up, asleep 10-12 idle"},
		"something is missing": {
			node,
			[]powerChange{power(9, fsm.Asleep, fsm.Awake, fsm.WokeUp), power(8, fsm.Suspending, fsm.Asleep, ""), power(7, fsm.Suspending, fsm.Asleep, "again"), power(5, fsm.Asleep, fsm.Awake, fsm.WokeUp), power(2, fsm.Awake, fsm.Asleep, "")},
			"asleep -12-3 , asleep 4-7 , awake 7-10 woke-up, asleep 10-12 idle",
		},
		"joined since": {
			fsm.Node{Name: "b", Power: fsm.Asleep, PowerReason: fsm.NodeIdle, PowerSince: at(2), Joined: at(5)},
			[]powerChange{power(9, fsm.Awake, fsm.Off, fsm.NodeFailed), power(2, fsm.Awake, fsm.Asleep, fsm.NodeIdle)},
			"awake 7-10 , asleep 10-12 idle",
		},
		"the story ends before": {node, []powerChange{power(9, fsm.Asleep, fsm.Awake, fsm.WokeUp)}, "asleep -12-3 , asleep 10-12 idle"},
		"a clock was back":      {node, []powerChange{power(3, fsm.Asleep, fsm.Awake, fsm.WokeUp), power(4, fsm.Awake, fsm.Asleep, fsm.NodeIdle)}, "asleep -12-8 , asleep 8-12 idle"},
	} {
		state := &fsm.State{
			Nodes: map[string]fsm.Node{"b": c.node}, Services: map[string]fsm.Service{"web": {Name: "web"}},
			History:   map[string][]fsm.Change{"web": {{Index: 4000, At: at(60), To: "a", Epoch: 1, Reason: fsm.FirstOwner}, {Index: 7000, At: at(30), To: "b", Epoch: 2}, {Index: 8000, At: at(20), To: "", Epoch: 3}, {Index: 9900, At: at(1), To: "a", Epoch: 4}}},
			Wakes:     []fsm.Wake{{ID: "1", Node: "b", Started: at(30)}, {ID: "2", Node: "b", Started: at(3)}},
			WakeTimes: map[string]fsm.WakeTimes{"b": {Samples: []fsm.WakeSample{{At: at(3), Phases: fsm.Phases{Called: 1, Served: time.Second}}, {At: at(2), Failed: true}}}},
		}
		other := append([]powerChange{{at: at(70), node: "x", to: fsm.Off}}, c.changes...)
		for i := range other {
			other[i].index = uint64(10000 - 100*now.Sub(other[i].at).Hours()) // in the order of the stamps, but for the clock that was back
			if i > 0 {
				other[i].index = max(other[i].index, other[i-1].index+1)
			}
		}
		d := dayOf(state, other, time.Minute, now)
		var got []string
		hour := func(t time.Time) float64 { return 12 - now.Sub(t).Hours() }
		for _, s := range d.Nodes[0].Spans {
			got = append(got, fmt.Sprintf("%s %g-%g %s", s.Power, hour(s.From), hour(s.Until), s.Reason))
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%s: %s, want %s", name, text, c.want)
		}
		held := fmt.Sprint(len(d.Services[0].Spans))
		for _, s := range d.Services[0].Spans {
			held += fmt.Sprintf(" %q %g-%g %d", s.Owner, hour(s.From), hour(s.Until), s.Epoch)
		}
		if want := `3 "b" -12--8 2 "" -8-11 3 "a" 11-12 4`; held != want {
			t.Errorf("web: %s, want %s", held, want)
		}
		if len(d.Wakes) != 1 || d.Wakes[0].ID != "2" || len(d.Times) != 1 || len(d.Times[0].Samples) != 2 || !d.Times[0].Samples[1].Failed || d.Times[0].Samples[0].Phases[1].Phase != "served" {
			t.Errorf("wakes %+v, times %+v", d.Wakes, d.Times)
		}
	}
}

// The story that Apply writes down gives the spans of a host that sleeps and is woken.
func TestTheStoryOfSleepsAndWakes(t *testing.T) {
	at := func(minutes int) time.Time {
		return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).Add(time.Duration(minutes) * time.Minute)
	}
	state, index := fsm.Empty(), uint64(0)
	apply := func(c fsm.Command) {
		t.Helper()
		index++
		next, res := fsm.Apply(state, index, c)
		if res.Refused != "" {
			t.Fatalf("%+v: %+v", c, res)
		}
		state = next
	}
	apply(fsm.Found{Cluster: fsm.Cluster{ID: strings.Repeat("0a", 16), Name: "c", Created: at(-200)}, Failover: time.Second, By: "b"})
	apply(fsm.PutNode{Node: fsm.Node{Name: "b", Key: "k", Policy: fsm.Sleeps, Format: fsm.Format}, At: at(-100)})
	power := func(minutes int, from, to fsm.Power, sleeps uint64, r fsm.Reason) {
		apply(fsm.SetPower{Node: "b", From: from, To: to, Sleeps: sleeps, Reason: r, At: at(minutes)})
	}
	power(10, fsm.Awake, fsm.Suspending, 0, fsm.NodeIdle)
	power(11, fsm.Suspending, fsm.Asleep, 1, fsm.NodeIdle)
	power(20, fsm.Asleep, fsm.Waking, 1, fsm.Demand)
	power(21, fsm.Waking, fsm.Awake, 1, fsm.WokeUp)
	power(30, fsm.Awake, fsm.Suspending, 1, fsm.NodeIdle)
	power(31, fsm.Suspending, fsm.Asleep, 2, fsm.NodeIdle)
	power(40, fsm.Asleep, fsm.Awake, 2, fsm.WokeUnasked)
	apply(fsm.BeginWake{Wake: fsm.Wake{ID: "late", Node: "b", Cause: fsm.QuorumLost, By: "c", Started: at(40)}}) // it was called, and up before that was in the log
	power(50, fsm.Awake, fsm.Suspending, 2, fsm.NodeIdle)
	text := ""
	for _, s := range powerSpans(state.Nodes["b"], powerChanges(state), at(0), at(60)) {
		text += fmt.Sprintf("%s %g-%g %s\n", s.Power, s.From.Sub(at(0)).Minutes(), s.Until.Sub(at(0)).Minutes(), s.Reason)
	}
	if want := "awake 0-10 \nsuspending 10-11 idle\nasleep 11-20 idle\nwaking 20-21 demand\nawake 21-30 woke-up\nsuspending 30-31 idle\nasleep 31-40 idle\nawake 40-50 woke-up\nsuspending 50-60 idle\n"; text != want {
		t.Errorf("%s\nwant\n%s", text, want)
	}
}

// The page has words for each reason that the time-line may name.
func TestThePageHasWordsForEachReason(t *testing.T) {
	words := string(file(t, "web/page/draw.js"))
	n := 0
	for _, m := range regexp.MustCompile(`(?m)\bReason\s*=\s*"([a-z-]+)"`).FindAllStringSubmatch(string(file(t, "fsm/reason.go"))+string(file(t, "fsm/recover.go"))+string(file(t, "fsm/lift.go")), -1) {
		n++
		if !strings.Contains(words, "'"+m[1]+"': '") {
			t.Errorf("the page shows %q as it is", m[1])
		}
	}
	if n < 30 {
		t.Errorf("only %d reasons", n)
	}
}
