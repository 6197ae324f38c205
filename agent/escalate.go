package agent

import (
	"context"
	"strings"
	"sync"
	"time"

	"nightporter/fsm"
	"nightporter/lease"
	"nightporter/wake"
)

// hookLimit is how long a wake hook may run: a board management controller (BMC) may take some seconds to answer.
const hookLimit = 30 * time.Second

// The pause between two runs of the hook for one node that did not come back doubles with each. Nobody's disks like to lose their power
// every few minutes because a client keeps knocking.
const (
	hookPause     = 10 * time.Minute
	hookPauseMost = 4 * time.Hour
)

// hookRun is the last time that the hook was run for a node.
type hookRun struct {
	wake  string // its ID
	at    lease.Boot
	pause time.Duration // until it may be run again
}

// mayHook says whether a wake may come to the hook: without a majority nobody knows who is up, and a canary is to show what the packets do.
func (w *waking) mayHook(cause fsm.Reason) bool {
	return w.hook != nil && cause != fsm.QuorumLost && cause != fsm.CanarySleep
}

// late says that a node takes longer than it should, and calls another target. The calls go on, until it is the hook's turn.
func (w *waking) late(a wake.Action) {
	w.mu.Lock()
	if w.gaveUp[a.Wake.Node] == "" {
		w.gaveUp[a.Wake.Node] = a.Wake.Node + " has not woken yet after " + plural(a.Attempt, "call")
	}
	w.mu.Unlock()
	w.log.Warn("a host takes longer to wake than it should", "node", a.Wake.Node, "calls", a.Attempt)
	w.fallBack(a.Wake)
}

// escalate runs this host's wake hook for a node that has not answered the calls. It does not wait for the hook. The magic packets go
// on: a host that gets its power back may sleep again before it boots.
func (w *waking) escalate(ctx context.Context, running *sync.WaitGroup, a wake.Action) {
	if why := w.noHook(a.Wake); why != "" {
		w.log.Warn("the wake hook is not run", "node", a.Wake.Node, "why", why)
		return
	}
	sentence := a.Wake.Node + " did not wake after " + plural(a.Attempt, "call") + ": the wake hook was run"
	w.mu.Lock()
	w.gaveUp[a.Wake.Node] = sentence
	pause := min(max(2*w.hooked[a.Wake.Node].pause, hookPause), hookPauseMost)
	w.hooked[a.Wake.Node] = hookRun{wake: a.Wake.ID, at: w.clock.Boot(), pause: pause}
	w.mu.Unlock()
	w.log.Error(sentence, "node", a.Wake.Node, "reason", a.Wake.Cause)
	w.failed(a.Wake.ID) // what the hook does from here on says nothing about how long this host takes
	if note := (fsm.NoteWake{ID: a.Wake.ID, Note: "the wake hook was run after " + plural(a.Attempt, "call")}); len(belated(w.machine.View().State, note)) == 0 {
		w.record(note)
	}
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
			w.gaveUp[a.Wake.Node] = a.Wake.Node + " did not wake after " + plural(a.Attempt, "call") + ", and the wake hook failed: " + err.Error()
		}
	})
}

// noHook says why the hook is not to be run for a node: a host that may be up, which is cut off from here or only slow to say so, would
// lose its power in the middle of its work.
func (w *waking) noHook(k wake.Wake) string {
	v := w.scene.view()
	n, known := v.State.Nodes[k.Node]
	at := v.Present[k.Node]
	w.mu.Lock()
	last, ran := w.hooked[k.Node]
	w.mu.Unlock()
	switch {
	case !known:
		return "the host has left the cluster"
	case w.raft.Leader() == "":
		return "there is no leader, so what the log says of the host may be old"
	case at.Alive && at.Power == fsm.Awake && at.Sleeps >= k.Sleeps:
		return "the host says that it is awake"
	case n.Power == fsm.Awake || n.Power == fsm.Suspending || n.Sleeps != k.Sleeps:
		return "the host counts as " + string(n.Power)
	case n.Maintenance:
		return "the host is in maintenance"
	case ran && v.Now.Sub(last.at) < last.pause:
		return "it was run for this host " + v.Now.Sub(last.at).Round(time.Second).String() + " ago, and is not run again before " + last.pause.String() + " are over"
	}
	return ""
}

// hookEnv is what a wake hook is told.
func (w *waking) hookEnv(k wake.Wake) []string {
	var macs []string
	for _, m := range w.addresses(k.Node) {
		macs = append(macs, m.String())
	}
	n := w.machine.View().State.Nodes[k.Node]
	return []string{
		"NIGHTPORTER_NODE=" + k.Node, "NIGHTPORTER_POWER=" + k.Power, "NIGHTPORTER_ADDRESS=" + n.Addr.Addr().String(),
		"NIGHTPORTER_WAKE=" + strings.Join(macs, " "), "NIGHTPORTER_CAUSE=" + k.Cause, "NIGHTPORTER_SERVICE=" + k.Service,
	}
}

// alsoHooked adds the hook to the sentence about a wake in which it was run.
func (w *waking) alsoHooked(k wake.Wake) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hooked[k.Node].wake == k.ID {
		return " and the wake hook"
	}
	return ""
}
