package identity

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// icmp6 gives the type and body of an ICMPv6 message, also behind hop-by-hop options; 0 = it is none.
func icmp6(f []byte) (kind byte, src netip.Addr, body []byte) {
	if len(f) < 14+40+8 || f[12] != 0x86 || f[13] != 0xdd {
		return 0, src, nil
	}
	next, rest := f[14+ip6Next], f[54:]
	if next == 0 {
		next, rest = rest[0], rest[min(8+8*int(rest[1]), len(rest)):]
	}
	if next != unix.IPPROTO_ICMPV6 || len(rest) < 8 {
		return 0, src, nil
	}
	return rest[0], netip.AddrFrom16([16]byte(f[22:38])), rest
}

// leaks says what of the identity a frame from a host that does not hold it shows, "" = nothing: its MAC or addresses, a link-local
// address made of its MAC, duplicate address detection for an address, or a report of an address's group.
func (s Spec) leaks(f seen) string {
	if identityFrame(f.port)(f) && (s.Mode != HostMAC || !bytes.Equal(f.data[6:12], mac0)) {
		return "the MAC or an address"
	}
	kind, src, body := icmp6(f.data)
	group := append([]byte{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff}, ip06.AsSlice()[13:]...)
	switch {
	case src == netip.MustParseAddr("fe80::ff:fe00:64"):
		return "a link-local address of its MAC"
	case kind == 135 && src.IsUnspecified() && bytes.Contains(body, ip06.AsSlice()):
		return "duplicate address detection"
	case (kind == mldReport1 || kind == mldReport2 || kind == 132) && bytes.Contains(body, group) && s.Mode != HostMAC:
		return "a report of its group" // in mode address it is this host's own
	}
	return ""
}

// provoke sends what makes hosts talk of their IPv6: a query for multicast listeners, a router's advertisement with a prefix, and a
// solicitation for the address.
func (l *lan) provoke() {
	l.t.Helper()
	router := netip.MustParseAddr("fe80::c0")
	allNodes := netip.MustParseAddr("ff02::1")
	query := make([]byte, 28)
	query[0], query[5], query[25] = 130, 1, 1 // the answer is due within a millisecond
	ra := []byte{134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 64, 0xc0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0}
	ra = append(ra, netip.MustParseAddr("fd00:201::").AsSlice()...)
	ns := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, ip06.AsSlice()...)
	for _, m := range []struct {
		body  []byte
		to    netip.Addr
		limit byte
	}{{query, allNodes, 1}, {ra, allNodes, 255}, {ns, netip.MustParseAddr("ff02::1:ff00:100"), 255}} {
		binary.BigEndian.PutUint16(m.body[2:], checksum6(router, m.to, m.body))
		head := make([]byte, 40)
		head[0] = 6 << 4
		binary.BigEndian.PutUint16(head[4:], uint16(len(m.body)))
		head[ip6Next], head[7] = unix.IPPROTO_ICMPV6, m.limit
		copy(head[ip6Source:], router.AsSlice())
		copy(head[ip6Dest:], m.to.AsSlice())
		if m.limit == 1 { // a query bears a router alert
			head[ip6Next] = 0
			binary.BigEndian.PutUint16(head[4:], uint16(8+len(m.body)))
			head = append(head, unix.IPPROTO_ICMPV6, 0, 5, 2, 0, 0, 1, 0)
		}
		f := append([]byte{0x33, 0x33, 0, 0, 0, 1, 2, 0xaa, 0, 0, 0, 0x0d, 0x86, 0xdd}, head...)
		l.host["c"].do(func() error { return emit("eth0", append(f, m.body...)) })
	}
}

// memberPorts lists where the switch leads what is sent to the address's group: it has learnt that from reports.
func (l *lan) memberPorts() (ports []string) {
	l.t.Helper()
	group := netip.MustParseAddr("ff02::1:ff00:100").AsSlice()
	l.sw.do(func() error {
		req := nl.NewNetlinkRequest(unix.RTM_GETMDB, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfInfomsg(unix.AF_BRIDGE))
		all, err := req.Execute(unix.NETLINK_ROUTE, 0)
		if err != nil {
			return err
		}
		for _, m := range all {
			for at := bytes.Index(m, group); at >= 8; { // struct br_mdb_entry: the port's index is 8 bytes before the group
				link, err := netlink.LinkByIndex(int(binary.NativeEndian.Uint32(m[at-8:])))
				if err == nil {
					ports = append(ports, link.Attrs().Name)
				}
				next := bytes.Index(m[at+1:], group)
				if next < 0 {
					break
				}
				at += 1 + next
			}
		}
		return nil
	})
	return ports
}

// cycle is a service that goes from host to host.
type cycle struct {
	*lan
	spec   Spec
	holder string // "" = nobody
	judged int    // frames
}

// judge looks at all frames since the last time: only the holder may show anything.
func (c *cycle) judge(step string) {
	c.t.Helper()
	c.mark("a")
	c.mark("b")
	c.eye.mu.Lock()
	defer c.eye.mu.Unlock()
	for ; c.judged < len(c.eye.frames); c.judged++ {
		f := c.eye.frames[c.judged]
		if what := c.spec.leaks(f); what != "" && f.port != c.holder && f.port != "c" {
			c.t.Errorf("%s: %s shows %s and does not hold: %x", step, f.port, what, f.data)
		}
	}
}

// open has a host take the identity, and a client that knows nothing of it is answered, at once and by it.
func (c *cycle) open(name string, p *Hold) {
	c.t.Helper()
	began := time.Now()
	c.holder = name
	c.host[name].do(func() error { return p.openFor(time.Hour) })
	c.host[name].do(func() error { return p.Announce(func() bool { return true }) })
	took := time.Since(began)
	c.host[name].do(func() error {
		link, err := netlink.LinkByName(p.Link())
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(link, netlink.FAMILY_V6)
		for _, a := range addrs {
			if a.IP.Equal(ip06.AsSlice()) && a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 {
				return err
			}
		}
		return fmt.Errorf("%s is not there, or is not usable: %v, %w", ip06, addrs, err)
	})
	for _, forget := range []bool{false, true} {
		if forget {
			c.host["c"].do(func() error { return forgetNeighbour(ip06) })
		}
		conn, err := c.host["c"].dial("tcp", "[fd00:200::100]:8080", 5*time.Second)
		if err != nil {
			c.t.Fatalf("%s holds, and a client gets %v", name, err)
		}
		buf := make([]byte, 1)
		if _, err := conn.Read(buf); err != nil || string(buf) != name {
			c.t.Errorf("%s holds, and %q answers (%v)", name, buf, err)
		}
		conn.Close()
	}
	c.t.Logf("%s holds after %v, and a client was answered twice after %v", name, took, time.Since(began))
	c.eye.await(c.t, "an advertisement that overrides", func(f seen) bool {
		kind, src, body := icmp6(f.data)
		return f.port == name && kind == 136 && src == ip06 && body[4]&0x20 != 0 && body[4]&0x40 == 0 && bytes.Equal(f.data[6:12], p.mac()) && bytes.Equal(body[26:32], p.mac())
	})
	until(c.t, "the switch leads questions to "+name, func() bool {
		for _, port := range c.memberPorts() {
			if port == "p"+name {
				return true
			}
		}
		return false
	})
}

func forgetNeighbour(a netip.Addr) error {
	eth, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	return netlink.NeighDel(&netlink.Neigh{LinkIndex: eth.Attrs().Index, IP: a.AsSlice()})
}

// TestIPv6Cycle: every frame of both hosts over two whole hand-overs. The holder's address is usable at once; of the other host nothing
// is seen, whatever makes its kernel talk.
func TestIPv6Cycle(t *testing.T) {
	if os.Getenv(root) == "" {
		t.Log("without root the fence is that of nftables")
	}
	inModes(t, func(t *testing.T, _, dual Spec) {
		for name, addrs := range map[string][]netip.Addr{"dual-stack": dual.Addrs, "IPv6 only": {ip06}} {
			t.Run(name, func(t *testing.T) {
				s := dual
				s.Addrs = addrs
				c := &cycle{lan: newLAN(t, "a", "b", "c"), spec: s}
				a, b := c.host["a"], c.host["b"]
				for _, r := range []*room{a, b} {
					r.serve("[::]:8080")
				}
				ha, hb := c.kernel("a"), c.kernel("b")
				pa, pb := c.prepare("a", ha, s), c.prepare("b", hb, s)
				for r, p := range map[*room]*Hold{a: pa, b: pb} {
					r.do(func() error { return p.Guard(false) })
				}
				c.provoke()
				c.judge("prepared")
				c.open("a", pa)
				c.provoke()
				c.judge("a holds")
				a.do(pa.Close)
				c.holder = ""
				c.provoke()
				c.judge("closed")
				c.open("b", pb)
				c.provoke()
				c.judge("b holds")
				a.do(pa.Remove)
				c.judge("a has removed it")
				pa = c.prepare("a", ha, s)
				a.do(func() error { return pa.Guard(false) })
				c.provoke()
				c.judge("a is prepared again")
				b.do(pb.Close)
				c.holder = ""
				c.judge("closed again")
				c.open("a", pa)
				b.do(pb.Remove)
				c.provoke()
				c.judge("a holds again")
				a.do(pa.Remove)
				c.holder = ""
				c.provoke()
				c.judge("removed")
			})
		}
	})
}

// TestProbe6: a service that has an IPv6 address only: a stranger that has it is found by its answer to a solicitation from nowhere, and
// the question itself disturbs nobody who has the address.
func TestProbe6(t *testing.T) {
	l := newLAN(t, "a", "x", "c")
	p := l.prepare("a", l.kernel("a"), Spec{Service: "web", MAC: mac0, Addrs: []netip.Addr{ip06}})
	l.host["x"].do(func() error { return give6("eth0", ip06.String()+"/64") })
	l.host["x"].serve("[fd00:200::100]:8080")
	var found []Foreign
	l.host["a"].do(func() (err error) {
		found, err = p.Probe(t.Context(), 200*time.Millisecond, nil)
		return err
	})
	if len(found) != 1 || found[0].IP != ip06 || !bytes.Equal(found[0].MAC, net.HardwareAddr{2, 0xaa, 0, 0, 0, 12}) {
		t.Errorf("found %v", found)
	}
	l.mark("a")
	asked := l.eye.count(func(f seen) bool {
		kind, src, _ := icmp6(f.data)
		return f.port == "a" && kind == 135 && src.IsUnspecified() && solicits(f, ip06) && bytes.Equal(f.data[6:12], []byte{2, 0xaa, 0, 0, 0, 11})
	})
	if asked != 2 {
		t.Errorf("%d questions, want two from the host's own MAC", asked)
	}
	conn, err := l.host["c"].dial("tcp", "[fd00:200::100]:8080", 5*time.Second)
	if err != nil {
		t.Fatalf("the stranger is disturbed: %v", err)
	}
	conn.Close()
}
