package agent

import (
	"context"
	"slices"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/fsm"
)

// isMissing says whether a host that was lost in a recovery is still looked for.
func isMissing(state *fsm.State, node string) bool {
	_, is := state.Missing()[node]
	return is
}

// forgetLost ends the search for a host that was lost in a recovery, on a person's word: it does not come back with the log of before. The search
// tells it of the recovery where it does not find this cluster by itself; if the word is wrong, it still calls everybody whom it knows before it
// holds anything. One that is heard is not gone: it has to leave the old cluster, and nobody has to be looked for then.
func (b *backend) forgetLost(ctx context.Context, tried, node string) error {
	if slices.ContainsFunc(b.lineage.there(), func(m cluster.Member) bool { return m.Name == node && m.Status == cluster.Alive }) {
		return api.Refused("cannot "+tried+": it is alive, and no member since the recovery that named it as gone", "run `nightporter leave` there and start its agent again: it joins as a new member")
	}
	if b.raft.Leader() == "" {
		return api.NoLeader(tried, "")
	}
	res, err := b.insist(ctx, fsm.RemoveNode{Name: node, Reason: fsm.OwnerLeft, At: b.deps.Clock.Wall()})
	if err == nil && res.Refused == fsm.UnknownNode { // somebody else did
		return nil
	}
	b.touch.bell.ring() // what is remembered of it goes with the record
	return outcome(tried, res, err)
}
