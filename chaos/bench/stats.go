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
	Max    float64 `json:"max,omitempty"`
}

// Table is one experiment.
type Table struct {
	Name  string   `json:"name"`
	Title string   `json:"title"`
	Notes []string `json:"notes,omitempty"`
	Rows  []Row    `json:"rows"`
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
	case r.Goal.Median > 0 && r.Median() > r.Goal.Median, r.Goal.Max > 0 && r.Max() > r.Goal.Max:
		return "missed"
	}
	return "met"
}

// add takes a sample in milliseconds.
func (r *Row) add(d time.Duration) {
	r.Samples = append(r.Samples, float64(d)/float64(time.Millisecond))
}

// question is one datagram of a probe: when it was sent, and whether its answer came.
type question struct {
	sent time.Time
	back bool
}

// worstGap is the longest time within [from, to] from a question that got no answer to the next one that got one. A gap that
// is still open at the end counts to the end.
func worstGap(all []question, from, to time.Time) (worst time.Duration) {
	var open time.Time
	for _, q := range all {
		if q.sent.Before(from) || q.sent.After(to) {
			continue
		}
		switch {
		case !q.back && open.IsZero():
			open = q.sent
		case q.back && !open.IsZero():
			worst = max(worst, q.sent.Sub(open))
			open = time.Time{}
		}
	}
	if !open.IsZero() {
		worst = max(worst, to.Sub(open))
	}
	return worst
}
