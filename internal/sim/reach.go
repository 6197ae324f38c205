package sim

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"nightporter/agent"
	"nightporter/identity"
	"nightporter/wake"
)

// lifeReach is agent.Reach: frames that a front has kept go to the machine that announced the identity last, as far as this one has
// seen it.
type lifeReach struct{ life *life }

// Wire implements agent.Reach.
func (r lifeReach) Wire(link string) (agent.Wire, error) {
	return simWire(r), r.life.syscall(func() error { return nil })
}

// Own implements agent.Reach.
func (r lifeReach) Own() (agent.Wire, error) {
	return ownWire{simWire(r)}, r.life.syscall(func() error { return nil })
}

// Watch implements agent.Reach.
func (r lifeReach) Watch(_ string, addrs []netip.Addr) (agent.Sight, error) {
	s := &simSight{k: r.life.machine.kernel, addr: addrs[0]}
	return s, r.life.syscall(func() error { s.Again(); return nil })
}

// Listening implements agent.Reach: the program of a service, where it runs, has all its ports.
func (r lifeReach) Listening(link string, tcp, udp []netip.AddrPort) (listens, bound []netip.AddrPort, err error) {
	const prefix = "np-"
	err = r.life.syscall(func() error {
		if r.life.machine.w.answers(r.life.machine.name, link[len(prefix):]) != refuses {
			listens, bound = tcp, udp
		}
		return nil
	})
	return listens, bound, err
}

// Established implements agent.Reach: clients here close a connection as soon as it is answered.
func (r lifeReach) Established([]netip.Addr) ([]wake.Flow, error) {
	return nil, r.life.syscall(func() error { return nil })
}

// Unanswered implements agent.Reach: an answer here takes no time.
func (r lifeReach) Unanswered([]netip.Addr) ([]wake.Owed, error) {
	return nil, r.life.syscall(func() error { return nil })
}

// simSight looks at what this machine saw of an address.
type simSight struct {
	k    *kernel
	addr netip.Addr
	seen uint64
}

// Seen implements agent.Sight.
func (s *simSight) Seen() net.HardwareAddr {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	if w := s.k.ways[s.addr]; w.seen > s.seen {
		return w.mac
	}
	return nil
}

// Again implements agent.Sight.
func (s *simSight) Again() {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	s.seen = s.k.ways[s.addr].seen
}

// Close implements agent.Sight.
func (s *simSight) Close() error { return nil }

// announced is the newest announcement of an address that came by.
type announced struct {
	seen uint64 // how many there were
	mac  net.HardwareAddr
	from *machine
}

// saw notes an announcement that came by.
func (k *kernel) saw(s identity.Spec, from *machine) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ways == nil {
		k.ways = make(map[netip.Addr]announced)
	}
	k.ways[s.Addrs[0]] = announced{k.ways[s.Addrs[0]].seen + 1, s.MAC, from}
}

type simWire lifeReach

// Address implements agent.Wire.
func (w simWire) Address() net.HardwareAddr { return w.life.machine.mac }

// Close implements agent.Wire.
func (w simWire) Close() error { return nil }

// Send implements agent.Wire: the frame is a client's SYN, as the ear gave it.
func (w simWire) Send(frame []byte) error {
	m := w.life.machine
	return w.life.syscall(func() error {
		if len(frame) != synSize {
			return errors.New("the simulated wire carries SYNs")
		}
		client, dest := netip.AddrFrom4([4]byte(frame[26:30])), netip.AddrFrom4([4]byte(frame[30:34]))
		m.kernel.mu.Lock()
		to := m.kernel.ways[dest].from
		m.kernel.mu.Unlock()
		m.w.lan.replayed(m, to, client, dest, binary.BigEndian.Uint16(frame[36:]))
		return nil
	})
}

// ownWire leads to this machine itself.
type ownWire struct{ simWire }

// Send implements agent.Wire.
func (w ownWire) Send(frame []byte) error {
	m := w.life.machine
	return w.life.syscall(func() error {
		client, dest := netip.AddrFrom4([4]byte(frame[26:30])), netip.AddrFrom4([4]byte(frame[30:34]))
		m.w.lan.replayed(m, m, client, dest, binary.BigEndian.Uint16(frame[36:]))
		return nil
	})
}

// replayed brings a client's attempt to a machine once more.
func (l *lan) replayed(from, to *machine, client, dest netip.Addr, port uint16) {
	if to == nil {
		return
	}
	l.mu.Lock()
	a, known := l.asked[asked{client, dest, port}]
	l.mu.Unlock()
	if known {
		l.w.sw.Frame(from.addr, to.addr, func() { to.kernel.syn(a.client, a.service, port, a.answered) })
	}
}

// asked names a client's attempt, attempt is the newest of them.
type asked struct {
	client, dest netip.Addr
	port         uint16
}

type attempt struct {
	client   *client
	service  string
	answered func(string)
}

// synSize is that of a SYN without options.
const synSize = 14 + 20 + 20

// synFrame is a client's SYN as the ear sees it.
func synFrame(c *client, to net.HardwareAddr, dest netip.AddrPort) []byte {
	f := make([]byte, synSize)
	copy(f, to)
	f[12], f[13], f[14], f[23] = 8, 0, 0x45, 6
	binary.BigEndian.PutUint16(f[16:], synSize-14)
	copy(f[26:], c.addr.AsSlice())
	copy(f[30:], dest.Addr().AsSlice())
	binary.BigEndian.PutUint16(f[34:], clientPort)
	binary.BigEndian.PutUint16(f[36:], dest.Port())
	f[46], f[47] = 5<<4, 2
	return f
}

// clientPort is where all clients ask from.
const clientPort = 40000
