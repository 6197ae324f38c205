package lease

import (
	"testing"
	"time"
)

var three = Quorum{Config: 7, Voters: []string{"v1", "v2", "v3"}}

const margin = 40 * time.Millisecond

// yes is a voter's grant of r.
func yes(voter string, r Request) Answer {
	return Answer{Voter: voter, Service: r.Service, Epoch: r.Epoch, Node: r.Node, Incarnation: r.Incarnation, Seq: r.Seq}
}

func mustBegin(t *testing.T, h *Holder, now Boot, epoch uint64) Request {
	t.Helper()
	r, ok := h.Begin(now, epoch, three, time.Second, margin, nil)
	if !ok {
		t.Fatalf("Begin of epoch %d was refused", epoch)
	}
	return r
}

func TestRound(t *testing.T) {
	h := NewHolder(service, "a", 3)
	prior := &Release{Service: service, Epoch: 4, Node: "b", Incarnation: 1, Seq: 9}
	r, ok := h.Begin(100*sec, 5, three, time.Second, margin, prior)
	want := Request{
		Service: service, Epoch: 5, Node: "a", Incarnation: 3, Seq: 1, Config: 7, TTL: time.Second, Prior: prior,
	}
	if !ok || r != want {
		t.Fatalf("%+v, %v", r, ok)
	}
	if _, ok := h.Answer(yes("v1", r)); ok {
		t.Error("one of three is no majority")
	}
	if _, ok := h.Answer(yes("v1", r)); ok {
		t.Error("the same voter twice is no majority")
	}
	if got, ok := h.Answer(yes("v3", r)); !ok || got != 101*sec-Boot(margin) {
		t.Errorf("deadline %v, %v", time.Duration(got), ok)
	}
	if _, ok := h.Answer(yes("v2", r)); ok {
		t.Error("only the answer that completes the majority counts")
	}
}

func TestAnswersThatDoNotCount(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Answer)
	}{
		{"another round", func(a *Answer) { a.Seq-- }},
		{"another epoch", func(a *Answer) { a.Epoch++ }},
		{"another incarnation", func(a *Answer) { a.Incarnation-- }},
		{"another node", func(a *Answer) { a.Node = "b" }},
		{"another service", func(a *Answer) { a.Service = "db" }},
		{"no voter of the configuration", func(a *Answer) { a.Voter = "v4" }},
		{"a refusal", func(a *Answer) { a.Refusal = HeldByOther }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := NewHolder(service, "a", 3)
			mustBegin(t, h, 1*sec, 5)
			r := mustBegin(t, h, 2*sec, 5)
			h.Answer(yes("v1", r))
			bad := yes("v2", r)
			c.change(&bad)
			if _, ok := h.Answer(bad); ok {
				t.Error("it counted")
			}
			if deadline, ok := h.Answer(yes("v3", r)); !ok || deadline != 3*sec-Boot(margin) {
				t.Errorf("a good one after it: %v, %v", deadline, ok)
			}
		})
	}
}

func TestMajorities(t *testing.T) {
	for _, c := range []struct {
		voters []string
		need   int
	}{
		{[]string{"v1"}, 1},
		{[]string{"v1", "v2"}, 2},
		{[]string{"v1", "v2", "v2"}, 2}, // named twice is one voter
		{[]string{"v1", "v2", "v3"}, 2},
		{[]string{"v1", "v2", "v3", "v4"}, 3},
		{[]string{"v1", "v2", "v3", "v4", "v5"}, 3},
	} {
		h := NewHolder(service, "a", 1)
		r, _ := h.Begin(sec, 1, Quorum{Config: 1, Voters: c.voters}, time.Second, margin, nil)
		for i, v := range c.voters[:c.need] {
			if _, ok := h.Answer(yes(v, r)); ok != (i+1 == c.need) {
				t.Errorf("%v: answer %d: %v", c.voters, i+1, ok)
			}
		}
	}
}

func TestBeginIsRefused(t *testing.T) {
	released := func(h *Holder) {
		h.Begin(0, 5, three, time.Second, margin, nil)
		h.Release()
	}
	for _, c := range []struct {
		name   string
		before func(*Holder)
		epoch  uint64
		q      Quorum
		ttl    time.Duration
		want   bool
	}{
		{"fresh", func(*Holder) {}, 1, three, time.Second, true},
		{"epoch 0", func(*Holder) {}, 0, three, time.Second, false},
		{"no voters", func(*Holder) {}, 1, Quorum{Config: 7}, time.Second, false},
		{"ttl within the margin", func(*Holder) {}, 1, three, margin, false},
		{"released epoch", released, 5, three, time.Second, false},
		{"below the released epoch", released, 4, three, time.Second, false},
		{"above the released epoch", released, 6, three, time.Second, true},
		{"adopted epoch", func(h *Holder) { h.Adopt(5) }, 5, three, time.Second, true},
		{"below the adopted epoch", func(h *Holder) { h.Adopt(5) }, 4, three, time.Second, false},
		{"adopted and released epoch", func(h *Holder) { h.Adopt(5); h.Release() }, 5, three, time.Second, false},
		{"above the adopted epoch", func(h *Holder) { h.Adopt(5) }, 6, three, time.Second, true},
		{"below one asked for", func(h *Holder) { h.Begin(0, 5, three, time.Second, margin, nil) }, 4, three, time.Second, false},
		{"the one asked for", func(h *Holder) { h.Begin(0, 5, three, time.Second, margin, nil) }, 5, three, time.Second, true},
	} {
		h := NewHolder(service, "a", 1)
		c.before(h)
		if _, ok := h.Begin(sec, c.epoch, c.q, c.ttl, margin, nil); ok != c.want {
			t.Errorf("%s: %v", c.name, ok)
		}
	}
}

// TestNoAnswerCountsAfter: what ends a round ends it for answers that are still on their way.
func TestNoAnswerCountsAfter(t *testing.T) {
	for name, end := range map[string]func(*Holder){
		"release": func(h *Holder) { h.Release() },
		"adopt":   func(h *Holder) { h.Adopt(5) },
		"abandon": func(h *Holder) { h.Abandon() },
	} {
		h := NewHolder(service, "a", 1)
		r := mustBegin(t, h, sec, 5)
		h.Answer(yes("v1", r))
		end(h)
		if _, ok := h.Answer(yes("v2", r)); ok {
			t.Errorf("after %s an answer counted", name)
		}
	}
}

func TestReleaseOfHolder(t *testing.T) {
	h := NewHolder(service, "a", 3)
	if _, ok := h.Release(); ok {
		t.Error("there was nothing to release")
	}
	if h.Acked(Ack{}, nil) {
		t.Error("nothing was released, nothing is acknowledged")
	}
	mustBegin(t, h, sec, 5)
	r, ok := h.Release()
	if want := (Release{Service: service, Epoch: 5, Node: "a", Incarnation: 3, Seq: 2}); !ok || r != want {
		t.Fatalf("%+v, %v", r, ok)
	}
	if again, ok := h.Release(); !ok || again != r {
		t.Errorf("again: %+v, %v", again, ok)
	}
	ack := Ack{Voter: "v1", Service: service, Epoch: 5, Node: "a", Incarnation: 3, Seq: 2}
	wrong := ack
	wrong.Voter, wrong.Seq = "v2", 1
	voters := []string{"v1", "v2"}
	if h.Acked(ack, voters) || h.Acked(wrong, voters) {
		t.Error("v2 has not acknowledged")
	}
	ack.Voter = "v2"
	if !h.Acked(ack, voters) {
		t.Error("both have acknowledged")
	}
	if r := mustBegin(t, h, sec, 6); r.Seq != 3 {
		t.Errorf("requests and releases share one seq: %+v", r)
	}
	if next, _ := h.Release(); next.Epoch != 6 || next.Seq != 4 || h.Acked(ack, voters) {
		t.Errorf("the next release: %+v", next)
	}
}

func TestRefused(t *testing.T) {
	h := NewHolder(service, "a", 1)
	if len(h.Refused()) != 0 {
		t.Error("no round, no refusals")
	}
	r := mustBegin(t, h, sec, 5)
	no := yes("v1", r)
	no.Refusal, no.Holder, no.Remaining = HeldByOther, "b", time.Second/2
	h.Answer(no)
	if got := h.Refused(); len(got) != 1 || got["v1"] != no {
		t.Errorf("%+v", got)
	}
	mustBegin(t, h, sec, 5)
	if got := h.Refused(); len(got) != 0 {
		t.Errorf("a new round begins with none: %+v", got)
	}
}

func TestMargin(t *testing.T) {
	for ttl, want := range map[time.Duration]time.Duration{
		0: 0, 1: 1, 25: 1, 26: 2, time.Second: 40 * time.Millisecond, 200 * time.Millisecond: 8 * time.Millisecond,
	} {
		if got := Margin(ttl); got != want {
			t.Errorf("Margin(%v) = %v, want %v", ttl, got, want)
		}
	}
}
