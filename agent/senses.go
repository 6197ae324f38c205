package agent

import (
	"context"
	"net/netip"
	"time"

	"nightporter/fsm"
	"nightporter/idle"
)

// Senses finds out whether anybody uses this host.
type Senses interface {
	// Sense looks once, at a time on CLOCK_BOOTTIME. What cannot be found out is a reason to be awake as well; notes are sentences about what is
	// not looked at. It takes no longer than the longest of its time limits.
	Sense(ctx context.Context, now time.Duration, services []Watched) (reasons []idle.Reason, notes []string)
	Forget() // what was there before does not count as new: after a suspend
	Close() error
}

// Watched is a service whose connections are use of this host.
type Watched struct {
	Service   string
	Addresses []netip.Addr
	// Ports are those that it guards, where this host is its target: a connection to one of them at the host's own address is use of the
	// service too. One that a front passes on is such a connection.
	Ports []fsm.Port
}
