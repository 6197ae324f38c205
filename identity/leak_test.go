package identity

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// talker opens a UDP socket that is bound to ip0 and connected to the host c. That of IPv4 is transparent, as a proxy's may
// be: the kernel refuses to send from an address that is not its own for ordinary sockets of IPv4, but not for those, nor
// for any of IPv6.
func (r *room) talker(a netip.Addr) *net.UDPConn {
	r.t.Helper()
	to := netip.MustParseAddrPort("10.200.0.12:9")
	if a.Is6() {
		to = netip.MustParseAddrPort("[fd00:200::12]:9")
	}
	d := net.Dialer{
		LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)),
		Control: func(_, _ string, c syscall.RawConn) error {
			if a.Is6() {
				return nil
			}
			var err error
			cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1) })
			return errors.Join(err, cerr)
		},
	}
	var c net.Conn
	r.do(func() (err error) {
		c, err = d.Dial("udp", to.String())
		return err
	})
	r.t.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn)
}

// knows tells a host for good where c is, so that what it sends to c leaves at once.
func (r *room) knows(c *room) {
	r.t.Helper()
	var mac net.HardwareAddr
	c.do(func() error {
		l, err := netlink.LinkByName("eth0")
		if err == nil {
			mac = l.Attrs().HardwareAddr
		}
		return err
	})
	r.do(func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		for _, a := range []string{"10.200.0.12", "fd00:200::12"} {
			n := &netlink.Neigh{LinkIndex: l.Attrs().Index, IP: net.ParseIP(a), HardwareAddr: mac, State: netlink.NUD_PERMANENT}
			if err := netlink.NeighSet(n); err != nil {
				return err
			}
		}
		return nil
	})
}

// chat writes a word to each talker; what becomes of it is the observer's to say.
func chat(talkers []*net.UDPConn, word string) {
	for range 20 {
		for _, c := range talkers {
			_, _ = c.Write([]byte(word)) // refused, unreachable, or swallowed
		}
	}
}

// says matches packets of the identity with a word in them, of IPv4 or IPv6.
func says(word string, etherType uint16) func(seen) bool {
	return func(f seen) bool {
		return identityFrame("a")(f) && binary.BigEndian.Uint16(f.data[12:]) == etherType && bytes.Contains(f.data, []byte(word))
	}
}

// bothSay waits until both families are heard.
func (l *lan) bothSay(talkers []*net.UDPConn, word string) {
	l.t.Helper()
	until(l.t, "both speak: "+word, func() bool {
		chat(talkers, word)
		return l.eye.count(says(word, unix.ETH_P_IP)) > 0 && l.eye.count(says(word, unix.ETH_P_IPV6)) > 0
	})
}

// silent fails the test if anything of the word left.
func (l *lan) silent(talkers []*net.UDPConn, word string) {
	l.t.Helper()
	chat(talkers, word)
	l.mark("a")
	for _, e := range []uint16{unix.ETH_P_IP, unix.ETH_P_IPV6} {
		if n := l.eye.count(says(word, e)); n != 0 {
			l.t.Errorf("%d packets (%#x) of ip0 left: %s", n, e, word)
		}
	}
}

// TestSilentAfterRemove: sockets outlive the address that they are bound to; what they still say must not leave by the LAN
// interface, whether the identity was removed or a former agent was killed and swept up after.
func TestSilentAfterRemove(t *testing.T) { inModes(t, silentAfterRemove) }

func silentAfterRemove(t *testing.T, spec, dual Spec) {
	ends := map[string]func(*lan, *Host, *Hold) *Host{
		"removed": func(l *lan, h *Host, p *Hold) *Host {
			l.host["a"].do(p.Remove)
			return h
		},
		"swept": func(l *lan, _ *Host, _ *Hold) *Host {
			fresh := l.kernel("a")
			l.host["a"].do(fresh.Sweep)
			return fresh
		},
		"removed, then swept": func(l *lan, _ *Host, p *Hold) *Host {
			l.host["a"].do(p.Remove)
			fresh := l.kernel("a")
			l.host["a"].do(fresh.Sweep)
			return fresh
		},
		"another identity came and went": func(l *lan, h *Host, p *Hold) *Host {
			l.host["a"].do(p.Remove)
			other := spec.another("other", 0x65, netip.MustParseAddr("10.200.0.101"))
			l.host["a"].do(l.prepare("a", h, other).Remove)
			return h
		},
	}
	for how, end := range ends {
		t.Run(how, func(t *testing.T) {
			l := newLAN(t, "a", "c")
			a, h := l.host["a"], l.kernel("a")
			a.knows(l.host["c"])
			p := l.prepare("a", h, dual)
			a.do(func() error { return p.openFor(time.Hour) })
			talkers := []*net.UDPConn{a.talker(ip0), a.talker(ip06)}
			l.bothSay(talkers, "before")
			h = end(l, h, p)
			l.silent(talkers, "after")
			// A new life of the same identity speaks again with the old sockets, once it is open.
			p = l.prepare("a", h, dual)
			l.silent(talkers, "prepared")
			a.do(func() error { return p.openFor(time.Hour) })
			l.bothSay(talkers, "again")
		})
	}
}

// TestSealComesBack: somebody flushes nftables, or the LAN interface is gone and back, while nothing is prepared: the
// watch alone puts the seal back.
func TestSealComesBack(t *testing.T) { inModes(t, sealComesBack) }

func sealComesBack(t *testing.T, spec, dual Spec) {
	l := newLAN(t, "a", "c")
	a, h := l.host["a"], l.kernel("a")
	p := l.prepare("a", h, dual)
	talkers := []*net.UDPConn{a.talker(ip0), a.talker(ip06)}
	a.do(p.Remove)
	var bell <-chan Stir
	a.do(func() error {
		bell = h.Watch(t.Context())
		return nil
	})
	<-bell // once, when it begins
	sealed := func() bool {
		rules, err := h.nft.rules(h.seal.table(), sealChain)
		return err == nil && rules == 5
	}
	a.do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.FlushRuleset()
		return c.Flush()
	})
	until(t, "the seal is back after a flush", sealed)
	a.do(func() error {
		eth, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkDel(eth)
	})
	l.plug("a", 11)
	l.eye = watchPorts(l, []string{"a", "c"}) // the switch has another port for a now
	a.knows(l.host["c"])
	until(t, "the seal is back with the interface", sealed)
	l.silent(talkers, "after")
	a.do(func() error { return h.Retain(nil) })
	l.bothSay(talkers, "forgotten") // control: only the seal kept them silent
}

// TestRetain: what is no longer the cluster's is as any other address of this host; what is stays sealed. A new life of the
// agent knows as much.
func TestRetain(t *testing.T) { inModes(t, retains) }

func retains(t *testing.T, spec, dual Spec) {
	l := newLAN(t, "a", "c")
	a, h := l.host["a"], l.kernel("a")
	a.knows(l.host["c"])
	only6 := spec.another("six", 0x66, ip06)
	for _, s := range []Spec{spec, only6} {
		a.do(l.prepare("a", h, s).Remove)
	}
	h = l.kernel("a")
	a.do(func() error { return h.Retain([]Spec{only6}) })
	a.do(func() error { return give6("eth0", ip0.String()+"/24") })
	a.do(func() error { return give6("eth0", ip06.String()+"/64") })
	talkers := []*net.UDPConn{a.talker(ip0), a.talker(ip06)}
	until(t, "the forgotten address speaks", func() bool {
		chat(talkers, "word")
		return l.eye.count(says("word", unix.ETH_P_IP)) > 0
	})
	l.mark("a")
	if n := l.eye.count(says("word", unix.ETH_P_IPV6)); n != 0 {
		t.Errorf("%d packets of another identity's address left", n)
	}
	a.do(h.Purge)
	a.do(func() error {
		all, err := h.nft.tables(nftables.TableFamilyNetdev)
		if err != nil || len(all) > 0 {
			t.Errorf("tables left: %v, %v", all, err)
		}
		return nil
	})
	l.bothSay(talkers, "purged")
}

// TestAddressChangesService: an identity that takes over another one's address speaks although that one's departure sealed
// it, and is sealed with its own.
func TestAddressChangesService(t *testing.T) { inModes(t, addressChangesService) }

func addressChangesService(t *testing.T, spec, dual Spec) {
	l := newLAN(t, "a", "c")
	a, h := l.host["a"], l.kernel("a")
	a.knows(l.host["c"])
	next := dual.another("next", 0x67, dual.Addrs...) // a MAC can be on one macvlan of a host only
	old := l.prepare("a", h, dual)
	p := l.prepare("a", h, next)
	a.do(old.Remove)
	a.do(func() error { return p.openFor(time.Hour) })
	talkers := []*net.UDPConn{a.talker(ip0), a.talker(ip06)}
	until(t, "the next identity answers for the address", func() bool {
		a.do(func() error { return p.Repair() }) // the old one's departure took the local routes along
		chat(talkers, "word")
		return l.eye.count(says("word", unix.ETH_P_IP)) > 0 && l.eye.count(says("word", unix.ETH_P_IPV6)) > 0
	})
	a.do(p.Remove)
	l.silent(talkers, "after")
}

// TestReplaceOpenLeftover: an agent that was killed left the identity open; preparing it anew, even without a sweep, closes
// it, and nothing leaves with another MAC meanwhile.
func TestReplaceOpenLeftover(t *testing.T) { inModes(t, replaceOpenLeftover) }

func replaceOpenLeftover(t *testing.T, spec, dual Spec) {
	l := newLAN(t, "a", "c")
	a := l.host["a"]
	a.knows(l.host["c"])
	old := l.prepare("a", l.kernel("a"), dual)
	a.do(func() error { return old.openFor(time.Hour) })
	talkers := []*net.UDPConn{a.talker(ip0), a.talker(ip06)}
	l.bothSay(talkers, "open")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				chat(talkers, "meanwhile")
			}
		}
	}()
	l.prepare("a", l.kernel("a"), dual)
	l.mark("a")
	before := l.eye.count(identityFrame("a"))
	close(stop)
	<-stopped
	l.silent(talkers, "prepared")
	if n := l.eye.count(identityFrame("a")) - before; n != 0 {
		t.Errorf("%d frames of the identity left after it was prepared anew", n)
	}
	if n := l.eye.count(func(f seen) bool { return identityFrame("a")(f) && !bytes.Equal(f.data[6:12], dual.from(11)) }); n != 0 {
		t.Errorf("%d frames of ip0 left with another MAC", n)
	}
}

// TestLocalClient6: as TestLocalClient, for IPv6: the client on the front's host speaks with the host's own address.
func TestLocalClient6(t *testing.T) { inModes(t, localClient6) }

func localClient6(t *testing.T, spec, dual Spec) {
	l := newLAN(t, "a", "c")
	a := l.host["a"]
	l.prepare("a", l.kernel("a"), dual)
	a.do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrInet6{Port: 8080, Addr: ip06.As16()}); !errors.Is(err, unix.EINPROGRESS) {
			return err
		}
		name, err := unix.Getsockname(fd)
		if err != nil {
			return err
		}
		if own := netip.AddrFrom16(name.(*unix.SockaddrInet6).Addr); own.String() != "fd00:200::11" {
			t.Errorf("the local client's address is %s, want the host's own", own)
		}
		return nil
	})
}

// give6 gives a link an address without the wait for duplicate address detection, and brings it up.
func give6(link, cidr string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	a.Flags = unix.IFA_F_NODAD
	return errors.Join(netlink.AddrAdd(l, a), netlink.LinkSetUp(l))
}

// TestOwnIdentityIsRefused: a service with this host's own MAC or address would fence the host itself off.
func TestOwnIdentityIsRefused(t *testing.T) {
	l := newLAN(t, "a", "c")
	h, a := l.kernel("a"), l.host["a"]
	var lan LAN
	a.do(func() (err error) { lan, err = h.LAN(); return err })
	for what, s := range map[string]Spec{
		"MAC":     {Service: "evil", MAC: lan.MAC, Addrs: []netip.Addr{ip0}},
		"address": {Service: "evil", MAC: mac0, Addrs: []netip.Addr{lan.Prefixes[0].Addr()}},
	} {
		a.do(func() error {
			if _, err := h.Prepare(s); err == nil || !strings.Contains(err.Error(), "give the service another one") {
				t.Errorf("own %s: %v", what, err)
			}
			return nil
		})
	}
	if _, err := a.dial("udp", "10.200.0.12:9", time.Second); err != nil {
		t.Fatal(err)
	}
	l.mark("a") // it is heard: nothing of the host's own is shut
}
