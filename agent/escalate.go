package agent

import (
	"context"
	"strings"
	"sync"
	"time"

	"nightporter/fsm"
	"nightporter/wake"
)

// hookLimit is how long a wake hook may run: a board management controller (BMC) may take some seconds to answer.
const hookLimit = 30 * time.Second

// escalate runs this host's wake hook for a node that has not answered the calls, and calls another target meanwhile. It does not wait for
// the hook. The magic packets go on: a host that gets its power back may sleep again before it boots.
func (w *waking) escalate(ctx context.Context, running *sync.WaitGroup, a wake.Action) {
	if !w.mayHook(a.Wake.Node) {
		w.log.Info("the wake hook is not run: the host counts as awake", "node", a.Wake.Node)
		return
	}
	sentence := a.Wake.Node + " did not wake after " + plural(a.Attempt, "call") + ": the wake hook was run"
	w.mu.Lock()
	w.gaveUp[a.Wake.Node] = sentence
	w.mu.Unlock()
	w.log.Error(sentence, "node", a.Wake.Node, "reason", a.Wake.Cause)
	w.fallBack(a.Wake)
	env := w.hookEnv(a.Wake)
	running.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, hookLimit)
		defer cancel()
		err := w.hook(ctx, env)
		if err == nil {
			w.log.Info("the wake hook has done its work", "node", a.Wake.Node)
			return
		}
		w.log.Error("the wake hook failed", "node", a.Wake.Node, "err", err)
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.gaveUp[a.Wake.Node] == sentence { // it is not back
			w.gaveUp[a.Wake.Node] = sentence + ", and failed: " + err.Error()
		}
	})
}

// hookEnv is what a wake hook is told.
func (w *waking) hookEnv(k wake.Wake) []string {
	var macs []string
	for _, m := range w.addresses(k.Node) {
		macs = append(macs, m.String())
	}
	n := w.machine.View().State.Nodes[k.Node]
	return []string{
		"NIGHTPORTER_NODE=" + k.Node, "NIGHTPORTER_POWER=" + string(n.Power), "NIGHTPORTER_ADDRESS=" + n.Addr.Addr().String(),
		"NIGHTPORTER_WAKE=" + strings.Join(macs, " "), "NIGHTPORTER_CAUSE=" + k.Cause, "NIGHTPORTER_SERVICE=" + k.Service,
	}
}

// mayHook says whether there is a hook for a node: not for one that counts as awake. It may be cut off from here and work for others,
// and a smart plug would take its power.
func (w *waking) mayHook(node string) bool {
	p := w.machine.View().State.Nodes[node].Power
	return w.hook != nil && p != fsm.Awake && p != fsm.Suspending
}

func (w *waking) alsoHooked(k wake.Wake) string {
	if k.Hook && w.mayHook(k.Node) {
		return " and the wake hook"
	}
	return ""
}
