package agent

import (
	"context"
	"errors"

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
		if c.To != fsm.Suspending {
			return func() {}, nil
		}
		may = func(v cluster.View) error {
			if why := unfitToWake(v.State, c.Node); why != "" && c.Reason == fsm.NodeIdle {
				return errors.New(why)
			}
			return cluster.MayRest(v, g.machine.View().Servers, c.Node)
		}
	case fsm.RemoveNode:
		may = func(v cluster.View) error { return cluster.MayLeave(v, g.machine.View().Servers, c.Name) }
	default:
		return func() {}, nil
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

type quorumError struct{ error }

// refusal turns a judgement into the answer that a refused command gets; any other error stays one.
func refusal(err error) (fsm.Result, error) {
	if e, ok := errors.AsType[quorumError](err); ok {
		return fsm.Result{Refused: quorumLost, Message: e.Error()}, nil
	}
	return fsm.Result{}, err
}
