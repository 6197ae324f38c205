package bench

import (
	"slices"
	"testing"
	"time"
)

func TestCutOff(t *testing.T) {
	at := func(us int64) time.Time { return time.Unix(1, us*1000) }
	frames := []time.Time{at(0), at(900), at(30_000), at(30_950), at(31_005), at(60_000)}
	rows := cutOff("bpf", []int64{at(1000).UnixNano(), at(31_000).UnixNano(), at(-40_000).UnixNano()}, frames)
	if want := []float64{100, 0}; !slices.Equal(rows[0].Samples, want) {
		t.Errorf("before: %v, want %v", rows[0].Samples, want)
	}
	if want := []float64{0, 5}; !slices.Equal(rows[1].Samples, want) {
		t.Errorf("after: %v, want %v", rows[1].Samples, want)
	}
}
