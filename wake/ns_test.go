package wake

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Getenv(frozenEnv) != "" {
		runFrozen()
	}
	goleak.VerifyTestMain(m)
}

// space is a network namespace with an OS thread of its own. The thread is never given back to the runtime.
type space struct {
	jobs chan func()
	done chan struct{}
}

func newSpace(t testing.TB) *space {
	t.Helper()
	s := &space{jobs: make(chan func()), done: make(chan struct{})}
	made := make(chan error)
	go func() {
		defer close(s.done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		ns, err := netns.New()
		made <- err
		if err != nil {
			return
		}
		defer ns.Close()
		for job := range s.jobs {
			job()
		}
	}()
	if err := <-made; err != nil {
		<-s.done
		if errors.Is(err, unix.EPERM) && os.Getenv("CI") != "true" {
			t.Skipf("NOT RUN: %s needs root to make a network namespace", t.Name())
		}
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(func() {
		close(s.jobs)
		<-s.done
	})
	must(t, s.do(func() error { return up("lo") }))
	return s
}

// do runs f on the thread of the namespace.
func (s *space) do(f func() error) error {
	result := make(chan error)
	s.jobs <- func() { result <- f() }
	return <-result
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func up(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

func addr(name, cidr string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	if a.IP.To4() == nil {
		a.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrAdd(l, a); err != nil || a.IP.To4() != nil || l.Attrs().Flags&net.FlagUp == 0 {
		return err
	}
	return here(a.IP)
}

const (
	hostMAC    = "02:00:00:00:00:01"
	clientMAC  = "02:00:00:00:00:02"
	serviceMAC = "02:00:00:00:00:aa"
)

// here waits until this namespace takes what is sent to an address for its own: the kernel does the last part of adding an IPv6 address in the
// background (addrconf_dad_work), also without duplicate address detection.
func here(at net.IP) error {
	end := time.After(10 * time.Second)
	for {
		routes, err := netlink.RouteGet(at)
		if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
			return nil
		}
		select {
		case <-end:
			return fmt.Errorf("%s is not local: %v, %w", at, routes, err)
		case <-time.After(time.Millisecond):
		}
	}
}

// lan is a host and a client with a cable between them.
type lan struct{ host, client *space }

// newLAN makes veth eth0 <-> eth0 without addresses, both ends up.
func newLAN(t testing.TB) *lan {
	t.Helper()
	n := &lan{newSpace(t), newSpace(t)}
	n.cable(t)
	return n
}

func (n *lan) cable(t testing.TB) {
	t.Helper()
	tid := 0
	must(t, n.client.do(func() error { tid = unix.Gettid(); return nil }))
	must(t, n.host.do(func() error {
		h, err := net.ParseMAC(hostMAC)
		if err != nil {
			return err
		}
		c, err := net.ParseMAC(clientMAC)
		if err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = "eth0", h
		err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerHardwareAddr: c, PeerNamespace: netlink.NsPid(tid)})
		if err != nil {
			return err
		}
		return up("eth0")
	}))
	must(t, n.client.do(func() error { return up("eth0") }))
	n.host.awaitCarrier(t, "eth0")
	n.client.awaitCarrier(t, "eth0")
}

// awaitCarrier waits until the interface can carry frames. The kernel notices a carrier after a while: until then what is sent is lost, and a
// bridge forwards nothing from such a port, nor to it, though the link counts as running as long as nobody knows its state.
func (s *space) awaitCarrier(t testing.TB, name string) {
	t.Helper()
	must(t, s.do(func() error {
		for {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			if l.Attrs().OperState == netlink.OperUp {
				return nil
			}
			runtime.Gosched()
		}
	}))
}

// tap opens a packet socket in the namespace that sees everything on the interface.
func (s *space) tap(t testing.TB, name string) *packet.Conn {
	t.Helper()
	var conn *packet.Conn
	must(t, s.do(func() error {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		conn, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	}))
	t.Cleanup(func() { conn.Close() })
	return conn
}

func send(t testing.TB, conn *packet.Conn, frames ...[]byte) {
	t.Helper()
	for _, f := range frames {
		_, err := conn.WriteTo(f, &packet.Addr{HardwareAddr: net.HardwareAddr(f[:6])})
		must(t, err)
	}
}
