package metrics

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Histogram counts durations by their length.
type Histogram struct {
	bounds []float64 // seconds, rising
	counts []uint64  // one more than bounds
	sum    float64
}

// observe adds one. It belongs to whoever made the histogram: Vec has a lock.
func (h *Histogram) observe(d time.Duration) {
	v := d.Seconds()
	i, _ := slices.BinarySearch(h.bounds, v) // a bucket has its upper bound
	h.counts[i]++
	h.sum += v
}

func (h *Histogram) write(b []byte, d Desc, values []string) []byte {
	labels, values := append(slices.Clone(d.Labels), "le"), append(slices.Clone(values), "")
	n := uint64(0)
	for i, c := range h.counts {
		n += c
		values[len(values)-1] = "+Inf"
		if i < len(h.bounds) {
			values[len(values)-1] = number(h.bounds[i])
		}
		b = line(b, d.Name+"_bucket", labels, values, float64(n))
	}
	b = line(b, d.Name+"_sum", d.Labels, values, h.sum)
	return line(b, d.Name+"_count", d.Labels, values, float64(n))
}

// Bounds of the series of a Vec and of a Count: what services, hosts and reasons there are is up to operators and other hosts. A series of a Vec
// is as many lines as it has buckets, and two more.
const (
	vecMost   = 500
	countMost = 5000
)

// zeros bounds Ensure: a series that may never count anything must not take the room of one that does.
func zeros(most int) int { return most / 2 }

// Vec is histograms by the values of their labels. It may be used by many goroutines at once.
type Vec struct {
	bounds []float64

	mu     sync.Mutex
	series map[string]*vecSeries
}

type vecSeries struct {
	values []string
	h      Histogram
}

// NewVec makes one with the upper bounds of its buckets, rising.
func NewVec(bounds ...time.Duration) *Vec {
	v := &Vec{series: make(map[string]*vecSeries)}
	for _, b := range bounds {
		v.bounds = append(v.bounds, b.Seconds())
	}
	return v
}

// Observe adds a duration to the histogram of some label values.
func (v *Vec) Observe(d time.Duration, values ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if s := v.at(values, vecMost); s != nil {
		s.h.observe(d)
	}
}

// Ensure has the histogram of some label values be there, with nothing counted: Prometheus sees no rise in a series that begins with its
// first event. It makes none where half of the room is taken.
func (v *Vec) Ensure(values ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.at(values, zeros(vecMost))
}

func (v *Vec) at(values []string, most int) *vecSeries {
	key := strings.Join(values, "\x00")
	s := v.series[key]
	if s == nil && len(v.series) < most {
		s = &vecSeries{slices.Clone(values), Histogram{bounds: v.bounds, counts: make([]uint64, len(v.bounds)+1)}}
		v.series[key] = s
	}
	return s
}

// Samples gives the histograms as they are now, in order.
func (v *Vec) Samples() []Sample {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []Sample
	for _, key := range slices.Sorted(maps.Keys(v.series)) {
		s := v.series[key]
		h := s.h
		h.counts = slices.Clone(h.counts)
		out = append(out, Sample{Values: s.values, Histogram: &h})
	}
	return out
}

// Count is counters by the values of their labels. It may be used by many goroutines at once.
type Count struct {
	mu     sync.Mutex
	series map[string]*Sample
}

// Add raises one. A counter that is not there begins at 0.
func (c *Count) Add(by float64, values ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.at(values, countMost); s != nil {
		s.Value += by
	}
}

// Reach raises one to a value that is counted elsewhere; a lower one is left out, since a counter that falls would count as one that began anew.
func (c *Count) Reach(v float64, values ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.at(values, countMost); s != nil {
		s.Value = max(s.Value, v)
	}
}

// Ensure has one be there with 0, as Vec's does.
func (c *Count) Ensure(values ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at(values, zeros(countMost))
}

func (c *Count) at(values []string, most int) *Sample {
	key := strings.Join(values, "\x00")
	s := c.series[key]
	if s == nil && len(c.series) < most {
		if c.series == nil {
			c.series = make(map[string]*Sample)
		}
		s = &Sample{Values: slices.Clone(values)}
		c.series[key] = s
	}
	return s
}

// Keep drops the counters of which keep is false: what they counted is gone, and may come back under the same name.
func (c *Count) Keep(keep func(values []string) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.series, func(_ string, s *Sample) bool { return !keep(s.Values) })
}

// Samples gives the counters as they are now, in order.
func (c *Count) Samples() []Sample {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Sample
	for _, key := range slices.Sorted(maps.Keys(c.series)) {
		out = append(out, *c.series[key])
	}
	return out
}
