// Package config reads the one configuration file, which is the same on every host. It is strict: whatever it does
// not understand is a problem with a file, a line and a column, and all problems are reported in one go.
//
// The file rules the host (cluster, secret, interface, directories, suspend command, power, ports, log level). Services
// and failover are only the values that a new cluster starts with; afterwards the replicated state rules them.
package config

import (
	"net"
	"net/netip"
	"path/filepath"
	"time"
)

// DefaultPath is where the agent looks for the file when no flag names another.
const DefaultPath = "/etc/nightporter/nightporter.yaml"

// Defaults of the file's optional keys.
const (
	DefaultSecretFile     = "/etc/nightporter/secret"
	DefaultDataDir        = "/var/lib/nightporter"
	DefaultRunDir         = "/run/nightporter"
	DefaultChecksDir      = "/etc/nightporter/checks.d"
	DefaultGossipPort     = 7373
	DefaultPeerPort       = 7374
	DefaultFailover       = time.Second
	DefaultSuspendTimeout = 30 * time.Second
	DefaultWakeTimeout    = 90 * time.Second
)

// Range of the failover setting, and the value below which it is labelled "quiet hardware only".
const (
	FailoverMin   = 200 * time.Millisecond
	FailoverQuiet = 500 * time.Millisecond
	FailoverMax   = 30 * time.Second
)

// socketName is the admin socket's file name in the run directory.
const socketName = "nightporter.sock"

// Power says whether a host may suspend.
type Power string

// The two policies.
const (
	AlwaysOn Power = "always-on"
	Sleeps   Power = "sleeps"
)

// Role says what a host is in the cluster for.
type Role string

// The roles. A witness votes, so that two other hosts have a majority when one of them dies, and never holds a service.
const (
	Member  Role = "member"
	Witness Role = "witness"
)

// Suspend says how a host sleeps.
type Suspend string

// The kinds of sleep. S2idle and Deep are a suspend for which the kernel is told which one it is to choose; the last three write the
// memory to the disk, and are systemd's.
const (
	SuspendOwn           Suspend = "" // by a command of the host's own, suspend_command
	SuspendDefault       Suspend = "suspend"
	SuspendS2idle        Suspend = "s2idle"
	SuspendDeep          Suspend = "deep"
	SuspendHibernate     Suspend = "hibernate"
	SuspendHybrid        Suspend = "hybrid-sleep"
	SuspendThenHibernate Suspend = "suspend-then-hibernate"
)

// command is what carries it out.
func (s Suspend) command() []string {
	if s == SuspendS2idle || s == SuspendDeep {
		s = SuspendDefault
	}
	return []string{"systemctl", string(s)}
}

// WoL says how far the host's network card is trusted to wake it.
type WoL string

// Auto reads the card's setting and arms it before a suspend; Assumed trusts it unread (USB cards, virtual ones).
const (
	WoLAuto    WoL = "auto"
	WoLAssumed WoL = "assumed"
)

// Fence says which form of the kernel's fence a host may use.
type Fence string

// The forms.
const (
	FenceAuto     Fence = "auto"     // the exact one (BPF), else nftables'
	FenceRequired Fence = "required" // the exact one, or hold nothing
	FenceNFTables Fence = "nftables" // nftables', also where BPF can be had
)

// OnConflict says what a new holder does when a host outside the cluster answers for ip0.
type OnConflict string

// Stop leaves the address alone and reports the foreign MAC; Override takes it all the same.
const (
	ConflictStop     OnConflict = "stop"
	ConflictOverride OnConflict = "override"
)

// What a target gets, once it can be reached, of what a front has swallowed: attempts to connect and the words on existing
// connections; datagrams too; or nothing.
const (
	ReplayTCP  = "tcp"
	ReplayAll  = "all"
	ReplayNone = "none"
)

// Config is the file as one host sees it: defaults filled in and the host's own entry under nodes applied.
type Config struct {
	File    string // the path it was read from
	Cluster string
	Node    string

	SecretFile string     // absolute
	Interface  string     // the LAN interface that carries every service's identity
	Address    netip.Addr // of this host on Interface; zero only when the host was not looked at
	GossipPort uint16
	PeerPort   uint16

	DataDir     string // survives a reboot: Raft log, node key, peers
	RunDir      string // tmpfs: lease table mirror, lock, socket
	Socket      string // RunDir/nightporter.sock unless the file names another
	SocketGroup string // "" = the daemon's own group

	Failover        time.Duration // FailoverMin to FailoverMax; counts at bootstrap only
	BootstrapExpect int           // hosts that must meet before a new cluster is founded: entries of nodes, else 1
	Join            []string      // host:port; from the file, else the addresses of the other entries of nodes

	Role           Role
	Power          Power
	Suspend        Suspend          // how it sleeps; SuspendOwn when the file has a suspend_command
	SuspendCommand []string         // what carries that out
	SuspendTimeout time.Duration    // the hand-over before a suspend may take this long
	WakeTimeout    time.Duration    // a wake that has not succeeded by then has failed
	WakeHook       string           // an executable in ChecksDir that is run when a host does not wake; "" = none
	Hooks          Hooks            // what it runs when something has happened
	Webhook        Webhook          // where events are posted to
	Idle           time.Duration    // a host with power sleeps goes to sleep by itself when nobody needed it for so long; 0 = it does not
	StayAwake      StayAwake        // what counts as need
	Watts          map[string]Watts // by host: what the file tells of it; nil = of none
	LookAfter      time.Duration    // a sleeping host wakes by its own clock after so long, to look whether somebody holds its services; 0 = it does not
	WoL            WoL
	WoLPassword    []byte             // SecureOn, 6 bytes; nil = none. It goes over the wire in clear text
	Canary         Canary             // who has the host show that it can be woken
	WakeMACs       []net.HardwareAddr // where magic packets for this host go; empty = read from Interface
	ChecksDir      string             // where this host's executables for exec checks are
	OnConflict     OnConflict
	Fence          Fence
	LogLevel       string // debug, info, warn, error
	HTTP           HTTP   // the status page and the metrics

	Nodes    []string // the names under nodes, in the file's order
	Services []Service
	Digest   string   // 32 hex digits of what the file says: the same on all hosts that have the same file
	Notes    []string // sentences about values that are valid but deserve a second look
}

// Under whose hardware address a service is on the wire: one of its own, or its holder's.
const (
	ModeMAC     = "mac"
	ModeAddress = "address"
)

// Service is one floating identity as a person writes it.
type Service struct {
	Name      string           // [a-z0-9-], 1 to 32 bytes
	Addresses []netip.Addr     // ip0: one IPv4, one IPv6, or one of each
	Mode      string           // ModeMAC or ModeAddress; "" = ModeMAC
	MAC       net.HardwareAddr // mac0; nil from ParseServices when the file has none: see DeriveMAC; always nil in ModeAddress
	Ports     []Port
	Targets   []string          // in order of preference
	Hold      string            // HoldDrop, HoldReject, HoldHTTP or HoldProxy
	Holds     map[string]string // by port ("8080/tcp"): of those that have another one; nil = none has
	Checks    []Check           // all must pass for a target to be ready
	Unit      Unit
	Replay    string // "" = ReplayTCP, ReplayAll, ReplayNone
	Wake      WakeRules
}

// Port is one guarded port.
type Port struct {
	Protocol string // "tcp" or "udp"
	Number   uint16
}

// Place moves the daemon's directories, as the agent's flags do. An empty string leaves one where it is. The socket
// moves with the run directory unless the file put it elsewhere.
func (c *Config) Place(dataDir, runDir string) {
	if dataDir != "" {
		c.DataDir = dataDir
	}
	if runDir != "" {
		if c.Socket == filepath.Join(c.RunDir, socketName) {
			c.Socket = filepath.Join(runDir, socketName)
		}
		c.RunDir = runDir
	}
}

// FailoverNote labels a failover that only suits some machines; "" for the others.
func FailoverNote(d time.Duration) string {
	if d >= FailoverQuiet {
		return ""
	}
	return "failover " + d.String() + " is for quiet hardware only: a host that stalls for a third of it (disk, swap, a busy VM) loses its services to another"
}
