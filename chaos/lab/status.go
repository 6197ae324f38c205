package lab

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Power is what a lab host is doing.
type Power string

// The power states. A host is resuming between the magic packet and the first instruction of its processes.
const (
	PowerOff      Power = "off"
	PowerUp       Power = "up"
	PowerAsleep   Power = "asleep"
	PowerResuming Power = "resuming"
)

// Status is a lab at one moment.
type Status struct {
	Dir     string       `json:"dir"`
	Freezer string       `json:"freezer"` // how hosts are put to sleep: "cgroup" or "SIGSTOP"
	Limits  []string     `json:"limits"`  // what is not as on a real machine, as sentences
	Hosts   []HostStatus `json:"hosts"`
	Clients []HostStatus `json:"clients"`
	Cuts    []Cut        `json:"cuts"`
	Switch  string       `json:"switch"` // "bridge" or "user"
	Shapes  []Shape      `json:"shapes,omitempty"`
}

// HostStatus is one host or client. Processes counts its whole tree.
type HostStatus struct {
	Name      string     `json:"name"`
	Power     Power      `json:"power"`
	MAC       string     `json:"mac"`
	Addr      netip.Addr `json:"addr"`
	Addr6     netip.Addr `json:"addr6"`
	Sleeper   bool       `json:"sleeper"`
	Agent     string     `json:"agent"` // "running", "none", or how it ended
	Processes int        `json:"processes"`
	Sleeps    int        `json:"sleeps"`             // since the lab was built
	Since     time.Time  `json:"since,omitzero"`     // of the power state
	WokenBy   string     `json:"woken_by,omitempty"` // how the last sleep ended
	Card      Card       `json:"card,omitzero"`
	Ignored   int64      `json:"ignored,omitempty"` // magic packets that did not wake it, because of its card
	Clock     ClockShift `json:"clock,omitzero"`    // by how much its agent's clocks are off, sleeps included
	// Slept is the time asleep since it was switched on, by which CLOCK_MONOTONIC is off and should be.
	Slept   time.Duration `json:"slept,omitempty"`
	Disk    DiskFault     `json:"disk,omitzero"`    // of its agent
	Starved Starvation    `json:"starved,omitzero"` // its agent
	Claims  []Claim       `json:"claims,omitempty"` // what it uses without a right to it
}

// Faults lists what was done to the host, as a person says it.
func (h HostStatus) Faults() []string {
	var all []string
	for _, c := range []struct {
		name string
		off  time.Duration
	}{{"CLOCK_BOOTTIME", h.Clock.Boot}, {"CLOCK_MONOTONIC", h.Clock.Mono + h.Slept}, {"wall clock", h.Clock.Wall}} {
		if c.off != 0 {
			all = append(all, fmt.Sprintf("%s is off by %v", c.name, c.off))
		}
	}
	if h.Card.Deaf {
		all = append(all, "network card wakes on nothing")
	}
	if h.Disk.Delay != 0 {
		all = append(all, fmt.Sprintf("disk needs %v longer", h.Disk.Delay))
	}
	if h.Disk.Errno != 0 {
		all = append(all, fmt.Sprintf("disk refuses a share of %v of the writes: %v", h.Disk.Share, h.Disk.Errno))
	}
	if h.Starved.Share != 0 {
		all = append(all, fmt.Sprintf("agent is stopped for a share of %v of every %v", h.Starved.Share, h.Starved.Period))
	}
	for _, c := range h.Claims {
		all = append(all, strings.TrimSuffix(fmt.Sprintf("claims %s from %s", c.Addr, c.MAC), " from "))
	}
	return all
}

// String gives the shape as a person says it.
func (s Shape) String() string {
	words := []string{cmp.Or(s.From, "all") + " -> " + cmp.Or(s.To, "all")}
	for _, one := range []struct {
		name  string
		share float64
	}{{"loss", s.Loss}, {"duplicate", s.Duplicate}, {"reorder", s.Reorder}} {
		if one.share != 0 {
			words = append(words, fmt.Sprintf("%s %v", one.name, one.share))
		}
	}
	if s.Delay != 0 || s.Jitter != 0 {
		words = append(words, fmt.Sprintf("delay %v to %v", s.Delay, s.Delay+s.Jitter))
	}
	return strings.Join(words, ", ")
}

// Cut is a broken path through the switch.
type Cut struct {
	From string `json:"from"`
	To   string `json:"to,omitempty"` // empty: every other place
	// OneWay drops only the frames that From sends to To.
	OneWay bool `json:"one_way,omitempty"`
	// Cable takes From's link down instead, as a pulled cable does: the host sees no carrier. To is empty.
	Cable bool `json:"cable,omitempty"`
}

// String gives the cut as a person says it.
func (c Cut) String() string {
	switch {
	case c.Cable:
		return c.From + " (cable)"
	case c.To == "" && c.OneWay:
		return c.From + " -> all"
	case c.To == "":
		return c.From + " <-> all"
	case c.OneWay:
		return c.From + " -> " + c.To
	}
	return c.From + " <-> " + c.To
}
