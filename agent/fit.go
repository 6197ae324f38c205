package agent

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"nightporter/fsm"
	"nightporter/idle"
)

// Whether a node can be woken, as a pure function of the replicated state. Whoever puts a node to sleep asks first: `nightporter sleep`,
// the node itself when it is idle, and the leader, when it commits that.

// lookAt is what keeps hosts from being woken.
const lookAt = "look at the firmware's settings (Wake-on-LAN on; ErP and deep sleep off), the cable and the switch's port, and the driver of its card"

// unfitToWake says why a node must not be put to sleep, and what to do about it, one sentence; "" = it may. Where a member of an older
// version would halt at what is recorded about it, nothing is known and nothing is asked.
func unfitToWake(state *fsm.State, node string) string {
	why, do := whyUnfit(state, node)
	if do != "" {
		why += ": " + do
	}
	return why
}

// whyUnfit is the same in its two parts.
func whyUnfit(state *fsm.State, node string) (why, do string) {
	n := state.Nodes[node]
	if n.Policy != fsm.Sleeps || len(belated(state, fsm.ReportFitness{})) > 0 {
		return "", ""
	}
	f, told := state.Fitness[node]
	canary := "`nightporter canary " + node + "` shows whether it can be woken now"
	switch {
	case f.Revoked.Reason == fsm.WakeFailed:
		return fmt.Sprintf("%s could not be woken from its last sleep (%s)", node, f.Revoked.Detail), lookAt + "; then " + canary
	case !told || f.Report.Canary == "":
		return node + " has not said yet whether it can be woken", "look whether its agent runs and is in touch, with `nightporter status` there"
	case f.Report.WoL == fsm.WoLUnarmed:
		return fmt.Sprintf("no magic packet would wake %s: %s", node, f.Report.Why), ""
	case len(n.Wake) == 0 || !subset(f.Report.Wake, n.Wake):
		return fmt.Sprintf("magic packets for %s would go to %s, and its cards have %s now", node, macList(n.Wake), macList(f.Report.Wake)), "this is put right within seconds while it is in touch"
	case f.Report.Canary == fsm.CanaryOff:
		return "", ""
	case f.Canary.Running():
		return "the canary of " + node + " is under way", "wait for its end"
	case f.Revoked.Reason == fsm.CanaryFailed:
		return fmt.Sprintf("the canary of %s has failed (%s)", node, f.Revoked.Detail), lookAt + "; then " + canary
	case f.Revoked.Reason != "":
		return fmt.Sprintf("%s was woken from a canary, and since then %s", node, f.Revoked.Detail), canary + byItself(f)
	case f.Print == "":
		return node + " has never shown that it can be woken", canary + byItself(f)
	case f.Print != f.Report.Fingerprint(): // cannot be: a report of another one revokes
		return node + " was woken from a canary as another machine than it is now", canary
	}
	return "", ""
}

// byItself says when a canary needs nobody.
func byItself(f fsm.Fitness) string {
	switch {
	case f.Report.Canary != fsm.CanaryAuto:
		return " (canary: manual)"
	case f.Report.Idle:
		return ", and so it does by itself when it is idle"
	}
	return " (it is not put through one by itself, since idle is not set for it)"
}

func macList(list []fsm.MAC) string {
	var words []string
	for _, m := range list {
		words = append(words, m.String())
	}
	return cmp.Or(strings.Join(words, ", "), "no address")
}

// cannotBeWoken says that a node was called in vain and nobody has cleared that up: not what may be, but what has happened.
func cannotBeWoken(f fsm.Fitness) bool {
	return f.Revoked.Reason == fsm.WakeFailed || f.Revoked.Reason == fsm.CanaryFailed
}

// Pauses between canaries that nobody asked for: after one that failed, doubled each time, and after one that was called off.
const (
	canaryFirst = time.Hour
	canaryMost  = 7 * 24 * time.Hour
	canaryAgain = 10 * time.Minute
)

// canaryDue says whether a host is to be put through a canary by itself: it is idle, and nothing keeps it awake but that it has not shown
// that it can be woken. One that clients called in vain waits for an operator.
func canaryDue(v idle.Verdict, f fsm.Fitness, wall time.Time) bool {
	if v.State != idle.Held || f.Report.Canary != fsm.CanaryAuto || f.Report.WoL == fsm.WoLUnarmed || f.Canary.Running() || f.Revoked.Reason == fsm.WakeFailed {
		return false
	}
	for _, r := range v.Reasons {
		if r.Kind == idle.Hold && r.Name != idle.Unfit {
			return false
		}
	}
	if f.Canary.ID == "" || f.Canary.Result == fsm.CanaryPassed {
		return true
	}
	pause := canaryAgain
	if f.Failed > 0 {
		pause = min(canaryFirst<<min(f.Failed-1, 10), canaryMost)
	}
	return wall.Sub(f.Canary.Ended) >= pause
}
