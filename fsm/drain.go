package fsm

import (
	"maps"
	"time"
	"unicode/utf8"
)

// KindSetDrain is the kind of SetDrain.
const KindSetDrain Kind = 30

// DrainTextMax bounds the reason that a person gives for a maintenance, in bytes.
const DrainTextMax = 200

// Drain says since when, by whom and why a node is in maintenance (Node.Maintenance). It ends with SetDrain, or when the node is forgotten:
// it is in the log, so a reboot does not end it.
type Drain struct {
	Since time.Time `json:"since"`
	By    string    `json:"by"` // the node on which it was asked for
	Text  string    `json:"text,omitempty"`
	// Force has the node give its services up even where nobody else can hold them: nobody holds them then.
	Force bool `json:"force,omitempty"`
}

// SetDrain begins (On) or ends the maintenance of a node: it gets no service, gives away what it holds, is neither put to sleep by itself nor
// woken for clients, and votes on. Drained again, a node keeps Since.
type SetDrain struct {
	Node  string    `json:"node"`
	On    bool      `json:"on"`
	Force bool      `json:"force,omitempty"`
	Text  string    `json:"text,omitempty"`
	At    time.Time `json:"at"`
	By    string    `json:"by"`
}

func (SetDrain) kind() Kind { return KindSetDrain }

func setDrain(s *State, c SetDrain) (*State, Result) {
	n, known := s.Nodes[c.Node]
	switch {
	case !known:
		return refuse(s, UnknownNode, "there is no node %q", c.Node)
	case len(c.Text) > DrainTextMax:
		return refuse(s, Invalid, "the reason has %d bytes: write at most %d", len(c.Text), DrainTextMax)
	case !printable(c.Text):
		return refuse(s, Invalid, "the reason has characters that cannot be printed: write one line of plain text")
	}
	old, was := s.Drains[c.Node]
	d := Drain{Since: c.At, By: c.By, Text: c.Text, Force: c.Force}
	if was && n.Maintenance {
		d.Since = old.Since
	}
	if c.On == n.Maintenance && (!c.On || old.Text == d.Text && old.Force == d.Force) {
		return s, Result{Effect: Unchanged}
	}
	n.Maintenance = c.On
	next := withNode(s, n)
	if next.Drains = maps.Clone(s.Drains); next.Drains == nil {
		next.Drains = make(map[string]Drain)
	}
	next.Drains[c.Node] = d
	if !c.On {
		forgetDrain(next, c.Node)
	}
	return next, Result{Effect: Changed}
}

// forgetDrain takes a node's drain out of a state that nobody else has yet.
func forgetDrain(s *State, node string) {
	s.Drains = maps.Clone(s.Drains)
	if delete(s.Drains, node); len(s.Drains) == 0 {
		s.Drains = nil
	}
}

// printable says whether a text is one line that a terminal shows as it is.
func printable(s string) bool {
	for _, r := range s {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == utf8.RuneError || r == '\u2028' || r == '\u2029' {
			return false
		}
	}
	return true
}
