package identity

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// behind plugs a network in behind a router: wan there, and a room of its own with a client.
func (r *room) behind(cidr, clientCIDR string) *room {
	r.t.Helper()
	far := newRoom(r.t, "far")
	r.do(func() error {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "wan"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(far.ns))}
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		return errors.Join(give6("wan", cidr), sysctl("ipv4", "all", "forwarding", "1"), sysctl("ipv6", "all", "forwarding", "1"))
	})
	via := netip.MustParsePrefix(cidr).Addr().String()
	far.do(func() error { return errors.Join(give6("eth0", clientCIDR), gateway("eth0", via)) })
	return far
}

// served makes b the holder of an identity that serves.
func (l *lan) served(h *Host) *Hold {
	l.t.Helper()
	b := l.host["b"]
	b.serve("[::]:8080")
	p := l.prepare("b", h, dual)
	b.do(func() error { return p.Guard(false) })
	b.do(func() error { return p.openFor(time.Hour) })
	return p
}

// answered connects and wants the holder's name.
func (r *room) answered(to string) {
	r.t.Helper()
	conn, err := r.dial("tcp", to, 10*time.Second)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	if got, _ := io.ReadAll(conn); string(got) != "b" {
		r.t.Errorf("answered by %q", got)
	}
}

// ownMAC counts the identity's frames that left with another MAC than its own.
func (l *lan) ownMAC(from string) {
	l.t.Helper()
	if n := l.eye.count(func(f seen) bool { return identityFrame(from)(f) && !bytes.Equal(f.data[6:12], mac0) }); n != 0 {
		l.t.Errorf("%d replies left with the host's own MAC", n)
	}
}

// TestRoutedClient: a client behind a router is answered with mac0, by way of the LAN interface's gateway. The router of IPv6
// is known by its link-local address, as routers announce themselves.
func TestRoutedClient(t *testing.T) {
	for _, one := range []struct{ wan, client, gateway, to string }{
		{"192.0.2.1/24", "192.0.2.2/24", "10.200.0.12", "10.200.0.100:8080"},
		{"2001:db8::1/64", "2001:db8::2/64", "fe80::1", "[fd00:200::100]:8080"},
	} {
		t.Run(one.gateway, func(t *testing.T) {
			l := newLAN(t, "b", "r")
			r := l.host["r"]
			far := r.behind(one.wan, one.client)
			r.do(func() error { return give6("eth0", "fe80::1/64") })
			l.host["b"].do(func() error { return gateway("eth0", one.gateway) })
			l.served(l.kernel("b"))
			far.answered(one.to)
			l.ownMAC("b")
		})
	}
}

// TestGatewayChanges: the default route of the LAN interface moves from one router to another, by replacement or by
// removal and addition. The watch notices at once, and the identity's own table follows.
func TestGatewayChanges(t *testing.T) {
	l := newLAN(t, "b", "r", "s") // r is 10.200.0.12, s is 10.200.0.13
	b, r, s := l.host["b"], l.host["r"], l.host["s"]
	r.behind("192.0.2.1/24", "192.0.2.2/24")
	far := s.behind("192.0.2.1/24", "192.0.2.2/24") // the same network, reached by the other router only
	b.do(func() error { return gateway("eth0", "10.200.0.12") })
	h := l.kernel("b")
	p := l.served(h)
	var bell <-chan Stir
	b.do(func() error {
		bell = h.Watch(t.Context())
		return nil
	})
	<-bell // the first one, at the start
	changed := func(what string) {
		t.Helper()
		end := time.After(20 * time.Second)
		for {
			select {
			case <-bell:
			case <-end:
				t.Fatal("not noticed: " + what)
			}
			var d []Drift
			b.do(func() (err error) {
				d, err = p.Check()
				return err
			})
			if len(d) == 0 {
				continue // the token of something before
			}
			b.do(p.Repair)
			b.do(func() (err error) {
				d, err = p.Check()
				return err
			})
			if len(d) != 0 {
				t.Errorf("after the repair: %v", d)
			}
			return
		}
	}
	b.do(func() error { return route("10.200.0.13", netlink.RouteReplace) })
	changed("another gateway")
	far.answered("10.200.0.100:8080")
	l.ownMAC("b")
	b.do(func() error { return route("10.200.0.13", netlink.RouteDel) })
	changed("no gateway")
	if _, err := far.dial("tcp", "10.200.0.100:8080", 100*time.Millisecond); err == nil {
		t.Error("answered by way of a gateway that was taken away")
	}
	b.do(func() error { return route("10.200.0.13", netlink.RouteAdd) })
	changed("a gateway again")
	far.answered("10.200.0.100:8080")
}

// route does something with the default route of eth0.
func route(via string, do func(*netlink.Route) error) error {
	l, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	return do(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: everything(netip.MustParseAddr(via)), Gw: net.ParseIP(via)})
}
