package agent

import (
	"context"
	"slices"
	"time"

	"nightporter/api"
	"nightporter/cluster"
)

// voteless waits until a node that has no record any more has no vote either: the leader takes it away a lease's length
// after the record. Before that the node must not forget its log. A voter that forgets what it has acknowledged, and comes
// back under the same name, helps a node that missed the newest entries to be elected: what was committed is lost then
// (I2, I6).
func (b *backend) voteless(ctx context.Context, tried, node string) error {
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for !b.lostVote(ctx, node) {
		select {
		case <-ctx.Done():
			return api.Unavailable(tried, node+" is no member any more, but its vote has not been taken away yet; the same command waits for that again")
		case <-look.C:
		}
	}
	return nil
}

// lostVote says whether a node has neither record nor vote by what is known here, or at the leader: a node that was taken
// out of the log's reach may not hear of it.
func (b *backend) lostVote(ctx context.Context, node string) bool {
	view := b.machine.View()
	if _, known := view.State.Nodes[node]; !known && !slices.Contains(cluster.Voters(view.Servers), node) {
		return true
	}
	leader := b.raft.Leader()
	if leader == "" || leader == b.cfg.Node {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	st, err := b.peer(leader).Status(ctx)
	if err != nil {
		return false // asked again
	}
	known := slices.ContainsFunc(st.Nodes, func(n api.NodeStatus) bool { return n.Name == node })
	return !known && !slices.Contains(st.Quorum.Voters, node)
}

// votes says whether a node is a voter by the configuration that is committed here.
func (b *backend) votes(node string) bool {
	return slices.Contains(cluster.Voters(b.machine.View().Servers), node)
}
