package cluster

import (
	"fmt"
	"maps"
	"slices"

	"nightporter/fsm"
)

// MayDrain says whether a node may be taken out of service: each service that it holds must have somebody else to hold it, a front at
// least. The error is the sentence for the operator.
func MayDrain(v View, node string) error {
	for _, name := range v.onlyHere(node) {
		var why []string
		for _, other := range slices.Sorted(maps.Keys(v.State.Nodes)) {
			if other == node {
				continue
			}
			if no := v.CannotTake(v.State.Services[name], other); no != "" {
				why = append(why, no)
			}
		}
		return fmt.Errorf("nobody else could hold service %s now (%s)", name, orNone(why))
	}
	return nil
}

// onlyHere gives the services of a node that nobody else could hold now.
func (v View) onlyHere(node string) (out []string) {
	load := v.load()
	for _, name := range slices.Sorted(maps.Keys(v.State.Services)) {
		if v.State.Ownerships[name].Owner == node && v.candidate(v.State.Services[name], node, load) == "" {
			out = append(out, name)
		}
	}
	return out
}

// Drained says whether a node in maintenance has given away what it is to give away: nothing is left, or only what nobody else can take.
func Drained(state *fsm.State, node string) bool {
	for name := range state.Services {
		if state.Ownerships[name].Owner == node {
			return false
		}
	}
	return true
}
