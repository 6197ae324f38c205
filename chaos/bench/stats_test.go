package bench

import (
	"slices"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i) // 100 ... 1
	}
	for _, c := range []struct {
		name    string
		samples []float64
		q, want float64
	}{
		{"one sample is its own median", []float64{7}, 0.5, 7},
		{"and its own 95th percentile", []float64{7}, 0.95, 7},
		{"the lower of two", []float64{2, 1}, 0.5, 1},
		{"the middle of three", []float64{3, 1, 2}, 0.5, 2},
		{"median of a hundred", hundred, 0.5, 50},
		{"95th of a hundred", hundred, 0.95, 95},
		{"the largest", hundred, 1, 100},
		{"95 % of ten are all ten", []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 0.95, 10},
	} {
		if got := quantile(c.samples, c.q); got != c.want {
			t.Errorf("%s: quantile %v is %v, want %v", c.name, c.q, got, c.want)
		}
	}
	if hundred[0] != 100 {
		t.Error("quantile sorted the samples: they must stay in the order in which they were taken")
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		name    string
		samples []float64
		goal    Goal
		want    string
	}{
		{"nothing promised", []float64{1}, Goal{}, ""},
		{"nothing measured", nil, Goal{Median: 1}, ""},
		{"at the goal", []float64{1, 5, 9}, Goal{Median: 5, Max: 9}, "met"},
		{"median above", []float64{1, 6, 6}, Goal{Median: 5}, "missed"},
		{"one outlier, and no word about the largest", []float64{1, 1, 99}, Goal{Median: 5}, "met"},
		{"95th above", []float64{1, 1, 99}, Goal{P95: 98}, "missed"},
		{"95th at the goal", []float64{1, 1, 99}, Goal{P95: 99}, "met"},
		{"largest above", []float64{1, 1, 99}, Goal{Median: 5, Max: 98}, "missed"},
		{"nothing at all", []float64{0, 0}, Goal{None: true}, "met"},
		{"something after all", []float64{0, 4096}, Goal{None: true}, "missed"},
	} {
		if got := (Row{Samples: c.samples, Goal: c.goal}).verdict(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestAddIsInMilliseconds(t *testing.T) {
	var r Row
	r.add(1500 * time.Microsecond)
	if r.Samples[0] != 1.5 {
		t.Errorf("1.5 ms became %v", r.Samples[0])
	}
}

func TestWorstGap(t *testing.T) {
	zero := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	for _, c := range []struct {
		name     string
		answers  []int
		from, to int
		want     int
	}{
		{"a steady pace", []int{0, 2, 4, 6, 8}, 0, 8, 2},
		{"a hole", []int{0, 2, 4, 304, 306}, 0, 306, 300},
		{"the longer of two holes", []int{0, 10, 12, 52, 54}, 0, 54, 40},
		{"a hole outside does not count", []int{0, 100, 102, 104}, 100, 104, 2},
		{"one that began earlier counts from the beginning", []int{0, 100, 102}, 60, 102, 40},
		{"one that is still open counts to the end", []int{0, 2}, 0, 50, 48},
		{"no answer at all", nil, 0, 50, 50},
		{"nothing within", []int{0, 100}, 10, 60, 50},
	} {
		var answers []time.Time
		for _, ms := range c.answers {
			answers = append(answers, at(ms))
		}
		if got := worstGap(answers, at(c.from), at(c.to)); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("%s: %v, want %d ms", c.name, got, c.want)
		}
	}
}

func TestAroundComparesEqualTimes(t *testing.T) {
	now := time.Now()
	ago := func(ms int) time.Time { return now.Add(-time.Duration(ms) * time.Millisecond) }
	p := &probe{}
	for ms := 10_000; ms >= 0; ms -= 2 {
		if ms > 9200 && ms < 9900 || ms > 5200 && ms < 5300 || ms > 3000 && ms < 4000 {
			continue // lost: too early to count; the machine's noise; the event's own
		}
		p.answers = append(p.answers, ago(ms))
	}
	event, own := p.around(ago(4500))
	// The clock went on since now, so the last gap is not closed; it is far shorter than those that are looked for.
	if event != 1000*time.Millisecond || own != 100*time.Millisecond {
		t.Errorf("the event's gap is %v and the probe's own %v, want 1 s and 100 ms", event, own)
	}
	late := slices.IndexFunc(p.answers, func(at time.Time) bool { return at.After(ago(4900)) })
	p.answers = p.answers[late:] // the probe began less than half a second before the event
	if _, own = p.around(ago(4500)); own > 50*time.Millisecond {
		t.Errorf("the time before the probe began counts as a gap of %v", own)
	}
}

func TestSpreadIsEven(t *testing.T) {
	const period, parts = 200 * time.Millisecond, 10
	var hits [parts]int
	for i := range 100 {
		d := spread(i, period)
		if d < 0 || d >= period {
			t.Fatalf("number %d is %v, not within %v", i, d, period)
		}
		hits[d*parts/period]++
	}
	for part, n := range hits {
		if n < 8 || n > 12 {
			t.Errorf("%d of 100 are in part %d of 10: %v", n, part, hits)
		}
	}
	if first, second := spread(0, period), spread(1, period); first == second {
		t.Errorf("two runs in a row both come after %v", first)
	}
}
