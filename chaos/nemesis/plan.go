// Package nemesis does to a laboratory's cluster what the world does to real ones, by a plan that a seed fixes: which fault,
// when, for how long, to whom. To whom may be a role: who leads or holds at that moment is the cluster's own doing, so the
// same seed does not make the same run, only the same plan.
//
// Goroutines: one per deed that is under way; Run waits for all of them.
package nemesis

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"nightporter/chaos/history"
)

// Role names the victim of a deed.
type Role string

// The roles. Any is a host that the plan names.
const (
	Any    Role = "any"
	Leader Role = "leader" // of Raft
	Holder Role = "holder" // of the deed's service
	Front  Role = "front"  // a holder that is not one of the service's targets; else any holder
	All    Role = "all"    // everyone at once
)

// Deed is one planned fault.
type Deed struct {
	At      time.Duration `json:"at"` // since the beginning
	For     time.Duration `json:"for"`
	Kind    history.Kind  `json:"kind"`
	Role    Role          `json:"role"`
	Host    string        `json:"host"`    // the victim, or the one to take where nobody has the role
	Service string        `json:"service"` // whose holder, or whose address
	Seed    uint64        `json:"seed"`    // for what is drawn when the deed is done
	Group   []string      `json:"group,omitempty"`
	Way     string        `json:"way,omitempty"` // of kinds that have several
}

// String says it in a line.
func (d Deed) String() string {
	who := d.Host
	if d.Role != Any {
		who = string(d.Role)
		if d.Role == Holder || d.Role == Front {
			who += " of " + d.Service
		}
	}
	if len(d.Group) > 0 {
		who = fmt.Sprint(d.Group)
	}
	s := fmt.Sprintf("%8s %-9s %s for %s", d.At.Round(time.Millisecond), d.Kind, who, d.For.Round(time.Millisecond))
	if d.Way != "" {
		s += " (" + d.Way + ")"
	}
	return s
}

// Field is what a plan is made for.
type Field struct {
	Hosts     []string
	Sleepers  []string // who of them may sleep
	Services  []string
	Switch    string        // "user": frames can be delayed, doubled and reordered
	Failover  time.Duration // the cluster's
	LookAfter time.Duration // after which a sleeper's clock wakes it to look after the others; 0 = it does not
}

// card is one kind of deed in the deck, with how long it may last.
type card struct {
	kind     history.Kind
	role     Role
	way      string
	min, max time.Duration
}

// deck is one round of everything. A round of 40 deeds takes about six minutes.
func deck() []card {
	const s = time.Second
	return []card{
		{history.Kill, Leader, "", 0, 6 * s},
		{history.Kill, Holder, "", 0, 6 * s},
		{history.Kill, Front, "", 0, 3 * s},
		{history.Stop, Leader, "", s / 2, 5 * s},
		{history.Stop, Holder, "", s / 2, 6 * s},
		{history.Stop, Any, "", s / 4, 5 * s},
		{history.PowerOff, Leader, "", s / 2, 6 * s},
		{history.PowerOff, Holder, "", s / 2, 6 * s},
		{history.PowerOff, Front, "", s, 5 * s},
		{history.PowerOff, All, "", s / 2, 2 * s},
		{history.Kill, All, "", 0, s},
		{history.Restart, Holder, "", 0, 0},
		{history.Restart, Any, "", 0, 0},
		{history.Freeze, Holder, "magic", s / 2, 8 * s},
		{history.Freeze, Leader, "button", s / 2, 6 * s},
		{history.Freeze, Any, "magic", s, 10 * s},
		{history.Isolate, Holder, "", s / 2, 6 * s},
		{history.Isolate, Leader, "", s / 2, 6 * s},
		{history.Cable, Holder, "", s / 2, 5 * s},
		{history.Flap, Holder, "", 2 * s, 5 * s},
		{history.Flap, Any, "", 2 * s, 5 * s},
		{history.Partition, Any, "", s, 8 * s},
		{history.Partition, Any, "", s, 8 * s},
		{history.Partition, Any, "partial", s, 6 * s},
		{history.OneWay, Holder, "out", s, 6 * s},
		{history.OneWay, Leader, "in", s, 6 * s},
		{history.Noise, Any, "loss", 3 * s, 8 * s},
		{history.Noise, Any, "delay", 3 * s, 8 * s},
		{history.Noise, Any, "everything", 3 * s, 8 * s},
		{history.Starve, Holder, "", 2 * s, 6 * s},
		{history.Starve, Leader, "", 2 * s, 6 * s},
		{history.Clock, Holder, "wall", s, 3 * s},
		{history.Clock, Any, "boot", s, 3 * s},
		{history.Clock, Leader, "wall", s, 3 * s},
		{history.Disk, Leader, "slow", 2 * s, 6 * s},
		{history.Disk, Any, "full", 2 * s, 6 * s},
		{history.Disk, Leader, "failing", 2 * s, 5 * s},
		{history.Wipe, Any, "", s, 2 * s},
		{history.Damage, Any, "", s, 2 * s},
		{history.Foreign, Holder, "", s, 4 * s},
		{history.Garbage, Any, "", s, 2 * s},
	}
}

// deck is the one for a field. A corrupted disk may be that of the only voter of two hosts, and then is the end of the cluster.
func (f Field) deck() []card {
	return slices.DeleteFunc(deck(), func(c card) bool { return len(f.Hosts) == 2 && c.kind == history.Damage })
}

// Plan makes the deeds of a run: rounds of the shuffled deck, with pauses in which the cluster can catch its breath, and now
// and then none, so that faults meet. Each round begins with the stories of the cluster's shape.
func Plan(seed uint64, f Field, length time.Duration) []Deed {
	r := rand.New(rand.NewPCG(seed, 0x6e656d6573697300))
	var out []Deed
	var cards []card
	now := between(r, 500*time.Millisecond, 2*time.Second)
	for {
		if len(cards) == 0 {
			cards = f.deck()
			r.Shuffle(len(cards), func(i, j int) { cards[i], cards[j] = cards[j], cards[i] })
			cards = append(f.stories(), cards...)
		}
		d := cards[0].draw(r, f)
		cards = cards[1:]
		d.At = now
		if now += d.For; now > length {
			return out
		}
		out = append(out, d)
		if r.IntN(4) == 0 {
			now -= d.For * 2 / 3 // the next one meets it
		} else {
			now += between(r, 200*time.Millisecond, 3*f.Failover+time.Second)
		}
	}
}

func between(r *rand.Rand, least, most time.Duration) time.Duration {
	if most <= least {
		return least
	}
	return least + time.Duration(r.Int64N(int64(most-least)))
}

// draw makes a deed of a card.
func (c card) draw(r *rand.Rand, f Field) Deed {
	d := Deed{
		Kind: c.kind, Role: c.role, Way: c.way, For: between(r, c.min, c.max), Seed: r.Uint64(),
		Host: f.Hosts[r.IntN(len(f.Hosts))], Service: f.Services[r.IntN(len(f.Services))],
	}
	switch {
	case c.kind == history.Partition:
		hosts := append([]string(nil), f.Hosts...)
		r.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
		d.Group = hosts[:1+r.IntN(len(hosts)-1)]
	case c.kind == history.Noise && f.Switch != "user":
		d.Way = "loss" // the kernel's bridge can do no more
	case c.kind == history.OneWay && r.IntN(2) == 0:
		d.Way = map[string]string{"in": "out", "out": "in"}[c.way]
	}
	return d
}
