package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nightporter/config"
)

// Sizes of a lab. Addresses and hardware addresses are derived from the numbers of hosts and clients, which bounds both.
const (
	maxHosts   = 32
	maxClients = 8
	// ServerPort is where the server of every host listens, on all its addresses, TCP and UDP.
	ServerPort = 8080
	// hostIface is the name of each host's only network card.
	hostIface = "eth0"
	// switchName is the name that `lab exec` knows the switch's namespace by.
	switchName = "switch"
	bridgeName = "br0"
)

// The two forms of the lab's switch.
const (
	SwitchBridge = "bridge" // a bridge of the kernel
	SwitchUser   = "user"   // a learning switch in the supervisor
)

// Limits of the path of the lab's directory: unix(7) has 108 bytes for the path of a socket.
const (
	socketName   = "control.sock"
	maxDirLength = 107 - len("/"+socketName)
)

// Options say what lab to build. The zero value is four hosts that run the agent, the last of them the sleeping target
// of a service "web".
type Options struct {
	// Dir gets the configuration, the logs, the hosts' data and the control socket. It must not exist or be empty, and
	// not be in /run, which every host has for itself. Empty: a new one in the directory for temporary files.
	Dir string
	// Keep leaves Dir where it is at the end, for a look at the logs.
	Keep bool
	// Binary is the nightporter program; it is run as supervisor and by the hosts. Empty: the running program.
	Binary string
	// Detached lets the lab outlive the process that called Up; otherwise it ends with it, however that ends.
	Detached bool

	Hosts   int // 1 to 32; 0 = 4; called h1, h2, ...
	Clients int // 1 to 8; 0 = 1; called c1, c2, ...
	// Sleepers are the hosts that may suspend (`power: sleeps`), by number from 1. nil: the last host that is no witness.
	Sleepers []int
	// Witnesses are hosts that vote and hold nothing (`role: witness`), by number from 1; none of them may be a sleeper.
	Witnesses []int
	// LookAfter, in whole seconds, is the time after which a sleeper's alarm wakes it to look after the others (`look_after`); 0 = off.
	LookAfter time.Duration
	// Idle lets the sleepers go to sleep by themselves, 0 = they do not; StayAwake are the lines below stay_awake in the configuration. The
	// load of a host is that of the machine, so it counts only if a line says so.
	Idle      time.Duration
	StayAwake []string
	// Lines are further ones of the configuration, at its top level. Without one of canary, hosts need not show that they can be woken.
	Lines []string
	// Failover is the cluster's setting; 0 = 1 s.
	Failover time.Duration
	// Services of the new cluster. nil: "web" at ServiceAddr, port 8080/tcp, with the sleepers as targets.
	Services []config.Service
	// ResumeTime is what a host needs from the magic packet until its processes run again. A real one needs 1 to 5 s.
	ResumeTime time.Duration
	// LogLevel of the agents; empty = info.
	LogLevel string

	// Agent is the command that every host runs beside its server. In its words {node}, {config} and {dir} (the host's
	// own directory) are replaced. nil: the agent of Binary.
	Agent []string
	// NoAgent builds hosts that run nothing but their server.
	NoAgent bool
	// NoServer leaves out the server.
	NoServer bool
	// Talk has every host's server speak, from each floating address that the host ever had, by the LAN interface itself.
	Talk bool
	// Switch is what joins the hosts: "" or SwitchBridge, or SwitchUser, which can also delay, double and reorder frames.
	Switch string
	// NoCgroup puts hosts to sleep by SIGSTOP even where control groups could be used.
	NoCgroup bool
}

// ServiceAddr is ip0 of the service that a lab has without further words.
func ServiceAddr() netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 0, 200}) }

// Check says in one sentence what cannot be. It takes every number as it is: none at all stands for no default here.
func (o Options) Check() error {
	switch {
	case o.Hosts < 1 || o.Hosts > maxHosts:
		return fmt.Errorf("a lab of %d hosts cannot be built; choose 1 to %d", o.Hosts, maxHosts)
	case o.Clients < 1 || o.Clients > maxClients:
		return fmt.Errorf("a lab with %d clients cannot be built; choose 1 to %d", o.Clients, maxClients)
	case o.Failover < config.FailoverMin || o.Failover > config.FailoverMax:
		return fmt.Errorf("failover %s is out of range; choose from %s to %s", o.Failover, config.FailoverMin, config.FailoverMax)
	case o.Idle != 0 && o.Idle < time.Second:
		return fmt.Errorf("hosts cannot go to sleep after %s of idleness; choose a time from 1s on, or 0 for not by themselves", o.Idle)
	case o.LookAfter != 0 && o.LookAfter < time.Second:
		return fmt.Errorf("an alarm cannot be set to %s; choose a time from 1s on, or 0 for none", o.LookAfter)
	case o.ResumeTime < 0:
		return fmt.Errorf("a host cannot resume in %s; choose a time from 0 on", o.ResumeTime)
	case !slices.Contains([]string{"", SwitchBridge, SwitchUser}, o.Switch):
		return fmt.Errorf("the lab has no switch %q; write bridge or user", o.Switch)
	case !slices.Contains([]string{"debug", "info", "warn", "error"}, o.LogLevel):
		return fmt.Errorf("the log level is %q; write debug, info, warn or error", o.LogLevel)
	}
	for _, k := range o.Witnesses {
		switch {
		case k < 1 || k > o.Hosts:
			return fmt.Errorf("host %d is to be a witness, but the lab has the hosts 1 to %d", k, o.Hosts)
		case slices.Contains(o.Sleepers, k):
			return fmt.Errorf("host %d is to sleep and to be a witness, which is always on; choose one of the two", k)
		}
	}
	for i, k := range o.Sleepers {
		if k < 1 || k > o.Hosts {
			return fmt.Errorf("host %d is to sleep, but the lab has the hosts 1 to %d", k, o.Hosts)
		}
		if slices.Contains(o.Sleepers[:i], k) {
			return fmt.Errorf("host %d is named twice as one that sleeps; name it once", k)
		}
	}
	return nil
}

// withDefaults fills in what was left open and says in one sentence what cannot be.
func (o Options) withDefaults() (Options, error) {
	if o.Hosts == 0 {
		o.Hosts = 4
	}
	if o.Clients == 0 {
		o.Clients = 1
	}
	if o.Failover == 0 {
		o.Failover = config.DefaultFailover
	}
	if o.LogLevel == "" {
		o.LogLevel = "info"
	}
	if o.Switch == "" {
		o.Switch = SwitchBridge
	}
	if err := o.Check(); err != nil {
		return o, err
	}
	if o.Sleepers == nil {
		last := o.Hosts
		for last > 1 && slices.Contains(o.Witnesses, last) {
			last--
		}
		o.Sleepers = []int{last}
	}
	if o.Services == nil {
		o.Services = []config.Service{o.web()}
	}
	if o.Binary == "" {
		exe, err := os.Executable()
		if err != nil {
			return o, fmt.Errorf("find the running program for the lab's hosts: %w", err)
		}
		o.Binary = exe
	}
	return o, nil
}

func (o Options) web() config.Service {
	sv := config.Service{
		Name: "web", Addresses: []netip.Addr{ServiceAddr()}, Hold: config.HoldDrop,
		Ports: []config.Port{{Protocol: "tcp", Number: ServerPort}},
	}
	for _, k := range o.Sleepers {
		sv.Targets = append(sv.Targets, hostName(k))
	}
	return sv
}

// makeDir makes the lab's directory, or takes an empty one, and marks it as a lab's.
func (o *Options) makeDir() error {
	if o.Dir == "" {
		dir, err := os.MkdirTemp("", "nightporter-lab-")
		if err != nil {
			return fmt.Errorf("make a directory for the lab: %w", err)
		}
		o.Dir = dir
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return fmt.Errorf("find the lab's directory %s: %w", o.Dir, err)
	}
	o.Dir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the lab's directory: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err == nil && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("the directory %s belongs to another user, who could change the lab's files; choose another with --dir", dir)
	}
	real, err := filepath.EvalSymlinks(dir)
	switch {
	case err != nil:
		return fmt.Errorf("find the lab's directory %s: %w", dir, err)
	case strings.HasPrefix(real, "/run/") || strings.HasPrefix(real, "/sys/") || strings.HasPrefix(real, "/proc/"):
		return fmt.Errorf("the lab's directory %s is in /run, /sys or /proc, which every host has for itself; choose another with --dir", real)
	case len(real) > maxDirLength:
		return fmt.Errorf("the path of the lab's directory %s is too long for its socket (%d bytes, at most %d); choose a shorter one with --dir", real, len(real), maxDirLength)
	}
	o.Dir = real
	entries, err := os.ReadDir(real)
	switch {
	case err != nil:
		return fmt.Errorf("read the lab's directory: %w", err)
	case len(entries) > 0:
		return fmt.Errorf("the lab's directory %s is not empty; end the lab in it with `nightporter lab down --dir %s`, or choose another with --dir", real, real)
	}
	return os.WriteFile(filepath.Join(real, markName), []byte("This directory belongs to a nightporter lab and is removed with it.\n"), 0o600)
}

func hostName(k int) string   { return fmt.Sprintf("h%d", k) }
func clientName(k int) string { return fmt.Sprintf("c%d", k) }

// plug is one place at the switch: a host's or a client's card and addresses. Everything follows from kind and number,
// so that a host that is switched off and on again is the same one to the others.
type plug struct {
	name   string
	index  int // of the bridge port in the switch's namespace
	mac    net.HardwareAddr
	addr   netip.Addr
	addr6  netip.Addr
	client bool
}

func hostPlug(k int) plug {
	return plug{name: hostName(k), index: 1000 + k, mac: net.HardwareAddr{0x02, 0x4e, 0x50, 0, 0, byte(k)}, addr: addr4(10 + k), addr6: addr6(10 + k)}
}

func clientPlug(k int) plug {
	return plug{name: clientName(k), index: 2000 + k, mac: net.HardwareAddr{0x02, 0x4e, 0x50, 0, 1, byte(k)}, addr: addr4(100 + k), addr6: addr6(100 + k), client: true}
}

func addr4(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 0, byte(n)}) }

// addr6 writes the number in decimal digits, so that fd77::11 belongs to 10.77.0.11.
func addr6(n int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("fd77::%d", n)) }
