package cluster

import (
	"slices"
	"testing"

	"nightporter/fsm"
)

func TestFellSilent(t *testing.T) {
	lost, slept, moved := fsm.OwnerFailed, fsm.OwnerSleeps, fsm.OperatorMoved
	for _, c := range []struct {
		name    string
		history []fsm.Change
		want    []string
	}{
		{"never had it", nil, nil},
		{"has it", []fsm.Change{{To: "a"}}, nil},
		{"fell silent", []fsm.Change{{To: "a"}, {From: "a", To: "f", Reason: lost}}, []string{"a"}},
		{"and so did the next", []fsm.Change{{To: "a"}, {From: "a", To: "f", Reason: lost}, {From: "f", To: "g", Reason: lost}}, []string{"a"}},
		{"and had it again", []fsm.Change{{From: "a", To: "f", Reason: lost}, {From: "f", To: "a"}, {From: "a", To: "f", Reason: slept}}, nil},
		{"was moved away", []fsm.Change{{To: "a"}, {From: "a", To: "f", Reason: moved}}, nil},
		{"both targets", []fsm.Change{{From: "a", To: "b", Reason: lost}, {From: "b", To: "f", Reason: lost}}, []string{"a", "b"}},
	} {
		s := &fsm.State{
			Services: map[string]fsm.Service{"web": {Targets: []string{"a", "b"}}}, History: map[string][]fsm.Change{"web": c.history},
		}
		if got := FellSilent(s, "web"); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
