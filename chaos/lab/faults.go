package lab

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Shape is how the switch treats the frames of a path. Of several that fit a frame the most exact one counts alone: first
// From and To, then From, then To, then neither. Every path of one place to another has its own sequence of chances,
// which Seed fixes: the nth frame of a path meets the same fate each time.
type Shape struct {
	From string `json:"from,omitempty"` // "" = any place
	To   string `json:"to,omitempty"`   // "" = any place
	// Loss, Duplicate and Reorder are shares of the frames, from 0 to 1. A reordered frame is kept until the next frame of
	// its path has passed it, and for 10 ms at most.
	Loss      float64 `json:"loss,omitempty"`
	Duplicate float64 `json:"duplicate,omitempty"`
	Reorder   float64 `json:"reorder,omitempty"`
	// Delay comes to every frame, and up to Jitter more. Jitter alone puts no frame before an earlier one.
	Delay  time.Duration `json:"delay,omitempty"`
	Jitter time.Duration `json:"jitter,omitempty"`
	Seed   uint64        `json:"seed,omitempty"`
}

// Shape sets the treatment of a path; it takes the place of an earlier one with the same From and To. With the bridge as
// the switch only Loss can be had, and the kernel draws its chances without Seed; the rest needs Options.Switch "user".
func (l *Lab) Shape(ctx context.Context, s Shape) error {
	_, _, err := l.ask(ctx, request{Verb: "shape", Shape: s})
	return err
}

// Smooth removes every shape that names the place, as From or To; "" removes all.
func (l *Lab) Smooth(ctx context.Context, place string) error {
	_, _, err := l.ask(ctx, request{Verb: "smooth", Host: place})
	return err
}

// ClockShift is by how much the clocks of an agent are off: CLOCK_BOOTTIME, CLOCK_MONOTONIC and the wall clock, as its
// Clock reads them. The machine's own clocks are never set.
type ClockShift struct {
	Boot time.Duration `json:"boot,omitempty"`
	Mono time.Duration `json:"mono,omitempty"`
	Wall time.Duration `json:"wall,omitempty"`
}

// Clock lets the clocks of the host's agent jump by the shift, on top of what they are off by already; the zero shift
// changes nothing. They jump for the running agent and for those after it. Boot and Mono begin anew when the host is
// switched on, as on a real machine; Wall stays. A sleep of the host takes its length off Mono by itself. The kernel's
// fences and Go's own timers keep true time: a deadline that the agent gives to a fence is translated by what Boot is off at
// that moment.
//
// No kernel sets CLOCK_BOOTTIME back. With Boot below zero an agent whose lease was counted before the jump and extended
// after it may keep its fence open for as much longer, and is not to blame for it.
func (l *Lab) Clock(ctx context.Context, host string, s ClockShift) error {
	_, _, err := l.ask(ctx, request{Verb: "clock", Host: host, Clock: s})
	return err
}

// DiskFault is a disk that is slow or refuses: each write of the agent's Raft log and stable store takes Delay longer, and
// the share of them fails with Errno (ENOSPC, EIO), without having been written.
type DiskFault struct {
	Delay time.Duration `json:"delay,omitempty"`
	Errno syscall.Errno `json:"errno,omitempty"`
	Share float64       `json:"share,omitempty"` // of the writes that fail, from 0 to 1; 0 with an Errno = 1
}

// Disk makes the disk of the host's agent faulty, or with the zero fault healthy again. It takes the place of an earlier
// fault and lasts over kills and starts of the host.
func (l *Lab) Disk(ctx context.Context, host string, f DiskFault) error {
	_, _, err := l.ask(ctx, request{Verb: "disk", Host: host, Disk: f})
	return err
}

// Starve takes the processor from the host's agent for a share of the time (below 1), once per period, by SIGSTOP and
// SIGCONT; share 0 ends it. It goes on over a sleep of the host and over restarts of the agent, and ends when the host is
// switched off. A SIGSTOP that somebody else sent to the agent meanwhile is undone by it.
func (l *Lab) Starve(ctx context.Context, host string, share float64, period time.Duration) error {
	_, _, err := l.ask(ctx, request{Verb: "starve", Host: host, Starve: Starvation{Share: share, Period: period}})
	return err
}

// Starvation is what Starve does: the share of each period in which the agent is stopped.
type Starvation struct {
	Share  float64       `json:"share,omitempty"`
	Period time.Duration `json:"period,omitempty"`
}

// Claim is an address that a place uses without any right to it.
type Claim struct {
	Addr netip.Addr `json:"addr"`
	// MAC nil: the address is a second one on the card, and the kernel answers for it from the card's own MAC. Else it is on
	// a macvlan of its own with that MAC, as an identity without a fence. A host whose agent has that MAC has no room for a
	// second macvlan with it, and the claim fails.
	MAC net.HardwareAddr `json:"mac,omitempty"`
}

// Claim makes a place (a client, or a host beside its agent) use an address and announces it with a few gratuitous ARPs
// (IPv6: unsolicited neighbour advertisements). It is gone when the place is switched off.
func (l *Lab) Claim(ctx context.Context, place string, c Claim) error {
	_, _, err := l.ask(ctx, request{Verb: "claim", Host: place, Claim: c})
	return err
}

// Unclaim takes away everything that was claimed at the place; doing it twice does no harm.
func (l *Lab) Unclaim(ctx context.Context, place string) error {
	_, _, err := l.ask(ctx, request{Verb: "unclaim", Host: place})
	return err
}

// Card sets up the wake logic of a host's network card, from its next sleep on.
func (l *Lab) Card(ctx context.Context, host string, c Card) error {
	_, _, err := l.ask(ctx, request{Verb: "card", Host: host, Card: c})
	return err
}

// Wipe empties the data directory of a host that is off, as a new disk would.
func (l *Lab) Wipe(ctx context.Context, host string) error {
	_, _, err := l.ask(ctx, request{Verb: "wipe", Host: host})
	return err
}

// Damage is what was done to a file of a data directory.
type Damage struct {
	File   string `json:"file"` // beneath the data directory
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
	How    string `json:"how"` // "flipped": bits in those bytes; "cut off": from Offset on
}

// Damage damages one file of Raft's store in the data directory of a host that is off: the database, or what a snapshot
// is made of. The seed chooses file, place and kind.
func (l *Lab) Damage(ctx context.Context, host string, seed uint64) (Damage, error) {
	r, _, err := l.ask(ctx, request{Verb: "damage", Host: host, Seed: seed})
	if err != nil || r.Damage == nil {
		return Damage{}, err
	}
	return *r.Damage, nil
}
