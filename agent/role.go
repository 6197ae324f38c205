package agent

import (
	"slices"

	"nightporter/cluster"
	"nightporter/config"
	"nightporter/fsm"
)

// readable is a record as every member can read it: one of version 0.1, in the records or only in touch, would halt at a role.
func readable(state *fsm.State, members []cluster.Member, old, fresh fsm.Node) fsm.Node {
	c := fsm.PutNode{Node: fresh}
	older := slices.ContainsFunc(members, func(m cluster.Member) bool { return max(m.Meta.Format, 1) < fsm.FormatOf(c) })
	if older || len(belated(state, c)) > 0 {
		fresh.Role = old.Role
	}
	return fresh
}

func roleOf(r config.Role) fsm.Role {
	if r == config.Witness {
		return fsm.Witness
	}
	return fsm.Member
}
