package bench

import (
	"math"
	"slices"
	"time"
)

// Row is one quantity with all its samples.
type Row struct {
	Name    string    `json:"name"`
	Unit    string    `json:"unit"`
	Samples []float64 `json:"samples"` // in the order in which they were taken
	Goal    Goal      `json:"goal,omitzero"`
}

// Goal is what a row should stay below or at; 0 = nothing is promised.
type Goal struct {
	Median float64 `json:"median,omitempty"`
	P95    float64 `json:"p95,omitempty"`
	Max    float64 `json:"max,omitempty"`
	None   bool    `json:"none,omitempty"` // every sample must be 0
}

// Table is one experiment.
type Table struct {
	Name  string   `json:"name"`
	Title string   `json:"title"`
	Notes []string `json:"notes,omitempty"`
	Rows  []Row    `json:"rows"`
}

// measured says whether there is anything to show.
func (t Table) measured() bool {
	return slices.ContainsFunc(t.Rows, func(r Row) bool { return len(r.Samples) > 0 })
}

// quantile is the smallest sample that at least the part q of all samples does not exceed (the nearest-rank method). There
// must be one.
func quantile(samples []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(samples))
	rank := int(math.Ceil(q * float64(len(s))))
	return s[max(rank, 1)-1]
}

// Median of the samples.
func (r Row) Median() float64 { return quantile(r.Samples, 0.5) }

// Max of the samples.
func (r Row) Max() float64 { return quantile(r.Samples, 1) }

// verdict says whether the goals are met; "" where there are none.
func (r Row) verdict() string {
	switch {
	case r.Goal == Goal{} || len(r.Samples) == 0:
		return ""
	case r.Goal.Median > 0 && r.Median() > r.Goal.Median, r.Goal.P95 > 0 && quantile(r.Samples, 0.95) > r.Goal.P95, r.Goal.Max > 0 && r.Max() > r.Goal.Max, r.Goal.None && r.Max() > 0:
		return "missed"
	}
	return "met"
}

// add takes a sample in milliseconds.
func (r *Row) add(d time.Duration) {
	r.Samples = append(r.Samples, float64(d)/float64(time.Millisecond))
}

// worstGap is the longest time within [from, to] in which no answer came. answers are the instants of all answers, in
// order. With one question every few milliseconds that pace itself is the least that it can be.
func worstGap(answers []time.Time, from, to time.Time) (worst time.Duration) {
	first, _ := slices.BinarySearchFunc(answers, from, time.Time.Compare)
	last := from
	for _, at := range answers[first:] {
		if at.After(to) {
			break
		}
		worst, last = max(worst, at.Sub(last)), at
	}
	return max(worst, to.Sub(last))
}

// spread gives the i-th of many instants within a period, evenly and in no order (the multiples of the golden ratio, modulo
// one). What is to be measured follows a clock of its own, such as the renewals of a lease; without this every run would
// meet it at the same place.
func spread(i int, period time.Duration) time.Duration {
	_, part := math.Modf(float64(i) * math.Phi)
	return time.Duration(part * float64(period))
}
