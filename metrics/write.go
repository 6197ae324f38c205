package metrics

import (
	"math"
	"strconv"
	"strings"
)

// Kind is what a metric's values mean.
type Kind string

// The kinds.
const (
	Counter Kind = "counter" // only rises, but for a restart
	Gauge   Kind = "gauge"
	Hist    Kind = "histogram"
)

// Desc describes a metric: its name, its kind, a sentence, and the names of its labels in the order of a sample's values.
type Desc struct {
	Name   string
	Kind   Kind
	Help   string
	Labels []string
}

// Family is a metric with its samples.
type Family struct {
	Desc
	Samples []Sample
}

// Sample is one value. Values are those of the labels.
type Sample struct {
	Values    []string
	Value     float64
	Histogram *Histogram // of a Hist; Value does not count then
}

// Write gives the text of some families. One without samples is left out.
func Write(families []Family) []byte {
	var b []byte
	for _, f := range families {
		if len(f.Samples) == 0 {
			continue
		}
		b = append(b, "# HELP "+f.Name+" "+helpEscape.Replace(f.Help)+"\n# TYPE "+f.Name+" "+string(f.Kind)+"\n"...)
		for _, s := range f.Samples {
			if f.Kind == Hist {
				b = s.Histogram.write(b, f.Desc, s.Values)
				continue
			}
			b = line(b, f.Name, f.Labels, s.Values, s.Value)
		}
	}
	return b
}

var (
	helpEscape  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	labelEscape = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// line writes one sample.
func line(b []byte, name string, labels, values []string, v float64) []byte {
	b = append(b, name...)
	for i, l := range labels {
		b = append(b, "{,"[min(i, 1)])
		b = append(b, l...)
		b = append(b, `="`...)
		b = append(b, labelEscape.Replace(strings.ToValidUTF8(values[i], "\uFFFD"))...)
		b = append(b, '"')
	}
	if len(labels) > 0 {
		b = append(b, '}')
	}
	b = append(b, ' ')
	b = append(b, number(v)...)
	return append(b, '\n')
}

// number writes a value as Go and Prometheus read it.
func number(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "+Inf"
	case math.IsInf(v, -1):
		return "-Inf"
	case math.IsNaN(v):
		return "NaN"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
