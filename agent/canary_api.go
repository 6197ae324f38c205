package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/fsm"
)

// reportPatience is how long somebody who wants to put a node to sleep waits for its first report: its agent may have started a moment ago.
const reportPatience = 5 * time.Second

// mayBePut says whether a node may be put to sleep by an operator who does not insist.
func (b *backend) mayBePut(ctx context.Context, tried, node string) error {
	why := unfitToWake(b.machine.View().State, node)
	if _, told := b.machine.View().State.Fitness[node]; why != "" && !told {
		soon, cancel := context.WithTimeout(ctx, reportPatience)
		defer cancel()
		_ = b.await(soon, tried, func() bool { // judged below, whatever came
			_, told := b.machine.View().State.Fitness[node]
			return told
		})
		why = unfitToWake(b.machine.View().State, node)
	}
	if why == "" {
		return nil
	}
	return api.Refused("cannot "+tried+": "+why, "`nightporter sleep --anyway "+node+"` does it all the same: be ready to press its power button")
}

// Canary has a node show that it can be woken, and waits for the end of that.
func (b *backend) Canary(ctx context.Context, node string) (api.CanaryResult, error) {
	tried := "put " + node + " through a canary"
	v := b.scene.view()
	if err := b.founded(v.State, tried); err != nil {
		return api.CanaryResult{}, err
	}
	n, known := v.State.Nodes[node]
	late := belated(v.State, fsm.BeginCanary{})
	switch {
	case !known:
		return api.CanaryResult{}, api.UnknownNode(node, slices.Sorted(maps.Keys(v.State.Nodes)))
	case len(late) > 0:
		return api.CanaryResult{}, api.Refused(fmt.Sprintf("cannot %s: %v would have to stop, since their version does not know of that", tried, late), "upgrade every host first")
	case n.Policy != fsm.Sleeps:
		return api.CanaryResult{}, api.Refused("cannot "+tried+": it is always on", "set power: sleeps for it in the configuration, and restart its agent")
	case n.Power != fsm.Awake || !v.Present[node].Alive:
		return api.CanaryResult{}, api.Refused(fmt.Sprintf("cannot %s: it is %s", tried, condition(n, v.Present[node])), "wake it first, with `nightporter wake "+node+"` or its power button")
	}
	if f := v.State.Fitness[node]; f.Report.WoL == fsm.WoLUnarmed {
		return api.CanaryResult{}, api.Refused(fmt.Sprintf("cannot %s: no magic packet would wake it: %s", tried, f.Report.Why), "arm its card first, or set wol: assumed for it where something else wakes it")
	}
	if err := cluster.MayRest(v, b.machine.View().Servers, node); err != nil {
		return api.CanaryResult{}, api.Refused("cannot "+tried+": "+err.Error(), "")
	}
	id := newID()
	res, err := b.proposer.propose(ctx, fsm.BeginCanary{Node: node, ID: id, At: v.Wall, By: b.cfg.Node})
	if err := outcome(tried, res, err); err != nil {
		return api.CanaryResult{}, err
	}
	var last fsm.Canary
	err = b.await(ctx, tried, func() bool {
		last = b.machine.View().State.Fitness[node].Canary
		return last.ID != id && last.ID != "" && b.machine.View().Index > res.Index || last.ID == id && !last.Running()
	})
	if err == nil && last.ID != id {
		err = api.Unavailable(tried, "another canary of it has begun since")
	}
	return canaryResult(node, last), err
}

// AcceptFitness has a node count as fit to be woken without a canary.
func (b *backend) AcceptFitness(ctx context.Context, node string) error {
	tried := "accept that " + node + " can be woken"
	v := b.scene.view()
	if err := b.founded(v.State, tried); err != nil {
		return err
	}
	switch n, known := v.State.Nodes[node]; {
	case !known:
		return api.UnknownNode(node, slices.Sorted(maps.Keys(v.State.Nodes)))
	case n.Policy != fsm.Sleeps:
		return api.Refused("cannot "+tried+": it is always on", "set power: sleeps for it in the configuration, and restart its agent")
	}
	c := fsm.JudgeFitness{Node: node, Reason: fsm.CanaryAccepted, At: v.Wall, By: b.cfg.Node}
	if late := belated(v.State, c); len(late) > 0 {
		return api.Refused(fmt.Sprintf("cannot %s: %v would have to stop, since their version does not know of that", tried, late), "upgrade every host first")
	}
	res, err := b.proposer.propose(ctx, c)
	return outcome(tried, res, err)
}

func canaryResult(node string, c fsm.Canary) api.CanaryResult {
	return api.CanaryResult{
		Node: node, Passed: c.Result == fsm.CanaryPassed, Result: string(c.Result), Detail: c.Detail, Auto: c.Auto, By: c.By,
		Began: c.Began, Ended: c.Ended, Phases: phaseTimes(c.Phases),
	}
}

// wakeFitness is what status tells of a node that may sleep.
func wakeFitness(state *fsm.State, n fsm.Node) *api.WakeFitness {
	f, told := state.Fitness[n.Name]
	if n.Policy != fsm.Sleeps || !told {
		return nil
	}
	out := &api.WakeFitness{
		Why: unfitToWake(state, n.Name), CannotBeWoken: cannotBeWoken(f), WoL: string(f.Report.WoL), WoLDetail: f.Report.Why, SecureOn: f.Report.Password != "",
		Mode: string(f.Report.Canary), Fingerprint: f.Report.Fingerprint(), Since: f.Since, Revoked: string(f.Revoked.Reason), RevokedAt: f.Revoked.At, RevokedDetail: f.Revoked.Detail,
	}
	out.MaySleep = out.Why == ""
	if f.Canary.ID != "" {
		out.Canary = canaryResult(n.Name, f.Canary)
	}
	return out
}

// fitnessProblems are what keeps nodes from sleeping and needs somebody: those that could not be woken first and loud.
func fitnessProblems(state *fsm.State) (loud, quiet troubles) {
	for _, name := range slices.Sorted(maps.Keys(state.Nodes)) {
		f, told := state.Fitness[name]
		why, do := whyUnfit(state, name)
		alone := f.Report.Canary == fsm.CanaryAuto && f.Report.Idle && f.Report.WoL != fsm.WoLUnarmed
		switch {
		case why == "" || !told:
		case cannotBeWoken(f):
			loud.tell(do, "CANNOT BE WOKEN: "+why)
		case !alone && !f.Canary.Running():
			quiet.tell(do, "node "+name+" is not put to sleep: "+why)
		}
	}
	return loud, quiet
}
