package fsm

import "slices"

// roleProblem says what is wrong with a node's role, or "". A witness is there so that somebody is always awake to vote.
func roleProblem(n Node) string {
	switch {
	case n.Role != Member && n.Role != Witness:
		return "role " + string(n.Role) + " is unknown: write witness, or leave it out"
	case n.Role == Witness && n.Policy != AlwaysOn:
		return "a witness is always on: set its power to " + string(AlwaysOn)
	}
	return ""
}

// witnessTarget gives a target of a service that is a witness, or "". A node that becomes a witness later is passed over.
func witnessTarget(s *State, sv Service) string {
	i := slices.IndexFunc(sv.Targets, func(t string) bool { return s.Nodes[t].Role == Witness })
	if i < 0 {
		return ""
	}
	return sv.Targets[i]
}
