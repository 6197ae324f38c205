package cluster

import (
	"maps"
	"slices"

	"nightporter/fsm"
)

// Stopping is what a node says of its fitness while its agent shuts down.
const Stopping = "stopping"

// Relieve gives the assignments that take every service from a node that shuts down, where somebody else can take it. It
// is planned by that node itself; compare-and-set on the epoch keeps it from overtaking the leader's own plan.
func Relieve(v View, node string) []fsm.Assign {
	load := v.load()
	var plan []fsm.Assign
	for _, name := range slices.Sorted(maps.Keys(v.State.Services)) {
		own := v.State.Ownerships[name]
		if own.Owner != node {
			continue
		}
		heir := v.candidate(v.State.Services[name], node, load)
		if heir == "" {
			continue
		}
		load[heir]++
		plan = append(plan, fsm.Assign{
			Service: name, Owner: heir, Planned: own.Epoch, Reason: fsm.OwnerDrained, At: v.Wall, By: v.Self,
		})
	}
	return plan
}
