package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// packets is gossip's UDP and TCP, as memberlist.NetTransport is. That one makes a buffer of 64 KiB for each datagram, and each lease sends and
// answers some in a second: most of what an idle agent asks of the heap. Here a datagram has the room that it needs.
type packets struct {
	log *slog.Logger
	udp *net.UDPConn
	tcp *net.TCPListener
	in  chan *memberlist.Packet
	via chan net.Conn

	words   sync.Mutex
	refused often // somebody who opens connections all the time must not fill the log

	end     chan struct{}
	once    sync.Once
	running sync.WaitGroup
}

const (
	packetMost = 65536                  // bytes of a datagram
	roomWanted = 2 << 20                // bytes of the socket's buffer, as much of them as the kernel allows (net.core.rmem_max)
	afterError = 100 * time.Millisecond // the pause after a datagram or connection that could not be taken
)

// listenPackets opens both on one port.
func listenPackets(bind netip.AddrPort, log *slog.Logger) (*packets, error) {
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(bind))
	if err != nil {
		return nil, err
	}
	port := tcp.Addr().(*net.TCPAddr).AddrPort().Port() // where bind has none
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(bind.Addr(), port)))
	if err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	for room := roomWanted; room > 0 && udp.SetReadBuffer(room) != nil; {
		room /= 2
	}
	p := &packets{log: log, udp: udp, tcp: tcp, refused: often{every: ComplainEvery}, in: make(chan *memberlist.Packet), via: make(chan net.Conn), end: make(chan struct{})}
	p.running.Go(p.receive)
	p.running.Go(p.accept)
	return p, nil
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (p *packets) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	at, err := netip.ParseAddr(ip)
	if err != nil {
		return nil, 0, fmt.Errorf("gossip's own address: %w", err)
	}
	if port == 0 {
		port = p.udp.LocalAddr().(*net.UDPAddr).Port
	}
	return at.Unmap().AsSlice(), port, nil
}

// WriteTo implements memberlist.Transport.
func (p *packets) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("sending a datagram: %w", err)
	}
	_, err = p.udp.WriteToUDPAddrPort(b, to)
	return time.Now(), err
}

// PacketCh implements memberlist.Transport.
func (p *packets) PacketCh() <-chan *memberlist.Packet { return p.in }

// StreamCh implements memberlist.Transport.
func (p *packets) StreamCh() <-chan net.Conn { return p.via }

// DialTimeout implements memberlist.Transport.
func (p *packets) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", addr, timeout)
}

// Shutdown implements memberlist.Transport.
func (p *packets) Shutdown() error {
	var err error
	p.once.Do(func() {
		close(p.end)
		err = errors.Join(p.tcp.Close(), p.udp.Close())
	})
	p.running.Wait()
	return err
}

func (p *packets) receive() {
	room := make([]byte, packetMost)
	for {
		n, from, err := p.udp.ReadFromUDPAddrPort(room)
		if err != nil {
			if !p.goesOn("a datagram of gossip was not received", err) {
				return
			}
			continue
		}
		if n == 0 {
			continue
		}
		packet := &memberlist.Packet{Buf: append([]byte(nil), room[:n]...), From: net.UDPAddrFromAddrPort(from), Timestamp: time.Now()}
		select {
		case p.in <- packet:
		case <-p.end:
			return
		}
	}
}

func (p *packets) accept() {
	for {
		conn, err := p.tcp.AcceptTCP()
		if err != nil {
			if !p.goesOn("a connection of gossip was not taken", err) {
				return
			}
			continue
		}
		select {
		case p.via <- conn:
		case <-p.end:
			conn.Close()
			return
		}
	}
}

// goesOn says, after a pause, whether there is anything more to come.
func (p *packets) goesOn(what string, err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	p.words.Lock()
	said := p.refused.again(what)
	p.words.Unlock()
	if !said {
		p.log.Warn(what, "err", err)
	}
	select {
	case <-time.After(afterError):
		return true
	case <-p.end:
		return false
	}
}

var _ memberlist.Transport = (*packets)(nil)
