package identity

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
)

// TestGuardPorts: a port at which nobody listens yet swallows, each by itself, and the host's repairs put back what
// somebody removed.
func TestGuardPorts(t *testing.T) {
	l := newLAN(t, "b", "c")
	h := l.kernel("b")
	p := l.prepare("b", h, dual)
	b, c := l.host["b"], l.host["c"]
	var at []netip.AddrPort
	for _, a := range dual.Addrs {
		at = append(at, netip.AddrPortFrom(a, 8080))
	}
	dials := func(port string, want error) {
		t.Helper()
		for _, host := range []string{"10.200.0.100", ip06.String()} {
			_, err := c.dial("tcp", net.JoinHostPort(host, port), 300*time.Millisecond)
			ne, ok := errors.AsType[net.Error](err)
			if silent := ok && ne.Timeout(); want == nil && !silent || want != nil && !errors.Is(err, want) {
				t.Errorf("port %s of %s: %v, want %v (nil = silence)", port, host, err, want)
			}
		}
	}
	asks := func(want bool) {
		t.Helper()
		conn, err := c.dial("udp", "10.200.0.100:8080", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, err = conn.Write([]byte("anybody?"))
		if err == nil {
			err = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		}
		if err == nil {
			_, err = conn.Read(make([]byte, 10))
		}
		if refused := errors.Is(err, syscall.ECONNREFUSED); refused != want {
			t.Errorf("a datagram: %v, want refused %v", err, want)
		}
	}
	b.do(func() error { return errors.Join(p.GuardPorts(at, at), p.Guard(false), p.openFor(time.Hour)) })
	b.do(func() error { return p.Announce(func() bool { return true }) })
	dials("8080", nil)
	dials("22", syscall.ECONNREFUSED)
	asks(false)
	b.do(func() error {
		if drift, err := p.Check(); err != nil || len(drift) > 0 {
			return fmt.Errorf("drift %v, %w", drift, err)
		}
		return h.nft.batch(func(c *nftables.Conn) { c.FlushChain(&nftables.Chain{Name: startChain, Table: p.guard}) })
	})
	dials("8080", syscall.ECONNREFUSED) // as it is without
	b.do(p.Repair)
	dials("8080", nil)
	b.do(func() error { return p.GuardPorts(nil, nil) })
	dials("8080", syscall.ECONNREFUSED)
	asks(true)
}

// A connection outlives the guard of its port: only first segments are dropped.
func TestGuardPortsSparesConnections(t *testing.T) {
	l := newLAN(t, "b", "c")
	h := l.kernel("b")
	p := l.prepare("b", h, dual)
	b, c := l.host["b"], l.host["c"]
	b.do(func() error { return errors.Join(p.Guard(false), p.openFor(time.Hour)) })
	b.do(func() error { return p.Announce(func() bool { return true }) })
	var ln net.Listener
	b.do(func() (err error) {
		ln, err = net.Listen("tcp", "10.200.0.100:9090")
		return err
	})
	defer ln.Close()
	conn, err := c.dial("tcp", "10.200.0.100:9090", 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	b.do(func() error { return p.GuardPorts([]netip.AddrPort{netip.MustParseAddrPort("10.200.0.100:9090")}, nil) })
	for _, way := range [][2]net.Conn{{conn, server}, {server, conn}} {
		if _, err := way[0].Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := way[1].SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := way[1].Read(make([]byte, 1)); n != 1 {
			t.Errorf("an existing connection got %d bytes, %v", n, err)
		}
	}
}
