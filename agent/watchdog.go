package agent

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"
)

// watchdog tells the service manager that this agent is alive (WATCHDOG=1, sd_notify(3)), as long as those loops go round on which promises
// rest: a tenant for each service, the look at the clocks, and the leader's. An agent of which one of them is stuck is silent, and is ended
// and started anew; the kernel has closed its fences long before.
type watchdog struct {
	limit time.Duration     // the silence after which the agent is ended; 0 = nobody watches
	look  func()            // goes through the locks of all that is known here: it does not come back from one that nobody gives up
	roll  func() []rollCall // asks every loop
	tell  func(string)
	log   *slog.Logger
}

// alive tells the service manager that this agent is alive at the two ends of a replacement, where no roll is called: the old life stops
// its loops long before the new one has any, and without this one silence would go over both.
func (d Deps) alive() {
	if d.Watchdog > 0 {
		d.Ready("WATCHDOG=1")
	}
}

// rollCall is one loop that was asked.
type rollCall struct {
	who      string
	answered func() bool // it has gone round since
}

// run calls the roll four times in the time that is allowed.
func (d *watchdog) run(ctx context.Context) {
	if d.limit <= 0 {
		return
	}
	tick := time.NewTicker(d.limit / 4)
	defer tick.Stop()
	for {
		d.look()
		if !d.call(ctx) {
			return
		}
		d.tell("WATCHDOG=1")
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// call returns when all have answered; false: ctx ended before. Who is late is in the log, for whoever reads why the agent was ended.
func (d *watchdog) call(ctx context.Context) bool {
	missing := make(map[string]rollCall)
	for _, r := range d.roll() {
		missing[r.who] = r
	}
	late := time.NewTimer(d.limit / 2)
	defer late.Stop()
	again := time.NewTicker(d.limit / 40)
	defer again.Stop()
	for {
		maps.DeleteFunc(missing, func(_ string, r rollCall) bool { return r.answered() })
		if len(missing) == 0 {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-again.C:
		case <-late.C:
			d.log.Error("a part of this agent is stuck: the service manager will end it and start it anew", "stuck", slices.Sorted(maps.Keys(missing)))
		}
	}
}

// callRoll asks the loops of this agent.
func (a *parts) callRoll() []rollCall {
	return append(a.tenants.callRoll(), a.ticks.answers(), a.leader.answers())
}

// callRoll asks every tenant. One whose inbox is full is asked again.
func (ts *tenants) callRoll() []rollCall {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	var out []rollCall
	for name, t := range ts.all {
		back := make(chan struct{})
		ask := func() bool { return t.do(func() { close(back) }) }
		asked := ask()
		out = append(out, rollCall{"service " + name, func() bool {
			if !asked {
				asked = ask()
			}
			select {
			case <-back:
				return true
			default:
				return false
			}
		}})
	}
	return out
}

// answers needs no question: the clocks are looked at all the time.
func (k *ticks) answers() rollCall {
	before := k.rounds.Load()
	return rollCall{"clocks", func() bool { return k.rounds.Load() != before }}
}

// answers of a host that does not lead: there is nothing that could be stuck.
func (l *leader) answers() rollCall {
	before := l.rounds.Load()
	l.bell.ring()
	return rollCall{"leader", func() bool { return l.rounds.Load() != before || !l.raft.IsLeader() }}
}
