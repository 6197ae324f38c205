package cluster

import (
	"cmp"
	"maps"
	"slices"

	"nightporter/fsm"
	"nightporter/internal/mutant"
)

// Plan says which assignments the leader should propose now. It is a pure function: the same view gives the same
// plan, and after the plan is carried out it is empty.
//
// Preference: a ready target in the order of the definition, else an awake front; an owner that can go on keeps the
// service (sticky), but a front gives it to a target that became ready. Where a service has checks, a target is ready when they pass
// there, and one where they do not pass holds nothing, not even as a front: it would refuse its clients.
func Plan(v View) []fsm.Assign {
	if v.State == nil || v.State.Cluster.ID == "" {
		return nil
	}
	load := v.load()
	var plan []fsm.Assign
	for _, name := range slices.Sorted(maps.Keys(v.State.Services)) {
		sv, own := v.State.Services[name], v.State.Ownerships[name]
		owner, reason := v.next(sv, own, load)
		if reason == "" {
			continue
		}
		load[owner]++
		plan = append(plan, fsm.Assign{
			Service: name, Owner: owner, Planned: own.Epoch, Reason: reason, At: v.Wall, By: v.Self, Detail: v.detail(sv, own, reason),
		})
	}
	return plan
}

// detail is what a person wants to know beside the reason.
func (v View) detail(sv fsm.Service, own fsm.Ownership, reason fsm.Reason) string {
	if reason == fsm.CheckFailed {
		return own.Owner + ": " + v.sick(sv, own)
	}
	return ""
}

// next decides one service: the owner it should have, and the reason for a change ("" = leave it).
func (v View) next(sv fsm.Service, own fsm.Ownership, load map[string]int) (string, fsm.Reason) {
	lost := v.lost(sv, own)
	if lost == "" {
		if t := v.takesBack(sv, own); t != "" {
			return t, v.regained(sv.Name, t)
		}
		return "", ""
	}
	owner := v.candidate(sv, own.Owner, load)
	if owner == "" {
		// Nobody else can take it. An owner that only fell silent may come back under its own epoch; one that must
		// give it up (it sleeps, leaves, is drained) does so only when somebody takes it, except that a dead record
		// is not left standing as the owner.
		if own.Owner != "" && lost == fsm.OwnerLeft {
			return "", fsm.NobodyAvailable
		}
		if lost == fsm.OwnerDrained && v.State.Drains[own.Owner].Force {
			return "", lost
		}
		if lost == fsm.OwnerFailed && v.eligible(own.Owner) && !v.damped(sv.Name, own.Owner) {
			return own.Owner, lost // it is back, and may have released its epoch: a new one
		}
		return "", ""
	}
	return owner, lost
}

// lost says why the present owner cannot keep the service, or "".
func (v View) lost(sv fsm.Service, own fsm.Ownership) fsm.Reason {
	if own.Owner == "" {
		if own.Epoch == 0 {
			return fsm.FirstOwner
		}
		if own.Reason == fsm.ServiceChanged || own.Reason == fsm.ServiceDeleted {
			return fsm.ServiceChanged
		}
		switch own.Reason {
		case fsm.OwnerDrained:
			return fsm.DrainEnded
		case fsm.ClusterRecovered, fsm.FirstOwner:
			return own.Reason
		}
		return fsm.OwnerFailed
	}
	n, known := v.State.Nodes[own.Owner]
	if mutant.On(mutant.NoHandOver) && known && n.Power != fsm.Off { // breaks I7 and I8: who sleeps is found out like a crash
		n.Power = fsm.Awake
	}
	switch {
	case !known:
		return fsm.OwnerLeft
	case n.Power == fsm.Suspending:
		return fsm.OwnerSleeps
	case n.Maintenance, n.Role == fsm.Witness: // it has become one
		return fsm.OwnerDrained
	case n.Power == fsm.Asleep || n.Power == fsm.Waking:
		return fsm.OwnerAsleep
	case v.Present[own.Owner].Alive && v.Present[own.Owner].Unfit == Stopping:
		return fsm.OwnerDrained // as its own plan says (Relieve): whichever comes first, it is no failure
	case v.Present[own.Owner].Alive && v.Present[own.Owner].Unfit != "":
		return fsm.OwnerUnfit
	case n.Power == fsm.Off && !v.Present[own.Owner].Alive:
		return fsm.OwnerFailed
	case v.Silent(sv.Name, own) && !(v.Present[own.Owner].Alive && v.restless(sv.Name, own)):
		return fsm.OwnerFailed
	case v.sick(sv, own) != "":
		return fsm.CheckFailed
	}
	return ""
}

// takesBack gives the target that should take a service from the front that holds it, or "". An operator's move
// stays in force until a target comes back after it.
func (v View) takesBack(sv fsm.Service, own fsm.Ownership) string {
	if slices.Contains(sv.Targets, own.Owner) || v.Engaged[sv.Name] {
		return ""
	}
	for _, t := range sv.Targets {
		if !v.Ready(sv, t) || v.damped(sv.Name, t) {
			continue
		}
		if v.StaysMoved(sv.Name, t) {
			continue
		}
		return t
	}
	return ""
}

// candidate gives the best node to hold a service other than the one that lost it, or "".
func (v View) candidate(sv fsm.Service, not string, load map[string]int) string {
	for _, t := range sv.Targets {
		if t != not && v.Ready(sv, t) && !v.damped(sv.Name, t) {
			return t
		}
	}
	var fronts []string
	for name := range v.State.Nodes {
		if name != not && v.CannotTake(sv, name) == "" {
			fronts = append(fronts, name)
		}
	}
	if len(fronts) == 0 {
		return ""
	}
	return slices.MinFunc(fronts, v.byRank(sv, load))
}

// byRank puts the better front first.
func (v View) byRank(sv fsm.Service, load map[string]int) func(a, b string) int {
	return func(a, b string) int {
		return cmp.Or(
			cmp.Compare(v.frontRank(sv, a), v.frontRank(sv, b)),
			cmp.Compare(v.preparing(sv, a), v.preparing(sv, b)),
			cmp.Compare(load[a], load[b]),
			cmp.Compare(a, b),
		)
	}
}

// preparing puts the host first that prepares the identity already: another one would have to begin.
func (v View) preparing(sv fsm.Service, name string) int {
	if v.Heirs[sv.Name] == name {
		return 0
	}
	return 1
}

// frontRank orders fronts: always-on hosts first, then sleepers; the leader last of its kind, so that one crash does not
// take both; a node that keeps losing this service last of all.
func (v View) frontRank(sv fsm.Service, name string) int {
	rank := 0
	if name == v.Leader {
		rank++
	}
	if v.State.Nodes[name].Policy != fsm.AlwaysOn {
		rank += 2
	}
	if v.damped(sv.Name, name) {
		rank += 4
	}
	return rank
}

// LeadElsewhere gives the voter that should lead instead of this node, or "": a leader that owns a service hands the lead to
// an always-on voter that owns none. The crash of a host that both leads and holds costs an election on top. So does one in maintenance:
// it is to be switched off.
func LeadElsewhere(v View, voters []string) string {
	load := v.load()
	if load[v.Self] == 0 && !v.State.Nodes[v.Self].Maintenance {
		return ""
	}
	for _, name := range voters {
		if name != v.Self && load[name] == 0 && v.eligible(name) && v.State.Nodes[name].Policy == fsm.AlwaysOn {
			return name
		}
	}
	return ""
}

// load counts the services that each node owns.
func (v View) load() map[string]int {
	load := make(map[string]int)
	for name := range v.State.Services {
		if o := v.State.Ownerships[name].Owner; o != "" {
			load[o]++
		}
	}
	return load
}
