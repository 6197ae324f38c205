package fsm

import (
	"fmt"
	"testing"
	"time"
)

func TestMeasureWake(t *testing.T) {
	s := world(t)
	measure := func(id string, failed bool) {
		t.Helper()
		s = play(t, s, 50, MeasureWake{Node: "c", Sample: WakeSample{ID: id, At: at(9), Failed: failed, Phases: Phases{Called: 1, Awake: time.Second}}})
	}
	before := s
	measure("w1", false)
	if w := s.Wakes[0]; w.Phases.Awake != time.Second || before.Wakes[0].Phases != (Phases{}) {
		t.Errorf("the record says %+v, and said %+v", w.Phases, before.Wakes[0].Phases)
	}
	again := s
	measure("w1", true) // a proposal of unknown fate
	if s != again {
		t.Error("one wake counts twice")
	}
	for i := range SamplesLimit + 10 {
		measure(fmt.Sprint("x", i), i%2 == 0)
	}
	c := s.WakeTimes["c"]
	if len(c.Samples) != SamplesLimit || c.Samples[0].ID != "x10" || c.Woken != 38 || c.Failed != 37 {
		t.Errorf("%d samples from %s on, %d woken, %d failed", len(c.Samples), c.Samples[0].ID, c.Woken, c.Failed)
	}
	for _, bad := range []struct {
		c    MeasureWake
		want Refusal
	}{
		{MeasureWake{Node: "c"}, Invalid},
		{MeasureWake{Node: "z", Sample: WakeSample{ID: "w"}}, UnknownNode},
		{MeasureWake{Node: "c", Sample: WakeSample{ID: "w", Phases: Phases{Ready: -1}}}, Invalid},
		{MeasureWake{Node: "c", Sample: WakeSample{ID: "w", Phases: Phases{Served: 25 * time.Hour}}}, Invalid},
	} {
		if next, res := Apply(s, 60, bad.c); res.Refused != bad.want || next != s {
			t.Errorf("%+v: %+v, want %s", bad.c, res, bad.want)
		}
	}
	with := s
	s = play(t, s, 70, RemoveNode{Name: "c", Reason: NodeLeft, At: at(10)})
	if len(s.WakeTimes) != 0 || len(with.WakeTimes) != 1 {
		t.Errorf("%d nodes are remembered, before it was forgotten %d", len(s.WakeTimes), len(with.WakeTimes))
	}
}
