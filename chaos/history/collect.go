package history

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Collector joins frames to spans, as they pass. It is not safe for concurrent use.
type Collector struct {
	spans []Span
	open  map[string]int // by service: the index of the span that still grows
}

// Use takes one frame that claims an identity. Frames come in the order of the wire.
func (c *Collector) Use(service, host string, at time.Time, words func() string) {
	if c.open == nil {
		c.open = make(map[string]int)
	}
	if i, ok := c.open[service]; ok {
		if s := &c.spans[i]; s.Host == host && at.Sub(s.Last) < SpanGap {
			s.Last, s.Frames = at, s.Frames+1
			return
		}
	}
	c.open[service] = len(c.spans)
	c.spans = append(c.spans, Span{Service: service, Host: host, First: at, Last: at, Frames: 1, Sample: words()})
}

// Spans gives what was collected.
func (c *Collector) Spans() []Span { return slices.Clone(c.spans) }

// Tell takes over what a host says of the owners of a service. The log gives every epoch once and never takes one back
// (I2, I9): who says otherwise contradicts.
func (h *History) Tell(host, service string, said []Record) {
	for i, r := range said {
		if i > 0 && r.Epoch <= said[i-1].Epoch {
			h.contradict("%s says of %s that epoch %d was followed by %d", host, service, said[i-1].Epoch, r.Epoch)
		}
		r.Service = service
		at, known := slices.BinarySearchFunc(h.Records, r, compareRecords)
		switch {
		case !known:
			h.Records = slices.Insert(h.Records, at, r)
		case h.Records[at].To != r.To || h.Records[at].Index != r.Index:
			k := h.Records[at]
			h.contradict("epoch %d of %s belonged to %q (index %d), and %s says to %q (index %d)", r.Epoch, service, k.To, k.Index, host, r.To, r.Index)
		}
	}
}

func (h *History) contradict(f string, args ...any) {
	if s := fmt.Sprintf(f, args...); !slices.Contains(h.Contradictions, s) {
		h.Contradictions = append(h.Contradictions, s)
	}
}

func compareRecords(a, b Record) int {
	return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Epoch, b.Epoch))
}

// Of gives the records of one service.
func (h *History) Of(service string) []Record {
	var out []Record
	for _, r := range h.Records {
		if r.Service == service {
			out = append(out, r)
		}
	}
	return out
}

// StateAt gives what a machine was doing at a moment, and since when. A machine that nobody wrote about was up from the
// beginning.
func (h *History) StateAt(host string, at time.Time) (PowerState, time.Time) {
	state, since := Up, h.Began
	for _, p := range h.Powers {
		if p.Host == host && !p.At.After(at) {
			state, since = p.State, p.At
		}
	}
	return state, since
}

// Disturbed gives the faults that were active at some moment from one to another.
func (h *History) Disturbed(from, to time.Time) []Fault {
	var out []Fault
	for _, f := range h.Faults {
		if !f.From.After(to) && (f.To.IsZero() || !f.To.Before(from)) {
			out = append(out, f)
		}
	}
	return out
}

// VotersAfter gives the voters as a leader named them first after a host fell asleep, soon and while it still slept.
func (h *History) VotersAfter(host string, at time.Time) []string {
	until := at.Add(VotersSoon)
	for _, p := range h.Powers {
		if p.Host == host && p.At.After(at) && p.At.Before(until) {
			until = p.At
		}
	}
	for _, s := range h.Samples {
		if s.At.After(at) && s.At.Before(until) && s.Leader == s.Host && len(s.Voters) > 0 {
			return s.Voters
		}
	}
	return nil
}

// VotersAt gives the voters as a leader named them last before a moment; else as anybody did.
func (h *History) VotersAt(at time.Time) []string {
	var voters []string
	led := false
	for _, s := range h.Samples {
		if s.At.After(at) || len(s.Voters) == 0 {
			continue
		}
		leads := s.Leader == s.Host
		if leads || !led {
			voters, led = s.Voters, leads || led
		}
	}
	return voters
}
