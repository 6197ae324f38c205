package fsm

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// storied is the world with a node of format 2, so that the story is kept.
func storied(t testing.TB) *State {
	t.Helper()
	s := world(t)
	d := testNode("d", Sleeps)
	d.Format, d.Wake = 2, []MAC{MAC("\x02\x00\x00\x00\x01\x0d")}
	return play(t, s, 20, PutNode{Node: d, At: at(10)}, ReportFitness{Node: "d", Report: FitReport{Canary: CanaryAuto, WoL: WoLArmed, Traits: []Trait{{"kernel", "6.1"}}}, At: at(10)})
}

// told gives the sentences of what one command adds to the story.
func told(t *testing.T, s *State, c Command) (*State, []string) {
	t.Helper()
	_, _, last := s.EventsKept()
	next := play(t, s, 100+last, c)
	var out []string
	for _, e := range next.EventsAfter(99 + last) {
		out = append(out, e.Sentence())
	}
	return next, out
}

func TestWhatCommandsTell(t *testing.T) {
	old, changed, drifted := testNode("d", Sleeps), testService("web", 200), FitReport{Canary: CanaryAuto, WoL: WoLArmed, Traits: []Trait{{"kernel", "6.12"}}}
	old.Format, old.Wake, old.Version, old.Policy = 2, []MAC{MAC("\x02\x00\x00\x00\x01\x0d")}, "v0.2", AlwaysOn
	changed.Targets, changed.Checks = []string{"d"}, []Check{{Kind: CheckTCP, Port: 80, Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 1}}
	s := storied(t)
	for _, step := range []struct {
		c    Command
		want []string
	}{
		{Assign{Service: "web", Owner: "b", Planned: 1, Reason: OwnerFailed, At: at(11), By: "b", Detail: "since a second"}, []string{
			"web: a -> b (epoch 2), because its owner's lease ran out, and it gave no sign of life: since a second, by b",
		}},
		{Assign{Service: "db", Planned: 0, Reason: NobodyAvailable, At: at(11), By: "a"}, []string{
			"db: nobody -> nobody (epoch 1), because no host that is awake could take it, by a",
		}},
		{SetPower{Node: "d", From: Awake, To: Suspending, Reason: OperatorSleep, At: at(12), By: "a"}, []string{"d: awake -> suspending, because somebody ran `nightporter sleep`, by a"}},
		{SetPower{Node: "d", From: Suspending, To: Asleep, Sleeps: 1, Reason: OperatorSleep, At: at(13), By: "d"}, []string{"d: suspending -> asleep, because somebody ran `nightporter sleep`"}},
		{BeginWake{Wake{ID: "w9", Node: "d", Service: "web", Cause: Demand, Client: "10.77.0.100:4000", Port: "tcp/8080", By: "b", Started: at(14)}}, []string{
			"d is called by b: 10.77.0.100:4000 wants web (tcp/8080)",
		}},
		{BeginWake{Wake{ID: "w9", Node: "d"}}, nil}, // said again
		{EndWake{ID: "w9", Result: WokeUp, At: at(17)}, []string{"d is awake after 3s"}},
		{JudgeWake{ID: "w9", Verdict: Useful, By: "d"}, []string{"the wake of d for web was useful"}},
		{BeginWake{Wake{ID: "w10", Node: "d", Cause: WokeUnasked, By: "d", Started: at(18)}}, []string{"d wakes: it woke without being called"}},
		{SetPower{Node: "d", From: Asleep, To: Awake, Sleeps: 1, Reason: WokeUnasked, At: at(18), By: "d"}, []string{"d: asleep -> awake, because it woke without being called"}},
		{BeginWake{Wake{ID: "w11", Node: "d", Cause: QuorumLost, By: "b", Started: at(17)}}, []string{ // it was up before its call was in the log
			"d is awake for another reason than the log had: it was called", "d is called by b: the cluster needs its vote",
		}},
		{SetPower{Node: "d", From: Awake, To: Asleep, Sleeps: 1, Reason: OperatorSleep, At: at(18), By: "d"}, []string{"d: awake -> asleep, because somebody ran `nightporter sleep`"}},
		{EndWake{ID: "w10", Result: GaveUp, At: at(19)}, []string{"the wake of d has ended after 1s: it was called and did not answer"}},
		{MeasureWake{Node: "d", Sample: WakeSample{ID: "w9", At: at(18)}}, nil},
		{NoteWake{ID: "w9", Note: "woken by rtc"}, nil},
		{SetPower{Node: "d", From: Asleep, To: Awake, Sleeps: 1, Reason: WokeUp, At: at(19), By: "d"}, []string{"d: asleep -> awake, because it was called"}},
		{BeginCanary{Node: "d", ID: "k1", At: at(20), By: "a"}, []string{"the canary of d begins: it sleeps and is called, to see whether it can be woken"}},
		{EndCanary{Node: "d", ID: "k1", Result: CanaryPassed, At: at(21)}, []string{"the canary of d has ended (canary-passed): it slept, was called and came back"}},
		{ReportFitness{Node: "d", Report: drifted, At: at(22)}, []string{"d does not count as fit to be woken any more, because what its waking depends on has changed: kernel is 6.12 and was 6.1"}},
		{JudgeFitness{Node: "d", Reason: CanaryAccepted, At: at(23), By: "a"}, []string{"d counts as fit to be woken, because somebody says that it can be woken"}},
		{PutNode{Node: old, At: at(24)}, []string{"d says otherwise of itself: version v0.1 -> v0.2; power sleeps -> always-on"}},
		{PutNode{Node: old, At: at(25)}, nil},
		{SetFailover{Failover: 300 * time.Millisecond, At: at(26), By: "b"}, []string{"failover: 1s -> 300ms, by b"}},
		{SetInrush{Limit: NoLimit, At: at(27), By: "b"}, []string{"wake_inrush: 4 -> any number, by b"}},
		{PutService{Service: changed, At: at(28), By: "a"}, []string{"service web was changed: targets d (were c,b); checks, by a"}},
		{PutService{Service: testService("mail", 203), At: at(28), By: "a"}, []string{
			"service mail was created: addresses 10.77.0.203; mac 02:00:5e:00:00:cb; ports 8080/tcp,53/udp; targets c,b; hold drop, by a",
		}},
		{DeleteService{Name: "mail", At: at(29), By: "a"}, []string{"service mail was deleted, by a", "mail: nobody -> nobody (epoch 1), because it was deleted, by a"}},
		{RemoveNode{Name: "d", Reason: NodeLeft, At: at(30)}, []string{"d is no member any more, because it left the cluster"}},
	} {
		before := bytesOf(t, s)
		next, got := told(t, s, step.c)
		if !slices.Equal(got, step.want) {
			t.Errorf("%T tells\n %s\nwant\n %s", step.c, strings.Join(got, "\n "), strings.Join(step.want, "\n "))
		}
		if string(bytesOf(t, s)) != string(before) {
			t.Fatalf("%T changed the state before it", step.c)
		}
		s = next
	}
	for _, e := range s.EventsSince(time.Time{}) {
		if e.At.IsZero() || e.Index == 0 {
			t.Errorf("without time or index: %+v", e)
		}
	}
	for _, r := range []Reason{FirstOwner, WokeUp, CanaryPassed, SuspendedByOthers} {
		if r.Because() == string(r) {
			t.Errorf("there are no words for %s", r)
		}
	}
	again, err := DecodeState(bytesOf(t, s))
	if err != nil || !reflect.DeepEqual(again.Events, s.Events) {
		t.Errorf("after a snapshot the story is another one (%v)", err)
	}
}

// Maintenance has no command of its own in this format: whatever changes it is told.
func TestMaintenanceIsTold(t *testing.T) {
	before := storied(t)
	n := before.Nodes["d"]
	n.Maintenance = true
	after := withNode(before, n)
	got := eventsOf(before, after, PutNode{Node: n, At: at(40)})
	if len(got) != 1 || got[0].Sentence() != "d: maintenance on" {
		t.Errorf("%+v", got)
	}
}

// Every command that is in the log by now has a stamp, or is one of those that tell nothing by themselves.
func TestEveryCommandHasAStamp(t *testing.T) {
	silent := []Kind{KindMeasureWake, KindNoteWake}
	for _, log := range formats() {
		for _, f := range log {
			if at, by := stampOf(f.command); at.IsZero() && by == "" && !slices.Contains(silent, f.command.kind()) {
				t.Errorf("%T has neither time nor author: name it in stampOf", f.command)
			}
		}
	}
}

// A cluster of version 0.1 keeps no story: its snapshots are to be the same bytes on every member.
func TestStoryBeginsWithFormatTwo(t *testing.T) {
	if s := world(t); s.Events != nil {
		t.Error("a story is kept though no node is of format 2")
	}
	s := storied(t)
	list := s.EventsAfter(0)
	if len(list) != 2 || list[0].Sentence() != "cluster home was founded" || !list[0].At.Equal(at(0)) || list[1].Sentence() != "d joined (sleeps, v0.1)" {
		t.Errorf("%+v", list)
	}
	if floor, first, last := s.EventsKept(); floor != 19 || first != 1 || last != 2 {
		t.Errorf("floor %d, %d to %d", floor, first, last)
	}
	if floor, first, last := world(t).EventsKept(); floor != 0 || first != 1 || last != 0 {
		t.Errorf("without a story: floor %d, %d to %d", floor, first, last)
	}
}

// What falls off the front is counted, and what is kept is without a gap.
func TestStoryIsBounded(t *testing.T) {
	s := storied(t)
	const n = 3 * eventPages * pageEvents / 2
	old := s
	for i := range n {
		s = play(t, s, uint64(1000+i), SetFailover{Failover: time.Second + time.Duration(1+i%2)*time.Millisecond, At: at(50 + i), By: "a"})
		if i == 5 {
			old = s
		}
	}
	floor, first, last := s.EventsKept()
	kept := s.EventsAfter(0)
	if last != 2+n || uint64(len(kept)) != last-first+1 || len(kept) > eventPages*pageEvents || len(kept) < (eventPages-1)*pageEvents {
		t.Fatalf("%d kept, numbers %d to %d", len(kept), first, last)
	}
	for i, e := range kept {
		if want := uint64(1000+n-len(kept)) + uint64(i); e.Index != want {
			t.Fatalf("event %d is of entry %d, not %d", i, e.Index, want)
		}
	}
	if floor != kept[0].Index-1 {
		t.Errorf("floor %d, first %d", floor, kept[0].Index)
	}
	if got := old.EventsAfter(0); len(got) != 8 || got[7].Index != 1005 {
		t.Errorf("an older state was changed: %d events", len(got))
	}
	if got := s.EventsSince(at(50 + n - 3)); len(got) != 3 {
		t.Errorf("%d since then", len(got))
	}
	if size := len(bytesOf(t, s)); size > 600<<10 {
		t.Errorf("the state has %d bytes", size)
	}
}

// What was edited by hand into nonsense is refused, and does not bring the daemon down later.
func TestStoriesThatMakeNoSense(t *testing.T) {
	for _, pages := range [][]EventPage{{{First: 1}}, {{Events: []Event{{}}}}} {
		s := *storied(t)
		s.Events = &EventLog{Pages: pages}
		if _, err := DecodeState(bytesOf(t, &s)); err == nil {
			t.Errorf("%+v is read", pages)
		}
	}
	s := *storied(t)
	s.Events = &EventLog{} // the beginning of one
	again, err := DecodeState(bytesOf(t, &s))
	if err != nil {
		t.Fatal(err)
	}
	if next := play(t, again, 90, SetFailover{Failover: 2 * time.Second, At: at(60), By: "a"}); len(next.EventsAfter(0)) != 1 {
		t.Errorf("%+v", next.Events)
	}
}

// The voters are told once of each set, by Raft's entries and by foreseen ones alike, with the leader's stamp.
func TestVotersAreTold(t *testing.T) {
	applied, ahead := NewMachine(quiet()), NewMachine(quiet())
	stamp := at(33).Add(123456789)
	applied.Appended(func(uint64) time.Time { return stamp })
	for _, m := range []*Machine{applied, ahead} {
		if err := m.Restore(snapshotOf(t, 30, storied(t))); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range []raft.Configuration{servers("a", "b"), servers("a", "b"), servers("a")} {
		index := uint64(31 + i)
		applied.StoreConfiguration(index, c)
		ahead.Foresee([]*raft.Log{{Index: index, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(c), AppendedAt: stamp}})
	}
	sameState(t, "foreseen", ahead.View().State, applied.View().State)
	var got []string
	for _, e := range applied.View().State.EventsAfter(30) {
		got = append(got, fmt.Sprint(e.Index, " ", e.At.Format(time.RFC3339Nano), " ", e.Sentence()))
	}
	want := []string{
		"31 2026-11-21T06:00:33.123Z the voters are a, b now",
		"33 2026-11-21T06:00:33.123Z the voters are a now (before: a, b)",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// Who voted last is known for as long as there is a story, also when the event that told it has fallen off, and after a snapshot.
func TestVotersAreToldOnceHoweverLongAgo(t *testing.T) {
	s := Reconfigured(storied(t), 30, "a,b", at(40))
	for i := range (eventPages + 1) * pageEvents {
		s = play(t, s, uint64(1000+i), SetFailover{Failover: time.Second + time.Duration(1+i%2)*time.Millisecond, At: at(50), By: "a"})
	}
	if slices.ContainsFunc(s.EventsAfter(0), func(e Event) bool { return e.Kind == EventVoters }) {
		t.Fatal("the event has not fallen off")
	}
	s, err := DecodeState(bytesOf(t, s))
	if err != nil {
		t.Fatal(err)
	}
	if next := Reconfigured(s, 9000, "a,b", at(60)); next != s {
		t.Error("the same voters are told as news")
	}
	list := Reconfigured(s, 9000, "a", at(60)).EventsAfter(8999)
	if len(list) != 1 || list[0].Sentence() != "the voters are a now (before: a, b)" {
		t.Errorf("%+v", list)
	}
}

func snapshotOf(t testing.TB, index uint64, s *State) io.ReadCloser {
	t.Helper()
	b, err := encodeSnapshot(index, s)
	if err != nil {
		t.Fatal(err)
	}
	return io.NopCloser(bytes.NewReader(b))
}
