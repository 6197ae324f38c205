package agent

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/fsm"
)

// Restorable says whether all that a restore is about to do would be accepted, by this host's own state and before anything is changed. What
// changes meanwhile may still be refused.
func (b *backend) Restorable(_ context.Context, q api.RestoreQuery) (out api.Restorable, err error) {
	const tried = "restore"
	v := b.scene.view()
	if err := b.founded(v.State, tried); err != nil {
		return out, err
	}
	out.Lift = v.State.MustLift(q.Epochs.Cluster, q.Epochs.Highest)
	var problems []string
	for _, s := range q.Services {
		problems = append(append(problems, strayHolds(s)...), fsm.Validate(b.fromAPI(s))...)
	}
	if len(problems) > 0 {
		return out, api.Refused("cannot "+tried+": "+strings.Join(problems, "; "), "nothing was changed")
	}
	var list []fsm.Command
	if out.Lift {
		lift, err := liftOf(v.State, q.Epochs, v.Wall)
		if err != nil {
			return out, err
		}
		list = append(list, lift)
	}
	for _, name := range q.Delete {
		if _, known := v.State.Services[name]; !known {
			return out, api.UnknownService(name, slices.Sorted(maps.Keys(v.State.Services)))
		}
		list = append(list, fsm.DeleteService{Name: name})
	}
	for _, s := range q.Services {
		list = append(list, fsm.PutService{Service: b.fromAPI(s)})
	}
	if q.Settings.Failover != 0 {
		list = append(list, fsm.SetFailover{Failover: time.Duration(q.Settings.Failover)})
	}
	if q.Settings.Inrush != 0 {
		list = append(list, fsm.SetInrush{Limit: q.Settings.Inrush})
	}
	for _, d := range q.Drain {
		list = append(list, fsm.SetDrain{Node: d.Node, On: true, Text: strings.TrimSpace(d.Text), Force: d.Force})
	}
	out.Undrained, err = foresee(v, tried, list)
	return out, err
}

// foresee carries commands out on a copy, and gives what would be refused of them. A maintenance that cannot be had is none of that: it is left out.
func foresee(v cluster.View, tried string, list []fsm.Command) (undrained []api.Undrained, err error) {
	var late []string
	for _, c := range list {
		late = append(late, belated(v.State, c)...)
	}
	if len(late) > 0 {
		slices.Sort(late)
		return nil, tooOld(tried, slices.Compact(late))
	}
	before, state := v.State, v.State
	for _, c := range list {
		switch c := c.(type) {
		case fsm.PutService: // as put does where it has another address or MAC
			if old, known := state.Services[c.Service.Name]; known && !sameIdentity(old, c.Service) {
				state, _ = fsm.Apply(state, 0, fsm.Assign{Service: old.Name, Planned: state.Ownerships[old.Name].Epoch, Reason: fsm.ServiceChanged})
			}
		case fsm.SetDrain: // who holds what is as it was, or will be
			v.State = withOwners(state, before)
			if err := cluster.MayDrain(v, c.Node); err != nil && !c.Force {
				undrained = append(undrained, api.Undrained{Node: c.Node, Why: err.Error()})
				continue
			}
		}
		next, res := fsm.Apply(state, 0, c)
		if res.Err() != nil {
			hint := "nothing was changed"
			if res.Refused == fsm.AddressInUse {
				hint += "; a service that has it needs another address or MAC first, or --prune where the backup does not have it"
			}
			return nil, api.Refused(fmt.Sprintf("cannot %s: %s", tried, res.Err()), hint)
		}
		state = next
	}
	return undrained, nil
}

// withOwners gives a state with the owners of another one.
func withOwners(s, of *fsm.State) *fsm.State {
	out := *s
	out.Ownerships = of.Ownerships
	return &out
}

// epochsEnd is above every epoch that a cluster comes to in 800 years, and every reader of JSON can count to it.
const epochsEnd = 1 << 53

// liftOf is the command that brings all epochs above those in a backup, and above what its cluster can have used since.
func liftOf(state *fsm.State, e api.Epochs, now time.Time) (fsm.LiftEpochs, error) {
	floor, err := fsm.LiftEpoch(max(e.Highest, state.Above()), now)
	if err != nil || floor >= epochsEnd {
		return fsm.LiftEpochs{}, api.Refused(fmt.Sprintf("cannot lift the epochs: the highest is %d, and none can come above it", max(e.Highest, state.Above())), "nothing was changed")
	}
	return fsm.LiftEpochs{From: e.Cluster, Floor: floor, At: now}, nil
}

// LiftEpochs brings all epochs above those of another cluster, whose definitions are about to be restored (I9).
func (b *backend) LiftEpochs(ctx context.Context, e api.Epochs) error {
	const tried = "lift the epochs"
	for {
		state := b.machine.View().State
		if err := b.founded(state, tried); err != nil {
			return err
		}
		c, err := liftOf(state, e, b.deps.Clock.Wall())
		if err != nil {
			return err
		}
		if late := belated(state, c); len(late) > 0 { // before it is forwarded: a leader of an older version has no such operation
			return tooOld(tried, late)
		}
		if cl, err := b.forward(ctx, tried); err != nil || cl != nil {
			if err == nil {
				err = cl.LiftEpochs(ctx, e)
			}
			return err
		}
		if !state.MustLift(e.Cluster, e.Highest) {
			return nil
		}
		c.By = cmp.Or(api.CallerOf(ctx).Peer, b.cfg.Node)
		res, err := b.proposer.commit(ctx, c)
		if err == nil && res.Refused == fsm.StaleEpoch { // one has passed into the next generation meanwhile
			continue
		}
		return outcome(tried, res, err)
	}
}

// Restorable implements api.Backend: it needs no leader.
func (p patient) Restorable(ctx context.Context, q api.RestoreQuery) (api.Restorable, error) {
	return p.backend.Restorable(ctx, q)
}

// LiftEpochs implements api.Backend.
func (p patient) LiftEpochs(ctx context.Context, e api.Epochs) error {
	return p.again(ctx, func() error { return p.backend.LiftEpochs(ctx, e) })
}
