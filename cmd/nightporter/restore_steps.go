package main

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"nightporter/agent"
	"nightporter/api"
)

// step is one change of a restore.
type step struct {
	what string // as the end of "done:"
	do   func(context.Context) error
}

// queryOf is pure: what is to be done to bring a backup back, and what has to be deleted before.
func queryOf(saved agent.Saved, r *api.Restored, have []api.Service) api.RestoreQuery {
	q := api.RestoreQuery{Epochs: saved.Epochs, Settings: api.Settings{Failover: r.Failover, Inrush: r.Inrush}}
	for _, s := range saved.Services {
		if !slices.Contains(r.Unchanged, s.Name) {
			q.Services = append(q.Services, s)
		}
	}
	for _, old := range have {
		if slices.Contains(r.Deleted, old.Name) && slices.ContainsFunc(q.Services, func(s api.Service) bool { return hasOf(old, s) }) {
			q.Delete = append(q.Delete, old.Name)
		}
	}
	q.Services = inOrder(q.Services, have, q.Delete)
	for _, name := range r.Drained {
		q.Drain = append(q.Drain, api.DrainQuery{Node: name, Text: saved.Drained[name].Text, Force: saved.Drained[name].Force})
	}
	return q
}

// inOrder puts first what takes nothing that another service still has: of a chain of addresses the end. Where that leaves some, as where two
// have been exchanged, they come last, and are refused.
func inOrder(services, have []api.Service, deleted []string) (out []api.Service) {
	now := make(map[string]api.Service)
	for _, s := range have {
		if !slices.Contains(deleted, s.Name) {
			now[s.Name] = s
		}
	}
	for left := slices.Clone(services); len(left) > 0; {
		i := slices.IndexFunc(left, func(s api.Service) bool {
			for name, other := range now {
				if name != s.Name && hasOf(other, s) {
					return false
				}
			}
			return true
		})
		if i < 0 {
			return append(out, left...)
		}
		now[left[i].Name] = left[i]
		out, left = append(out, left[i]), slices.Delete(left, i, i+1)
	}
	return out
}

// hasOf says whether a service has an address or the MAC that another one is to get.
func hasOf(old, s api.Service) bool {
	return slices.ContainsFunc(s.Addresses, func(a netip.Addr) bool { return slices.Contains(old.Addresses, a) }) || len(s.MAC) > 0 && slices.Equal(old.MAC, s.MAC)
}

// stepsOf are the changes in their order. What cannot be taken back comes last.
func stepsOf(c *api.Client, q api.RestoreQuery, r *api.Restored) (out []step) {
	add := func(what string, do func(context.Context) error) { out = append(out, step{what, do}) }
	remove := func(name string) {
		add("service "+name+" deleted", func(ctx context.Context) error {
			err := c.Delete(ctx, name)
			if api.CodeOf(err) == api.CodeUnknownService { // by somebody else, or by an attempt of which no answer came
				return nil
			}
			return err
		})
	}
	if r.Lifted {
		add("every epoch lifted", func(ctx context.Context) error { return c.LiftEpochs(ctx, q.Epochs) })
	}
	for _, name := range q.Delete {
		remove(name)
	}
	for _, s := range q.Services {
		word := " changed"
		if slices.Contains(r.Created, s.Name) {
			word = " created"
		}
		add("service "+s.Name+word, func(ctx context.Context) error {
			_, err := c.Apply(ctx, []api.Service{s})
			return err
		})
	}
	if q.Settings.Failover != 0 {
		add("failover set", func(ctx context.Context) error { return c.Set(ctx, api.Settings{Failover: q.Settings.Failover}) })
	}
	if q.Settings.Inrush != 0 {
		add("wake-inrush set", func(ctx context.Context) error { return c.Set(ctx, api.Settings{Inrush: q.Settings.Inrush}) })
	}
	for _, d := range q.Drain {
		add(d.Node+" drained", func(ctx context.Context) error {
			_, err := c.Drain(ctx, d)
			return err
		})
	}
	for _, name := range r.Deleted {
		if !slices.Contains(q.Delete, name) {
			remove(name)
		}
	}
	return out
}

// carryOut makes the changes. Where one fails it tells what was done before, and what was not.
func carryOut(ctx context.Context, steps []step) error {
	for i, s := range steps {
		if err := s.do(ctx); err != nil {
			return broken(steps, i, err)
		}
	}
	return nil
}

// broken is what a restore comes to that ended with the step i.
func broken(steps []step, i int, err error) error {
	list := func(of []step) string {
		var words []string
		for _, s := range of {
			words = append(words, s.what)
		}
		if len(words) == 0 {
			return "nothing"
		}
		return strings.Join(words, ", ")
	}
	e, ok := errors.AsType[*api.Error](err)
	if !ok {
		e = &api.Error{Code: api.CodeInternal, Message: err.Error()}
	}
	message := "the restore ended in the middle: " + e.Message + "; done: " + list(steps[:i])
	not := steps[i:]
	if e.Code == api.CodeTimeout || e.Code == api.CodeUnavailable || e.Code == api.CodeNoLeader { // a leader may have fallen after it was in the log
		message += "; perhaps done: " + not[0].what
		not = not[1:]
	}
	hint := "what was done stays; repeat the command, and `nightporter restore --diff` tells what is left"
	if e.Hint != "" {
		hint = e.Hint + "; " + hint
	}
	return &api.Error{Code: e.Code, Message: message + "; not done: " + list(not), Hint: hint}
}
