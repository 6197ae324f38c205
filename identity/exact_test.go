package identity

import (
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// exact prepares an identity behind the BPF fence, opens it for an hour, and gives two sockets that speak with its addresses.
func (l *lan) exact(name string) (*Host, *Hold, *exactFence, []*net.UDPConn) {
	l.t.Helper()
	a, h := l.host[name], l.kernel(name)
	if h.suspends == nil {
		l.t.Skip("BPF needs root in the first user namespace")
	}
	a.knows(l.host["c"])
	p := l.prepare(name, h, dual)
	f, ok := p.fence.(*exactFence)
	if !ok {
		l.t.Fatalf("the fence is %T", p.fence)
	}
	a.do(func() error { return p.openFor(time.Hour) })
	talkers := []*net.UDPConn{a.talker(ip0), a.talker(ip06)}
	l.bothSay(talkers, "open")
	return h, p, f, talkers
}

// suspendBegins does what the tracepoint does.
func (s *suspends) begins() error {
	n, err := s.now()
	if err != nil {
		return err
	}
	return s.count.Update(uint32(0), n+1, ebpf.UpdateExist)
}

// TestASuspendShutsTheFence: from its beginning on, whatever a daemon that still runs writes, until a new acquisition.
func TestASuspendShutsTheFence(t *testing.T) {
	l := newLAN(t, "a", "c")
	h, p, _, talkers := l.exact("a")
	a := l.host["a"]
	before, err := p.Generation()
	if err != nil {
		t.Fatal(err)
	}
	a.do(h.suspends.begins)
	l.silent(talkers, "asleep")
	a.do(func() error { return p.Extend(soon(2 * time.Hour)) })
	l.silent(talkers, "renewed")
	a.do(func() error { return p.Open(soon(2*time.Hour), before) })
	l.silent(talkers, "opened by what was granted before")
	a.do(func() error { return p.openFor(time.Hour) })
	l.bothSay(talkers, "acquired")
}

// TestClocksShutTheFence: the distance of the two clocks has changed since the last renewal.
func TestClocksShutTheFence(t *testing.T) {
	for name, by := range map[string]time.Duration{"a suspend": -time.Second, "a clock that went wrong": time.Second} {
		t.Run(name, func(t *testing.T) {
			l := newLAN(t, "a", "c")
			_, p, f, talkers := l.exact("a")
			offset := f.gate.word(wordOffset)
			offset.Store(uint64(int64(offset.Load()) + int64(by)))
			l.silent(talkers, "jumped")
			l.host["a"].do(func() error { return p.Extend(soon(time.Hour)) })
			l.bothSay(talkers, "renewed")
		})
	}
}

// TestTheLANInterfaceIsFenced: what claims the identity cannot leave by it with the host's own MAC, in whatever form; what does not, can.
func TestTheLANInterfaceIsFenced(t *testing.T) {
	l := newLAN(t, "a", "c")
	_, p, _, _ := l.exact("a")
	a := l.host["a"]
	host := net.HardwareAddr{0x02, 0xaa, 0, 0, 0, 11}
	c := net.HardwareAddr{0x02, 0xaa, 0, 0, 0, 12}
	ether := func(src net.HardwareAddr, kind uint16, body ...byte) []byte {
		f := append(append([]byte{}, c...), src...)
		f = binary.BigEndian.AppendUint16(f, kind)
		f = append(f, body...)
		return append(f, make([]byte, max(0, 100-len(f)))...)
	}
	ip4 := func(src []byte) []byte {
		return append([]byte{0x45, 0, 0, 40, 0, 0, 0, 0, 64, 17, 0, 0}, append(src, 10, 200, 0, 12)...)
	}
	ip6 := func(src []byte, next byte, rest ...byte) []byte {
		b := append([]byte{0x60, 0, 0, 0, 0, 24, next, 255}, src...)
		b = append(b, 0xfd, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12)
		return append(b, rest...)
	}
	arp := func(sender []byte) []byte {
		return append([]byte{0, 1, 8, 0, 6, 4, 0, 2, 2, 0xaa, 0, 0, 0, 11}, append(sender, make([]byte, 10)...)...)
	}
	own4, own6 := []byte{10, 200, 0, 11}, append([]byte{0xfd, 0, 2, 0}, append(make([]byte, 11), 0x11)...)
	advert := func(target []byte) []byte { return append([]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, target...) }
	frames := map[string]struct {
		frame  []byte
		closed bool // must not leave while the fence is closed
	}{
		"its MAC":                         {ether(mac0, 0x88b5, 1), true},
		"its IPv4":                        {ether(host, unix.ETH_P_IP, ip4(ip0.AsSlice())...), true},
		"its IPv4 in ARP":                 {ether(host, unix.ETH_P_ARP, arp(ip0.AsSlice())...), true},
		"its IPv6":                        {ether(host, unix.ETH_P_IPV6, ip6(ip06.AsSlice(), 17)...), true},
		"its IPv6 advertised":             {ether(host, unix.ETH_P_IPV6, ip6(own6, 58, advert(ip06.AsSlice())...)...), true},
		"another MAC":                     {ether(host, 0x88b5, 1), false},
		"the host's IPv4":                 {ether(host, unix.ETH_P_IP, ip4(own4)...), false},
		"the host's ARP":                  {ether(host, unix.ETH_P_ARP, arp(own4)...), false},
		"the host's IPv6":                 {ether(host, unix.ETH_P_IPV6, ip6(own6, 17)...), false},
		"the host's IPv6 advertised":      {ether(host, unix.ETH_P_IPV6, ip6(own6, 58, advert(own6)...)...), false},
		"a solicitation for the identity": {ether(host, unix.ETH_P_IPV6, ip6(own6, 58, append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, ip06.AsSlice()...)...)...), false},
		"a short frame":                   {append(append([]byte{}, c...), host...)[:12:12], false},
	}
	for state, open := range map[string]bool{"closed": false, "open": true} {
		a.do(func() error {
			if open {
				return p.openFor(time.Hour)
			}
			return p.Close()
		})
		for name, f := range frames {
			if len(f.frame) < 14 {
				continue // the kernel sends no frame without a header
			}
			tagged := append([]byte{}, f.frame...)
			binary.BigEndian.PutUint32(tagged[len(tagged)-4:], uint32(time.Now().UnixNano()))
			a.do(func() error { return emit("eth0", tagged) })
			l.mark("a")
			n := l.eye.count(func(s seen) bool { return s.port == "a" && string(s.data) == string(tagged) })
			if want := open || !f.closed; (n == 1) != want {
				t.Errorf("%s, with a fence that is %s: %d frames", name, state, n)
			}
		}
	}
}

// emit sends a frame by a link, past everything but what hooks on the way out.
func emit(link string, frame []byte) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index})
	if errors.Is(err, unix.ENOBUFS) {
		return nil // dropped on the way out: what the fence does
	}
	return err
}
