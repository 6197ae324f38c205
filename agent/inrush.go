package agent

import (
	"time"

	"nightporter/fsm"
	"nightporter/wake"
)

// begin starts or joins a campaign and does at once what is due, or puts the wake in the line.
func (w *waking) begin(want wake.Wake) (wake.Wake, wake.Verdict) {
	now := time.Duration(w.clock.Boot())
	state := w.machine.View().State
	w.mu.Lock()
	from, wait := w.mustWait(now, state, want)
	got, fits := want, false
	if wait {
		got, fits = w.line.Join(now, want, from)
	}
	w.mu.Unlock()
	if !wait {
		return w.start(want)
	}
	if got.ID == want.ID {
		w.log.Info("a wake waits for its turn", "node", want.Node, "service", want.Service, "client", want.Client, "for", (from - now).String(), "fits", fits)
		w.bell.ring()
	}
	if !fits {
		got.ID = "" // it is nobody's
	}
	return got, wake.Queued
}

// mustWait says whether a client's wake may not begin now, and from when on it could: the target fell asleep a moment ago, or as many hosts
// as may start at one time do, whoever calls them (gossip tells of the others' calls). Two fronts that begin within the time of a message
// may start one host too many each; those that are cut off from each other count for themselves. An operator's wake and the quorum's never
// wait. The caller holds mu.
func (w *waking) mustWait(now time.Duration, state *fsm.State, want wake.Wake) (from time.Duration, wait bool) {
	n := state.Nodes[want.Node]
	if want.Cause != string(fsm.Demand) || w.board.Calls(want.Node, want.Sleeps) || n.Power == fsm.Suspending {
		return now, false
	}
	from = notBefore(now, w.clock.Wall(), state.Services[want.Service], n)
	limit := state.InrushLimit()
	starting, _ := w.board.Starting(now)
	return from, from > now || limit > 0 && (starting >= limit || w.line.Due(now))
}

// notBefore is when a target has slept for as long as its service's definition wants at least. The record has the time of the sleeper's
// clock on the wall: one that is wrong lengthens the wait to that time at most.
func notBefore(now time.Duration, wall time.Time, sv fsm.Service, n fsm.Node) time.Duration {
	least := sv.Wake.AsleepAtLeast
	if least == 0 || n.Power != fsm.Asleep || n.PowerReason == fsm.GaveUp { // a wake that failed is no sleep that began
		return now
	}
	return now + min(max(least-wall.Sub(n.PowerSince), 0), least)
}

// callLine begins the wakes whose turn has come, and gives the time until the next one.
func (w *waking) callLine() time.Duration {
	state := w.machine.View().State
	w.mu.Lock()
	left := w.line.Leave(time.Duration(w.clock.Boot()), func(k wake.Wake, silent time.Duration) bool {
		n, known := state.Nodes[k.Node]
		return !known || n.Power == fsm.Awake || n.Sleeps > k.Sleeps || silent > wake.Patience(w.timeout)
	})
	w.mu.Unlock()
	for _, k := range left {
		w.log.Info("a wake does not wait for its turn any more: the host is up, or nobody was heard for a while who wants it", "node", k.Node, "service", k.Service, "client", k.Client)
		w.economy.spared(k, state.Services[k.Service])
	}
	for {
		k, ok, wait := w.nextInLine(state)
		if !ok {
			return wait
		}
		if _, verdict := w.start(k); verdict != wake.Started {
			w.economy.spared(k, state.Services[k.Service]) // somebody else's call was first
		}
	}
}

func (w *waking) nextInLine(state *fsm.State) (k wake.Wake, ok bool, wait time.Duration) {
	now := time.Duration(w.clock.Boot())
	w.mu.Lock()
	defer w.mu.Unlock()
	limit := state.InrushLimit()
	starting, until := w.board.Starting(now)
	k, ok, wait = w.line.Next(now, limit == 0 || starting < limit)
	if w.line.Due(now) {
		wait = min(wait, until)
	}
	return k, ok, wait
}

// wanted are the wakes that this host is to see to: those under way, and those in the line.
func (w *waking) wanted() []wake.Wake { return append(w.own(), w.waitingWakes()...) }

// waitingWakes are those in the line.
func (w *waking) waitingWakes() []wake.Wake {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.line.Waiting()
}
