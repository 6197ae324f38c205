package workload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"nightporter/api"
	"nightporter/chaos/history"
	"nightporter/chaos/lab"
)

// Operator gives commands, to hosts as they come.
type Operator struct {
	Lab      *lab.Lab
	Journal  *history.Journal
	Hosts    []string
	Sleepers []string
	Services []string                      // that may be moved
	Extra    []api.Service                 // that may be defined and deleted
	Other    func(api.Service) api.Service // a definition in the other mode
	Failover []time.Duration
	Seed     uint64
	Name     string
	Tell     func(string)
	Gate     *Gate // keeps Run from giving commands
	// Depart lets a host leave and join again; nil: this operator does not.
	Depart func(ctx context.Context, host string) error

	wrong error
}

// commandLimit is an operator's patience.
const commandLimit = 8 * time.Second

// Run gives commands until ctx ends. An error says that the laboratory failed.
func (o *Operator) Run(ctx context.Context) error {
	r := draws(o.Seed, o.Name)
	for pause(ctx, 200*time.Millisecond+time.Duration(r.Int64N(int64(2*time.Second)))) {
		o.Gate.pass(func() {
			if ctx.Err() == nil {
				o.once(ctx, r)
			}
		})
		if o.wrong != nil {
			return o.wrong
		}
	}
	return nil
}

// Night puts hosts to sleep and calls them until ctx ends, and nothing else.
func (o *Operator) Night(ctx context.Context) error {
	r := draws(o.Seed, o.Name)
	for len(o.Sleepers) > 0 && pause(ctx, 100*time.Millisecond+time.Duration(r.Int64N(int64(time.Second)))) {
		o.power(ctx, r, pick(r, o.Hosts), pick(r, o.Sleepers))
	}
	return o.wrong
}

// Bring moves a service to the first of the hosts that takes it, and says whether one did.
func (o *Operator) Bring(ctx context.Context, service string, to []string) bool {
	return slices.ContainsFunc(to, func(host string) bool { return o.move(ctx, host, service, host) })
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// once gives one command. The weights let the sleepers sleep a good part of the time.
func (o *Operator) once(ctx context.Context, r *rand.Rand) {
	ask, n := pick(r, o.Hosts), r.IntN(20)
	switch {
	case n < 6:
		o.move(ctx, ask, pick(r, o.Services), pick(r, o.Hosts))
	case n < 12 && len(o.Sleepers) > 0:
		o.power(ctx, r, ask, pick(r, o.Sleepers))
	case n < 14 && len(o.Sleepers) > 0:
		o.wake(ctx, ask, pick(r, o.Sleepers))
	case n < 17:
		sv := pick(r, o.Extra)
		if r.IntN(2) == 0 { // another order of preference: a definition that changes
			sv.Targets = slices.Clone(sv.Targets)
			slices.Reverse(sv.Targets)
		}
		if r.IntN(4) == 0 { // the other mode: another identity
			sv = o.Other(sv)
		}
		o.define(ctx, ask, sv)
	case n < 18:
		o.delete(ctx, ask, pick(r, o.Extra).Name)
	case n < 19:
		o.set(ctx, ask, pick(r, o.Failover))
	case o.Depart != nil:
		if err := o.Depart(ctx, pick(r, o.Hosts)); err != nil && ctx.Err() == nil {
			o.wrong = err
		}
	}
}

// give asks a host and writes down what came of it. It says whether it was done.
func (o *Operator) give(ctx context.Context, c history.Command, do func(context.Context, *api.Client, *history.Command) error) bool {
	// Also when the run ends meanwhile: a command that was cut off says nothing about the cluster.
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandLimit)
	defer cancel()
	client := o.Lab.Host(c.Host).API()
	c.Began = time.Now()
	err := do(limit, client, &c)
	c.Ended = time.Now()
	switch {
	case err == nil:
		c.Done = true
	case Refusal(err) && !(c.Verb == "sleep" && api.CodeOf(err) == api.CodeRefused): // that one was begun, and came back
		c.Refused, c.Err = true, err.Error()
	default:
		c.Ended, c.Err = time.Time{}, err.Error()
	}
	o.Tell(describe(c))
	o.Journal.Do(func(h *history.History) { h.Commands = append(h.Commands, c) })
	return c.Done
}

// Refusal says whether an error means that nothing was or will be done.
func Refusal(err error) bool {
	code := api.CodeOf(err)
	return slices.Contains([]api.Code{
		api.CodeNotRunning, api.CodePermission, api.CodeNoCluster, api.CodeUnknownService, api.CodeUnknownNode, api.CodeInvalid, api.CodeRefused,
	}, code)
}

func describe(c history.Command) string {
	s := fmt.Sprintf("at %s: %s %s %s", c.Host, c.Verb, c.Service, c.Arg)
	switch {
	case c.Done:
		return s + ": done " + c.Result
	default:
		return s + ": " + c.Err
	}
}

func (o *Operator) move(ctx context.Context, ask, service, to string) bool {
	return o.give(ctx, history.Command{Verb: "move", Host: ask, Service: service, Arg: to}, func(ctx context.Context, c *api.Client, h *history.Command) error {
		m, err := c.Move(ctx, service, to)
		h.From, h.Epoch = m.From, m.Epoch
		return err
	})
}

// power puts a host to sleep; now and then it is called at once, while it is on its way.
func (o *Operator) power(ctx context.Context, r *rand.Rand, ask, host string) {
	var both sync.WaitGroup
	if r.IntN(3) == 0 {
		// The way into sleep takes some 20 ms where nothing is to be handed over: half of the calls come within 50.
		x := r.Float64()
		soon := time.Duration(x * x * x * float64(400*time.Millisecond))
		other := pick(r, o.Hosts)
		both.Go(func() {
			if pause(ctx, soon) {
				o.wake(ctx, other, host)
			}
		})
	}
	o.Sleep(ctx, ask, host)
	both.Wait()
}

// Sleep puts a host to sleep, and says whether it was done.
func (o *Operator) Sleep(ctx context.Context, ask, host string) bool {
	return o.give(ctx, history.Command{Verb: "sleep", Host: ask, Arg: host}, func(ctx context.Context, c *api.Client, _ *history.Command) error {
		_, err := c.SleepAnyway(ctx, host) // also a host that was called in vain before, because it had lost its power
		return err
	})
}

func (o *Operator) wake(ctx context.Context, ask, host string) {
	o.give(ctx, history.Command{Verb: "wake", Host: ask, Arg: host}, func(ctx context.Context, c *api.Client, _ *history.Command) error {
		_, err := c.Wake(ctx, host)
		return err
	})
}

func (o *Operator) define(ctx context.Context, ask string, sv api.Service) {
	o.give(ctx, history.Command{Verb: "apply", Host: ask, Service: sv.Name}, func(ctx context.Context, c *api.Client, h *history.Command) error {
		done, err := c.Apply(ctx, []api.Service{sv})
		switch {
		case len(done.Created) > 0:
			h.Result = "created"
		case len(done.Changed) > 0:
			h.Result = "changed"
		case len(done.Unchanged) > 0:
			h.Result = "unchanged"
		}
		return err
	})
}

func (o *Operator) delete(ctx context.Context, ask, name string) {
	o.give(ctx, history.Command{Verb: "delete", Host: ask, Service: name}, func(ctx context.Context, c *api.Client, h *history.Command) error {
		err := c.Delete(ctx, name)
		switch {
		case err == nil:
			h.Result = "deleted"
		case api.CodeOf(err) == api.CodeUnknownService:
			h.Result = "missing"
		}
		return err
	})
}

func (o *Operator) set(ctx context.Context, ask string, d time.Duration) {
	o.give(ctx, history.Command{Verb: "set", Host: ask, Arg: d.String()}, func(ctx context.Context, c *api.Client, _ *history.Command) error {
		return c.Set(ctx, api.Settings{Failover: api.Duration(d)})
	})
}

// Forget has the cluster forget a host, by whoever answers.
func (o *Operator) Forget(ctx context.Context, host string) error {
	var errs []error
	for _, ask := range o.Hosts {
		if ask == host {
			continue
		}
		limit, cancel := context.WithTimeout(ctx, commandLimit)
		err := o.Lab.Host(ask).API().Forget(limit, host)
		cancel()
		if err == nil || api.CodeOf(err) == api.CodeUnknownNode {
			return nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}
