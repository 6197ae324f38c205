package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"nightporter/fsm"
	"nightporter/idle"
	"nightporter/lease"
)

// verdicts judges the wakes of this host that clients caused: the host that was woken is the one that sees whether the client's connection
// completed and carried something. The kernel's connections are looked at only while a wake is to be judged.
type verdicts struct {
	self    string
	clock   Clock
	machine viewer
	shown   func(service string) tenancy
	open    func() (Uses, error) // nil: a world in which connections cannot be looked at
	watch   func() (<-chan struct{}, func())
	record  func(fsm.Command)
	log     *slog.Logger

	began  time.Time       // of this process, as the others' records have times
	ledger *fsm.Wake       // the first of the wakes that were looked at last
	known  map[string]bool // those in the ledger that are, or need not be, judged
	under  map[string]*inquiry
	uses   Uses

	tracked tracked
}

// judgeEvery is the pause between two looks while a wake is to be judged. Connections that come and go meanwhile are seen all the same.
const judgeEvery = 500 * time.Millisecond

func (j *verdicts) run(ctx context.Context) {
	j.began = j.clock.Wall()
	changed, cancel := j.watch()
	defer cancel()
	defer j.rest()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-timer.C:
		}
		if j.look() {
			timer.Reset(judgeEvery)
		}
	}
}

// look takes one look, and says whether there is anything to look for.
func (j *verdicts) look() bool {
	state := j.machine.View().State
	j.take(state)
	if len(j.under) == 0 {
		j.rest()
		return false
	}
	now, me := j.clock.Boot(), state.Nodes[j.self]
	what := looked{at: now}
	if j.uses == nil && j.open != nil {
		var err error
		if j.uses, err = j.open(); err != nil {
			j.uses = nil
			j.log.Debug("connections cannot be looked at: it is not known what wakes are good for", "err", err)
		}
	}
	if j.uses != nil {
		conns, missed, err := j.uses.Read()
		flows, untracked := j.track(now) // a useful one may be among those that can be seen
		what.conns, what.flows, what.blind = conns, flows, missed || err != nil || untracked != nil
	} else {
		what.blind = true
	}
	for _, k := range state.Wakes {
		q := j.under[k.ID]
		if q == nil {
			continue
		}
		verdict := q.see(now, j.glance(state, me, k, q, what))
		if verdict == "" {
			continue
		}
		delete(j.under, k.ID)
		j.known[k.ID] = true
		c := fsm.JudgeWake{ID: k.ID, Verdict: verdict, By: j.self}
		if late := belated(state, c); len(late) > 0 {
			continue // nobody may record that before all hosts are upgraded
		}
		j.log.Info("a wake is judged", "service", k.Service, "client", k.Client, "port", k.Port, "verdict", verdict)
		j.record(c)
	}
	return len(j.under) > 0
}

// take looks for wakes of this host that are not judged. Those that were over when this process began are left as they are: who it was for
// may have come and gone.
func (j *verdicts) take(state *fsm.State) {
	if len(state.Wakes) == 0 || j.ledger == &state.Wakes[0] {
		return
	}
	j.ledger = &state.Wakes[0]
	known := make(map[string]bool)
	under := make(map[string]*inquiry)
	for _, k := range state.Wakes {
		if k.Node != j.self || k.Cause != fsm.Demand {
			continue
		}
		q := j.under[k.ID]
		switch {
		case k.Verdict != "" || j.known[k.ID] || !k.Ended.IsZero() && k.Ended.Before(j.began):
			known[k.ID] = true
			continue
		case q == nil:
			var ok bool
			if q, ok = inquire(k, state.Services[k.Service], state.Nodes[j.self].Sleeps); !ok {
				known[k.ID] = true
				continue
			}
			q.taken = j.clock.Boot()
			opened := j.shown(k.Service).Opened
			q.blind = opened && j.uses == nil // the client may have been here and gone
			q.late = opened || q.passedOn(state.Services[k.Service]) && state.Nodes[j.self].Power == fsm.Awake
		}
		under[k.ID] = q
	}
	j.known, j.under = known, under
}

// looked is what was seen of connections.
type looked struct {
	at    lease.Boot
	conns []idle.Conn
	flows []idle.Conn // to containers
	blind bool
}

// glance is what is seen of one wake.
func (j *verdicts) glance(state *fsm.State, me fsm.Node, k fsm.Wake, q *inquiry, what looked) glance {
	sv, t := state.Services[k.Service], j.shown(k.Service)
	shut := slices.ContainsFunc(t.Shut.TCP, func(a netip.AddrPort) bool { return a.Port() == q.port })
	proxied := q.passedOn(sv)
	awake := me.Power == fsm.Awake
	passed := func(a netip.Addr) bool {
		for name, n := range state.Nodes {
			if name != j.self && n.Addr.Addr() == a {
				return proxied
			}
		}
		return false
	}
	said, vague := q.said(what.at, slices.Concat(what.conns, q.after(what.flows)), sv.Addresses, passed)
	return glance{
		awake: awake, sleeps: me.Sleeps, blind: what.blind || awake && vague,
		served: awake && (t.Opened && t.Serving && !shut || proxied),
		said:   awake && said,
	}
}

// passedOn says whether a front passes the client's connections on, from its own address.
func (q *inquiry) passedOn(sv fsm.Service) bool {
	i := slices.IndexFunc(sv.Ports, func(p fsm.Port) bool { return p.Number == q.port && p.Protocol == fsm.TCP })
	return i >= 0 && sv.HoldOf(sv.Ports[i]) == fsm.HoldProxy
}

// rest gives the kernel's ear back.
func (j *verdicts) rest() {
	j.tracked = tracked{}
	if j.uses == nil {
		return
	}
	if err := j.uses.Close(); err != nil {
		j.log.Debug("closing the look at connections", "err", err)
	}
	j.uses = nil
}
