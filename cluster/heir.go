package cluster

import (
	"slices"

	"nightporter/fsm"
)

// standsFormat is the format of the state that came with the words between leader and heir: an older version answers none.
const standsFormat = 2

// Serves says whether a change of owner for a reason leaves an owner behind who serves on until his heir is prepared. Else he does not
// serve, or not well.
func Serves(r fsm.Reason) bool {
	switch r {
	case fsm.OperatorMoved, fsm.OwnerSleeps, fsm.OwnerDrained, fsm.OwnerLeft, fsm.TargetReady, fsm.CheckPassed:
		return true
	}
	return false
}

// Planned says whether an assignment takes a service from an owner that can serve on until its heir has prepared the identity. Then the
// record waits for that: once it is committed, the voters renew no lease under the former one, and a host that takes over many
// services at one time prepares them for longer than a lease lasts.
//
// A target that its checks call ready has prepared it already.
func (v View) Planned(a fsm.Assign) bool {
	sv, known := v.State.Services[a.Service]
	own := v.State.Ownerships[a.Service]
	from, to := v.State.Nodes[own.Owner], v.State.Nodes[a.Owner]
	if !known || own.Owner == "" || a.Owner == "" || own.Owner == a.Owner || own.Epoch != a.Planned {
		return false
	}
	if !Serves(a.Reason) {
		return false
	}
	serves := v.Present[own.Owner].Alive && (from.Power == fsm.Awake || from.Power == fsm.Suspending) && !v.Silent(a.Service, own)
	takes := v.Present[a.Owner].Alive && to.Format >= standsFormat && !(sv.Checked() && slices.Contains(sv.Targets, a.Owner))
	return serves && takes
}
