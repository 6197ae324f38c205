package idle

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// space is a network namespace with an OS thread of its own, which is never given back to the runtime.
type space struct {
	jobs chan func()
	done chan struct{}
	ns   netns.NsHandle
}

func newSpace(t testing.TB) *space {
	t.Helper()
	s := &space{jobs: make(chan func()), done: make(chan struct{})}
	made := make(chan error)
	go func() {
		defer close(s.done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		var err error
		s.ns, err = netns.New()
		made <- err
		if err != nil {
			return
		}
		defer s.ns.Close()
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
	must(t, s.do(func() error { return set("lo", "") }))
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

// set gives a link an address, "" = none, and takes it up.
func set(link, address string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	if address != "" {
		a, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		a.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(l)
}

// lan is a host and a client on one cable.
func lan(t testing.TB) (host, client *space) {
	t.Helper()
	host, client = newSpace(t), newSpace(t)
	must(t, host.do(func() error {
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "peer0", PeerNamespace: netlink.NsFd(client.ns)}
		if err := netlink.LinkAdd(pair); err != nil {
			return err
		}
		return errors.Join(set("eth0", "10.77.0.200/24"), set("eth0", "fd77::200/64"))
	}))
	must(t, client.do(func() error { return errors.Join(set("peer0", "10.77.0.101/24"), set("peer0", "fd77::101/64")) }))
	return host, client
}
