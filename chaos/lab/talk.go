package lab

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The talker is a program as people have them on their hosts: it binds to every address that it finds, here to
// those that float, and speaks by the LAN interface whatever the routes say. Its sockets outlive the addresses. While
// the host may not use such an address, nothing of this may come to the switch.

const (
	talkEvery = 25 * time.Millisecond
	lookEvery = 4 // rounds between two looks at the addresses
)

// talk goes on until ctx ends. What cannot be sent is not: that is what the fence is for.
func talk(ctx context.Context) {
	conns := map[netip.Addr]net.PacketConn{}
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	everybody := &net.UDPAddr{IP: net.IPv4bcast, Port: 9} // discard (RFC 863); nothing answers a broadcast
	tick := time.NewTicker(talkEvery)
	defer tick.Stop()
	for round := 0; ; round++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if round%lookEvery == 0 {
			for _, a := range floating() {
				if conns[a] != nil {
					continue
				}
				if c, err := bindByLAN(ctx, a); err == nil { // else the address is gone already
					conns[a] = c
				}
			}
		}
		for _, c := range conns {
			_, _ = c.WriteTo([]byte("talk"), everybody)
		}
	}
}

// floating lists the IPv4 addresses that float: those of the interfaces that are neither the LAN's nor the loopback, and what the LAN's
// has without a network.
func floating() []netip.Addr {
	links, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, l := range links {
		if l.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := l.Addrs()
		if err != nil {
			continue // it is gone
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && (l.Name != hostIface || p.IsSingleIP()) {
				out = append(out, p.Addr())
			}
		}
	}
	return out
}

// bindByLAN opens a socket that has an address, and sends by the LAN interface.
func bindByLAN(ctx context.Context, a netip.Addr) (net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		cerr := raw.Control(func(fd uintptr) {
			if err = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, hostIface); err == nil {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
			}
		})
		if err == nil {
			err = cerr
		}
		return err
	}}
	return lc.ListenPacket(ctx, "udp4", netip.AddrPortFrom(a, 0).String())
}
