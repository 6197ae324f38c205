package agent

import (
	"net"
	"net/netip"
	"slices"
	"sync"

	"nightporter/wake"
)

// fakeReach is a host's way to clients in these tests: what it sends and what listens is written down in the host.
type fakeReach struct{ h *worldHost }

// fakeEther is what is on a host's wires.
type fakeEther struct {
	mu       sync.Mutex
	sent     [][]byte // by the LAN interface
	answers  [][]byte // by the macvlan
	own      [][]byte // to this host itself
	announce bool     // somebody else's announcement came by
	closed   []netip.AddrPort
	flows    []wake.Flow
	owed     []wake.Owed
	err      error
}

func (e *fakeEther) set(f func(*fakeEther)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f(e)
}

func (e *fakeEther) frames() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.sent)
}

func (r fakeReach) Wire(link string) (Wire, error) { return fakeWire{&r.h.ether, link}, nil }

func (r fakeReach) Own() (Wire, error) { return fakeWire{&r.h.ether, "own"}, nil }

func (r fakeReach) Watch(string, []netip.Addr) (Sight, error) { return fakeSight{&r.h.ether}, nil }

func (r fakeReach) Listening(_ string, tcp, udp []netip.AddrPort) (listens, bound []netip.AddrPort, err error) {
	e := &r.h.ether
	e.mu.Lock()
	defer e.mu.Unlock()
	open := func(in []netip.AddrPort) []netip.AddrPort {
		return slices.DeleteFunc(slices.Clone(in), func(a netip.AddrPort) bool { return slices.Contains(e.closed, a) })
	}
	return open(tcp), open(udp), e.err
}

func (r fakeReach) Established([]netip.Addr) ([]wake.Flow, error) {
	r.h.ether.mu.Lock()
	defer r.h.ether.mu.Unlock()
	return r.h.ether.flows, nil
}

func (r fakeReach) Unanswered([]netip.Addr) ([]wake.Owed, error) {
	r.h.ether.mu.Lock()
	defer r.h.ether.mu.Unlock()
	return r.h.ether.owed, nil
}

type fakeWire struct {
	e    *fakeEther
	link string
}

func (w fakeWire) Send(f []byte) error {
	w.e.set(func(e *fakeEther) {
		switch w.link {
		case "np-test":
			e.answers = append(e.answers, f)
		case "own":
			e.own = append(e.own, f)
		default:
			e.sent = append(e.sent, f)
		}
	})
	return nil
}

func (fakeWire) Address() net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, 9} }
func (fakeWire) Close() error              { return nil }

type fakeSight struct{ e *fakeEther }

func (s fakeSight) Seen() net.HardwareAddr {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	if !s.e.announce {
		return nil
	}
	return testService.MAC.Hardware()
}

func (s fakeSight) Again()     { s.e.set(func(e *fakeEther) { e.announce = false }) }
func (fakeSight) Close() error { return nil }
