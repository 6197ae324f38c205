package simnet

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Path is what happens to messages from one host to another.
type Path struct {
	Cut    bool
	Loss   float64 // share that is lost; a segment of a stream is sent again
	Double float64 // share of the datagrams that arrives twice
	Delay  time.Duration
	Jitter time.Duration // at most, on top of Delay: what was sent later may arrive first
}

// loopback is the path from a host to itself.
var loopback = Path{Delay: 20 * time.Microsecond}

// Switch joins the hosts of one network.
type Switch struct {
	mu    sync.Mutex
	rng   *rand.Rand
	base  Path
	paths map[pair]Path
	hosts map[netip.Addr]*Host
	// latest is when the last message of a path arrives.
	latest map[pair]time.Time
}

type pair struct{ from, to netip.Addr }

// NewSwitch makes a network in which all paths are alike.
func NewSwitch(seed uint64, base Path) *Switch {
	return &Switch{
		rng: rand.New(rand.NewPCG(seed, 0x73776974)), base: base,
		paths: make(map[pair]Path), hosts: make(map[netip.Addr]*Host), latest: make(map[pair]time.Time),
	}
}

// Attach plugs a host in.
func (s *Switch) Attach(addr netip.Addr) *Host {
	h := &Host{net: s, addr: addr, up: true}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts[addr] = h
	return h
}

// SetPath changes one direction between two hosts.
func (s *Switch) SetPath(from, to netip.Addr, p Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paths[pair{from, to}] = p
}

// Path gives one direction as it is.
func (s *Switch) Path(from, to netip.Addr) Path {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.path(from, to)
}

// Heal makes all paths alike again.
func (s *Switch) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.paths)
}

func (s *Switch) path(from, to netip.Addr) Path {
	if from == to {
		return loopback
	}
	if p, ok := s.paths[pair{from, to}]; ok {
		return p
	}
	return s.base
}

// host gives who has an address, nil for nobody.
func (s *Switch) host(addr netip.Addr) *Host {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hosts[addr]
}

// fate draws when the copies of one message arrive; none: it is lost.
func (s *Switch) fate(from, to netip.Addr, doubles bool) []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	src, dst := s.hosts[from], s.hosts[to]
	if src == nil || dst == nil || !src.up {
		return nil
	}
	p := s.path(from, to)
	if p.Cut || s.chance(p.Loss) {
		return nil
	}
	late := []time.Duration{s.inOrder(pair{from, to}, p)}
	if doubles && s.chance(p.Double) {
		late = append(late, s.inOrder(pair{from, to}, p))
	}
	return late
}

// inOrder draws how late a message is; on a path without jitter nothing overtakes what was sent before.
func (s *Switch) inOrder(way pair, p Path) time.Duration {
	late := s.late(p)
	now := time.Now()
	if p.Jitter == 0 {
		late = max(late, s.latest[way].Sub(now)+time.Nanosecond)
	}
	if at := now.Add(late); at.After(s.latest[way]) {
		s.latest[way] = at
	}
	return late
}

func (s *Switch) chance(share float64) bool { return share > 0 && s.rng.Float64() < share }

func (s *Switch) late(p Path) time.Duration {
	d := p.Delay
	if p.Jitter > 0 {
		d += time.Duration(s.rng.Int64N(int64(p.Jitter)))
	}
	return max(d, time.Microsecond)
}

// Frame sends one raw frame: arrive is called at the instant at which the network card of to has it, at most twice.
func (s *Switch) Frame(from, to netip.Addr, arrive func()) { s.frame(from, to, true, arrive) }

func (s *Switch) frame(from, to netip.Addr, doubles bool, arrive func()) {
	for _, late := range s.fate(from, to, doubles) {
		time.AfterFunc(late, func() {
			if s.isUp(to) {
				arrive()
			}
		})
	}
}

func (s *Switch) isUp(addr netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hosts[addr]
	return h != nil && h.up
}

// Host is one machine's place on the network.
type Host struct {
	net  *Switch
	addr netip.Addr

	// Guarded by net.mu.
	up    bool
	procs []*Process
}

// Addr is where the host is reached.
func (h *Host) Addr() netip.Addr { return h.addr }

// Up plugs the host in or out.
func (h *Host) Up(up bool) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.up = up
}

// IsUp says whether the host is plugged in.
func (h *Host) IsUp() bool { return h.net.isUp(h.addr) }
