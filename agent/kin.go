package agent

import (
	"cmp"
	"slices"
	"strings"

	"nightporter/cluster"
	"nightporter/fsm"
)

// pedigree is a cluster's ID, those that it had before its recoveries, the newest first, and its generation.
type pedigree struct {
	id         string
	former     []string
	generation uint64
}

// kin says how another cluster stands to this host's own.
type kin int

const (
	stranger kin = iota // it is the same, or has nothing to do with it
	above               // it goes on, and this host's yields
	below               // it yields
)

// kinOf finds out how a member's cluster stands to this host's. A recovered one is above all that it goes on from. Two that go on from the same
// one, each made while the hosts of the other were named as gone, are brothers: the one of the later recovery goes on, by the clocks of the hosts
// where the recoveries were made, and both sides judge by the same figures. So is a nephew, since each recovery is of a higher generation than all
// before it; and of any number of brothers one goes on.
func (p pedigree) kinOf(m cluster.Meta) kin {
	if p.id == "" || m.Cluster == "" || m.Cluster == p.id {
		return stranger
	}
	switch {
	case slices.ContainsFunc(m.Former, func(f string) bool { return isID(p.id, f) }):
		return above
	case slices.Contains(p.former, m.Cluster):
		return below
	case !slices.ContainsFunc(p.former, func(id string) bool {
		return slices.ContainsFunc(m.Former, func(f string) bool { return isID(id, f) })
	}):
		return stranger
	case cmp.Or(cmp.Compare(m.Generation, p.generation), cmp.Compare(m.Cluster, p.id)) > 0:
		return above
	}
	return below
}

// isID says whether the first digits are an ID's.
func isID(id, digits string) bool { return digits != "" && strings.HasPrefix(id, digits) }

// brothers says whether a member's cluster goes on from one that this host's goes on from, too, and neither from the other.
func (p pedigree) brothers(m cluster.Meta) bool {
	return p.kinOf(m) != stranger && !slices.Contains(p.former, m.Cluster) &&
		!slices.ContainsFunc(m.Former, func(f string) bool { return isID(p.id, f) })
}

// pedigreeOf is that of the cluster that a state is of.
func pedigreeOf(state *fsm.State) pedigree {
	return pedigree{id: state.Cluster.ID, former: former(state), generation: state.Generation()}
}

// former are the IDs that a cluster had, the newest first.
func former(state *fsm.State) (out []string) {
	for _, r := range slices.Backward(state.Recoveries) {
		out = append(out, r.From)
	}
	return out
}
