package cluster

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/raft"

	"nightporter/fsm"
)

// singleVoter is who should have the one vote of two hosts: who holds the services, so that the other's death does not take them
// down. Where both hold as many of them, or none, it is with the one that is always on, else where it is. A host that is about to sleep, or is away, gives it up: its
// services go to the other one as well.
func singleVoter(state *fsm.State, voters []string) string {
	load := View{State: state}.load()
	return slices.MinFunc(slices.Collect(maps.Keys(state.Nodes)), func(a, b string) int {
		return cmp.Or(
			cmp.Compare(notSteady(state.Nodes[a]), notSteady(state.Nodes[b])),
			-cmp.Compare(load[a], load[b]),
			cmp.Compare(voteRank(state.Nodes[a]), voteRank(state.Nodes[b])),
			cmp.Compare(notIn(voters, a), notIn(voters, b)),
			cmp.Compare(a, b),
		)
	})
}

// notSteady is 1 for a node that is not there to vote, or not for long.
func notSteady(n fsm.Node) int {
	if n.Power != fsm.Awake || n.Maintenance {
		return 1
	}
	return 0
}

// VoteFollows gives the node that the single vote of two hosts is to move to only because that one holds the services: the present voter
// could keep it. Such a move is not urgent, and damped (a host that is woken for a moment is not worth it). "" for any other change: those are due at once.
func VoteFollows(state *fsm.State, servers []raft.Server) string {
	voters := Voters(servers)
	if len(state.Nodes) != 2 || len(voters) != 1 || notSteady(state.Nodes[voters[0]]) != 0 {
		return ""
	}
	if to := singleVoter(state, voters); to != voters[0] {
		return to
	}
	return ""
}

// VoteLeaves says whether, of two hosts, a node has a vote that is on its way to the other one. While it moves both vote, so that the death
// of either takes the majority away. It is false where the vote is to stay, or the other host is not there to take it.
func VoteLeaves(v View, servers []raft.Server, node string) bool {
	voters := Voters(servers)
	if len(v.State.Nodes) != 2 || !slices.Contains(voters, node) {
		return false
	}
	wanted := WantedVoters(v.State, voters)
	return !slices.Contains(wanted, node) && v.Casts(wanted[0])
}

// Casts says whether a voter takes part in a change of the voters: it is awake; of two hosts also the one that is about to suspend, since
// it waits until its vote has moved (MaySuspend).
func (v View) Casts(name string) bool {
	p, n := v.Present[name], v.State.Nodes[name]
	return p.Alive && !p.Deaf && (n.Power == fsm.Awake || n.Power == fsm.Suspending && len(v.State.Nodes) == 2)
}

// mayPassVote says whether the single voter of a cluster could give its vote to somebody else.
func (v View) mayPassVote(node string) error {
	const alone = "%s is the only voter of this cluster, so nothing could be decided, and no wake be recorded, while it sleeps"
	if len(v.State.Nodes) != 2 {
		return fmt.Errorf(alone+"; another host that votes beside it allows it to sleep", node)
	}
	for name := range v.State.Nodes {
		if name != node && !v.answers(name) {
			return fmt.Errorf(alone+", and %s, which its vote would move to, is not awake and in touch: wake or start it first, or add a third host or a witness", node, name)
		}
	}
	return nil
}
