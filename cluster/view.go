package cluster

import (
	"time"

	"nightporter/fsm"
	"nightporter/lease"
)

// View is everything a decision may be made from, gathered at one moment. It is a value: the pure functions of this
// package read it and nothing else.
type View struct {
	Now    lease.Boot
	Wall   time.Time // only for stamps and for the damping of flaps
	Self   string
	Leader string // of Raft, "" = none known
	State  *fsm.State
	Timing Timing

	Present map[string]Presence // by node, as gossip has it
	Tenures map[string]Sign     // by service, as this voter's own table has it
	// TableAge is the time since this voter's daemon started: a table younger than 2 TTL says nothing (a renewal may
	// have been answered by the others alone).
	TableAge time.Duration

	Engaged map[string]bool // services whose owner, a front, passes connections on: they end when it gives the identity away
	Health  HealthTable     // what the targets of services with checks say of themselves

	Heirs map[string]string // by service: the host that prepares it, to get it; only the leader knows
}

// Presence is what gossip says of a node.
type Presence struct {
	Alive  bool
	Unfit  string    // why it could not hold an identity now, in its own words; "" = fit
	Power  fsm.Power // its own word; no decision rests on it, only the measuring of wakes
	Sleeps uint64    // the sleep that Power belongs to
	Deaf   bool      // the log does not reach it, though gossip does; only the leader knows
}

// Sign is the evidence that a service's owner lives.
type Sign struct {
	Epoch uint64     // the ownership epoch that the evidence is about
	Seen  lease.Boot // the later of: the owner's last request to this voter, granted or not; this node learnt of the epoch
}

// CannotHold says why a node could not hold an identity now; "" = it could. What gossip says of its power does not count:
// the record is never older than that, since a node moves its own record first.
func (v View) CannotHold(name string) string {
	n, known := v.State.Nodes[name]
	p := v.Present[name]
	switch {
	case !known:
		return name + " is no member of this cluster"
	case n.Role == fsm.Witness:
		return name + " is a witness: it votes, and holds no service"
	case n.Power != fsm.Awake:
		return name + " is " + string(n.Power)
	case n.Maintenance:
		return name + " is in maintenance"
	case !p.Alive:
		return name + " is not in touch"
	case p.Unfit != "":
		return name + " says: " + p.Unfit
	case p.Deaf:
		return "the log does not reach " + name
	}
	return ""
}

// answers says whether a voter is awake and takes part.
func (v View) answers(name string) bool {
	p := v.Present[name]
	return p.Alive && !p.Deaf && v.State.Nodes[name].Power == fsm.Awake
}

// eligible says whether a node could hold an identity now.
func (v View) eligible(name string) bool { return v.CannotHold(name) == "" }

// Silent says whether the owner of a service has given no sign of life for a whole TTL.
func (v View) Silent(service string, own fsm.Ownership) bool {
	if v.TableAge < 2*v.Timing.TTL {
		return false
	}
	sign, ok := v.Tenures[service]
	return ok && sign.Epoch == own.Epoch && v.Now.Sub(sign.Seen) >= v.Timing.TTL
}
