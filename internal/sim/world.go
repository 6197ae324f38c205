package sim

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"nightporter/api"
	"nightporter/chaos/history"
	"nightporter/config"
	"nightporter/internal/simnet"
)

// world is one run.
type world struct {
	plan     Plan
	rec      *recorder
	sw       *simnet.Switch
	lan      *lan
	machines []*machine
	clients  []*client
	begun    atomic.Bool    // the cluster is whole, and hosts may go to sleep by themselves
	running  sync.WaitGroup // everything of the world that is to end before the run is judged
	calm     chan struct{}  // closed when the faults are over
	ending   chan struct{}  // closed at the end of the run

	mu      sync.Mutex
	rng     *rand.Rand // of the machines' little delays
	targets map[string][]string
	managed map[string]bool    // by service
	broken  map[program]string // how programs fail
	units   map[program]bool   // that run
	changes map[*int]weather   // what befalls the paths between hosts
}

// weather changes the path from one host to another.
type weather func(from, to netip.Addr, p simnet.Path) simnet.Path

// newWorld builds the machines. secret is a secret file, which the agents read themselves.
func newWorld(p Plan, secret string) (*world, error) {
	w := &world{
		plan: p, rec: newRecorder(), calm: make(chan struct{}), ending: make(chan struct{}), rng: rand.New(rand.NewPCG(p.Seed, 0x6d616368)),
		targets: make(map[string][]string), managed: make(map[string]bool), broken: make(map[program]string), units: make(map[program]bool), changes: make(map[*int]weather),
	}
	w.sw = simnet.NewSwitch(p.Seed, simnet.Path{Delay: p.Delay, Jitter: p.Jitter})
	w.lan = newLAN(w)
	text := p.file(secret)
	for i, h := range p.Hosts {
		conf, err := config.Parse("sim.yaml", []byte(text), h.Name, nil)
		if err != nil {
			return nil, fmt.Errorf("the configuration of %s: %w\n%s", h.Name, err, text)
		}
		conf.Address = hostAddr(i)
		m := &machine{
			w: w, name: h.Name, addr: hostAddr(i), mac: net.HardwareAddr{2, 0, 0, 0, 1, byte(i + 1)}, conf: conf,
			nic: w.sw.Attach(hostAddr(i)), clock: newClock(h.Rate, h.Wall), disk: newFiles(), power: history.Up, linked: true,
			rest: time.Second, claimed: make(map[string]bool),
		}
		m.clock.mute = p.Untold
		m.kernel = newKernel(m)
		m.control = m.nic.Process()
		w.machines = append(w.machines, m)
	}
	for i := range p.Clients {
		addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(150 + i)})
		w.sw.Attach(addr)
		w.clients = append(w.clients, &client{w: w, name: fmt.Sprintf("client%d", i+1), addr: addr})
	}
	for _, s := range p.Services {
		w.targets[s.Name], w.managed[s.Name] = s.Targets, s.Managed
	}
	w.rec.h = history.History{Form: history.Sim, Seed: p.Seed, Version: "sim", Setup: p.setup()}
	return w, nil
}

func hostAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(11 + i)}) }

// file is the configuration, the same on all hosts.
func (p Plan) file(secret string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "cluster: sim\nsecret_file: %s\ninterface: %s\nfailover: %s\nbootstrap_expect: %d\nwol: assumed\ncanary: off\n", secret, lanName, p.Failover, len(p.Hosts))
	b.WriteString(p.idleLines())
	b.WriteString("nodes:\n")
	for i, h := range p.Hosts {
		power := config.AlwaysOn
		if h.Sleeper {
			power = config.Sleeps
		}
		fmt.Fprintf(&b, "  %s: {address: %s, power: %s, suspend_command: [suspend]%s}\n", h.Name, hostAddr(i), power, h.more())
	}
	b.WriteString("services:\n")
	for _, s := range p.Services {
		if s.Founded {
			fmt.Fprintf(&b, "  - {name: %s, address: %s, mode: %s, ports: [%d/tcp], targets: [%s], wake: {budget: off, budget_all: off}%s}\n", s.Name, s.Addr, cmp.Or(s.Mode, "mac"), servicePort, strings.Join(s.Targets, ", "), s.checks())
		}
	}
	return b.String()
}

// more is what the file says of a host where it is not as the others are.
func (h PlanHost) more() string {
	text := ", look_after: off"
	if h.Alarm > 0 {
		text = ", look_after: " + h.Alarm.String()
	}
	if h.Witness {
		text += ", role: witness"
	}
	return text
}

// servicePort is what every service guards.
const servicePort = 80

// rouseMost is what a wake may take beside the machine's own time, while nothing is wrong: an election, and the word of its return.
const rouseMost = 6 * time.Second

// setup is what the checks are told.
func (p Plan) setup() history.Setup {
	s := history.Setup{Failover: p.LongestFailover(), Initial: p.Failover, Resume: resumeMost + linkMost, Rouse: rouseMost, Settle: p.Settle()}
	s.Detect = checkFall*(checkEvery+checkTime) + time.Second
	for _, h := range p.Hosts {
		s.Hosts = append(s.Hosts, history.Host{Name: h.Name, Sleeper: h.Sleeper, Alarm: h.Alarm})
	}
	for i := range p.Clients {
		s.Clients = append(s.Clients, fmt.Sprintf("client%d", i+1))
	}
	for _, v := range p.Services {
		s.Services = append(s.Services, history.Service{
			Name: v.Name, Addrs: []netip.Addr{v.Addr}, Mode: v.Mode, MAC: config.DeriveMAC("sim", v.Name).String(), Port: servicePort,
			Targets: v.Targets, Founded: v.Founded, Checked: v.Checked,
		})
	}
	return s
}

// over says whether the run has ended.
func (w *world) over() bool {
	select {
	case <-w.ending:
		return true
	default:
		return false
	}
}

// machine gives one by name.
func (w *world) machine(name string) *machine {
	for _, m := range w.machines {
		if m.name == name {
			return m
		}
	}
	return nil
}

// admin asks a machine's agent at its socket, as an operator who is logged in there.
func (m *machine) admin() *api.Client {
	at := netip.AddrPortFrom(m.addr, localPort).String()
	return api.NewClientFunc("the daemon of "+m.name, func(ctx context.Context) (net.Conn, error) {
		return m.control.DialContext(ctx, "tcp", at)
	})
}

// WriteSecret makes the secret file that all agents read. Its keys are of no interest here: they may be the same each time.
func WriteSecret(path string) error {
	return os.WriteFile(path, config.NewSecret(), 0o600)
}
