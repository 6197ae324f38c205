package fsm

import (
	"fmt"
	"net"
	"net/netip"
	"time"
)

// State is the replicated truth: everything that the cluster has agreed on. A State is a value that is never
// changed after it was published; Apply returns a new one that shares what did not change.
type State struct {
	Cluster    Cluster              `json:"cluster"`
	Timing     Timing               `json:"timing"`
	Services   map[string]Service   `json:"services"`   // by Service.Name
	Ownerships map[string]Ownership `json:"ownerships"` // by service name; outlives the service (I9)
	Nodes      map[string]Node      `json:"nodes"`      // by Node.Name
	History    map[string][]Change  `json:"history"`    // by service name, oldest first, at most HistoryLimit each
	Wakes      []Wake               `json:"wakes"`      // oldest first, at most WakesLimit
	// Since format 2.
	WakeTimes map[string]WakeTimes  `json:"wake_times,omitempty"` // by Node.Name
	Fitness   map[string]Fitness    `json:"fitness,omitempty"`    // by Node.Name: whether it can be woken
	Inrush    int                   `json:"inrush,omitempty"`     // hosts that may be woken at one time (SetInrush)
	Ledger    map[string]NodeLedger `json:"ledger,omitempty"`     // by Node.Name; for people
	Events    *EventLog             `json:"events,omitempty"`     // the newest part of the story; for people
	Drains    map[string]Drain      `json:"drains,omitempty"`     // by Node.Name: of those in maintenance
	// Recoveries are those of the cluster's past, oldest first, at most RecoveriesLimit.
	Recoveries []Recovery `json:"recoveries,omitempty"`
	Lifted     *Lift      `json:"lifted,omitempty"` // nil = never
}

// Bounds of what the state remembers. Older entries fall off the front.
const (
	HistoryLimit = 200
	WakesLimit   = 500
)

// Cluster names the cluster. ID is a random 128-bit number in hex, made once at bootstrap: two clusters that were
// given the same name and the same secret are still told apart.
type Cluster struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
}

// Timing is the one cluster-wide timing setting. Largest is the largest failover that may still be in force
// somewhere: every wait that protects I1 uses it, not Failover.
type Timing struct {
	Failover time.Duration `json:"failover"` // FailoverMin to FailoverMax
	Largest  time.Duration `json:"largest"`  // >= Failover
	Changed  time.Time     `json:"changed"`
}

// Range of the failover setting.
const (
	FailoverMin = 200 * time.Millisecond
	FailoverMax = 30 * time.Second
)

// Service is one floating identity and what it guards.
type Service struct {
	Name      string       `json:"name"`      // [a-z0-9-], 1 to 32 bytes
	Addresses []netip.Addr `json:"addresses"` // ip0: one IPv4, one IPv6, or one of each
	Mode      Mode         `json:"mode,omitempty"`
	MAC       MAC          `json:"mac"`     // mac0: locally or globally administered, unicast, not zero; "" in mode address
	Ports     []Port       `json:"ports"`   // the ports whose demand wakes a target
	Targets   []string     `json:"targets"` // nodes that run the service, in order of preference
	Hold      Hold         `json:"hold"`
	Replay    Replay       `json:"replay,omitempty"` // since format 2
	// Since format 2 (codec.go). A service without them is ready wherever a target is awake and in touch.
	Checks []Check `json:"checks,omitempty"` // all must pass for a target to be ready
	Unit   Unit    `json:"unit,omitzero"`
	// Wake says whose demand wakes a target.
	Wake WakeRules `json:"wake,omitzero"`
}

// Mode says under whose hardware address a service is on the wire.
type Mode string

// The two modes. What was written before there were two has none, and is of the first.
const (
	ModeMAC     Mode = ""        // a MAC of its own, which moves with the address
	ModeAddress Mode = "address" // the holder's own MAC: for networks that allow no second one on a port
)

// Port is one guarded port.
type Port struct {
	Protocol Protocol `json:"protocol"`
	Number   uint16   `json:"number"`         // 1 to 65535
	Hold     Hold     `json:"hold,omitempty"` // "" = the service's
}

// Protocol is the transport protocol of a guarded port.
type Protocol string

// The two protocols that can be guarded.
const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// Hold is what the front does with a connection attempt while no target serves.
type Hold string

// What a front can do with an attempt. Whatever it does, the attempt wakes a target.
const (
	// HoldDrop swallows it: nothing is answered, the client's retransmission finds the target (I5).
	HoldDrop Hold = "drop"
	// HoldReject refuses it at once, for clients that try again by themselves.
	HoldReject Hold = "reject"
	// HoldHTTP answers with a small page that says how far the service is, and asks again by itself.
	HoldHTTP Hold = "http"
	// HoldProxy takes the connection, and passes it on to the target's own address when that is up.
	HoldProxy Hold = "proxy"
)

// HoldOf is what a front does with attempts to a port.
func (sv Service) HoldOf(p Port) Hold {
	if p.Hold != "" {
		return p.Hold
	}
	return sv.Hold
}

// Replay is what a target gets of what a front has swallowed for it, once it can be reached.
type Replay string

// The forms.
const (
	ReplayTCP  Replay = ""     // attempts to connect, and what clients said on connections that the target had
	ReplayAll  Replay = "all"  // datagrams too: for protocols to which a question asked twice does no harm
	ReplayNone Replay = "none" // nothing: clients repeat what they said
)

// Ownership says who owns a service's identity, under which epoch, and why.
type Ownership struct {
	Owner  string    `json:"owner"` // "" = nobody
	Epoch  uint64    `json:"epoch"` // 0 = never assigned; never falls, never repeats
	Reason Reason    `json:"reason"`
	Since  time.Time `json:"since"` // stamped by the proposer
	By     string    `json:"by"`    // the node that proposed it
}

// Change is one entry of a service's history.
type Change struct {
	Index  uint64    `json:"index"` // of the Raft entry
	At     time.Time `json:"at"`
	Epoch  uint64    `json:"epoch"`
	From   string    `json:"from"`
	To     string    `json:"to"`
	Reason Reason    `json:"reason"`
	By     string    `json:"by"`
	Detail string    `json:"detail,omitempty"` // free text for people
}

// Power is the power state of a node.
type Power string

// The power states. Gossip silence means "failed" for an awake node and nothing at all for an asleep one.
const (
	Awake      Power = "awake"
	Suspending Power = "suspending"
	Asleep     Power = "asleep"
	Waking     Power = "waking"
	Off        Power = "off" // crashed or left without sleeping
)

// Policy says whether a node may ever sleep.
type Policy string

// The two power policies of a node.
const (
	AlwaysOn Policy = "always-on"
	Sleeps   Policy = "sleeps"
)

// Role says what a node is in the cluster for.
type Role string

// The two roles. Format 1 has no word for it.
const (
	Member  Role = ""        // votes and holds
	Witness Role = "witness" // votes, and never holds an identity
)

// Node is a member's record. Key, the digest of its TLS public key, is pinned when it joins: a peer that shows
// another one is refused until the record is forgotten.
type Node struct {
	Name        string         `json:"name"`
	Key         string         `json:"key"`  // hex SHA-256 of the SubjectPublicKeyInfo
	Addr        netip.AddrPort `json:"addr"` // where Raft and peers reach it (TLS)
	Gossip      netip.AddrPort `json:"gossip"`
	Wake        []MAC          `json:"wake"` // where magic packets go, and the LAN interface's own: nobody's service may have one of these
	Policy      Policy         `json:"policy"`
	Power       Power          `json:"power"`
	PowerReason Reason         `json:"power_reason"`
	PowerSince  time.Time      `json:"power_since"`
	// Sleeps counts the committed decisions to suspend. A suspend, a cancellation and a wake name the count
	// that they belong to, so that a late one is recognized as stale.
	Sleeps      uint64    `json:"sleeps"`
	Maintenance bool      `json:"maintenance"`
	Joined      time.Time `json:"joined"`
	Version     string    `json:"version"` // of the binary
	// Format is the newest format of entries that the node reads, 0 = the first. Apply does not look at it: it keeps a leader from
	// proposing what a member would have to halt at.
	Format uint8 `json:"format,omitempty"`
	Role   Role  `json:"role,omitempty"` // since format 2
}

// Wake is one recorded wake campaign.
type Wake struct {
	ID      string    `json:"id"`
	Node    string    `json:"node"`    // who was woken
	Service string    `json:"service"` // "" for an operator's or a quorum wake
	Cause   Reason    `json:"cause"`
	Client  string    `json:"client"` // "192.0.2.7:51234", "" unless Cause is demand
	Port    string    `json:"port"`   // "tcp/8080", "" unless Cause is demand
	By      string    `json:"by"`     // the node that began it
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"` // zero = under way
	Result  Reason    `json:"result"`
	Phases  Phases    `json:"phases,omitzero"`   // since format 2; zero = not measured
	Note    string    `json:"note,omitempty"`    // since format 2: what else is known of it, for people
	Verdict Verdict   `json:"verdict,omitempty"` // since format 2
}

// MAC is a hardware address that prints as aa:bb:cc:dd:ee:ff in JSON. It is a string of raw bytes so that values
// compare with ==.
type MAC string

// ParseMAC reads a 48-bit hardware address as net.ParseMAC does (colons, dashes or dots).
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil {
		return "", fmt.Errorf("reading a hardware address: %w", err)
	}
	if len(hw) != 6 {
		return "", fmt.Errorf("reading a hardware address: %s has %d bytes, not 6", s, len(hw))
	}
	return MAC(hw), nil
}

// Hardware gives the form that the net package uses.
func (m MAC) Hardware() net.HardwareAddr { return net.HardwareAddr(m) }

// String prints the colon form.
func (m MAC) String() string { return net.HardwareAddr(m).String() }

// MarshalText implements encoding.TextMarshaler.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *MAC) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*m = ""
		return nil
	}
	v, err := ParseMAC(string(b))
	*m = v
	return err
}
