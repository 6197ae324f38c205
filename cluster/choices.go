package cluster

import (
	"maps"
	"slices"

	"nightporter/fsm"
)

// Choice is one host that could hold a service, as Plan looks at it.
type Choice struct {
	Node   string
	Target bool
	Why    string // why it could not take the service now, "" = it could
	Damped bool   // it lost the service by failure so lately, and so often, that it is passed over
}

// Choices gives the hosts in the order in which Plan would give them a service whose owner is lost: the targets as the definition has
// them, then the others as fronts, the best one first, then those that cannot hold it. It explains; Plan decides.
func (v View) Choices(service string) []Choice {
	sv := v.State.Services[service]
	load := v.load()
	var out, fronts []Choice
	choice := func(name string) Choice {
		return Choice{Node: name, Target: slices.Contains(sv.Targets, name), Why: v.CannotTake(sv, name), Damped: v.damped(service, name)}
	}
	for _, t := range sv.Targets {
		if _, known := v.State.Nodes[t]; known {
			out = append(out, choice(t))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.State.Nodes)) {
		if !slices.Contains(sv.Targets, name) {
			fronts = append(fronts, choice(name))
		}
	}
	able := func(c Choice) int {
		if c.Why == "" {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(fronts, func(a, b Choice) int {
		if d := able(a) - able(b); d != 0 {
			return d
		}
		return v.byRank(sv, load)(a.Node, b.Node)
	})
	return append(out, fronts...)
}

// Heir is the host that would get a service if its owner were lost now, or "".
func (v View) Heir(service string) string {
	return v.candidate(v.State.Services[service], v.State.Ownerships[service].Owner, v.load())
}

// Returns is the target that takes a service from the front that holds it, as soon as the leader looks; "" = none.
func (v View) Returns(service string) string {
	return v.takesBack(v.State.Services[service], v.State.Ownerships[service])
}

// StaysMoved says whether an operator's move keeps a target that is ready from taking a service back: it does until that comes up anew.
func (v View) StaysMoved(service, target string) bool {
	own := v.State.Ownerships[service]
	return own.Reason == fsm.OperatorMoved && !v.State.Nodes[target].PowerSince.After(own.Since)
}
