package doctor

import (
	"net"
	"net/netip"
	"time"

	"nightporter/api"
	"nightporter/config"
	"nightporter/identity"
	"nightporter/wake"
)

// Facts are what was found out about one host.
type Facts struct {
	Node    string
	Version string // of this program
	Digest  string // of the configuration
	At      time.Time
	Unseen  []Unseen

	Config   ConfigFacts
	Rights   Rights
	Kernel   Kernel
	Link     Link
	Cards    Cards
	Settings Settings
	Services []Identity
	Claims   Claims
	Managers Managers
	Peers    []Peer
	Filter   Filter
	Clock    Clock
	Sleep    Sleep
	Agent    Agent
	Second   Second
}

// Unseen is what could not be looked at.
type Unseen struct {
	Area string
	What string // "the firewall of this host"
	Why  string
	How  string // to see it
}

// ConfigFacts is what the configuration file is like. Without a file, or with one that is wrong, Own is nil.
type ConfigFacts struct {
	Path     string
	Missing  bool
	Problems []string
	Own      *config.Config
}

// Rights are this process's.
type Rights struct {
	UID       int
	Effective uint64 // capabilities, as bits
	Read      bool   // they are known
	Namespace bool   // root is root of a user namespace only, as in an unprivileged container
}

// Kernel is the running kernel.
type Kernel struct {
	Release string
	Tried   bool
	Trial   identity.Trial
	Fence   string // of an identity that the agent has built here: bpf, nftables; "" = of none
}

// Link is the LAN interface.
type Link struct {
	Name    string
	Chosen  string // where the name is from: "the configuration", "--interface", "the default route"
	Present []string
	Found   bool
	Kind    string // device, bridge, bond, team, vlan, macvlan, ipvlan, veth, ...
	Up      bool
	Carrier bool
	MAC     net.HardwareAddr
	Nets    []netip.Prefix

	WiFi       bool
	Master     string // that it is a port of
	MasterKind string
	BondMode   string // of a bond: "802.3ad"
	STP        bool   // of a bridge
	VLAN       int
	Vepa       string // of a macvlan or ipvlan: its mode
	Drivers    []string
	Function   bool   // an SR-IOV virtual function
	Maker      string // of the machine, as its firmware says
	Twins      []string
}

// Cards are the network cards beneath, as far as waking by them depends on it.
type Cards struct {
	Read   bool
	Arming wake.Arming
	Asleep []string // cards whose device may not wake the machine, as the kernel has it set
	Names  []string
}

// Settings are of net.ipv4 and net.ipv6, by "ipv4.all.arp_ignore". One that is missing is not known.
type Settings map[string]string

// Identity is a service's.
type Identity struct {
	Service string
	Mode    string
	MAC     net.HardwareAddr
	Addrs   []netip.Addr
	Here    bool // this host answers for it
}

// Claims is who answers in the LAN for the services' addresses, and where else this host has them.
type Claims struct {
	Asked   bool
	Answers []identity.Foreign
	Own     []OwnAddress       // on interfaces that are not nightporter's
	Members []net.HardwareAddr // the cards of the members, as the log has them
	Known   bool               // Members is
}

// OwnAddress is an address of a service that this host has by somebody else's doing.
type OwnAddress struct {
	Addr netip.Addr
	Link string
}

// Managers are programs that manage addresses or links on this host.
type Managers struct {
	Running  []string  // by the names of their processes
	Mentions []Mention // of services' addresses in their files
	Spared   map[string]bool
}

// Mention is a file that names an address of a service.
type Mention struct {
	File string
	Addr netip.Addr
	By   string // whose file it is
}

// Peer is another host.
type Peer struct {
	Node  string // "" = not known
	Addr  netip.Addr
	Power string // as the log has it; "" = not known
	Ports []api.DoctorReach
}

// Filter is the packet filter of this host.
type Filter struct {
	Read  bool
	Drops []string // chains on the way in whose policy is to drop: "inet filter input"
}

// Clock is the wall clock.
type Clock struct {
	Read   bool
	Synced bool
	Slew   float64 // the most by which a program here makes all clocks faster or slower, to set one right, in millionths; 0 = none that exceeds the kernel's own 500
	RTC    string  // why there is no alarm; "" = there is one
}

// Sleep is how the machine can sleep.
type Sleep struct {
	States string // /sys/power/state
	Mode   string // what of mem_sleep is chosen
	Cannot string // why it cannot sleep as it is to
	Asked  bool
}

// Second is whether frames with a second MAC leave this host and arrive.
type Second struct {
	How   string // secondHeld, secondSent, secondNotTried; "" = it needs none
	Heard []identity.TestFrames
}

// Agent is the daemon of this host.
type Agent struct {
	Status *api.Status // nil = it was not reached
	Why    string
	Denied bool // this user may not ask it
	Member bool // it has been in a cluster
}
