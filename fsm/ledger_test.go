package fsm

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// ledgerWorld is world, whose nodes are of format 2, with node c awake since at(3).
func ledgerWorld(t *testing.T) *State {
	t.Helper()
	s := world(t)
	c := testNode("c", Sleeps)
	c.Format = 2
	return play(t, s, 20, PutNode{Node: c, At: at(7)})
}

func TestHoursAreCounted(t *testing.T) {
	s := ledgerWorld(t)
	hours := func(h int) time.Time { return at(3).Add(time.Duration(h) * time.Hour) }
	before := s
	s = play(t, s, 30,
		SetPower{Node: "c", From: Awake, To: Suspending, Reason: NodeIdle, At: hours(2)},
		SetPower{Node: "c", From: Suspending, To: Asleep, Sleeps: 1, Reason: NodeIdle, At: hours(2).Add(time.Second)},
		SetPower{Node: "c", From: Asleep, To: Waking, Sleeps: 1, Reason: Demand, At: hours(50)},                // over two midnights
		SetPower{Node: "c", From: Waking, To: Awake, Sleeps: 1, Reason: WokeUp, At: hours(50).Add(-time.Hour)}, // a clock that is behind
		SetPower{Node: "c", From: Awake, To: Off, Sleeps: 1, Reason: NodeFailed, At: hours(51)},
		SetPower{Node: "c", From: Off, To: Awake, Sleeps: 1, Reason: NodeReturned, At: hours(54)},
	)
	if len(before.Ledger) != 0 {
		t.Error("an older state was changed")
	}
	l := s.Ledger["c"]
	if !l.Since.Equal(at(3)) || l.Total.Awake != 2*time.Hour+time.Second+2*time.Hour || l.Total.Asleep != 48*time.Hour-time.Second || l.Total.Off != 3*time.Hour {
		t.Errorf("since %s: awake %s, asleep %s, off %s", l.Since, l.Total.Awake, l.Total.Asleep, l.Total.Off)
	}
	var byDay []string
	for _, d := range l.Days {
		byDay = append(byDay, fmt.Sprintf("%s %s %s", d.Awake.Round(time.Minute), d.Asleep.Round(time.Minute), d.Off))
	}
	// at(0) is 06:00 on 2026-11-21.
	if got := strings.Join(byDay, ", "); got != "2h0m0s 16h0m0s 0s, 0s 24h0m0s 0s, 2h0m0s 8h0m0s 3h0m0s" {
		t.Errorf("by day: %s", got)
	}
	if now, ok := Until(s, "c", hours(60)); !ok || now.Total.Awake != l.Total.Awake+6*time.Hour {
		t.Errorf("until later: %+v", now.Total)
	}
	if got := l.From(at(0).Add(24 * time.Hour)).Asleep.Round(time.Minute); got != 32*time.Hour {
		t.Errorf("asleep from the second day on: %s", got)
	}
	if _, ok := Until(s, "a", hours(60)); ok {
		t.Error("hours are counted of a node that never said that it is of format 2")
	}
	if again, err := DecodeState(bytesOf(t, s)); err != nil || !reflect.DeepEqual(again.Ledger, s.Ledger) {
		t.Errorf("after a snapshot: %+v (%v)", again.Ledger, err)
	}
	if s = play(t, s, 40, RemoveNode{Name: "c", Reason: NodeLeft, At: hours(61)}); len(s.Ledger) != 0 {
		t.Error("the ledger of a forgotten node is kept")
	}
}

// TestALedgerIsBounded: by days, by kinds of wakes, and against clocks that make no sense.
func TestALedgerIsBounded(t *testing.T) {
	s := ledgerWorld(t)
	from, to := Awake, Off
	for i := range 3 * DaysLimit {
		s = play(t, s, 30, SetPower{Node: "c", From: from, To: to, Reason: NodeFailed, At: at(3).Add(time.Duration(i) * 30 * time.Hour)})
		from, to = to, from
	}
	l := s.Ledger["c"]
	if len(l.Days) != DaysLimit || l.Total.Off+l.Total.Awake != time.Duration(3*DaysLimit-1)*30*time.Hour {
		t.Errorf("%d days, %s in all", len(l.Days), l.Total.Off+l.Total.Awake)
	}
	if FirstDay(s).IsZero() {
		t.Error("nothing is said of the days that have fallen off")
	}
	for _, mad := range []time.Time{{}, time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), time.Unix(0, 0), at(0)} {
		for range 2 {
			s = play(t, s, 31, SetPower{Node: "c", From: from, To: to, Reason: NodeFailed, At: mad})
			from, to = to, from
		}
	}
	if got := s.Ledger["c"].Total; got.Off > 4*DaysLimit*30*time.Hour || got.Awake > 4*DaysLimit*30*time.Hour {
		t.Errorf("a clock that was set counts: %+v", got)
	}
	for i := range 3 * countsMost {
		s = play(t, s, 32, BeginWake{Wake{ID: fmt.Sprint("x", i), Node: "c", Service: fmt.Sprint("s", i), Cause: Demand, Started: at(9)}})
	}
	sum := uint64(0)
	for _, w := range s.Ledger["c"].Total.Wakes {
		sum += w.Count
	}
	if n := len(s.Ledger["c"].Total.Wakes); n != countsMost+1 || sum != 3*countsMost {
		t.Errorf("%d kinds with %d wakes", n, sum)
	}
}

func TestWakesAreJudged(t *testing.T) {
	s := ledgerWorld(t)
	wake := func(id string, cause Reason) Command {
		return BeginWake{Wake{ID: id, Node: "c", Service: "web", Cause: cause, Client: "10.77.0.100:4000", Port: "tcp/8080", By: "a", Started: at(8)}}
	}
	counts := func() string {
		var out []string
		for _, list := range [][]WakeCount{s.Ledger["c"].Total.Wakes, s.Ledger["c"].Days[0].Wakes} {
			for _, w := range list {
				out = append(out, fmt.Sprintf("%s %s %q %d", w.Service, w.Cause, w.Verdict, w.Count))
			}
		}
		return strings.Join(out, ", ")
	}
	s = play(t, s, 30, wake("u", Demand), wake("v", Demand), wake("w", Demand), wake("u", Demand), JudgeWake{ID: "u", Verdict: Useful, By: "c"})
	open := s
	s = play(t, s, 40, JudgeWake{ID: "u", Verdict: Spurious, By: "c"}, JudgeWake{ID: "nobody's", Verdict: Useful})
	if s != open || s.Wakes[1].Verdict != Useful {
		t.Errorf("a wake is judged twice: %+v", s.Wakes)
	}
	s = play(t, s, 50, JudgeWake{ID: "v", Verdict: Spurious, By: "c"}, EndWake{ID: "w", Result: GaveUp, At: at(20)}, wake("o", OperatorWake))
	half := `web demand "useful" 1, web demand "spurious" 1, web demand "failed" 1, web operator-wake "" 1`
	if got := counts(); got != half+", "+half {
		t.Errorf("counted %s", got)
	}
	for _, bad := range []Verdict{"", Failed, "nice"} {
		if next, res := Apply(s, 60, JudgeWake{ID: "o", Verdict: bad}); res.Refused != Invalid || next != s {
			t.Errorf("%q: %+v", bad, res)
		}
	}
	// A wake that began before the ledger is only judged; a sum that would fall below zero stays.
	s = play(t, s, 70, JudgeWake{ID: "w1", Verdict: Useful, By: "c"})
	if s.Wakes[0].Verdict != Useful {
		t.Errorf("%+v", s.Wakes[0])
	}
}

func TestInrush(t *testing.T) {
	s := world(t)
	if got := s.InrushLimit(); got != InrushDefault {
		t.Errorf("by itself %d", got)
	}
	for _, c := range []struct{ set, want int }{{2, 2}, {NoLimit, 0}, {0, InrushDefault}} {
		if s = play(t, s, 30, SetInrush{Limit: c.set, At: at(9)}); s.InrushLimit() != c.want {
			t.Errorf("set to %d it is %d", c.set, s.InrushLimit())
		}
		if b := bytesOf(t, s); (b[3] == 2) != (c.set != 0) {
			t.Errorf("set to %d the state is of format %d", c.set, b[3])
		}
	}
	for _, bad := range []int{-2, InrushMax + 1} {
		if next, res := Apply(s, 40, SetInrush{Limit: bad}); res.Refused != Invalid || next != s {
			t.Errorf("%d: %+v", bad, res)
		}
	}
}
