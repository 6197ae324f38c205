package simnet

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// conn is one end of a stream. Writes never wait: what the other end has not got yet is kept here, and sent again while it
// does not arrive.
type conn struct {
	proc          *Process
	local, remote netip.AddrPort
	peer          *conn

	mu       sync.Mutex
	wake     sync.Cond
	in       []byte
	inEnd    error // what Read gives after in
	closed   bool
	deadline time.Time // of reads
	timer    *time.Timer
	out      []byte
	fin      bool // to be sent after out
	finSent  bool
	flying   bool // a segment is under way, or waits to be sent again
	tries    int
}

// Pauses before a segment is sent again (RFC 6298: at least 200 ms on Linux, doubled each time; the limit is lower here than
// TCP's, so that a healed network is noticed within a schedule).
const (
	againFirst = 200 * time.Millisecond
	againMost  = 3 * time.Second
)

// orphanTries is how often the last words of a closed socket are sent (Linux: tcp_orphan_retries).
const orphanTries = 8

// ephemeral is the port of the ends that dial. Nobody looks at it.
const ephemeral = 40000

// connect makes both ends; nil, nil where one process is dead by now.
func connect(from, to *Process, at netip.AddrPort) (here, there *conn) {
	src := netip.AddrPortFrom(from.host.addr, ephemeral)
	here = &conn{proc: from, local: src, remote: at}
	there = &conn{proc: to, local: at, remote: src}
	here.peer, there.peer = there, here
	here.wake.L, there.wake.L = &here.mu, &there.mu
	if !from.adopt(here) || !to.adopt(there) {
		here.Close()
		there.Close()
		return nil, nil
	}
	return here, there
}

func (p *Process) adopt(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case !c.deadline.IsZero() && !time.Now().Before(c.deadline):
			return 0, os.ErrDeadlineExceeded
		case len(c.in) > 0:
			n := copy(b, c.in)
			c.in = c.in[n:]
			return n, nil
		case c.inEnd != nil:
			return 0, c.inEnd
		}
		c.wake.Wait()
	}
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return 0, net.ErrClosed
	case c.inEnd != nil && c.inEnd != io.EOF:
		return 0, c.inEnd
	}
	c.out = append(c.out, b...)
	c.kick()
	return len(b), nil
}

// kick sends what there is, unless a segment is under way. The caller holds mu.
func (c *conn) kick() {
	if c.flying || (len(c.out) == 0 && (!c.fin || c.finSent)) {
		return
	}
	c.flying = true
	// From a goroutine of its own: a process that stands still sends when it goes on.
	go c.proc.When(c.transmit)
}

// transmit puts a segment on the wire.
func (c *conn) transmit() {
	n := c.proc.host.net
	late := n.fate(c.local.Addr(), c.remote.Addr(), false)
	if late == nil {
		c.again()
		return
	}
	time.AfterFunc(late[0], func() {
		if !n.isUp(c.remote.Addr()) {
			c.again()
			return
		}
		c.arrived()
	})
}

// again waits before the segment is sent once more.
func (c *conn) again() {
	c.mu.Lock()
	pause := min(againFirst<<min(c.tries, 10), againMost)
	c.tries++
	given := c.closed && c.tries > orphanTries
	c.mu.Unlock()
	if given {
		return
	}
	time.AfterFunc(pause, func() {
		select {
		case <-c.proc.gone:
		default:
			c.proc.When(c.transmit)
		}
	})
}

// arrived hands the segment, all that was written by now, to the other host's kernel.
func (c *conn) arrived() {
	c.mu.Lock()
	data, fin := c.out, c.fin
	c.out, c.flying, c.tries = nil, false, 0
	c.finSent = c.finSent || fin
	c.mu.Unlock()
	select {
	case <-c.peer.proc.gone:
		c.end(syscall.ECONNRESET) // nobody has that connection any more
		return
	default:
	}
	c.peer.proc.When(func() { c.peer.take(data, fin) })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kick()
}

// take is what arrived, for the reader.
func (c *conn) take(data []byte, fin bool) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		if len(data) > 0 { // the answer to data for a closed socket is a reset
			c.reset()
		}
		return
	}
	defer c.mu.Unlock()
	c.in = append(c.in, data...)
	if fin && c.inEnd == nil {
		c.inEnd = io.EOF
	}
	c.wake.Broadcast()
}

// end breaks the connection for this end.
func (c *conn) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inEnd == nil || c.inEnd == io.EOF {
		c.inEnd = err
	}
	c.out = nil
	c.wake.Broadcast()
}

// Close implements net.Conn. What was written is still sent.
func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed, c.fin = true, true
	if c.timer != nil {
		c.timer.Stop()
	}
	c.wake.Broadcast()
	c.kick()
	go c.proc.drop(c)
	return nil
}

func (p *Process) drop(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// die is the end of this end's process.
func (c *conn) die(silent bool) {
	c.mu.Lock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	c.wake.Broadcast()
	c.mu.Unlock()
	if !silent {
		c.reset()
	}
}

// reset tells the other end that there is no such connection any more. It may get lost.
func (c *conn) reset() {
	c.proc.host.net.frame(c.local.Addr(), c.remote.Addr(), false, func() {
		c.peer.proc.When(func() { c.peer.end(syscall.ECONNRESET) })
	})
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return addrOf(c.local) }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return addrOf(c.remote) }

// SetDeadline implements net.Conn. Writes never wait, so they need none.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	c.deadline = t
	if c.closed {
		return net.ErrClosed
	}
	left := time.Until(t)
	switch {
	case t.IsZero():
	case left <= 0: // at once: net/http ends a pending read so, and a timer of no time has crashed Go 1.26's runtime in a bubble under the race detector
		c.wake.Broadcast()
	default:
		c.timer = time.AfterFunc(left, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.wake.Broadcast()
		})
	}
	return nil
}
