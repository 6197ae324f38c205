package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"nightporter/api"
	"nightporter/fsm"
)

// usualBudgets has a definition say nothing where it says what is usual: it can be read by older versions then.
func usualBudgets(r fsm.WakeRules) fsm.WakeRules {
	if r.Budget == fsm.BudgetDefault {
		r.Budget = 0
	}
	if r.BudgetAll == fsm.BudgetAllDefault {
		r.BudgetAll = 0
	}
	return r
}

func wakeFromAPI(r api.WakeRules) fsm.WakeRules {
	out := fsm.WakeRules{Budget: r.Budget, BudgetAll: r.BudgetAll, AsleepAtLeast: time.Duration(r.AsleepAtLeast)}
	if len(r.Allow) > 0 {
		out.Allow = r.Allow
	}
	if len(r.Deny) > 0 {
		out.Deny = r.Deny
	}
	return usualBudgets(out)
}

func wakeToAPI(r fsm.WakeRules) api.WakeRules {
	out := api.WakeRules{Allow: r.Allow, Deny: r.Deny, AsleepAtLeast: api.Duration(r.AsleepAtLeast)}
	out.Budget, out.BudgetAll = r.Limited()
	return out
}

func wakeRecord(w fsm.Wake) api.WakeRecord {
	return api.WakeRecord{
		ID: w.ID, Node: w.Node, Service: w.Service, Cause: string(w.Cause), Client: w.Client, Port: w.Port, By: w.By,
		Started: w.Started, Ended: w.Ended, Result: string(w.Result), Verdict: string(w.Verdict), Phases: phaseTimes(w.Phases), Note: w.Note,
	}
}

// setInrush changes how many hosts are woken at one time.
func (b *backend) setInrush(ctx context.Context, limit int) error {
	const tried = "change wake_inrush"
	if limit < fsm.NoLimit || limit > fsm.InrushMax {
		return api.Invalid(fmt.Sprintf("wake_inrush %d is out of range", limit), fmt.Sprintf("give a number from 1 to %d, or %d for no limit", fsm.InrushMax, fsm.NoLimit))
	}
	state := b.machine.View().State
	if err := b.founded(state, tried); err != nil {
		return err
	}
	c := fsm.SetInrush{Limit: limit, At: b.deps.Clock.Wall(), By: b.cfg.Node}
	if late := belated(state, c); len(late) > 0 {
		return api.Refused(fmt.Sprintf("cannot %s: %v would have to stop: the version there does not know it", tried, late), "upgrade every host first")
	}
	res, err := b.proposer.propose(ctx, c)
	return outcome(tried, res, err)
}

// Wakes gives the ledger of wakes from the log, and what this host and the others that are awake have counted of attempts that woke nobody.
func (b *backend) Wakes(ctx context.Context, q api.WakesQuery) (api.Wakes, error) {
	v := b.scene.view()
	if err := b.founded(v.State, "read the ledger of wakes"); err != nil {
		return api.Wakes{}, err
	}
	if q.Last < 0 {
		return api.Wakes{}, api.Invalid(fmt.Sprintf("%d wakes cannot be told", q.Last), "give a number from 1 on, or 0 for all")
	}
	service, node, err := named(v.State, q.Name)
	if err != nil {
		return api.Wakes{}, err
	}
	out := api.Wakes{Wakes: []api.WakeRecord{}, Refused: b.waking.economy.refused(time.Duration(v.Now), v.Wall, b.cfg.Node), Waiting: []api.WakeWaits{}, Notes: []string{}}
	for _, k := range b.waking.waitingWakes() {
		out.Waiting = append(out.Waiting, api.WakeWaits{Node: k.Node, Service: k.Service, Client: k.Client, By: b.cfg.Node})
	}
	if api.CallerOf(ctx).Peer != "" {
		return out, nil // who asks has the log himself
	}
	b.askOthers(ctx, &out)
	concerns := func(n, s string) bool {
		return q.Name == "" || node != "" && n == node || service != "" && s == service
	}
	for _, w := range v.State.Wakes {
		if concerns(w.Node, w.Service) {
			out.Wakes = append(out.Wakes, wakeRecord(w))
		}
	}
	if q.Last > 0 {
		out.Wakes = out.Wakes[max(0, len(out.Wakes)-q.Last):]
	}
	out.Refused = slices.DeleteFunc(out.Refused, func(r api.Ignored) bool {
		return !concerns("", r.Service) && !(node != "" && slices.Contains(v.State.Services[r.Service].Targets, node))
	})
	out.Waiting = slices.DeleteFunc(out.Waiting, func(k api.WakeWaits) bool { return !concerns(k.Node, k.Service) })
	slices.SortStableFunc(out.Refused, func(a, b api.Ignored) int { return a.Last.Compare(b.Last) })
	return out, nil
}

// askOthers adds what the other hosts that are awake have counted.
func (b *backend) askOthers(ctx context.Context, out *api.Wakes) {
	ctx, cancel := context.WithTimeout(ctx, whyPatience)
	defer cancel()
	v := b.scene.view()
	var asking sync.WaitGroup
	var mu sync.Mutex
	for name, n := range v.State.Nodes {
		if name == b.cfg.Node || n.Power != fsm.Awake || !v.Present[name].Alive {
			continue
		}
		asking.Go(func() {
			theirs, err := b.peer(name).Wakes(ctx, api.WakesQuery{})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				out.Notes = append(out.Notes, "what "+name+" refused is not known: "+err.Error())
				return
			}
			out.Refused = append(out.Refused, theirs.Refused...)
			out.Waiting = append(out.Waiting, theirs.Waiting...)
		})
	}
	asking.Wait()
	slices.Sort(out.Notes)
}
