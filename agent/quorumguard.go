package agent

import (
	"context"
	"errors"
	"slices"

	"github.com/hashicorp/raft"

	"nightporter/cluster"
	"nightporter/fsm"
)

// quorumGuard keeps I8 where it is decided: on the leader, one such decision at a time, on everything that was committed
// before. Two hosts that ask at the same instant to sleep, or to leave, are judged one after the other.
type quorumGuard struct {
	scene   *scene
	machine *fsm.Machine
	barrier func(context.Context) error
	turn    turn // held over a commit; whoever waits for it keeps to its own limit
}

// quorumLost is the refusal of a command that would take the awake voters below a majority, or put a host to sleep by itself that may not be
// able to wake.
const quorumLost fsm.Refusal = "quorum-lost"

// enter lets a command pass, or says why not. What it returns must be called when the command is committed or has failed.
func (g *quorumGuard) enter(ctx context.Context, c fsm.Command) (leave func(), err error) {
	var may func(cluster.View) error
	switch c := c.(type) {
	case fsm.SetPower:
		if may = g.power(c); may == nil {
			return func() {}, nil
		}
	case fsm.RemoveNode:
		may = func(v cluster.View) error { return cluster.MayLeave(v, g.machine.View().Servers, c.Name) }
	default:
		return func() {}, nil
	}
	if err := g.early(c, may); err != nil {
		return nil, quorumError{err}
	}
	select {
	case g.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := g.barrier(ctx); err != nil {
		g.turn.Unlock()
		return nil, err
	}
	if err := may(g.scene.view()); err != nil {
		g.turn.Unlock()
		return nil, quorumError{err}
	}
	return g.turn.Unlock, nil
}

// early refuses a suspend that cannot be granted yet without a barrier: it is asked for ten times a second, and a barrier is written to
// the log.
func (g *quorumGuard) early(c fsm.Command, may func(cluster.View) error) error {
	if p, ok := c.(fsm.SetPower); ok && p.To == fsm.Asleep {
		return may(g.scene.view())
	}
	return nil
}

// power gives how a change of power is judged, nil where there is nothing to judge. A wish to sleep is judged as a whole. The suspend itself
// only by the votes, and only where the node has one: other voters may have died since, and of two hosts the one has to have the vote.
// One that others began comes anyway: its record may say so, but with two hosts the vote is waited for as long as there is time.
func (g *quorumGuard) power(c fsm.SetPower) func(cluster.View) error {
	servers := func() []raft.Server { return g.machine.View().Servers }
	switch {
	case c.To == fsm.Suspending:
		return func(v cluster.View) error {
			if why := unfitToWake(v.State, c.Node); why != "" && c.Reason == fsm.NodeIdle {
				return errors.New(why)
			}
			return cluster.MayRest(v, servers(), c.Node)
		}
	case c.Reason == fsm.SuspendedByOthers && len(g.machine.View().State.Nodes) != 2:
		return nil
	case c.To == fsm.Asleep && c.From == fsm.Suspending && slices.Contains(cluster.Voters(servers()), c.Node):
		return func(v cluster.View) error {
			if n := v.State.Nodes[c.Node]; n.Power != c.From || n.Sleeps != c.Sleeps {
				return nil // the state machine has its own answer, which the node waits for
			}
			return cluster.MaySuspend(v, servers(), c.Node)
		}
	}
	return nil
}

type quorumError struct{ error }

// refusal turns a judgement into the answer that a refused command gets; any other error stays one.
func refusal(err error) (fsm.Result, error) {
	if e, ok := errors.AsType[quorumError](err); ok {
		return fsm.Result{Refused: quorumLost, Message: e.Error()}, nil
	}
	return fsm.Result{}, err
}
