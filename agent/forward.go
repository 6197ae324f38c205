package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/fsm"
)

// forward says who carries out what only the leader may: nil, nil = this node; else a client of the leader. A request that
// was forwarded once is not forwarded again.
func (b *backend) forward(ctx context.Context, tried string) (*api.Client, error) {
	if err := b.founded(b.machine.View().State, tried); err != nil {
		return nil, err
	}
	if b.raft.IsLeader() {
		return nil, nil
	}
	leader := b.raft.Leader()
	if leader == "" || leader == b.cfg.Node {
		return nil, api.NoLeader(tried, "")
	}
	if who := api.CallerOf(ctx); who.Peer != "" {
		return nil, api.NoLeader(tried, "the leadership is moving; "+leader+" has it now")
	}
	return b.peer(leader), nil
}

// forwarded passes the leader's answer on.
func forwarded[T any](err error, ask func() (T, error)) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	return ask()
}

// founded refuses what makes no sense before there is a cluster.
func (b *backend) founded(state *fsm.State, tried string) error {
	if why := b.lineage.sentence(); why != "" {
		return api.Refused("cannot "+tried+": "+why, "")
	}
	if state.Cluster.ID != "" {
		return nil
	}
	why := b.founding.waiting()
	if why == "" {
		why = "it has not heard from its leader yet"
	}
	return api.NoCluster(tried, why)
}

// await looks again whenever the state or the open tenures changed, until done or ctx ends.
func (b *backend) await(ctx context.Context, tried string, done func() bool) error {
	changed, cancel := b.machine.Watch()
	defer cancel()
	opened, remove := b.post.opens.bells.add()
	defer remove()
	look := time.NewTicker(100 * time.Millisecond) // who is in touch rings no bell
	defer look.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return api.Timeout(tried)
		case <-changed:
		case <-opened:
		case <-look.C:
		}
	}
	return nil
}

// outcome turns a proposal's end into the operator's sentence.
func outcome(tried string, res fsm.Result, err error) error {
	switch {
	case err == nil && res.Err() == nil:
		return nil
	case errors.Is(err, errNoLeader), errors.Is(err, cluster.ErrNotLeader):
		return api.NoLeader(tried, "")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return api.Timeout(tried)
	case err != nil:
		if e, ok := errors.AsType[*api.Error](err); ok {
			return e
		}
		return api.Unavailable(tried, err.Error())
	}
	return api.Refused(fmt.Sprintf("cannot %s: %s", tried, res.Err()), "")
}

// condition describes a node that cannot do what was asked.
func condition(n fsm.Node, p cluster.Presence) string {
	if n.Power == fsm.Awake && !p.Alive {
		return "not in touch"
	}
	return string(n.Power)
}
