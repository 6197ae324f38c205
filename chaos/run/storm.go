package run

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"nightporter/chaos/check"
	"nightporter/chaos/history"
	"nightporter/chaos/lab"
	"nightporter/chaos/nemesis"
	"nightporter/chaos/workload"
)

// storm lets everybody loose, until the plan is done, and then brings calm.
func (t *trial) storm(ctx context.Context) error {
	everybody, stop := context.WithCancel(ctx)
	defer stop()
	commands, hush := context.WithCancel(everybody)
	defer hush()
	t.cast()
	g, everybody := errgroup.WithContext(everybody)
	c := &workload.Clients{Lab: t.lab, Journal: t.journal, Names: places, Services: t.clientServices(), Seed: t.Seed, Calm: t.calm, Gate: &t.clients}
	g.Go(func() error { return c.Run(everybody) })
	g.Go(func() error { t.sampler.run(everybody); return nil })
	g.Go(func() error { t.pulse(everybody); return nil })
	g.Go(func() error { return workload.Ask(everybody, t.lab.Host(places[0]), t.asked()) })
	var operating sync.WaitGroup
	for _, name := range []string{"morning", "evening"} {
		o := *t.operator
		o.Name = name
		if name == "evening" {
			o.Depart = t.depart
		}
		operating.Add(1)
		g.Go(func() error { defer operating.Done(); return o.Run(commands) })
	}
	g.Go(func() error {
		defer stop()
		defer operating.Wait()
		defer hush()
		if err := t.nemesis.Run(everybody, t.Plan()); err != nil {
			return err
		}
		hush()
		operating.Wait()
		return t.soothe(everybody)
	})
	err := g.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("the run was interrupted: %w", context.Cause(ctx))
	}
	return err
}

// asked are the addresses of all services that there may ever be.
func (t *trial) asked() []netip.Addr {
	var out []netip.Addr
	for _, sv := range t.field.all() {
		out = append(out, sv.Addrs...)
	}
	return out
}

// cast makes the nemesis and the operator.
func (t *trial) cast() {
	t.operator = &workload.Operator{
		Lab: t.lab, Journal: t.journal, Hosts: t.field.hosts, Sleepers: t.field.sleepers, Services: t.field.names(), Seed: t.Seed, Gate: &t.operators,
		Failover: []time.Duration{t.Failover, t.Failover * 3 / 4, t.Failover * 3 / 2}, Tell: func(s string) { t.say("operator", "%s", s) },
	}
	for _, sv := range t.field.extra {
		t.operator.Extra = append(t.operator.Extra, forAPI(sv))
	}
	t.operator.Other = t.field.inOtherMode
	t.nemesis = &nemesis.Nemesis{
		Lab: t.lab, Journal: t.journal, Scout: t.sampler, Stage: t, Foreign: foreign, Forget: t.operator.Forget, Tell: func(s string) { t.say("nemesis", "%s", s) },
		Field: t.stage(t.Switch),
	}
}

func (t *trial) clientServices() []workload.Service {
	var out []workload.Service
	for _, sv := range t.field.services {
		out = append(out, workload.Service{
			Name: sv.Name, Addrs: sv.Addrs, Port: sv.Port, Sleepers: slices.ContainsFunc(sv.Targets, func(n string) bool { return slices.Contains(t.field.sleepers, n) }),
		})
	}
	return out
}

// depart lets a host leave the cluster for good, and then join anew.
func (t *trial) depart(ctx context.Context, host string) error {
	release, free := t.nemesis.Take(host)
	if !free {
		return nil
	}
	defer release()
	h := t.lab.Host(host)
	st, err := t.lab.Status(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(st.Hosts, func(s lab.HostStatus) bool { return s.Name == host && s.Power == lab.PowerUp && s.Agent == "running" }) {
		return nil
	}
	t.journal.Away(host, true)
	defer t.journal.Away(host, false)
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveLimit)
	defer cancel()
	c := history.Command{Verb: "leave", Host: host, Arg: host, Began: time.Now()}
	err = h.API().Leave(limit)
	if err == nil {
		c.Done, c.Ended = true, time.Now()
	} else {
		c.Refused, c.Err = workload.Refusal(err), err.Error()
	}
	t.say("operator", "at %s: leave: %v", host, err)
	t.journal.Do(func(x *history.History) {
		x.Commands = append(x.Commands, c)
		t.leaving[host] = !c.Refused
	})
	if c.Refused {
		return nil
	}
	// What became of an unanswered one shows in whether the agent ends; it may do so much later.
	end, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer stop()
	if _, err := h.AwaitAgentExit(end); err != nil {
		return nil // it stays, for now
	}
	start, stopStart := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer stopStart()
	if err := h.Start(start); err != nil {
		t.say("operator", "at %s: start: %v", host, err) // it went to sleep by itself; who wakes it starts it as well
	}
	t.journal.Do(func(*history.History) { t.leaving[host] = false })
	return nil
}

// leaveLimit is how long a leave may take: the vote is taken away, which waits a lease's length, and another one may be under way.
const leaveLimit = 12 * time.Second

// soothe heals everything and watches for calm.
func (t *trial) soothe(ctx context.Context) error {
	mend, cancel := context.WithTimeout(ctx, building)
	defer cancel()
	t.say("run", "everything is healed")
	if err := t.nemesis.Mend(mend); err != nil {
		return err
	}
	if err := t.present(mend); err != nil {
		return err
	}
	close(t.calm)
	calm := time.Now()
	t.journal.Do(func(h *history.History) { h.Calm = calm })
	t.say("run", "calm; in %s everything must be well", t.Settle)
	if err := t.handBack(ctx, calm.Add(t.encore())); err != nil {
		return err
	}
	if !until(ctx, calm.Add(t.encore())) {
		return ctx.Err()
	}
	again, end := context.WithDeadline(ctx, calm.Add(2*t.encore()))
	t.operator.Name = "night"
	err := t.operator.Night(again)
	end()
	if err == nil {
		err = t.rise(ctx)
	}
	over := calm.Add(t.Settle + t.last())
	if follows := time.Now().Add(16*3*t.Failover/2 + 3*time.Second); len(t.field.hosts) == 2 && over.Before(follows) {
		over = follows // the vote goes after the services when they have stayed for ten failovers, of 3/2 of the first one at most
	}
	if err == nil && !until(ctx, over) {
		err = ctx.Err()
	}
	if err == nil {
		err = t.putOff(ctx)
	}
	if err != nil {
		return err
	}
	return t.ends(ctx)
}

// putOffMost is how much longer the calm may last where the machine had no time for the laboratory.
const putOffMost = 45 * time.Second

// putOff waits until something counts of what clients were answered in the end: what a machine that stands still makes them miss is nobody's fault,
// and where it did so a moment ago nothing could be judged.
func (t *trial) putOff(ctx context.Context) error {
	for limit := time.Now().Add(putOffMost); time.Now().Before(limit); {
		var counts bool
		t.journal.Do(func(h *history.History) { counts = check.EndCounts(h) })
		if counts {
			return nil
		}
		if !until(ctx, time.Now().Add(500*time.Millisecond)) {
			return ctx.Err()
		}
	}
	return nil // the checks will say so
}

// rise wakes everybody in the end, but those who may go back to sleep by themselves: clients ask all the time now, and wake whom they need.
func (t *trial) rise(ctx context.Context) error {
	if t.Idle > 0 {
		return t.nemesis.Rouse(ctx)
	}
	return t.nemesis.Rise(ctx)
}

// handBack moves every service to one of its targets: where an operator moved one to another host, it stays there as long
// as no target comes back, and no client is served.
func (t *trial) handBack(ctx context.Context, by time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	for _, sv := range t.field.services {
		for !t.operator.Bring(ctx, sv.Name, sv.Targets) {
			if !until(ctx, time.Now().Add(200*time.Millisecond)) {
				return nil // the checks will say what it came to
			}
		}
	}
	return nil
}

// until waits for a moment; false: ctx ended before.
func until(ctx context.Context, at time.Time) bool {
	select {
	case <-time.After(time.Until(at)):
		return true
	case <-ctx.Done():
		return false
	}
}

// present switches on what is off, as people do.
func (t *trial) present(ctx context.Context) error {
	st, err := t.lab.Status(ctx)
	if err != nil {
		return err
	}
	for _, h := range st.Hosts {
		if h.Power == lab.PowerOff || h.Power == lab.PowerUp && h.Agent != "running" {
			if err := t.lab.Host(h.Name).Start(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}
