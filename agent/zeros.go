package agent

import "nightporter/fsm"

// What the alert rules count by. Prometheus sees no rise in a series that begins with its first event, so a rule would miss it: these series
// begin with 0 instead, and a test compares them with the rules.
var (
	// lostBy are the reasons of changes of owner by which a service lost its holder without being asked to.
	lostBy = []fsm.Reason{fsm.OwnerFailed, fsm.OwnerUnfit, fsm.OwnerAsleep, fsm.CheckFailed, fsm.NobodyAvailable}
	// takenBy are all those of changes from one holder to the next.
	takenBy = []fsm.Reason{
		fsm.OwnerFailed, fsm.OwnerLeft, fsm.OwnerSleeps, fsm.OwnerDrained, fsm.OwnerUnfit, fsm.OwnerAsleep, fsm.TargetReady, fsm.BetterTarget,
		fsm.OperatorMoved, fsm.ServiceChanged, fsm.ForeignHolder, fsm.CheckFailed, fsm.CheckPassed,
	}
	refusedBy = []string{overBudget, overBudgetAll}
)

// zeros makes the series that the rules need, before something is counted in them. Those of what was deleted stay until the agent ends.
func (f *figures) zeros(state *fsm.State) {
	for _, r := range takenBy {
		f.silences.blackouts.Ensure(string(r))
	}
	sleeps := func(name string) bool { return state.Nodes[name].Policy == fsm.Sleeps }
	for name, sv := range state.Services {
		for _, r := range lostBy {
			f.transitions.Ensure(name, string(r))
		}
		f.silences.sums.Ensure(name)
		for _, why := range refusedBy {
			f.refused.Ensure(name, why)
		}
		for _, node := range sv.Targets {
			if sleeps(node) {
				f.judged.Ensure(node, name, string(fsm.Spurious))
			}
		}
	}
	for name := range state.Nodes {
		if sleeps(name) {
			for _, p := range phases {
				f.phases.Ensure(name, p.name)
			}
		}
	}
}
