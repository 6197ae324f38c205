package web

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Bounds of what callers can hold.
const (
	connsMost     = 64                     // at one time; an idle one costs some 15 KB
	connsOfOne    = 16                     // of one IPv4 address or IPv6 network of 64 bits; a browser has six
	streamsMost   = 16                     // pages that are kept up to date
	connsRate     = 25                     // new connections in a second, all together: with TLS each is a handshake
	requestsRate  = 100                    // requests in a second, all together
	headerMost    = 16 << 10               // bytes
	requestTime   = 5 * time.Second        // for its head to arrive
	answerTime    = 10 * time.Second       // for the answer to leave
	idleTime      = 30 * time.Second       // between two requests
	askTime       = 5 * time.Second        // for the Source
	freshFor      = 250 * time.Millisecond // an answer of the Source
	beatEvery     = 5 * time.Second        // a page that is open hears something so often
	loginPause    = 300 * time.Millisecond // before a wrong token is refused
	cookieSeconds = 30 * 24 * 3600
)

// bounded closes connections beyond the bounds at once: whoever has them waits for nobody. Those that come too fast wait in the kernel.
type bounded struct {
	net.Listener
	life context.Context // of the server
	pace rate
	mu   sync.Mutex
	all  int
	of   map[netip.Prefix]int
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if wait := b.pace.take(time.Now()); wait > 0 {
			pause(b.life, wait)
		}
		who := source(c.RemoteAddr())
		if b.enter(who) {
			return &counted{Conn: c, leave: sync.OnceFunc(func() { b.left(who) })}, nil
		}
		c.Close()
	}
}

func (b *bounded) enter(who netip.Prefix) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all >= connsMost || b.of[who] >= connsOfOne {
		return false
	}
	if b.of == nil {
		b.of = make(map[netip.Prefix]int)
	}
	b.all++
	b.of[who]++
	return true
}

func (b *bounded) left(who netip.Prefix) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all--
	if b.of[who]--; b.of[who] == 0 {
		delete(b.of, who)
	}
}

// counted tells when it was closed.
type counted struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// source is whom a connection counts for.
func source(a net.Addr) netip.Prefix {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	addr := t.AddrPort().Addr().Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
