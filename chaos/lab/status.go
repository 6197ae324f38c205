package lab

import (
	"net/netip"
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
	Clock     ClockShift `json:"clock,omitzero"`     // by how much its agent's clocks are off
	Disk      DiskFault  `json:"disk,omitzero"`      // of its agent
	Starved   Starvation `json:"starved,omitzero"`   // its agent
	Claims    []Claim    `json:"claims,omitempty"`   // what it uses without a right to it
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
