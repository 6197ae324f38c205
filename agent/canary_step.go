package agent

import (
	"fmt"
	"slices"
	"time"

	"nightporter/fsm"
)

// A canary is one supervised sleep and wake of a node. Where it stands is told by the log alone, so a new leader goes on with it where the
// former one died; what is due next is a pure function.

// canaryAct is what is due.
type canaryAct int

// The acts.
const (
	canaryWait  canaryAct = iota
	canaryPut             // commit that the node is to sleep
	canaryAsk             // find out whether it still answers
	canaryCall            // it sleeps: magic packets
	canaryClose           // it is over
)

// Times of a canary.
const (
	// canaryRest is how long a node must not have answered until it counts as asleep. A card that is called while the host is still on
	// its way down does not notice, and a host that never slept would seem to have been woken.
	canaryRest = 5 * time.Second
	// canaryBegins is how long it may take until the node begins to suspend: the leader may change meanwhile.
	canaryBegins = time.Minute
	// canaryLasts is above a hand-over and the longest wake_timeout together.
	canaryLasts = 15 * time.Minute
	// canaryMeasured is how long the measurement of its wake is waited for.
	canaryMeasured = 5 * time.Second
)

// canaryScene is what is seen of one that is under way.
type canaryScene struct {
	canary fsm.Canary
	node   fsm.Node
	age    time.Duration // since it began
	silent time.Duration // since when the node has answered nothing; 0 = it answers, or nobody has asked
	awake  time.Duration // since when it is seen to be back
	called bool          // the wake that belongs to it is recorded
	slept  bool          // the node was seen to be asleep on record
	reborn bool          // its agent is another process than before the sleep
	phases fsm.Phases    // of that, once it is measured
}

// canaryNext says what is due; where it is over also how it ended, and a sentence.
func canaryNext(s canaryScene) (canaryAct, fsm.Reason, string) {
	switch n := s.node; {
	case n.Sleeps == s.canary.Sleeps && n.Power == fsm.Awake && s.age < canaryBegins:
		return canaryPut, "", ""
	case n.Sleeps == s.canary.Sleeps:
		return canaryClose, fsm.CanaryCalledOff, "it did not begin to sleep within " + canaryBegins.String()
	case n.Sleeps != s.canary.Sleeps+1:
		return canaryClose, fsm.CanaryCalledOff, "it went to sleep another time meanwhile"
	case n.Power == fsm.Awake:
		return canaryBack(s)
	case n.Power == fsm.Off:
		return canaryClose, fsm.CanaryFailed, "it fell silent on its way into the sleep, and did not come back"
	case n.Power == fsm.Asleep && n.PowerReason == fsm.GaveUp:
		return canaryClose, fsm.CanaryFailed, "it slept, was called again and again, and did not come back"
	case s.age >= canaryLasts:
		return canaryClose, fsm.CanaryFailed, "it did not come back within " + canaryLasts.String()
	case n.Power != fsm.Asleep:
		return canaryWait, "", ""
	case s.silent >= canaryRest:
		return canaryCall, "", ""
	}
	return canaryAsk, "", ""
}

// canaryBack judges the return.
func canaryBack(s canaryScene) (canaryAct, fsm.Reason, string) {
	switch s.node.PowerReason {
	case fsm.WokeUp:
		switch {
		case !s.called:
			return canaryClose, fsm.CanaryCalledOff, "somebody called it before it was seen to sleep"
		case s.reborn:
			return canaryClose, fsm.CanaryFailed, "it came up anew instead of going on: it lost its power, or its kernel or its agent crashed"
		}
		if s.phases == (fsm.Phases{}) && s.awake < canaryMeasured {
			return canaryWait, "", ""
		}
		return canaryClose, fsm.CanaryPassed, fmt.Sprintf("it slept, was called, and came back%s", after(s.phases))
	case fsm.WokeUnasked:
		return canaryClose, fsm.CanaryFailed, "it woke before it was called: something else wakes it, or it did not really suspend"
	case fsm.SleepCancelled:
		return canaryClose, fsm.CanaryCalledOff, "somebody wanted it before it slept"
	case fsm.SuspendTimeout: // which says nothing of how it sleeps or wakes
		return canaryClose, fsm.CanaryCalledOff, "its services were not handed over in time; its log says more"
	case fsm.SuspendFailed:
		if !s.slept { // it could not, or its programs want it awake: nothing was tried
			return canaryClose, fsm.CanaryCalledOff, "it did not begin to suspend; its log says more"
		}
		return canaryClose, fsm.CanaryFailed, fmt.Sprintf("it did not go to sleep (%s); its log says more", s.node.PowerReason)
	}
	return canaryClose, fsm.CanaryFailed, fmt.Sprintf("it did not wake from a sleep, but came back in another way (%s)", s.node.PowerReason)
}

func after(p fsm.Phases) string {
	if p.Awake == 0 {
		return ""
	}
	return " after " + round(p.Awake).String()
}

// canaryRunning gives the node whose canary is under way; there is one at most.
func canaryRunning(state *fsm.State) (string, fsm.Canary, bool) {
	for node, f := range state.Fitness {
		if f.Canary.Running() {
			return node, f.Canary, true
		}
	}
	return "", fsm.Canary{}, false
}

// canaryWake finds what is recorded of the wake that belongs to a canary.
func canaryWake(state *fsm.State, node, id string) (called bool, phases fsm.Phases) {
	called = slices.ContainsFunc(state.Wakes, func(w fsm.Wake) bool { return w.ID == id })
	for _, s := range state.WakeTimes[node].Samples {
		if s.ID == id {
			return true, s.Phases
		}
	}
	return called, phases
}
