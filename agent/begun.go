package agent

import (
	"strconv"
	"time"

	"nightporter/fsm"
	"nightporter/lease"
	"nightporter/wake"
)

// watchIt begins the measurement of a wake of this host. The caller holds mu.
func (w *waking) watchIt(now time.Duration, k wake.Wake) {
	if n := w.machine.View().State.Nodes[k.Node]; n.Power == fsm.Asleep || n.Power == fsm.Waking {
		w.watches[k.ID] = &stopwatch{wake: k, began: lease.Boot(now), most: w.timeout}
	}
}

// book records that a wake has begun here.
func (w *waking) book(k wake.Wake) {
	w.log.Info("waking", "node", k.Node, "service", k.Service, "reason", k.Cause, "client", k.Client, "port", k.Port)
	w.record(fsm.BeginWake{Wake: fsm.Wake{
		ID: k.ID, Node: k.Node, Service: k.Service, Cause: fsm.Reason(k.Cause), Client: k.Client, Port: k.Port, By: w.self, Started: w.clock.Wall(),
	}})
}

// begun is told of a wake that was kept for the end of a pause, when that has come.
func (w *waking) begun(k wake.Wake) {
	now := time.Duration(w.clock.Boot())
	w.mu.Lock()
	w.watchIt(now, k)
	w.mu.Unlock()
	if k.Cause == string(fsm.Demand) {
		w.economy.began(now, k, w.machine.View().State.Services[k.Service])
	}
	w.book(k)
}

// inARow says how often that was so, and what follows.
func inARow(a wake.Action) string {
	if a.Failures < 2 {
		return ""
	}
	return ", " + strconv.Itoa(a.Failures) + " times in a row (clients that knock have it called again after " + a.Pause.String() + ", `nightporter wake` does not wait)"
}
