package simnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// listener is a TCP port.
type listener struct {
	proc  *Process
	at    netip.AddrPort
	queue chan *conn
	ended chan struct{}
	once  sync.Once
}

// backlog is how many connections wait to be accepted; more are refused.
const backlog = 128

// Listen opens a TCP port of the host.
func (p *Process) Listen(port uint16) (net.Listener, error) {
	if p.host.listens(port) != nil {
		return nil, fmt.Errorf("listening on port %d: %w", port, syscall.EADDRINUSE)
	}
	l := &listener{proc: p, at: netip.AddrPortFrom(p.host.addr, port), queue: make(chan *conn, backlog), ended: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return nil, ErrDead
	}
	p.listeners[port] = l
	return l, nil
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return addrOf(l.at) }

// Close implements net.Listener.
func (l *listener) Close() error {
	l.proc.mu.Lock()
	delete(l.proc.listeners, l.at.Port())
	l.proc.mu.Unlock()
	l.end()
	for {
		select {
		case c := <-l.queue:
			c.Close()
		default:
			return nil
		}
	}
}

func (l *listener) end() { l.once.Do(func() { close(l.ended) }) }

// DialTimeout is DialContext with a limit.
func (p *Process) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return p.DialContext(ctx, "tcp", addr)
}

// synAgain is the pause before the second attempt to open a connection; it doubles (RFC 6298).
const synAgain = time.Second

// DialContext opens a connection to a port of a host. The other host's kernel completes it, though the process that listens
// may stand still.
func (p *Process) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err == nil {
		err = p.Gate(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("dialling %s: %w", addr, err)
	}
	call := &call{answer: make(chan *conn, 1)}
	defer call.hangUp()
	failed := func(err error) error {
		return &net.OpError{Op: "dial", Net: network, Addr: addrOf(to), Err: err}
	}
	for pause := synAgain; ; pause *= 2 {
		p.host.net.frame(p.host.addr, to.Addr(), false, func() { p.syn(to, call) })
		again := time.NewTimer(pause)
		select {
		case c := <-call.answer:
			again.Stop()
			if c == nil {
				return nil, failed(syscall.ECONNREFUSED)
			}
			if err := p.Gate(ctx); err != nil {
				c.Close()
				return nil, failed(err)
			}
			return c, nil
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return nil, failed(ctx.Err())
		case <-p.gone:
			again.Stop()
			return nil, failed(ErrDead)
		}
	}
}

// call is one attempt to open a connection.
type call struct {
	answer chan *conn

	mu   sync.Mutex
	over bool
}

// deliver hands over the first answer; whatever comes later is closed.
func (a *call) deliver(c *conn) {
	a.mu.Lock()
	over := a.over
	a.over = true
	a.mu.Unlock()
	if !over {
		a.answer <- c // it has room for one
	} else if c != nil {
		c.Close()
	}
}

// hangUp gives up, and closes what was delivered and not taken.
func (a *call) hangUp() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	select {
	case c := <-a.answer:
		if c != nil {
			c.Close()
		}
	default:
	}
}

// syn arrives at the host that is called. The answer travels back: nil is a refusal.
func (p *Process) syn(to netip.AddrPort, a *call) {
	n := p.host.net
	l := n.host(to.Addr()).listens(to.Port())
	if l == nil {
		n.frame(to.Addr(), p.host.addr, false, func() { a.deliver(nil) })
		return
	}
	n.frame(to.Addr(), p.host.addr, false, func() {
		here, there := connect(p, l.proc, to)
		if here == nil {
			a.deliver(nil)
			return
		}
		l.proc.When(func() { l.take(there) })
		a.deliver(here)
	})
}

// take queues a connection for Accept.
func (l *listener) take(c *conn) {
	select {
	case <-l.ended:
	case l.queue <- c:
		return
	default:
	}
	c.Close()
}
