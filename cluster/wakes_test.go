package cluster

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"nightporter/fsm"
)

// wakes are measured ones that came to be ready after so many seconds; a negative one failed.
func wakes(seconds ...float64) fsm.WakeTimes {
	var t fsm.WakeTimes
	for i, s := range seconds {
		d := time.Duration(s * float64(time.Second))
		one := fsm.WakeSample{ID: fmt.Sprint(i), Phases: fsm.Phases{Called: time.Millisecond, Awake: d, Ready: d}}
		if s < 0 {
			one.Failed, one.Phases = true, fsm.Phases{Called: time.Millisecond}
		}
		t.Samples = append(t.Samples, one)
	}
	return t
}

func times(n int, seconds float64) []float64 { return slices.Repeat([]float64{seconds}, n) }

func TestSpreadOf(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	s := time.Second
	for _, tc := range []struct {
		name string
		of   fsm.WakeTimes
		want Spread
	}{
		{"nothing", wakes(), Spread{}},
		{"only failures", wakes(-1, -1), Spread{}},
		{"one", wakes(3), Spread{1, 3 * s, 3 * s, 3 * s}},
		{"two", wakes(4, 2), Spread{2, 2 * s, 4 * s, 4 * s}},
		{"a failure is no time", wakes(2, -1, 4, 6), Spread{3, 4 * s, 6 * s, 6 * s}},
		{"a hundred", wakes(hundred...), Spread{100, 50 * s, 95 * s, 100 * s}},
	} {
		if got := SpreadOf(tc.of, PhaseReady); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

func TestWakeLimit(t *testing.T) {
	for _, tc := range []struct {
		name string
		of   fsm.WakeTimes
		want time.Duration
	}{
		{"nothing is known", wakes(), 90 * time.Second},
		{"too little", wakes(times(4, 2)...), 90 * time.Second},
		{"a quick host", wakes(times(5, 2)...), 15 * time.Second},
		{"a slow one", wakes(times(20, 12)...), 36 * time.Second},
		{"one that takes its time now and then", wakes(append(times(18, 4), 20, 20)...), 60 * time.Second},
		{"never above the setting", wakes(times(9, 50)...), 90 * time.Second},
		{"failures say nothing about how long it takes", wakes(-1, -1, -1, -1, -1, 3, 3), 90 * time.Second},
	} {
		if got := WakeLimit(tc.of, PhaseAwake, 90*time.Second); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestWakeTarget(t *testing.T) {
	none := wakes()
	for _, tc := range []struct {
		name   string
		times  map[string]fsm.WakeTimes
		gaveUp string
		may    []string
		want   string
	}{
		{"nobody", nil, "", nil, ""},
		{"nothing is known: the order of the definition", nil, "", []string{"b", "c"}, "b"},
		{"the faster one", map[string]fsm.WakeTimes{"b": wakes(20, 20, 20), "c": wakes(4, 4, 4)}, "", []string{"b", "c"}, "c"},
		{"not for a little", map[string]fsm.WakeTimes{"b": wakes(5, 5, 5), "c": wakes(4.5, 4.5, 4.5)}, "", []string{"b", "c"}, "b"},
		{"not for one good day", map[string]fsm.WakeTimes{"b": wakes(20, 20, 20), "c": wakes(4, 4)}, "", []string{"b", "c"}, "b"},
		{"one that was never woken is no better", map[string]fsm.WakeTimes{"b": wakes(20, 20, 20), "c": none}, "", []string{"b", "c"}, "b"},
		{"the reliable one", map[string]fsm.WakeTimes{"b": wakes(3, -1, 3, -1, 3, -1, 3, 3), "c": wakes(5, 5, 5)}, "", []string{"b", "c"}, "c"},
		{"failures of long ago do not count", map[string]fsm.WakeTimes{"b": wakes(append([]float64{-1, -1, -1, -1}, times(16, 3)...)...), "c": wakes(6, 6, 6)}, "", []string{"b", "c"}, "b"},
		{"one that only fails", map[string]fsm.WakeTimes{"b": wakes(-1, -1, -1), "c": wakes(60, 60, 60)}, "", []string{"b", "c"}, "c"},
		{"one that was given up: the next", map[string]fsm.WakeTimes{"b": wakes(4, 4, 4), "c": wakes(20, 20, 20)}, "b", []string{"b", "c"}, "c"},
		{"all were given up: the best of them again", map[string]fsm.WakeTimes{"b": wakes(20, 20, 20), "c": wakes(4, 4, 4)}, "bc", []string{"b", "c"}, "c"},
		{"the best of three", map[string]fsm.WakeTimes{"b": wakes(20, 20, 20), "c": wakes(10, 10, 10), "d": wakes(4, 4, 4)}, "", []string{"b", "c", "d"}, "d"},
	} {
		gaveUp := func(n string) bool { return slices.Contains([]byte(tc.gaveUp), n[0]) }
		if got := WakeTarget(tc.times, tc.may, gaveUp, 90*time.Second); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}
