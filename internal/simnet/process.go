package simnet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
)

// ErrDead is what a killed process gets from every call: its goroutines come to their end by it.
var ErrDead = errors.New("this process was killed")

// Process is the sockets of one process, and the gate at which it stands while it is stopped.
type Process struct {
	host *Host

	mu        sync.Mutex
	dead      bool
	gone      chan struct{} // closed by Kill
	stopped   int           // how many reasons there are for it to stand still
	cont      chan struct{} // closed when it goes on; nil while it runs
	waiting   []func()      // in order: what arrived, and what it sent, while it stood still
	listeners map[uint16]*listener
	packets   map[uint16]*Packets
	conns     map[*conn]struct{}
}

// waitingMost bounds what waits for a stopped process, like the kernel's socket buffers.
const waitingMost = 4096

// Process starts one on the host.
func (h *Host) Process() *Process {
	p := &Process{
		host: h, gone: make(chan struct{}), listeners: make(map[uint16]*listener), packets: make(map[uint16]*Packets),
		conns: make(map[*conn]struct{}),
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.procs = append(h.procs, p)
	return p
}

// Stop makes the process stand still until Continue was called as often as Stop.
func (p *Process) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped++; p.stopped == 1 && !p.dead {
		p.cont = make(chan struct{})
	}
}

// Continue lets it go on. What waited is handled first.
func (p *Process) Continue() {
	p.mu.Lock()
	if p.stopped--; p.stopped > 0 || p.dead {
		p.mu.Unlock()
		return
	}
	todo := p.waiting
	p.waiting = nil
	close(p.cont)
	p.cont = nil
	p.mu.Unlock()
	for _, f := range todo {
		f()
	}
}

// Stopped says whether the process stands still.
func (p *Process) Stopped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopped > 0
}

// Gate is passed before every effect of the process: it waits while the process is stopped, and fails once it is dead.
func (p *Process) Gate(ctx context.Context) error {
	for {
		p.mu.Lock()
		cont, dead := p.cont, p.dead
		p.mu.Unlock()
		switch {
		case dead:
			return ErrDead
		case cont == nil:
			return nil
		}
		select {
		case <-cont:
		case <-p.gone:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Dead is closed when the process was killed.
func (p *Process) Dead() <-chan struct{} { return p.gone }

// When runs f now, or when the process goes on; never, once it is dead.
func (p *Process) When(f func()) {
	p.mu.Lock()
	switch {
	case p.dead:
		p.mu.Unlock()
		return
	case p.stopped > 0:
		if len(p.waiting) < waitingMost {
			p.waiting = append(p.waiting, f)
		}
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	f()
}

// Kill ends the process at once. silent: the host lost its power with it, so nobody is told; otherwise its kernel resets
// the connections.
func (p *Process) Kill(silent bool) {
	p.mu.Lock()
	if p.dead {
		p.mu.Unlock()
		return
	}
	p.dead = true
	close(p.gone)
	conns, listeners := p.conns, p.listeners
	p.conns, p.listeners, p.packets, p.waiting = nil, nil, nil, nil
	p.mu.Unlock()
	for _, l := range listeners {
		l.end()
	}
	for c := range conns {
		c.die(silent)
	}
	h := p.host
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	for i, q := range h.procs {
		if q == p {
			h.procs = append(h.procs[:i:i], h.procs[i+1:]...)
			break
		}
	}
}

// each calls f for every living process of a host.
func (h *Host) each(f func(*Process) bool) {
	h.net.mu.Lock()
	procs := append([]*Process(nil), h.procs...)
	h.net.mu.Unlock()
	for _, p := range procs {
		if f(p) {
			return
		}
	}
}

// listens finds who listens at a port.
func (h *Host) listens(port uint16) (found *listener) {
	h.each(func(p *Process) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		found = p.listeners[port]
		return found != nil
	})
	return found
}

// packetsAt finds who takes the datagrams of a port.
func (h *Host) packetsAt(port uint16) (found *Packets) {
	h.each(func(p *Process) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		found = p.packets[port]
		return found != nil
	})
	return found
}

// addrOf makes a net.Addr.
func addrOf(a netip.AddrPort) *net.TCPAddr { return net.TCPAddrFromAddrPort(a) }
