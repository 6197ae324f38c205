package cluster

import (
	"encoding/json"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"nightporter/fsm"
	"nightporter/internal/mutant"
	"nightporter/lease"
)

// HealthState is what a target's checks of one service have come to.
type HealthState string

// The states. Only the first one makes a target ready: a dead check is not a healthy one.
const (
	HealthReady   HealthState = "ready"
	HealthFailing HealthState = "failing"
	HealthUnknown HealthState = "unknown" // not asked yet, or the last result is too old
)

// Timing of what targets say of their health, while there are checks. It goes through gossip's messages, never through the log.
const (
	HealthRepeat = 2 * time.Second // between two words when nothing changed
	HealthFresh  = 7 * time.Second // the age from which on a word says nothing: three repetitions may get lost
)

// HealthReport is what a node says of the services of which it is a target. Seq rises with each report of one incarnation.
type HealthReport struct {
	Incarnation uint64          `json:"i"`
	Seq         uint64          `json:"q"`
	Sleeps      uint64          `json:"z"` // the node's count of sleeps: what was true before a sleep says nothing after it
	Services    []ServiceHealth `json:"s"`
}

// ServiceHealth is one service in it.
type ServiceHealth struct {
	Service string      `json:"s"`
	Sum     uint32      `json:"c"` // of the definition that was asked about (ChecksSum)
	State   HealthState `json:"t"`
	Why     string      `json:"w,omitempty"` // a sentence, unless it is ready
}

// Health is what this node has heard of one target.
type Health struct {
	State  HealthState
	Why    string
	Sum    uint32
	Sleeps uint64
	Heard  lease.Boot // on this node's clock; 0 = never
	Ready  lease.Boot // when it last said that it is ready

	incarnation, seq uint64
}

// ServiceChecks is what this node knows about the health of one service's targets. Since is when it began to listen to what they
// say of the present definition.
type ServiceChecks struct {
	Sum     uint32
	Since   lease.Boot
	Targets map[string]Health // by node
}

// HealthTable is that by service. It is a pure state machine: time is passed in. Not safe for concurrent use.
type HealthTable map[string]ServiceChecks

// ChecksSum tells one definition of checks from another.
func ChecksSum(sv fsm.Service) uint32 {
	sum := fnv.New32a()
	_ = json.NewEncoder(sum).Encode([]any{sv.Asks(), sv.Addresses}) // a hash takes everything
	return sum.Sum32()
}

// Expect brings the table in line with the definitions. deaf says that this node may have missed what was said: then nothing that
// it did not hear counts against anybody yet.
func (t HealthTable) Expect(now lease.Boot, services map[string]fsm.Service, deaf bool) {
	for name := range t {
		if !services[name].Checked() {
			delete(t, name)
		}
	}
	for name, sv := range services {
		if !sv.Checked() {
			continue
		}
		c, sum := t[name], ChecksSum(sv)
		if c.Targets == nil || c.Sum != sum || deaf {
			if c.Targets == nil {
				c.Targets = make(map[string]Health)
			}
			c.Sum, c.Since = sum, now
		}
		for node := range c.Targets {
			if !slices.Contains(sv.Targets, node) {
				delete(c.Targets, node)
			}
		}
		t[name] = c
	}
}

// Hear takes in what a node says and gives the services of which it says something else than before. What comes late or twice
// changes nothing.
func (t HealthTable) Hear(now lease.Boot, from string, r HealthReport) (news bool) {
	for _, s := range r.Services {
		c, known := t[s.Service]
		old := c.Targets[from]
		if !known || r.Incarnation < old.incarnation || (r.Incarnation == old.incarnation && r.Seq <= old.seq) {
			continue
		}
		h := Health{
			State: s.State, Why: s.Why, Sum: s.Sum, Sleeps: r.Sleeps, Heard: now, Ready: old.Ready,
			incarnation: r.Incarnation, seq: r.Seq,
		}
		if h.State == HealthReady {
			h.Ready = now
		}
		news = news || h.State != old.State || h.Sum != old.Sum || h.Sleeps != old.Sleeps || now.Sub(old.Heard) > HealthFresh
		c.Targets[from] = h
	}
	return news
}

// Clone gives a copy that stays as it is.
func (t HealthTable) Clone() HealthTable {
	out := make(HealthTable, len(t))
	for name, c := range t {
		c.Targets = maps.Clone(c.Targets)
		out[name] = c
	}
	return out
}

// Readiness says whether a target's checks let it have a service, and if not, why. Without checks every target is ready.
func (v View) Readiness(sv fsm.Service, node string) (HealthState, string) {
	if !sv.Checked() {
		return HealthReady, ""
	}
	c := v.Health[sv.Name]
	h, heard := c.Targets[node]
	switch {
	case !heard:
		return HealthUnknown, "nothing was heard of its checks yet"
	case h.Sum != c.Sum:
		return HealthUnknown, "it has not carried out the checks of the present definition yet"
	case h.Sleeps != v.State.Nodes[node].Sleeps:
		return HealthUnknown, "it has not carried out the checks since its last sleep"
	case v.Now.Sub(h.Heard) > HealthFresh:
		return HealthUnknown, "its last word about the checks is " + v.Now.Sub(h.Heard).Round(time.Second).String() + " old"
	case h.State == HealthReady:
		return HealthReady, ""
	case h.State == HealthFailing:
		return HealthFailing, h.Why
	}
	return HealthUnknown, h.Why
}

// Ready says whether a target could take its service now.
func (v View) Ready(sv fsm.Service, node string) bool {
	state, _ := v.Readiness(sv, node)
	return (state == HealthReady || mutant.On(mutant.Unready)) && v.eligible(node) // the mutant breaks I5
}

// CannotTake says why a node could not take a service now; "" = it could. A front needs no check to pass: it answers nobody.
func (v View) CannotTake(sv fsm.Service, node string) string {
	if why := v.CannotHold(node); why != "" || !slices.Contains(sv.Targets, node) {
		return why
	}
	if state, why := v.Readiness(sv, node); state != HealthReady {
		return node + " is not ready for " + sv.Name + ": " + why
	}
	return ""
}

// sick says why a target that owns a service may not keep it, or "". One of which nothing is heard, because its agent was just
// started or its checks hang, is given as long as a failing check takes to be found out.
func (v View) sick(sv fsm.Service, own fsm.Ownership) string {
	if !slices.Contains(sv.Targets, own.Owner) {
		return ""
	}
	state, why := v.Readiness(sv, own.Owner)
	switch {
	case state == HealthReady:
		return ""
	case state == HealthFailing:
		return why
	}
	c := v.Health[sv.Name]
	since := max(c.Targets[own.Owner].Ready, c.Since)
	if v.TableAge < 2*v.Timing.TTL || v.Now.Sub(since) <= max(sv.Silence(), HealthFresh) {
		return ""
	}
	return why
}

// regained is why a target takes its service from a front.
func (v View) regained(service, target string) fsm.Reason {
	h := v.State.History[service]
	for i := len(h) - 1; i >= 0; i-- {
		if h[i].From == target {
			if h[i].Reason == fsm.CheckFailed {
				return fsm.CheckPassed
			}
			break
		}
	}
	return fsm.TargetReady
}
