package agent

import (
	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/lease"
	"nightporter/wake"
)

// target is the host to wake for a service: none when a target is awake and in touch, and may get ready (the plan gives it the service),
// else the best of those that are not in maintenance and can be called (cluster.WakeTarget). One whose checks have been failing for
// longer than it usually takes is not waited for where another target can be woken, and no wake of it begins: it counts as awake.
func (w *waking) target(state *fsm.State, service string) (string, bool) {
	v := w.scene.view()
	var may []string
	for _, t := range state.Services[service].Targets {
		n, known := state.Nodes[t]
		if !known || n.Maintenance || t == w.self {
			continue
		}
		if n.Power == fsm.Awake && v.Present[t].Alive {
			if !w.hopeless(v, state.Services[service], t) {
				return "", false
			}
			continue
		}
		if len(n.Wake) > 0 {
			may = append(may, t)
		}
	}
	best := cluster.WakeTarget(state.WakeTimes, may, w.wasGivenUp, w.timeout)
	return best, best != ""
}

// wasGivenUp says whether the last wake of a node was given up here, and it has not come back since.
func (w *waking) wasGivenUp(node string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gaveUp[node] != ""
}

// fallBack calls the next target when one was given up: the client still waits, and may not knock again for half a minute.
func (w *waking) fallBack(failed wake.Wake) {
	if failed.Cause != string(fsm.Demand) {
		return
	}
	state := w.machine.View().State
	node, ok := w.target(state, failed.Service)
	if !ok || node == failed.Node {
		return
	}
	w.log.Info("calling the next target", "service", failed.Service, "node", node, "instead", failed.Node)
	w.begin(wake.Wake{
		ID: newID(), Node: node, Sleeps: state.Nodes[node].Sleeps, Service: failed.Service, Cause: failed.Cause,
		Client: failed.Client, Port: failed.Port,
	})
}

// seenFailing is since when, and until when, the checks of a target were seen to fail.
type seenFailing struct{ since, last lease.Boot }

// hopeless says whether the checks of a target that is awake have been failing for longer than it may take to get ready. It is asked when
// clients knock; after a pause it begins to count anew.
func (w *waking) hopeless(v cluster.View, sv fsm.Service, target string) bool {
	key := [2]string{sv.Name, target}
	state, _ := v.Readiness(sv, target)
	limit := cluster.WakeLimit(v.State.WakeTimes[target], cluster.PhaseReady, w.timeout)
	w.mu.Lock()
	defer w.mu.Unlock()
	if state != cluster.HealthFailing {
		delete(w.failing, key)
		return false
	}
	seen, known := w.failing[key]
	if !known || v.Now.Sub(seen.last) > limit {
		seen.since = v.Now
	}
	seen.last = v.Now
	w.failing[key] = seen
	return v.Now.Sub(seen.since) > limit
}
