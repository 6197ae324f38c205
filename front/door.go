package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Kind says what becomes of a connection.
type Kind int

const (
	Refused Kind = iota // nobody is waiting behind this address (any more): the connection is closed
	Page
	Proxy
)

// Route is what a Door is told of an address of a service.
type Route struct {
	Service string
	Kind    Kind
}

// Desk answers a Door's questions. Its methods are called for each connection, from many goroutines, and must not wait.
type Desk interface {
	// Route says what an address of a service is for.
	Route(dest netip.AddrPort) Route
	// Waiting says how far a service is, for its page.
	Waiting(service string) Waiting
	// Upstream gives the host address of a target that is up, with the port; false: none is, yet.
	Upstream(service string, port uint16) (netip.AddrPort, bool)
	// Refused is told that a target that is up has refused a connection for so long that it is no matter of starting up.
	Refused(service string)
	// Knock is told again and again, each knockEvery, that a client still waits for a target. The front took its connection, so that the
	// client does not repeat itself.
	Knock(service string, client, dest netip.AddrPort)
	// Engaged is told how many connections of a service are passed on now, or wait for that.
	Engaged(service string, n int)
}

// Bounds of what one host does for waiting clients.
const (
	most          = 1024                   // connections at a time; further ones are closed at once
	mostOfOneHost = 128                    // of these from one client address
	acceptPause   = 100 * time.Millisecond // after one that could not be taken
)

// Door takes the connections that are diverted to it.
type Door struct {
	desk     Desk
	log      *slog.Logger
	patience time.Duration // how long a connection that is to be passed on waits for a target
	knocks   time.Duration // between two knocks of one that waits

	four, six *net.TCPListener // six is nil where the host has no IPv6
	pages     *pageServer

	ctx     context.Context // ends with Close
	end     context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	from  map[netip.Addr]int
	conns map[*visit]struct{}

	telling sync.Mutex
	live    map[string]int // passed on or waiting for it, by service
}

// visit is one connection.
type visit struct {
	service string
	conn    *net.TCPConn
	client  netip.AddrPort
	dest    netip.AddrPort // of the service
	end     context.CancelFunc
}

// Open listens. It needs CAP_NET_ADMIN. A connection that is to be passed on waits for a target for as long as patience.
func Open(desk Desk, patience time.Duration, log *slog.Logger) (*Door, error) {
	return open(desk, patience, knockEvery, log)
}

func open(desk Desk, patience, knocks time.Duration, log *slog.Logger) (*Door, error) {
	d := &Door{desk: desk, log: log, patience: patience, knocks: knocks, from: make(map[netip.Addr]int), conns: make(map[*visit]struct{}), live: make(map[string]int)}
	d.ctx, d.end = context.WithCancel(context.Background())
	var err error
	if d.four, err = listen("tcp4", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if d.six, err = listen("tcp6", "[::1]:0"); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, errors.Join(err, d.four.Close())
	}
	d.pages = newPageServer(desk, log)
	d.running.Go(d.pages.run)
	for _, l := range []*net.TCPListener{d.four, d.six} {
		if l != nil {
			d.running.Go(func() { d.accept(l) })
		}
	}
	return d, nil
}

// listen makes a listener that takes connections to addresses that are not its own.
func listen(network, addr string) (*net.TCPListener, error) {
	config := net.ListenConfig{Control: func(network, _ string, raw syscall.RawConn) (err error) {
		control := raw.Control(func(fd uintptr) {
			level, option := unix.SOL_IP, unix.IP_TRANSPARENT
			if network == "tcp6" {
				level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
			}
			err = unix.SetsockoptInt(int(fd), level, option, 1)
		})
		return errors.Join(control, err)
	}}
	l, err := config.Listen(context.Background(), network, addr)
	if err != nil {
		return nil, fmt.Errorf("listen for clients that wait, on %s: %w", addr, err)
	}
	return l.(*net.TCPListener), nil
}

// Ports gives the ports on 127.0.0.1 and ::1 that connections are to be diverted to; six is 0 where the host has no IPv6.
func (d *Door) Ports() (four, six uint16) {
	port := func(l *net.TCPListener) uint16 { return l.Addr().(*net.TCPAddr).AddrPort().Port() }
	if d.six != nil {
		six = port(d.six)
	}
	return port(d.four), six
}

func (d *Door) accept(l *net.TCPListener) {
	for {
		conn, err := l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no descriptors are left, for example
			d.log.Error("a client that waits was not taken", "err", err)
			select {
			case <-d.ctx.Done():
				return
			case <-time.After(acceptPause):
			}
			continue
		}
		d.running.Go(func() { d.welcome(conn) })
	}
}

// welcome gives a connection to who is to answer it.
func (d *Door) welcome(conn *net.TCPConn) {
	dest, client := addresses(conn)
	route := d.desk.Route(dest)
	if route.Kind == Refused {
		conn.Close()
		return
	}
	ctx, end := context.WithCancel(d.ctx)
	defer end()
	v := &visit{service: route.Service, conn: conn, client: client, dest: dest, end: end}
	if !d.admit(v) {
		conn.Close()
		return
	}
	defer d.dismiss(v)
	if route.Kind == Page {
		d.pages.serve(ctx, conn)
		return
	}
	d.pass(ctx, v)
}

// addresses gives a connection's two addresses: the service's, and the client's.
func addresses(conn *net.TCPConn) (dest, client netip.AddrPort) {
	plain := func(a net.Addr) netip.AddrPort {
		p := a.(*net.TCPAddr).AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), p.Port())
	}
	return plain(conn.LocalAddr()), plain(conn.RemoteAddr())
}

func (d *Door) admit(v *visit) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.conns) >= most || d.from[v.client.Addr()] >= mostOfOneHost || d.ctx.Err() != nil {
		return false
	}
	d.conns[v] = struct{}{}
	d.from[v.client.Addr()]++
	return true
}

func (d *Door) dismiss(v *visit) {
	v.conn.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.conns, v)
	host := v.client.Addr()
	if d.from[host]--; d.from[host] == 0 {
		delete(d.from, host)
	}
}

// engaged counts the connections of a service that are passed on, or wait for that. The desk hears of each change in order.
func (d *Door) engaged(service string, by int) {
	d.telling.Lock()
	defer d.telling.Unlock()
	n := d.live[service] + by
	if d.live[service] = n; n == 0 {
		delete(d.live, service)
	}
	d.desk.Engaged(service, n)
}

// Leave ends all connections of a service whose identity is not here any more.
func (d *Door) Leave(service string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for v := range d.conns {
		if v.service == service {
			v.end()
			v.conn.Close()
		}
	}
}

// Close ends everything and waits for it.
func (d *Door) Close() error {
	d.end()
	errs := []error{d.four.Close()}
	if d.six != nil {
		errs = append(errs, d.six.Close())
	}
	d.mu.Lock()
	for v := range d.conns {
		v.conn.Close()
	}
	d.mu.Unlock()
	errs = append(errs, d.pages.close())
	d.running.Wait()
	return errors.Join(errs...)
}
