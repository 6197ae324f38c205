package simnet

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"
)

// Packets is one UDP port with the TCP port of the same number: a memberlist.Transport.
type Packets struct {
	proc    *Process
	at      netip.AddrPort
	in      chan *memberlist.Packet
	streams chan net.Conn
	tcp     net.Listener
}

var _ memberlist.Transport = (*Packets)(nil)

// socketBuffer is how many datagrams wait for a reader; more are dropped.
const socketBuffer = 1024

// Packets opens the port.
func (p *Process) Packets(port uint16) (*Packets, error) {
	tcp, err := p.Listen(port)
	if err != nil {
		return nil, err
	}
	k := &Packets{
		proc: p, at: netip.AddrPortFrom(p.host.addr, port), in: make(chan *memberlist.Packet, socketBuffer),
		streams: make(chan net.Conn), tcp: tcp,
	}
	p.mu.Lock()
	p.packets[port] = k
	p.mu.Unlock()
	go k.accept()
	return k, nil
}

func (k *Packets) accept() {
	for {
		c, err := k.tcp.Accept()
		if err != nil {
			return
		}
		select {
		case k.streams <- c:
		case <-k.tcp.(*listener).ended:
			c.Close()
		}
	}
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (k *Packets) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return k.at.Addr().AsSlice(), int(k.at.Port()), nil
}

// WriteTo implements memberlist.Transport. It never waits.
func (k *Packets) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("sending a datagram to %q: %w", addr, err)
	}
	buf := append([]byte(nil), b...)
	k.proc.When(func() { k.send(buf, to) })
	return time.Now(), nil
}

func (k *Packets) send(buf []byte, to netip.AddrPort) {
	n := k.proc.host.net
	n.Frame(k.at.Addr(), to.Addr(), func() {
		h := n.host(to.Addr())
		if h == nil {
			return
		}
		if taker := h.packetsAt(to.Port()); taker != nil {
			taker.proc.When(func() { taker.take(buf, k.at) })
		}
	})
}

func (k *Packets) take(buf []byte, from netip.AddrPort) {
	select {
	case k.in <- &memberlist.Packet{Buf: append([]byte(nil), buf...), From: net.UDPAddrFromAddrPort(from), Timestamp: time.Now()}:
	default: // the socket buffer is full
	}
}

// PacketCh implements memberlist.Transport.
func (k *Packets) PacketCh() <-chan *memberlist.Packet { return k.in }

// StreamCh implements memberlist.Transport.
func (k *Packets) StreamCh() <-chan net.Conn { return k.streams }

// DialTimeout implements memberlist.Transport.
func (k *Packets) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return k.proc.DialTimeout(addr, timeout)
}

// Shutdown implements memberlist.Transport.
func (k *Packets) Shutdown() error {
	k.proc.mu.Lock()
	delete(k.proc.packets, k.at.Port())
	k.proc.mu.Unlock()
	return k.tcp.Close()
}
