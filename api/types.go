// Package api is the admin surface of a running agent: the stable JSON, the server over a unix socket (and, for the
// other nodes of the cluster, over mutual TLS), and the client. The agent implements Backend; whatever has to be done by
// the leader is forwarded by the agent, with a Client, not by this package.
//
// The JSON is a contract: a key is never renamed, never changes its meaning and is never removed within one major
// version; new ones may come. Times are RFC 3339 in UTC; durations are numbers of seconds; nothing known is "" or 0.
package api

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that stands in JSON as a number of seconds.
type Duration time.Duration

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(d).Seconds(), 'f', -1, 64), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var seconds float64
	if err := json.Unmarshal(b, &seconds); err != nil {
		return err
	}
	// To the nearest nanosecond: 0.3 s is not to come back as 299.999999 ms.
	nanos := seconds * 1e9
	if nanos < 0 {
		*d = Duration(nanos - 0.5)
	} else {
		*d = Duration(nanos + 0.5)
	}
	return nil
}

// String prints it as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }

// MAC is a hardware address that stands in JSON as aa:bb:cc:dd:ee:ff, or "" for none.
type MAC net.HardwareAddr

// String gives the colon form.
func (m MAC) String() string { return net.HardwareAddr(m).String() }

// MarshalText implements encoding.TextMarshaler.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *MAC) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*m = nil
		return nil
	}
	hw, err := net.ParseMAC(string(b))
	if err != nil {
		return err
	}
	*m = MAC(hw)
	return nil
}

// Port is a guarded port; in JSON it stands as "8080/tcp".
type Port struct {
	Protocol string // "tcp" or "udp"
	Number   uint16
}

// String gives the form that stands in JSON.
func (p Port) String() string { return strconv.Itoa(int(p.Number)) + "/" + p.Protocol }

// MarshalText implements encoding.TextMarshaler.
func (p Port) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Port) UnmarshalText(b []byte) error {
	number, protocol, _ := strings.Cut(string(b), "/")
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 || (protocol != "tcp" && protocol != "udp") {
		return fmt.Errorf("%q is not a port; write it like 8080/tcp", b)
	}
	*p = Port{Protocol: protocol, Number: uint16(n)}
	return nil
}

// Service is a definition, as `apply` brings it in and `get` gives it out.
type Service struct {
	Name      string       `json:"name"`
	Addresses []netip.Addr `json:"addresses"`
	Mode      string       `json:"mode"` // "mac" or "address"; empty in Apply = mac
	MAC       MAC          `json:"mac"`  // empty in Apply = derived from the names of cluster and service; always empty in mode address
	Ports     []Port       `json:"ports"`
	Targets   []string     `json:"targets"`
	Replay    string       `json:"replay"` // "tcp" (empty in Apply = that), "all", "none"
	Hold      string       `json:"hold"`   // drop, reject, http or proxy; empty in Apply = drop
	// Holds has the ports ("8080/tcp") with another one.
	Holds  map[string]string `json:"holds,omitempty"`
	Checks []Check           `json:"checks"` // all must pass for a target to be ready
	Unit   string            `json:"unit"`   // the systemd unit that runs the service on its targets, "" = none is named
	Manage bool              `json:"manage"` // the agent starts and stops it
	Wake   WakeRules         `json:"wake"`   // whose demand wakes its targets
}

// Check is one question that tells whether a service answers on a target.
type Check struct {
	Kind      string   `json:"kind"`       // tcp, http, exec, unit
	Port      uint16   `json:"port"`       // tcp, http
	Path      string   `json:"path"`       // http
	Host      string   `json:"host"`       // http: the Host header
	StatusMin int      `json:"status_min"` // http
	StatusMax int      `json:"status_max"` // http
	Name      string   `json:"name"`       // exec, unit
	Interval  Duration `json:"interval_seconds"`
	Timeout   Duration `json:"timeout_seconds"`
	Rise      int      `json:"rise"`
	Fall      int      `json:"fall"`
}

// Applied says what Apply did to each service.
type Applied struct {
	Created   []string `json:"created"`
	Changed   []string `json:"changed"`
	Unchanged []string `json:"unchanged"`
}

// Moved is the result of Move.
type Moved struct {
	Service string `json:"service"`
	From    string `json:"from"`
	To      string `json:"to"`
	Epoch   uint64 `json:"epoch"`
}

// PowerChange is the result of Sleep and Wake: where the node's power state stands now.
type PowerChange struct {
	Node   string   `json:"node"`
	Power  string   `json:"power"`
	Moved  []Moved  `json:"moved"`  // the services that were handed over first
	Called []string `json:"called"` // the hardware addresses that magic packets were sent to
}

// Joined is the result of Join.
type Joined struct {
	Reached int `json:"reached"` // how many of the addresses answered
}

// Settings are the cluster-wide settings of Set. A zero value is left as it is.
type Settings struct {
	Failover Duration `json:"failover_seconds,omitempty"`
	Inrush   int      `json:"wake_inrush,omitempty"` // hosts that are woken at one time for clients; -1 = any number
}

// Change is one entry of a service's history, oldest first.
type Change struct {
	Service string    `json:"service"`
	Index   uint64    `json:"index"`
	At      time.Time `json:"at"`
	Epoch   uint64    `json:"epoch"`
	From    string    `json:"from"`
	To      string    `json:"to"`
	Reason  string    `json:"reason"`
	By      string    `json:"by"`
	Detail  string    `json:"detail"`
}

// WakeRecord is one wake of a node that concerns a service, oldest first.
type WakeRecord struct {
	ID      string    `json:"id"`
	Node    string    `json:"node"`
	Service string    `json:"service"` // "" = none asked
	Cause   string    `json:"cause"`
	Client  string    `json:"client"` // "" unless a client's demand caused it
	Port    string    `json:"port"`
	By      string    `json:"by"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"` // zero = under way
	Result  string    `json:"result"`
	Verdict string    `json:"verdict"` // useful, spurious, unknown, failed; "" = not judged yet, or no client's
	// Phases are those that were measured, in their order; empty until the service is open, or it has failed.
	Phases []PhaseTime `json:"phases"`
	Note   string      `json:"note,omitempty"` // what else is known of it
}

// PhaseTime is when a wake came to one of its phases: called (the first magic packet left), back (the host says that it is awake), awake
// (the log says so), ready (the service's checks pass there), served (it has opened the service).
type PhaseTime struct {
	Phase string   `json:"phase"`
	After Duration `json:"after_seconds"` // the demand
}

// HistoryQuery picks what is told.
type HistoryQuery struct {
	Name  string   `json:"name"`          // of a service or a node, or service/NAME or node/NAME; "" = of all
	Since Duration `json:"since_seconds"` // only of so long before now, by the hosts' own clocks; 0 = all that is remembered
}

// History is what happened to a service, to a node, or to all.
type History struct {
	Service string       `json:"service"` // "" = of more than one, or of a node
	Node    string       `json:"node"`    // "" = of more than one, or of a service
	Changes []Change     `json:"changes"` // of owner, oldest first
	Wakes   []WakeRecord `json:"wakes"`   // oldest first
	Events  []Event      `json:"events"`  // what else happened, oldest first: power, fitness, members, voters, definitions, settings
}

// Version is the version of a binary.
type Version struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	Node    string `json:"node"` // "" = the command itself, no daemon
}
