package agent

import (
	"context"
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
	gone  atomic.Bool // record and vote are taken away
	turn  turn        // held while the old state is put away
	over  bool        // it is
	said  string      // why it could not be, as it was logged
}

// departEvery is how often a departure that nobody waits for is looked at.
const departEvery = time.Second

// depart ends a departure whose operator did not wait for its end, or whose old state the disk did not let go of at once. A node that
// left must not go on with it: it would hear of nothing, its own end included, for as long as it ran.
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
		if a.departure.gone.Load() {
			if b.putAway() == nil {
				return
			}
			continue
		}
		state := a.machine.View().State
		if _, member := state.Nodes[a.cfg.Node]; member || state.Cluster.ID == "" || !a.departure.begun.Load() {
			continue
		}
		if b.remove(ctx, "leave the cluster", a.cfg.Node, fsm.NodeLeft) != nil {
			continue // only its end is waited for
		}
		a.departure.gone.Store(true)
		if b.putAway() == nil {
			return
		}
	}
}

// putAway puts the state of a node away that has left, and ends its agent. It is tried until it succeeds.
func (b *backend) putAway() error {
	d := &b.departure
	d.turn.Lock()
	defer d.turn.Unlock()
	if d.over {
		return nil
	}
	past, err := b.raft.Past(b.machine.View().State.Cluster.ID)
	if err == nil {
		err = b.deps.Disk.SavePast(past)
	}
	if err == nil {
		b.applied.left.Store(true)
		err = b.deps.Disk.Forget()
	}
	if err != nil {
		if d.said != err.Error() {
			d.said = err.Error()
			b.deps.Log.Error("this node left, and its old state cannot be put away yet", "err", err)
		}
		return err
	}
	d.over = true
	b.left.ring()
	return nil
}

// Leave takes this node out of the cluster for good and ends the agent.
func (b *backend) Leave(ctx context.Context) error {
	const tried = "leave the cluster"
	if b.lineage.isSilent() { // nobody is left to be asked: its cluster goes on without it
		b.departure.begun.Store(true)
		b.departure.gone.Store(true)
		return b.gone()
	}
	v := b.scene.view()
	if err := b.founded(v.State, tried); err != nil {
		return err
	}
	if err := cluster.MayLeave(v, b.machine.View().Servers, b.cfg.Node); err != nil {
		return api.Refused("cannot "+tried+": "+err.Error(), "")
	}
	b.departure.begun.Store(true) // before the record is read: the sleeper reads it the other way round
	if n := b.machine.View().State.Nodes[b.cfg.Node]; n.Power == fsm.Asleep || n.Power == fsm.Waking {
		b.departure.begun.Store(false)
		return api.Refused("cannot "+tried+": this host is on its way into a sleep", "try again when it is back")
	}
	b.departure.bell.ring()
	b.handOver()
	if err := b.remove(ctx, tried, b.cfg.Node, fsm.NodeLeft); err != nil {
		b.departure.begun.Store(api.CodeOf(err) != api.CodeRefused)
		b.meta.goOn()
		b.checkups.goOn()
		b.ticks.fitness()
		return err
	}
	b.departure.gone.Store(true)
	return b.gone()
}

// gone puts away what is left of a membership that is over.
func (b *backend) gone() error {
	if err := b.putAway(); err != nil {
		return api.Refused("this node left, but its old state cannot be put away yet: "+err.Error(), "free the disk; the agent tries again until it can, and then ends")
	}
	return nil
}
