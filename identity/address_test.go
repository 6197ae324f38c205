package identity

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var shared = Spec{Service: "web", Mode: HostMAC, Addrs: []netip.Addr{ip0, ip06}}

// TestNothingComesIn: what was sent to the address reaches no socket while the fence is closed, in either form; and does once it is open.
func TestNothingComesIn(t *testing.T) {
	for name, form := range map[string]Form{"bpf": Best, "nftables": NFTables} {
		t.Run(name, func(t *testing.T) {
			l := newLAN(t, "a", "c")
			a, c := l.host["a"], l.host["c"]
			h := l.nextLife("a", form, Legacy{})
			if name == "bpf" && h.suspends == nil {
				t.Skip("BPF needs root in the first user namespace")
			}
			p := l.prepare("a", h, shared)
			a.do(func() error { return p.Guard(false) })
			for _, at := range []netip.Addr{ip0, ip06} {
				var in *net.UDPConn
				a.do(func() (err error) {
					in, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 9)))
					return err
				})
				defer in.Close()
				own := netip.MustParseAddr("10.200.0.11")
				if at.Is6() {
					own = netip.MustParseAddr("fd00:200::11")
				}
				var bystander *net.UDPConn
				a.do(func() (err error) {
					bystander, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(own, 9)))
					return err
				})
				defer bystander.Close()
				// The frame is made by hand: nobody answers for the address, and its neighbours need not know it.
				arrives := func(word string, to *net.UDPConn, addr netip.Addr) {
					c.do(func() error { return emit("eth0", datagram(addr, word)) })
					buf := make([]byte, 64)
					_ = to.SetReadDeadline(time.Now().Add(20 * time.Second))
					if n, err := to.Read(buf); err != nil || string(buf[:n]) != word {
						t.Fatalf("%s at %s: %q, %v", word, addr, buf[:n], err)
					}
				}
				a.do(p.Close)
				c.do(func() error { return emit("eth0", datagram(at, "closed")) })
				arrives("mine", bystander, own) // on the same way, and after it
				a.do(func() error { return p.openFor(time.Hour) })
				arrives("open", in, at) // and not "closed"
			}
		})
	}
}

// datagram is a UDP packet from c to a host a's card, whatever the address.
func datagram(to netip.Addr, word string) []byte {
	f := []byte{0x02, 0xaa, 0, 0, 0, 11, 0x02, 0xaa, 0, 0, 0, 12}
	udp := binary.BigEndian.AppendUint16([]byte{0x30, 0x39, 0, 9}, uint16(8+len(word)))
	udp = append(append(udp, 0, 0), word...)
	if to.Is4() {
		ip := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 200, 0, 12}
		ip = append(ip, to.AsSlice()...)
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(udp)))
		binary.BigEndian.PutUint16(ip[10:], ^sum(ip, 0))
		return append(append(append(f, 8, 0), ip...), udp...)
	}
	from := netip.MustParseAddr("fd00:200::12").AsSlice()
	pseudo := sum(append(slices.Clone(from), to.AsSlice()...), uint32(len(udp))+17)
	binary.BigEndian.PutUint16(udp[6:], ^sum(udp, uint32(pseudo)))
	ip := []byte{0x60, 0, 0, 0, 0, byte(len(udp)), 17, 64}
	ip = append(append(ip, from...), to.AsSlice()...)
	return append(append(append(f, 0x86, 0xdd), ip...), udp...)
}

// sum is the Internet checksum (RFC 1071), before its complement.
func sum(b []byte, s uint32) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// TestOwnConnections: what this host begins by itself has its own address, open or not; also to an IPv6 address that is closer to ip0.
func TestOwnConnections(t *testing.T) {
	l := newLAN(t, "a", "c")
	a, h := l.host["a"], l.kernel("a")
	p := l.prepare("a", h, shared)
	a.do(func() error { return p.openFor(time.Hour) })
	a.do(func() error {
		return errors.Join(gateway("eth0", "10.200.0.12"), gateway6("eth0", "fd00:200::12"))
	})
	for to, want := range map[string]string{
		"10.200.0.12:9": "10.200.0.11", "10.200.0.101:9": "10.200.0.11", "192.0.2.1:9": "10.200.0.11",
		"[fd00:200::12]:9": "fd00:200::11", "[fd00:200::101]:9": "fd00:200::11", "[2001:db8::1]:9": "fd00:200::11",
	} {
		c, err := a.dial("udp", to, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if own := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr(); own.String() != want {
			t.Errorf("to %s this host speaks as %s, want %s", to, own, want)
		}
		c.Close()
	}
	lan, err := h.LAN()
	if err != nil || slices.ContainsFunc(lan.Prefixes, func(p netip.Prefix) bool { return p.IsSingleIP() }) {
		t.Errorf("the LAN interface is said to have %v, %v", lan.Prefixes, err)
	}
}

func gateway6(link, via string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(via), Dst: &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}})
}

// TestProbeOfAMember: a member that holds the address answers with its card's MAC; who has another one is a stranger.
func TestProbeOfAMember(t *testing.T) {
	l := newLAN(t, "a", "b")
	pa, pb := l.prepare("a", l.kernel("a"), shared), l.prepare("b", l.kernel("b"), shared)
	l.host["b"].do(func() error { return pb.openFor(time.Hour) })
	probe := func(members ...net.HardwareAddr) (n int) {
		l.host["a"].do(func() error {
			found, err := pa.Probe(context.Background(), 200*time.Millisecond, members)
			n = len(found)
			return err
		})
		return n
	}
	if n := probe(shared.from(99), shared.from(12)); n != 0 {
		t.Errorf("a member was taken for %d strangers", n)
	}
	if n := probe(shared.from(99)); n != 2 {
		t.Errorf("%d answers of a stranger, want one for each family", n)
	}
	l.host["b"].do(pb.Close)
	if n := probe(); n != 0 {
		t.Errorf("%d answers from behind a closed fence", n)
	}
}

// TestTakeOverOfAnAddress: a client's entries follow the announcement at once, although it has just confirmed them; one that missed it
// goes on asking the former holder, who is silent, and follows the next one.
func TestTakeOverOfAnAddress(t *testing.T) {
	l := newLAN(t, "a", "b", "c")
	a, b, c := l.host["a"], l.host["b"], l.host["c"]
	a.serve("0.0.0.0:8080")
	b.serve("0.0.0.0:8080")
	a.serve("[::]:8081")
	b.serve("[::]:8081")
	pa, pb := l.prepare("a", l.kernel("a"), shared), l.prepare("b", l.kernel("b"), shared)
	for _, one := range []struct {
		r *room
		p *Hold
	}{{a, pa}, {b, pb}} {
		one.r.do(func() error { return one.p.Guard(false) })
	}
	say := func(r *room, p *Hold) { r.do(func() error { return p.Announce(func() bool { return true }) }) }
	answers := func(want string) {
		t.Helper()
		for _, at := range []string{"10.200.0.100:8080", "[fd00:200::100]:8081"} {
			conn, err := c.dial("tcp", at, 5*time.Second)
			if err != nil {
				t.Fatalf("%s: %v", at, err)
			}
			buf := make([]byte, 1)
			if _, err := conn.Read(buf); err != nil || string(buf) != want {
				t.Errorf("%s is answered by %q, want %s (%v)", at, buf, want, err)
			}
			conn.Close()
		}
	}
	a.do(func() error { return pa.openFor(time.Hour) })
	say(a, pa)
	answers("a")
	began := time.Now()
	a.do(pa.Close)
	b.do(func() error { return pb.openFor(time.Hour) })
	say(b, pb)
	answers("b")
	if took := time.Since(began); took > time.Second {
		t.Errorf("the client followed after %v", took)
	}
	b.do(pb.Close) // and back, without a word
	a.do(func() error { return pa.openFor(time.Hour) })
	if conn, err := c.dial("tcp", "10.200.0.100:8080", 500*time.Millisecond); err == nil {
		conn.Close()
		t.Error("a client that missed the announcement reached somebody: this test shows nothing")
	}
	say(a, pa)
	answers("a")
	l.mark("a")
	l.mark("b")
	if n := l.eye.count(func(f seen) bool { return solicits(f, ip06) && f.port != "c" }); n != 0 {
		t.Errorf("%d solicitations for the address came from those that have it", n)
	}
}

// solicits says whether a frame is duplicate address detection for an address.
func solicits(f seen, about netip.Addr) bool {
	return len(f.data) >= 78 && f.data[12] == 0x86 && f.data[20] == unix.IPPROTO_ICMPV6 && f.data[54] == 135 && bytes.Equal(f.data[62:78], about.AsSlice())
}

// TestFollowsTheCard: another MAC of the LAN interface is announced, and what its going down took away comes back.
func TestFollowsTheCard(t *testing.T) {
	l := newLAN(t, "a", "c")
	a := l.host["a"]
	p := l.prepare("a", l.kernel("a"), shared)
	a.do(func() error { return p.openFor(time.Hour) })
	check := func() (d []Drift, err error) {
		a.do(func() error { d, err = p.Check(); return nil })
		return d, err
	}
	if d, err := check(); err != nil || len(d) > 0 {
		t.Fatalf("drift of what was just prepared: %v, %v", d, err)
	}
	mac := net.HardwareAddr{0x02, 0xaa, 0, 0, 0, 77}
	a.do(func() error {
		eth, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetDown(eth), netlink.LinkSetHardwareAddr(eth, mac))
	})
	if err := a.try(p.Repair); err == nil || !strings.Contains(err.Error(), "bring it up") {
		t.Errorf("repair while the interface is down: %v", err)
	}
	a.do(func() error { return up("eth0") })
	if d, err := check(); err != nil || !slices.Contains(d, "another MAC") || !slices.Contains(d, Drift("address "+ip06.String()+" removed")) {
		t.Errorf("drift: %v, %v", d, err)
	}
	until(t, "it is repaired", func() bool { // the kernel's own routes come late
		a.do(p.Repair)
		d, err := check()
		return err == nil && len(d) == 0
	})
	a.do(func() error { return p.Announce(func() bool { return true }) })
	for _, at := range shared.Addrs {
		l.eye.await(t, "the new MAC of "+at.String(), func(f seen) bool {
			cl, ok := claim(f.data)
			return ok && f.port == "a" && cl.IP == at && bytes.Equal(cl.MAC, mac)
		})
	}
}

// TestSweepWithoutARule: an agent is killed and somebody removes its policy rules: its addresses are known all the same, by the seal.
func TestSweepWithoutARule(t *testing.T) {
	l := newLAN(t, "a", "c")
	a := l.host["a"]
	a.knows(l.host["c"])
	h := l.kernel("a")
	p := l.prepare("a", h, shared)
	a.do(func() error { return p.openFor(time.Hour) })
	talkers := []*net.UDPConn{a.talker(ip0), a.talker(ip06)}
	l.bothSay(talkers, "open")
	a.do(func() error { return h.dropRules(0) })
	next := l.kernel("a")
	a.do(next.Sweep)
	if !a.lacks(ip0.String()) || !a.lacks(ip06.String()) {
		t.Error("the addresses are still there")
	}
	l.silent(talkers, "swept")
}

// TestOneMAC: where a second MAC cannot live, only mode address is prepared.
func TestOneMAC(t *testing.T) {
	if os.Getenv(root) == "" {
		t.Skip("a stand-in for sysfs needs root in the first user namespace")
	}
	l := newLAN(t, "a")
	a, h := l.host["a"], l.kernel("a")
	if err := unix.Mount("none", "/sys/class/net", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount("/sys/class/net", 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.MkdirAll("/sys/class/net/eth0/wireless", 0o755); err != nil {
		t.Fatal(err)
	}
	a.do(func() error {
		if _, err := h.Prepare(dual); err == nil || !strings.Contains(err.Error(), "mode: address") {
			t.Errorf("a second MAC by Wi-Fi: %v", err)
		}
		p, err := h.Prepare(shared)
		if err != nil {
			return err
		}
		return p.Remove()
	})
}
