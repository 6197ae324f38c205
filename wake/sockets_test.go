package wake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// listenIn opens a listener in the namespace, TCP or a bound UDP socket, until the end of the test.
func (s *space) listenIn(t *testing.T, network, where, device string) (closeIt func()) {
	t.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if device == "" {
			return nil
		}
		return errors.Join(raw.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), device) }), err)
	}}
	must(t, s.do(func() error {
		if network[:3] == "udp" {
			c, err := lc.ListenPacket(context.Background(), network, where)
			if err == nil {
				closeIt = func() { c.Close() }
			}
			return err
		}
		l, err := lc.Listen(context.Background(), network, where)
		if err == nil {
			closeIt = func() { l.Close() }
		}
		return err
	}))
	t.Cleanup(closeIt)
	return closeIt
}

// addressed is a namespace with ip0 on a link "svc".
func addressed(t *testing.T) *space {
	t.Helper()
	n := newLAN(t)
	must(t, n.host.do(func() error { return macvlan("svc", "eth0") }))
	n.host.awaitCarrier(t, "svc")
	must(t, n.host.do(func() error {
		return errors.Join(addr("svc", guard4.String()+"/24"), addr("svc", guard6.String()+"/64"), addr("eth0", "10.77.0.11/24"))
	}))
	return n.host
}

func TestListening(t *testing.T) {
	s := addressed(t)
	four, six := netip.AddrPortFrom(guard4, 8080), netip.AddrPortFrom(guard6, 8080)
	both := []netip.AddrPort{four, six}
	for _, c := range []struct {
		network, where, device string
		tcp, udp               []netip.AddrPort
	}{
		{"tcp4", "10.77.0.200:8080", "", both[:1], nil},
		{"tcp4", "0.0.0.0:8080", "", both[:1], nil},
		{"tcp6", "[::]:8080", "", both[1:], nil}, // for IPv6 only
		{"tcp", ":8080", "", both, nil},          // one socket for both
		{"tcp6", "[fd77::200]:8080", "", both[1:], nil},
		{"tcp4", "10.77.0.11:8080", "", nil, nil}, // of the host, not of the service
		{"tcp4", "127.0.0.1:8080", "", nil, nil},
		{"tcp", ":8081", "", nil, nil},
		{"tcp4", "0.0.0.0:8080", "svc", both[:1], nil},
		{"tcp4", "0.0.0.0:8080", "lo", nil, nil},
		{"udp4", "10.77.0.200:8080", "", nil, both[:1]},
		{"udp", ":8080", "", nil, both},
	} {
		t.Run(fmt.Sprint(c.network, " ", c.where, " ", c.device), func(t *testing.T) {
			end := s.listenIn(t, c.network, c.where, c.device)
			var tcp, udp []netip.AddrPort
			look := func() (err error) {
				tcp, udp, err = Listening("svc", both, both)
				return err
			}
			must(t, s.do(look))
			if !slices.Equal(tcp, c.tcp) || !slices.Equal(udp, c.udp) {
				t.Errorf("tcp %v, udp %v, want %v and %v", tcp, udp, c.tcp, c.udp)
			}
			end()
			if must(t, s.do(look)); len(tcp)+len(udp) != 0 {
				t.Errorf("after the end: %v %v", tcp, udp)
			}
		})
	}
}

// What the kernel expects next is what this program says, to the byte: the front answers keepalives with it.
func TestEstablished(t *testing.T) {
	s := addressed(t)
	must(t, s.do(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_nonlocal_bind", []byte("1"), 0o644) }))
	for _, a := range []netip.Addr{guard4, guard6} {
		var l net.Listener
		var client net.Conn
		must(t, s.do(func() (err error) {
			if l, err = net.Listen("tcp", ":8080"); err == nil {
				client, err = net.DialTimeout("tcp", netip.AddrPortFrom(a, 8080).String(), patience)
			}
			return err
		}))
		defer l.Close()
		defer client.Close()
		server, err := l.Accept()
		must(t, err)
		defer server.Close()
		before := flowOf(t, s, a, client)
		const text = "some bytes"
		_, err = client.Write([]byte(text))
		must(t, err)
		_, err = server.Read(make([]byte, 100))
		must(t, err)
		after := flowOf(t, s, a, client)
		if !before.Known || after.Next-before.Next != uint32(len(text)) {
			t.Errorf("%v: before %+v, after %d bytes %+v", a, before, len(text), after)
		}
		if after.Window == 0 {
			t.Errorf("%v: no room is announced: %+v", a, after)
		}
		must(t, l.Close())
	}
	must(t, s.do(func() error {
		if flows, err := Established([]netip.Addr{netip.MustParseAddr("10.77.0.11")}); err != nil || len(flows) != 0 {
			return fmt.Errorf("of another address: %v, %v", flows, err)
		}
		return nil
	}))
}

func flowOf(t *testing.T, s *space, a netip.Addr, client net.Conn) Flow {
	t.Helper()
	var flows []Flow
	must(t, s.do(func() (err error) {
		flows, err = Established([]netip.Addr{a})
		return err
	}))
	from := client.LocalAddr().(*net.TCPAddr).AddrPort()
	for _, f := range flows {
		if f.Client.Port() == from.Port() && f.Dest.Port() == 8080 {
			return f
		}
	}
	t.Fatalf("%v is not among %v", from, flows)
	return Flow{}
}

// announcement4 and announcement6 are what a holder sends.
func announcement4(t *testing.T, a netip.Addr, from net.HardwareAddr) []byte {
	f := build(t, &layers.ARP{
		AddrType: 1, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
		SourceHwAddress: from, SourceProtAddress: a.AsSlice(), DstHwAddress: make([]byte, 6), DstProtAddress: a.AsSlice(),
	})
	copy(f[6:], from)
	return f
}

func announcement6(t *testing.T, a netip.Addr, from net.HardwareAddr, kind uint8) []byte {
	ip := ip6(layers.IPProtocolICMPv6, "ff02::1")
	head := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	must(t, head.SetNetworkLayerForChecksum(ip))
	f := build(t, ip, head, &layers.ICMPv6NeighborAdvertisement{Flags: 0x20, TargetAddress: a.AsSlice()})
	copy(f, []byte{0x33, 0x33, 0, 0, 0, 1})
	copy(f[6:], from)
	return f
}

// An announcement that comes in counts, and says who made it; one that goes out does not, nor one of another address, nor other frames.
func TestWatch(t *testing.T) {
	n := newLAN(t)
	var sight *Sight
	must(t, n.host.do(func() (err error) {
		sight, err = Watch("eth0", []netip.Addr{guard4, guard6})
		return err
	}))
	defer sight.Close()
	client, host := n.client.tap(t, "eth0"), n.host.tap(t, "eth0")
	them := net.HardwareAddr{2, 0, 0, 0, 0, 0x55}
	question := announcement6(t, guard6, them, 135)
	send(t, host, announcement4(t, guard4, them))
	send(t, client, announcement4(t, netip.MustParseAddr("10.77.0.201"), them), announcement6(t, netip.MustParseAddr("fd77::201"), them, 136), question)
	arrived(t, host, question)
	if who := sight.Seen(); who != nil {
		t.Fatalf("%v counts", who)
	}
	for i, frame := range [][]byte{announcement4(t, guard4, them), announcement6(t, guard6, mac(t, serviceMAC), 136)} {
		send(t, client, frame)
		want := []net.HardwareAddr{them, mac(t, serviceMAC)}[i]
		for end := time.Now().Add(patience); !bytes.Equal(sight.Seen(), want); {
			if time.Now().After(end) {
				t.Fatalf("the announcement of %v was not seen", want)
			}
		}
		if sight.Again(); sight.Seen() != nil {
			t.Error("what was forgotten is seen")
		}
	}
	must(t, n.host.do(func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(l)
	}))
	if sight.Seen() != nil {
		t.Error("an interface that is down shows a frame")
	}
}

// arrived waits until a frame has come in, and so all that were sent before it.
func arrived(t *testing.T, conn *packet.Conn, frame []byte) {
	t.Helper()
	must(t, conn.SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, 2048)
	for {
		n, _, err := conn.ReadFrom(buf)
		must(t, err)
		if bytes.Equal(buf[:n], frame) {
			return
		}
	}
}
