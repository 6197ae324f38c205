package wake

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const patience = 20 * time.Second // for what must happen; no test waits that long when all is well

// front makes a LAN whose host has the service's macvlan "svc", as a front has it, and listens there.
func front(t testing.TB, on func(Demand)) (*lan, *Listener) {
	t.Helper()
	n := newLAN(t)
	must(t, n.host.do(func() error { return macvlan("svc", "eth0") }))
	n.host.awaitCarrier(t, "svc")
	return n, n.host.listen(t, "svc", testGuard(), on)
}

func macvlan(name, lower string) error {
	l, err := netlink.LinkByName(lower)
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = name, l.Attrs().Index
	if attrs.HardwareAddr, err = net.ParseMAC(serviceMAC); err != nil {
		return err
	}
	if err := netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}); err != nil {
		return err
	}
	return up(name)
}

func (s *space) listen(t testing.TB, iface string, g Guard, on func(Demand)) *Listener {
	t.Helper()
	var l *Listener
	must(t, s.do(func() (err error) {
		l, err = Listen(iface, g, on)
		return err
	}))
	t.Cleanup(func() { l.Close() })
	return l
}

func await[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// syn makes a SYN from the given source port.
func syn(t testing.TB, from int) []byte {
	t.Helper()
	ip := ip4(layers.IPProtocolTCP, guard4.String())
	s := tcp(ip, 8080, "syn")
	s.SrcPort = layers.TCPPort(from)
	return build(t, ip, s)
}

// All samples cross a real interface. A frame that is no demand is followed by a SYN of its own source port: had it been
// seen, it would have come first.
func TestListenSeesDemandOnly(t *testing.T) {
	got := make(chan Demand, 1000)
	n, l := front(t, func(d Demand) { got <- d })
	client := n.client.tap(t, "eth0")
	for i, s := range samples(t) {
		frame := append([]byte(nil), s.frame...)
		marker := syn(t, 50000+i)
		send(t, client, frame, marker)
		d := await(t, got)
		if s.demand {
			if !bytes.HasPrefix(d.Frame, frame) { // short frames may be padded
				t.Fatalf("%s: got another frame: %v", s.name, d)
			}
			if d.Service != "web" || d.Local || !d.Client.IsValid() || !testGuard().guards(d.Dest.Addr()) {
				t.Errorf("%s: wrong demand %v", s.name, d)
			}
			d = await(t, got)
		}
		if want := uint16(50000 + i); d.Client.Port() != want {
			t.Fatalf("%s: counted as demand: %v", s.name, d)
		}
	}
	if st := l.Stats(); st.Lost+st.Dropped+st.Merged != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestListenIgnoresForeignFrames(t *testing.T) {
	got := make(chan Demand, 10)
	n, _ := front(t, func(d Demand) { got <- d })
	client, host := n.client.tap(t, "eth0"), n.host.tap(t, "svc")
	tagged := func(from int, vlan uint16) []byte {
		ip := ip4(layers.IPProtocolTCP, guard4.String())
		s := tcp(ip, 8080, "syn")
		s.SrcPort = layers.TCPPort(from)
		return build(t, &layers.Dot1Q{Priority: 5, VLANIdentifier: vlan, Type: layers.EthernetTypeIPv4}, ip, s)
	}
	broadcast := syn(t, 1)
	copy(broadcast, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	outgoing := syn(t, 2)
	copy(outgoing, mac(t, clientMAC))
	send(t, host, outgoing)
	send(t, client, broadcast, tagged(3, 77), tagged(4, 0), syn(t, 5))
	for _, want := range []uint16{4, 5} { // a tag of VLAN 0 is only a priority
		if d := await(t, got); d.Client.Port() != want {
			t.Fatalf("got %v, want the frame from port %d", d, want)
		}
	}
}

func TestListenLargeDatagram(t *testing.T) {
	got := make(chan Demand, 1)
	n, _ := front(t, func(d Demand) { got <- d })
	for _, s := range []*space{n.host, n.client} {
		must(t, s.do(func() error {
			l, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return netlink.LinkSetMTU(l, 9000)
		}))
	}
	ip := ip4(layers.IPProtocolUDP, guard4.String())
	send(t, n.client.tap(t, "eth0"), build(t, ip, udp(ip, 53), gopacket.Payload(make([]byte, 4000))))
	if d := await(t, got); d.Frame != nil || d.Protocol != "udp" || d.Dest.Port() != 53 {
		t.Errorf("got %v with a frame of %d bytes", d, len(d.Frame))
	}
}

// A slow callback loses no flow, and gets the newest frame of each.
func TestListenSlowCallback(t *testing.T) {
	const flows, repeats = 50, 4
	entered, leave := make(chan Demand), make(chan struct{})
	all := make(chan Demand, 1000)
	n, l := front(t, func(d Demand) {
		if d.Client.Port() == 1 {
			entered <- d
			<-leave
		}
		all <- d
	})
	client := n.client.tap(t, "eth0")
	send(t, client, syn(t, 1))
	await(t, entered)
	for r := range repeats {
		for f := range flows {
			frame := syn(t, 100+f)
			frame[offNetwork+8] = byte(r + 1) // the TTL tells the repetitions apart; the checksum does not matter here
			send(t, client, frame)
		}
	}
	for deadline := time.Now().Add(patience); l.Stats().Seen < 1+flows*repeats; {
		if time.Now().After(deadline) {
			t.Fatalf("stats %+v", l.Stats())
		}
	}
	close(leave)
	await(t, all)
	for f := range flows {
		d := await(t, all)
		if d.Client.Port() != uint16(100+f) || d.Frame[offNetwork+8] != repeats {
			t.Fatalf("flow %d: got repetition %d of port %d", f, d.Frame[offNetwork+8], d.Client.Port())
		}
	}
	if got, want := l.Stats(), (Stats{Seen: 1 + flows*repeats, Merged: flows * (repeats - 1)}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

// More than the kernel's queue can hold is counted and not lost in silence.
func TestListenCountsKernelDrops(t *testing.T) {
	var l Listener
	n := newLAN(t)
	g := testGuard()
	filter, err := g.kernelFilter()
	must(t, err)
	must(t, n.host.do(func() error {
		if err := macvlan("svc", "eth0"); err != nil {
			return err
		}
		ifi, err := net.InterfaceByName("svc")
		if err != nil {
			return err
		}
		fd, err := openFiltered(ifi.Index, filter)
		if err != nil {
			return err
		}
		l.file = os.NewFile(uintptr(fd), "test")
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1) // the kernel's least
	}))
	n.host.awaitCarrier(t, "svc")
	defer l.file.Close()
	l.queue = newFlowQueue()
	l.conn, err = l.file.SyscallConn()
	must(t, err)
	client := n.client.tap(t, "eth0")
	for deadline := time.Now().Add(patience); l.Stats().Lost == 0; { // nobody reads
		send(t, client, syn(t, 1))
		if time.Now().After(deadline) {
			t.Fatal("the kernel drops nothing")
		}
	}
	if a, b := l.Stats().Lost, l.Stats().Lost; a != b || a == 0 {
		t.Errorf("the count is not kept: %d, then %d", a, b)
	}
}

// A client on the host itself: the frames are on the loopback, and the answer (here a refusal) is no demand.
func TestListenLocalClient(t *testing.T) {
	got := make(chan Demand, 10)
	s := newSpace(t)
	must(t, s.do(func() error {
		if err := addr("lo", guard4.String()+"/32"); err != nil {
			return err
		}
		return addr("lo", guard6.String()+"/128")
	}))
	l := s.listen(t, "lo", testGuard(), func(d Demand) { got <- d })
	for i, to := range []netip.Addr{guard4, guard6} {
		must(t, s.do(func() error {
			fd, err := unix.Socket(map[bool]int{true: unix.AF_INET, false: unix.AF_INET6}[to.Is4()], unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			var sa unix.Sockaddr = &unix.SockaddrInet6{Port: 8080, Addr: to.As16()}
			if to.Is4() {
				sa = &unix.SockaddrInet4{Port: 8080, Addr: to.As4()}
			}
			err = unix.Connect(fd, sa)
			for until := time.Now().Add(patience); err == unix.ENETUNREACH && time.Now().Before(until); {
				err = unix.Connect(fd, sa) // the kernel routes a new IPv6 address from a work queue
			}
			if !errors.Is(err, unix.ECONNREFUSED) {
				return fmt.Errorf("connect to %v: want a refusal, got %v", to, err)
			}
			return nil
		}))
		if d := await(t, got); !d.Local || d.Dest != netip.AddrPortFrom(to, 8080) || d.Protocol != "tcp" {
			t.Errorf("got %v", d)
		}
		if n := l.Stats().Seen; n != uint64(i+1) {
			t.Errorf("%d demands after %d attempts", n, i+1)
		}
	}
}

func TestListenEndsWithInterface(t *testing.T) {
	got := make(chan Demand, 1)
	n, l := front(t, func(d Demand) { got <- d })
	if l.Err() != nil {
		t.Fatal(l.Err())
	}
	must(t, n.host.do(func() error {
		link, err := netlink.LinkByName("svc")
		if err != nil {
			return err
		}
		return netlink.LinkDel(link)
	}))
	await(t, l.Done())
	if err := l.Err(); !errors.Is(err, ErrInterfaceDown) {
		t.Errorf("got %v", err)
	}
	must(t, l.Close())
	must(t, n.host.do(func() error { return macvlan("svc", "eth0") }))
	n.host.awaitCarrier(t, "svc")
	n.host.listen(t, "svc", testGuard(), func(d Demand) { got <- d })
	send(t, n.client.tap(t, "eth0"), syn(t, 1))
	await(t, got)
}

func TestListenRefusesDownInterface(t *testing.T) {
	n := newLAN(t)
	err := n.host.do(func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetDown(l); err != nil {
			return err
		}
		_, err = Listen("eth0", testGuard(), func(Demand) {})
		return err
	})
	if !errors.Is(err, ErrInterfaceDown) {
		t.Errorf("got %v", err)
	}
	if err := n.host.do(func() error { _, err := Listen("nope0", testGuard(), func(Demand) {}); return err }); err == nil {
		t.Error("no error for an interface that does not exist")
	}
}

// Close waits for the callback, and what still waits is not delivered after it.
func TestListenClose(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	calls, after := 0, false
	n, l := front(t, func(Demand) {
		calls++
		entered <- struct{}{}
		<-leave
		after = true
	})
	client := n.client.tap(t, "eth0")
	send(t, client, syn(t, 1))
	await(t, entered)
	send(t, client, syn(t, 2))
	for l.Stats().Seen < 2 {
	}
	closed := make(chan error)
	go func() { closed <- l.Close() }()
	await(t, l.quit)
	select { // far longer than the kernel takes to close a packet socket (some 10 ms)
	case <-closed:
		t.Fatal("Close did not wait for the callback")
	case <-time.After(300 * time.Millisecond):
	}
	close(leave)
	must(t, await(t, closed))
	if calls != 1 || !after {
		t.Errorf("%d calls, the first returned: %v", calls, after)
	}
	if l.Err() != nil || l.Close() != nil {
		t.Errorf("after Close: %v", l.Err())
	}
}

// The filter is there before the socket is bound: frames of a flood that goes on meanwhile are never in its queue.
func TestFilterBeforeBind(t *testing.T) {
	n := newLAN(t)
	g := testGuard()
	filter, err := g.kernelFilter()
	must(t, err)
	stop, stopped := make(chan struct{}), make(chan struct{})
	client := n.client.tap(t, "eth0")
	ip := ip4(layers.IPProtocolTCP, guard4.String())
	noise := build(t, ip, tcp(ip, 8080, "ack"))
	copy(noise, mac(t, hostMAC))
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				client.WriteTo(noise, &packet.Addr{HardwareAddr: noise[:6]})
			}
		}
	}()
	for range 30 {
		must(t, n.host.do(func() error {
			ifi, err := net.InterfaceByName("eth0")
			if err != nil {
				return err
			}
			fd, err := openFiltered(ifi.Index, filter)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if k, _, err := unix.Recvfrom(fd, make([]byte, 100), 0); err != unix.EAGAIN {
				t.Errorf("read %d bytes, %v: an unfiltered frame was queued", k, err)
			}
			return nil
		}))
	}
	close(stop)
	<-stopped
}
