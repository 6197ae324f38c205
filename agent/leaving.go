package agent

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/fsm"
)

// departure is this node's way out of the cluster. What an operator has begun goes on when he has lost his patience: a node
// without a record and a vote would belong nowhere.
type departure struct {
	bell  bell        // rung when somebody asks for it
	begun atomic.Bool // somebody asked, and was not refused
	turn  turn        // held while the old state is put away
	over  bool
	err   error // of that
}

// departEvery is how often a departure that nobody waits for is looked at.
const departEvery = time.Second

// depart ends a departure whose operator did not wait for its end.
func (a *parts) depart(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-a.departure.bell:
	}
	look := time.NewTicker(departEvery)
	defer look.Stop()
	b := &backend{a}
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		if a.departure.begun.Load() && b.lostVote(ctx, a.cfg.Node) {
			if err := b.gone(); err != nil {
				a.deps.Log.Error("this node left, but its old state could not be put away", "err", err)
			}
			return
		}
	}
}

// gone puts the state of a node away that has left, and ends its agent.
func (b *backend) gone() error {
	d := &b.departure
	d.turn.Lock()
	defer d.turn.Unlock()
	if d.over {
		return d.err
	}
	d.over = true
	if d.err = b.deps.Disk.Forget(); d.err == nil {
		b.left.ring()
	}
	return d.err
}

// Leave takes this node out of the cluster for good and ends the agent.
func (b *backend) Leave(ctx context.Context) error {
	const tried = "leave the cluster"
	v := b.scene.view()
	if err := b.founded(v.State, tried); err != nil {
		return err
	}
	if err := cluster.MayLeave(v, b.machine.View().Servers, b.cfg.Node); err != nil {
		return api.Refused("cannot "+tried+": "+err.Error(), "")
	}
	b.departure.begun.Store(true)
	b.departure.bell.ring()
	b.handOver()
	if err := b.withdraw(ctx, tried); err != nil {
		b.departure.begun.Store(api.CodeOf(err) != api.CodeRefused)
		b.meta.goOn()
		b.ticks.fitness()
		return err
	}
	if err := b.gone(); err != nil {
		return api.Refused("this node left, but its old state could not be put away: "+err.Error(), "remove the data directory by hand before it joins again")
	}
	return nil
}

// withdraw takes this node's record away, and then its vote. Both may have been done by an earlier attempt.
func (b *backend) withdraw(ctx context.Context, tried string) error {
	if _, member := b.machine.View().State.Nodes[b.cfg.Node]; member {
		if err := b.remove(ctx, tried, b.cfg.Node, fsm.NodeLeft); err != nil {
			return err
		}
	}
	return b.voteless(ctx, tried, b.cfg.Node)
}

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
