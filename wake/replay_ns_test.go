package wake

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// segmentLAN is a switch with three hosts: the front has heard the client, the target has the service, all with kernels of their
// own. Whoever announced last has the identity.
type segmentLAN struct {
	front, target, client *space
	resets                atomic.Int32 // RST segments that came to the client
}

func newSegment(t *testing.T) *segmentLAN {
	t.Helper()
	l := &segmentLAN{front: newSpace(t), target: newSpace(t), client: newSpace(t)}
	sw := newSpace(t)
	must(t, sw.do(func() error {
		b := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
		b.Name = "br0"
		if err := netlink.LinkAdd(b); err != nil {
			return err
		}
		return up("br0")
	}))
	for i, h := range []*space{l.front, l.target, l.client} {
		h.plug(t, sw, i+1)
	}
	must(t, l.front.do(func() error { // what it said by itself would lead the switch back to it
		return errors.Join(os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0o644), macvlan("svc", "eth0"))
	}))
	l.front.awaitCarrier(t, "svc")
	must(t, l.client.do(func() error {
		return errors.Join(addr("eth0", "10.77.0.100/24"), addr("eth0", "fd77::100/64"), os.WriteFile("/proc/sys/net/ipv4/tcp_fastopen", []byte("5"), 0o644))
	}))
	must(t, l.target.do(func() error {
		return errors.Join(
			os.WriteFile("/proc/sys/net/ipv4/tcp_fastopen", []byte("515"), 0o644), // with or without a cookie
			os.WriteFile("/proc/sys/net/ipv4/ip_nonlocal_bind", []byte("1"), 0o644),
		)
	}))
	l.watch(t)
	return l
}

// plug lays a cable to the switch.
func (s *space) plug(t *testing.T, sw *space, port int) {
	t.Helper()
	tid := 0
	must(t, s.do(func() error { tid = unix.Gettid(); return nil }))
	name := fmt.Sprint("p", port)
	must(t, sw.do(func() error {
		br, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MasterIndex = name, br.Attrs().Index
		err = netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: attrs, PeerName: "eth0", PeerHardwareAddr: net.HardwareAddr{2, 0, 0, 0, 1, byte(port)}, PeerNamespace: netlink.NsPid(tid),
		})
		if err != nil {
			return err
		}
		return up(name)
	}))
	must(t, s.do(func() error { return up("eth0") }))
	s.awaitCarrier(t, "eth0")
	sw.awaitCarrier(t, name)
}

// watch counts the resets that come to the client.
func (l *segmentLAN) watch(t *testing.T) {
	tap := l.client.tap(t, "eth0")
	done := make(chan struct{})
	t.Cleanup(func() { tap.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 65536)
		for {
			n, _, err := tap.ReadFrom(buf)
			if err != nil {
				return
			}
			p := gopacket.NewPacket(buf[:n], layers.LayerTypeEthernet, gopacket.NoCopy)
			if s, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP); ok && s.RST && s.SrcPort == 8080 {
				l.resets.Add(1)
			}
		}
	}()
}

// announce makes a host the one that the switch and the client know: gratuitous ARP, and an advertisement.
func (l *segmentLAN) announce(t *testing.T, h *space) {
	t.Helper()
	mac := mac(t, serviceMAC)
	all := net.HardwareAddr{255, 255, 255, 255, 255, 255}
	request := build(t, &layers.ARP{
		AddrType: 1, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
		SourceHwAddress: mac, SourceProtAddress: guard4.AsSlice(), DstHwAddress: make([]byte, 6), DstProtAddress: guard4.AsSlice(),
	})
	copy(request, all)
	copy(request[6:], mac)
	conn := h.tap(t, "svc")
	_, err := conn.WriteTo(request, &packet.Addr{HardwareAddr: all})
	must(t, err)
	for _, a := range []netip.Addr{guard4, guard6} { // the client has asked before
		must(t, l.client.do(func() error {
			eth, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return netlink.NeighSet(&netlink.Neigh{LinkIndex: eth.Attrs().Index, IP: a.AsSlice(), HardwareAddr: mac, State: netlink.NUD_PERMANENT})
		}))
	}
}

// serve echoes, TCP and UDP, and counts the connections and the bytes that came.
func (l *segmentLAN) serve(t *testing.T) (conns, bytes *atomic.Int64) {
	t.Helper()
	conns, bytes = &atomic.Int64{}, &atomic.Int64{}
	var busy sync.WaitGroup
	must(t, l.target.do(func() error {
		tcp, err := net.Listen("tcp", ":8080")
		if err != nil {
			return err
		}
		raw, err := tcp.(*net.TCPListener).SyscallConn()
		if err == nil {
			err = errors.Join(err, raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 100) }))
		}
		udp, uerr := net.ListenPacket("udp", "10.77.0.200:53")
		t.Cleanup(func() { tcp.Close(); udp.Close(); busy.Wait() })
		busy.Go(func() {
			for {
				c, err := tcp.Accept()
				if err != nil {
					return
				}
				conns.Add(1)
				t.Cleanup(func() { c.Close() })
				busy.Go(func() {
					defer c.Close()
					n, _ := io.Copy(c, countingReader{c, bytes}) // it ends with the connection
					_ = n
				})
			}
		})
		busy.Go(func() {
			buf := make([]byte, 1500)
			for {
				n, from, err := udp.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = udp.WriteTo(buf[:n], from)
			}
		})
		return errors.Join(err, uerr)
	}))
	return conns, bytes
}

type countingReader struct {
	io.Reader
	n *atomic.Int64
}

func (c countingReader) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// keeper is a front's store behind a real ear.
type keeper struct {
	mu sync.Mutex
	w  Swallowed
	p  Parked
}

func (l *segmentLAN) listen(t *testing.T, also func(*keeper, Demand)) *keeper {
	t.Helper()
	k := &keeper{w: Swallowed{UDP: true}}
	g := testGuard()
	g.Later = true
	l.front.listen(t, "svc", g, func(d Demand) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.w.Put(d)
		k.w.Hear(d)
		if also != nil {
			also(k, d)
		}
	})
	return k
}

// await waits until the store is as wanted.
func (k *keeper) await(t *testing.T, what string, holds func(*kept) bool) {
	t.Helper()
	end := time.Now().Add(patience)
	for tick := time.NewTicker(2 * time.Millisecond); ; <-tick.C {
		k.mu.Lock()
		for _, one := range k.w.kept {
			if holds(one) {
				k.mu.Unlock()
				return
			}
		}
		k.mu.Unlock()
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// handOver lets the target announce, and replays as soon as the front has seen that. It returns when the first frame left.
func (l *segmentLAN) handOver(t *testing.T, k *keeper, sight *Sight, wire *Wire, copies int) time.Time {
	t.Helper()
	if sight.Seen() != nil {
		t.Fatal("the target was seen before it announced itself")
	}
	must(t, l.target.do(func() error { return macvlan("svc", "eth0") })) // not before: a link that is up speaks
	l.target.awaitCarrier(t, "svc")
	must(t, l.target.do(func() error { return errors.Join(addr("svc", "10.77.0.200/24"), addr("svc", "fd77::200/64")) }))
	l.announce(t, l.target)
	for end := time.Now().Add(patience); sight.Seen() == nil; {
		if time.Now().After(end) {
			t.Fatal("the announcement was not seen")
		}
	}
	k.mu.Lock()
	frames, _ := k.w.Take(all, BootTime(), wire.Address(), sight.Seen())
	k.mu.Unlock()
	if len(frames) == 0 {
		t.Fatal("nothing was kept")
	}
	at := time.Now()
	for range copies {
		for _, f := range frames {
			must(t, wire.Send(f))
		}
	}
	return at
}

// dial begins to connect from the client, and tells the end of it on a channel.
func (l *segmentLAN) dial(t *testing.T, to netip.Addr, fastOpen string) (fd int, connected chan time.Time) {
	t.Helper()
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: 8080, Addr: to.As16()})
	if to.Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: 8080, Addr: to.As4()}
	}
	must(t, l.client.do(func() (err error) {
		fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		return err
	}))
	t.Cleanup(func() { unix.Close(fd) })
	connected = make(chan time.Time, 1)
	failed := make(chan error, 1)
	go func() {
		var err error
		if fastOpen != "" {
			err = unix.Sendto(fd, []byte(fastOpen), unix.MSG_FASTOPEN, sa)
		} else {
			err = unix.Connect(fd, sa)
		}
		failed <- err
		connected <- time.Now()
	}()
	t.Cleanup(func() {
		if err := <-failed; err != nil {
			t.Errorf("connect to %v: %v", to, err)
		}
	})
	return fd, connected
}

// info is what the client's kernel thinks of the connection.
func info(t *testing.T, fd int) *unix.TCPInfo {
	t.Helper()
	i, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	must(t, err)
	return i
}

// echo sends and gets back, and compares.
func echo(t *testing.T, fd int, data []byte) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		for rest := data; len(rest) > 0; {
			n, err := unix.Write(fd, rest)
			if err != nil {
				sent <- err
				return
			}
			rest = rest[n:]
		}
		sent <- nil
	}()
	got := make([]byte, len(data))
	for n := 0; n < len(got); {
		k, err := unix.Read(fd, got[n:])
		if err != nil || k == 0 {
			t.Fatalf("read after %d bytes: %d, %v", n, k, err)
		}
		n += k
	}
	must(t, <-sent)
	if string(got) != string(data) {
		t.Fatal("the echo differs")
	}
}

func filler(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 / 5)
	}
	return b
}

// metrics is the round trip that the client's kernel has learned of an address, for its next connections.
func (l *segmentLAN) metrics(t *testing.T, to netip.Addr) time.Duration {
	t.Helper()
	var out []byte
	must(t, l.client.do(func() (err error) {
		out, err = exec.Command("ip", "tcp_metrics", "show", to.String()).CombinedOutput()
		return err
	}))
	m := regexp.MustCompile(`\brtt (\d+)us`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("no round trip is known of %v: %s", to, out)
	}
	us, err := strconv.Atoi(string(m[1]))
	must(t, err)
	return time.Duration(us) * time.Microsecond
}

// The whole of it with real kernels: the connection is there milliseconds after the target is ready, though the client would repeat
// its SYN only much later; afterwards neither the connection nor the client's memory of the address is spoiled by the wait.
func TestReplayCompletesAConnection(t *testing.T) {
	for _, c := range []struct {
		name   string
		to     netip.Addr
		copies int
		old    time.Duration // of the newest SYN at the replay
	}{
		{"IPv4", guard4, 1, 600 * time.Millisecond},
		{"IPv6", guard6, 1, 600 * time.Millisecond},
		{"doubled", guard4, 4, 300 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newSegment(t)
			l.announce(t, l.front)
			k := l.listen(t, nil)
			conns, bytes := l.serve(t)
			wire, sight := l.opened(t)
			fd, connected := l.dial(t, c.to, "")
			k.await(t, "a SYN that was repeated and is old enough", func(one *kept) bool {
				return one.heard.first != one.heard.newest && BootTime()-one.heard.newest.at > c.old
			})
			began := l.handOver(t, k, sight, wire, c.copies)
			took := (<-connected).Sub(began)
			if again := time.Second - c.old; took > again/2 {
				t.Errorf("connected %v after the replay: as if by the client's own next SYN", took)
			}
			first := info(t, fd)
			if rtt := time.Duration(first.Rtt) * time.Microsecond; rtt > c.old/4 {
				t.Errorf("the client takes the wait for the round trip: %v", rtt)
			}
			data := filler(200 << 10)
			echo(t, fd, data)
			i := info(t, fd)
			t.Logf("connected %v after ready; rtt %d us, rto %d us; after 200 kB rtt %d us, rto %d us", took, first.Rtt, first.Rto, i.Rtt, i.Rto)
			if rto := time.Duration(i.Rto) * time.Microsecond; rto > 500*time.Millisecond {
				t.Errorf("after 200 kB the retransmission time-out is %v", rto)
			}
			must(t, unix.Shutdown(fd, unix.SHUT_WR))
			if n, err := unix.Read(fd, make([]byte, 1)); n != 0 || err != nil {
				t.Errorf("at the end: %d, %v", n, err)
			}
			if rtt := l.metrics(t, c.to); rtt > c.old/4 {
				t.Errorf("the client's kernel keeps a round trip of %v for %v", rtt, c.to)
			}
			if conns.Load() != 1 || bytes.Load() != int64(len(data)) || l.resets.Load() != 0 {
				t.Errorf("%d connections, %d bytes, %d resets", conns.Load(), bytes.Load(), l.resets.Load())
			}
		})
	}
}

// opened gives the front's sockets.
func (l *segmentLAN) opened(t *testing.T) (wire *Wire, sight *Sight) {
	t.Helper()
	must(t, l.front.do(func() (err error) {
		if wire, err = OpenWire("eth0"); err == nil {
			sight, err = Watch("eth0", []netip.Addr{guard4, guard6})
		}
		return err
	}))
	t.Cleanup(func() { wire.Close(); sight.Close() })
	return wire, sight
}

// A SYN with data in it (TCP Fast Open) brings the data once.
func TestReplayOfFastOpen(t *testing.T) {
	t.Parallel()
	l := newSegment(t)
	l.announce(t, l.front)
	k := l.listen(t, nil)
	conns, bytes := l.serve(t)
	wire, sight := l.opened(t)
	const hello = "twenty-one bytes here"
	fd, connected := l.dial(t, guard4, hello)
	k.await(t, "the SYN", func(*kept) bool { return true })
	began := l.handOver(t, k, sight, wire, 2)
	got := make([]byte, len(hello))
	<-connected
	for n := 0; n < len(got); {
		m, err := unix.Read(fd, got[n:])
		if err != nil || m == 0 {
			t.Fatalf("read: %d, %v", m, err)
		}
		n += m
	}
	if took := time.Since(began); string(got) != hello || took > 500*time.Millisecond {
		t.Errorf("got %q after %v", got, took)
	}
	echo(t, fd, filler(50<<10))
	if conns.Load() != 1 || bytes.Load() != int64(len(hello)+50<<10) || l.resets.Load() != 0 {
		t.Errorf("%d connections, %d bytes, %d resets", conns.Load(), bytes.Load(), l.resets.Load())
	}
}

// The first datagram of a client is answered, though it asked only once.
func TestReplayOfADatagram(t *testing.T) {
	t.Parallel()
	l := newSegment(t)
	l.announce(t, l.front)
	k := l.listen(t, nil)
	l.serve(t)
	wire, sight := l.opened(t)
	var conn net.Conn
	must(t, l.client.do(func() (err error) {
		conn, err = net.Dial("udp", "10.77.0.200:53")
		return err
	}))
	defer conn.Close()
	_, err := conn.Write([]byte("question"))
	must(t, err)
	k.await(t, "the datagram", func(*kept) bool { return true })
	began := l.handOver(t, k, sight, wire, 1)
	must(t, conn.SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, 100)
	n, err := conn.Read(buf)
	must(t, err)
	if string(buf[:n]) != "question" {
		t.Errorf("got %q", buf[:n])
	}
	t.Logf("answered after %v", time.Since(began))
}
