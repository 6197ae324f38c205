package agent

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/front"
	"nightporter/identity"
	"nightporter/lease"
	"nightporter/wake"
)

// Deps is the outside world as an agent sees it: all that a simulation replaces.
type Deps struct {
	Version   string // of the binary
	Log       *slog.Logger
	Clock     Clock
	Kernel    Kernel
	Power     Power
	Caller    Caller
	Checks    Checks
	Hook      func(ctx context.Context, env []string) error                  // wakes a host that magic packets do not wake; nil: nothing does
	Hooks     HookWorld                                                      // nil: nothing is run when something has happened
	Post      func(ctx context.Context, body []byte) (again bool, err error) // an event to the webhook; nil: none is posted
	Listen    func(link string, g wake.Guard, on func(wake.Demand)) (io.Closer, error)
	Front     func(front.Desk) (Front, error) // nil: a world without connections
	Reach     Reach
	WakeTimes func(ctx context.Context, now time.Time) (wakeTime, error) // when this host's programs want it awake; nil: they say nothing
	Falls     time.Duration                                              // how long this host may take to fall asleep; 0 = fallsAsleep
	Uses      func() (Uses, error)                                       // nil: a world whose connections nobody can look at
	Logind    Logind                                                     // nil: a world in which nobody else suspends a host, or not with a word before
	Senses    Senses                                                     // nil: a world in which no host goes to sleep by itself
	Net       Net
	Web       func(netip.AddrPort) (net.Listener, error) // for the status page; nil: a world without browsers
	Disk      Disk
	Former    *Estate // what this process left open before it replaced itself by this program; nil = it did not
	// Examine looks for what keeps this host from working, given what its agent says; nil: a world in which there is nothing to look at.
	// test has it send test frames from a second MAC, if it holds none.
	Examine func(ctx context.Context, status api.Status, test bool) api.DoctorNode
	// Ready tells the service manager how the agent is: "READY=1", "STOPPING=1", "STATUS=...".
	Ready func(state string)
	// Watchdog is the silence after which the service manager ends this agent; 0 = nobody does.
	Watchdog time.Duration
}

// Clock reads the clocks that an agent uses. CLOCK_BOOTTIME goes on during a suspend, CLOCK_MONOTONIC does not; Both
// reads them at one instant, however busy the host is. Sight shows how they are bent.
type Clock interface {
	Boot() lease.Boot
	Both() (boot lease.Boot, mono time.Duration)
	Wall() time.Time
	Sight() lease.Sight
}

// offset is CLOCK_BOOTTIME minus CLOCK_MONOTONIC: it changes over a suspend.
func offset(c Clock) time.Duration {
	boot, mono := c.Both()
	return time.Duration(boot) - mono
}

// Kernel is this host's hold on the identities.
type Kernel interface {
	Sweep() error
	Prepare(identity.Spec) (Hold, error)
	Adopt(identity.Heirloom) (Hold, error) // what a former life left open
	Bequeath() (identity.Legacy, error)
	Retain(inUse []identity.Spec) error // this host may use all other addresses itself again
	Watch(context.Context) <-chan identity.Stir
	LAN() (identity.LAN, error)
	Refusal() string // why this host may hold nothing, or ""
	Close() error
}

// Hold is one prepared identity. Close, Open and Extend never wait.
type Hold interface {
	Guard(on bool) error
	Answer([]identity.Answer) error
	GuardPorts(tcp, udp []netip.AddrPort) error // nobody listens there yet: first segments are dropped, not refused
	Generation() (uint64, error)                // read before the lease is asked for
	Open(deadline time.Duration, generation uint64) error
	Extend(deadline time.Duration) error
	Close() error
	Announce(stillMine func() bool) error
	Probe(ctx context.Context, wait time.Duration, members []net.HardwareAddr) ([]identity.Foreign, error) // members' cards are no strangers
	Check() ([]identity.Drift, error)
	Repair() error
	Remove() error
	Bequeath() (identity.Heirloom, error) // leaves it open to the next life
	Link() string
	Fence() identity.Fence
}

// Power suspends this host and reads its wake settings.
type Power interface {
	Able(ctx context.Context) error    // says why this host could not sleep as it is to, or that this cannot be found out
	Arm() error                        // prepares the network card; an error says why the host must not sleep
	Suspend(ctx context.Context) error // returns after the resume, or with the reason why there was no suspend
	Restore() error                    // puts back what Suspend has changed, when the host is back or did not sleep
	Resumes() (n uint64, counted bool) // the suspends that this host has come back from; false: its kernel does not tell
	Refusals() wake.Refusals           // what its kernel keeps of suspends that it did not carry out
	Halfway() bool                     // the sleep has a second half to which nobody calls (suspend-then-hibernate)
	WakeAddresses() ([]net.HardwareAddr, error)
	Sources() map[string]uint64      // the events of its wake-up sources so far; nil: its kernel does not tell
	WakeFacts() (WakeFacts, error)   // arms the network card, too
	SetAlarm(in time.Duration) error // of the clock that runs through a sleep and ends it; 0 = takes it back
	AlarmTrouble() string            // why there is no such clock; "" = there is one
}

// Caller sends magic packets.
type Caller interface {
	Call(macs []net.HardwareAddr, password []byte) error
	Close() error
}

// Net opens the two ways between agents, and the one between people and this agent.
type Net interface {
	Local(socket, group string) (net.Listener, error)
	Gossip(cluster.GossipConfig) (*cluster.Gossip, error)
	Peers(bind netip.AddrPort, id *cluster.Identity, dir cluster.Directory, log *slog.Logger) (Peers, error)
}

// Peers is the authenticated stream transport: Raft's and the admin surface's.
type Peers interface {
	RaftLayer() raft.StreamLayer
	APIListener() net.Listener
	DialAPI(ctx context.Context, node string) (net.Conn, error)
	Close() error
}

// Disk is where state survives: the data directory outlives a reboot, the run directory a restart of the daemon.
type Disk interface {
	Lock() (io.Closer, error)
	Incarnation(wall time.Time) (uint64, error) // raised and synced
	Identity(keys cluster.Keys, node string) (*cluster.Identity, error)
	Stores(*cluster.RaftConfig) error // fills in where Raft keeps its log
	Mirror() (Mirror, error)
	LoadPeers() ([]netip.AddrPort, error)
	SavePeers([]netip.AddrPort) error
	LoadPromise() (string, error)
	SavePromise(string) error
	LoadApplied() (cluster.Mark, error) // how far an earlier life had applied the log; the zero Mark = nobody knows
	SaveApplied(cluster.Mark) error
	LoadPast() (*cluster.Past, error) // what a log that was put away had acknowledged; nil = there was none
	SavePast(cluster.Past) error
	LoadSuperseded() (*Superseded, error) // that this host's cluster goes on without it; nil = it does not
	SaveSuperseded(Superseded) error
	Leave(Estate) error // for the next life of this very process; it is read once
	Forget() error      // puts the Raft state away after this node left
}

// Mirror is the voter's table on tmpfs.
type Mirror interface {
	Load() (lease.Table, bool)
	Save(lease.Table) error
	Close() error
}
