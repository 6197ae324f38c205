package metrics

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// What is written is what Prometheus's own reader reads.
func TestPrometheusReadsWhatIsWritten(t *testing.T) {
	odd := "a\\b \"c\"\nd é {x=\"1\"}"
	v := NewVec(5*time.Millisecond, time.Second)
	for _, d := range []time.Duration{0, 5 * time.Millisecond, 6 * time.Millisecond, time.Second, 2 * time.Second} {
		v.Observe(d, "web")
	}
	v.Observe(time.Millisecond, odd)
	text := Write([]Family{
		{Desc{"np_up", Gauge, "Whether \\ it is\nup.", nil}, []Sample{{Value: 1}}},
		{Desc{"np_power_seconds_total", Counter, "Time.", []string{"node", "power"}}, []Sample{
			{Values: []string{"alpha", "awake"}, Value: 123456789.25}, {Values: []string{odd, "\xff"}, Value: math.Inf(1)},
		}},
		{Desc: Desc{"np_none", Gauge, "No samples.", nil}},
		{Desc{"np_blackout_seconds", Hist, "Silence.", []string{"service"}}, v.Samples()},
	})
	parser := expfmt.NewTextParser(model.LegacyValidation)
	got, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if len(got) != 3 || strings.Contains(string(text), "np_none") {
		t.Errorf("%d families:\n%s", len(got), text)
	}
	if up := got["np_up"]; up.GetHelp() != "Whether \\ it is\nup." || up.GetMetric()[0].GetGauge().GetValue() != 1 {
		t.Errorf("np_up is %v", up)
	}
	power := got["np_power_seconds_total"].GetMetric()
	if len(power) != 2 || power[0].GetCounter().GetValue() != 123456789.25 || power[1].GetLabel()[0].GetValue() != odd || !math.IsInf(power[1].GetCounter().GetValue(), 1) {
		t.Errorf("np_power_seconds_total is %v", power)
	}
	for _, m := range got["np_blackout_seconds"].GetMetric() {
		h := m.GetHistogram()
		if m.GetLabel()[0].GetValue() != "web" {
			if m.GetLabel()[0].GetValue() != odd || h.GetSampleCount() != 1 {
				t.Errorf("a histogram of %v", m)
			}
			continue
		}
		b := h.GetBucket()
		if len(b) != 3 || b[0].GetCumulativeCount() != 2 || b[1].GetCumulativeCount() != 4 || !math.IsInf(b[2].GetUpperBound(), 1) || b[2].GetCumulativeCount() != 5 ||
			h.GetSampleCount() != 5 || math.Abs(h.GetSampleSum()-3.011) > 1e-9 {
			t.Errorf("np_blackout_seconds is %v", h)
		}
	}
}

// A counter never falls: that would count as one that began anew, and all of it as an increase.
func TestACounterNeverFalls(t *testing.T) {
	var c Count
	c.Reach(5, "a")
	c.Reach(4.9, "a")
	c.Add(2, "b")
	if s := c.Samples(); len(s) != 2 || s[0].Value != 5 || s[1].Value != 2 {
		t.Errorf("%+v", s)
	}
	c.Keep(func(v []string) bool { return v[0] == "b" })
	c.Reach(1, "a")
	if s := c.Samples(); len(s) != 2 || s[0].Value != 1 {
		t.Errorf("of a node that was forgotten and came back: %+v", s)
	}
}

// What is ensured is there with 0 and keeps what it counts; it leaves room for what does count.
func TestZeroSeries(t *testing.T) {
	var c Count
	v := NewVec(time.Second)
	c.Add(2, "a")
	v.Observe(1, "a")
	for _, name := range []string{"a", "b"} {
		c.Ensure(name)
		v.Ensure(name)
	}
	if s := c.Samples(); len(s) != 2 || s[0].Value != 2 || s[1].Value != 0 {
		t.Errorf("counters %+v", s)
	}
	text := string(Write([]Family{{Desc{"x", Hist, "X.", []string{"l"}}, v.Samples()}}))
	for _, want := range []string{"x_count{l=\"a\"} 1\n", "x_bucket{l=\"b\",le=\"+Inf\"} 0\n", "x_count{l=\"b\"} 0\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	for i := range countMost {
		c.Ensure("more", strconv.Itoa(i))
		v.Ensure("more", strconv.Itoa(i))
	}
	if n, m := len(c.Samples()), len(v.Samples()); n != countMost/2 || m != vecMost/2 {
		t.Errorf("%d counters, %d histograms", n, m)
	}
	c.Add(1, "late")
	v.Observe(1, "late")
	if n, m := len(c.Samples()), len(v.Samples()); n != countMost/2+1 || m != vecMost/2+1 {
		t.Errorf("no room for what counts: %d counters, %d histograms", n, m)
	}
}

func TestSeriesAreBounded(t *testing.T) {
	var c Count
	v := NewVec(time.Second)
	for i := range 2 * countMost {
		name := strings.Repeat("x", i%50) + strconv.Itoa(i)
		c.Add(1, name)
		v.Observe(1, name)
	}
	if n, m := len(c.Samples()), len(v.Samples()); n != countMost || m != vecMost {
		t.Errorf("%d counters, %d histograms", n, m)
	}
}
