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
		state := a.machine.View().State
		if _, member := state.Nodes[a.cfg.Node]; member || state.Cluster.ID == "" || !a.departure.begun.Load() {
			continue
		}
		if b.remove(ctx, "leave the cluster", a.cfg.Node, fsm.NodeLeft) != nil {
			continue // only its end is waited for
		}
		if err := b.gone(); err != nil {
			a.deps.Log.Error("this node left, but its old state could not be put away", "err", err)
		}
		return
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
	if err := b.remove(ctx, tried, b.cfg.Node, fsm.NodeLeft); err != nil {
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
