package identity

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// These tests run in namespaces of their own: the whole test process moves into a new user and network namespace, where
// it is root over nothing but its own network. That is also how a lab without root runs the agent.

const inside = "NIGHTPORTER_TEST_INSIDE"

func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		os.Exit(within(m))
	}
	if os.Getenv(guest) != "" {
		os.Exit(boot(m))
	}
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 {
		cmd.Env = append(cmd.Env, root+"=1")
	} else { // root keeps its capabilities: BPF needs them in the first user namespace
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	err = cmd.Run()
	if exit, ok := err.(*exec.ExitError); ok {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		// Only the kernel's refusal of namespaces ends here; as root a network namespace alone will do.
		fmt.Println("NOT RUN: package identity needs user and network namespaces:", err)
		if os.Getenv("CI") == "true" {
			os.Exit(1)
		}
	}
}

// within runs the tests in the namespaces. As root there is a BPF file system, as on every machine with systemd.
func within(m *testing.M) int {
	if role := os.Getenv(roleName); role != "" {
		return act(role)
	}
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		panic(err)
	}
	if os.Getenv(root) != "" {
		if err := unix.Mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=0700"); err != nil {
			panic(err)
		}
	}
	return m.Run()
}

// root is set where the tests have root's capabilities in the first user namespace.
const root = "NIGHTPORTER_TEST_ROOT"

var (
	mac0 = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x64}
	ip0  = netip.MustParseAddr("10.200.0.100")
	ip06 = netip.MustParseAddr("fd00:200::100")
	spec = Spec{Service: "web", MAC: mac0, Addrs: []netip.Addr{ip0}}
	dual = Spec{Service: "web", MAC: mac0, Addrs: []netip.Addr{ip0, ip06}}
)

// room is a network namespace with a thread of its own. Everything that a host does runs there.
type room struct {
	t    *testing.T
	name string
	work chan func()
	ns   netns.NsHandle
}

func newRoom(t *testing.T, name string) *room {
	r := &room{t: t, name: name, work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the namespace with it
		ns, err := netns.New()
		r.ns = ns
		ready <- err
		for f := range r.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatalf("making the namespace %s: %v", name, err)
	}
	t.Cleanup(func() {
		close(r.work)
		r.ns.Close()
	})
	r.do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	return r
}

// do runs f inside and fails the test on an error.
func (r *room) do(f func() error) {
	r.t.Helper()
	if err := r.try(f); err != nil {
		r.t.Fatalf("%s: %v", r.name, err)
	}
}

func (r *room) try(f func() error) error {
	done := make(chan error)
	r.work <- func() { done <- f() }
	return <-done
}

// within runs f inside on a thread of its own, beside whatever else runs there.
func (r *room) within(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		if err := netns.Set(r.ns); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// lan is a bridge with hosts a, b, c on it, each with eth0.
type lan struct {
	t    *testing.T
	sw   *room
	eye  *observer
	host map[string]*room
}

func newLAN(t *testing.T, hosts ...string) *lan {
	l := &lan{t: t, sw: newRoom(t, "switch"), host: map[string]*room{}}
	l.sw.do(func() error {
		return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}})
	})
	for i, name := range hosts {
		l.host[name] = newRoom(t, name)
		l.plug(name, byte(11+i))
	}
	l.sw.do(func() error { return up("br0") })
	l.eye = watchPorts(l, hosts)
	return l
}

func up(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// plug connects a host with a cable: eth0 there, its name at the switch.
func (l *lan) plug(name string, last byte) {
	r := l.host[name]
	l.sw.do(func() error {
		bridge, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		veth := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "p" + name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(r.ns)),
			PeerHardwareAddr: net.HardwareAddr{0x02, 0xaa, 0, 0, 0, last},
		}
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		port, err := netlink.LinkByName("p" + name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(port, bridge); err != nil {
			return err
		}
		return netlink.LinkSetUp(port)
	})
	r.do(func() error {
		eth, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		for _, a := range []string{fmt.Sprintf("10.200.0.%d/24", last), fmt.Sprintf("fd00:200::%d/64", last)} {
			addr, err := netlink.ParseAddr(a)
			if err != nil {
				return err
			}
			addr.Flags = unix.IFA_F_NODAD
			if err := netlink.AddrAdd(eth, addr); err != nil {
				return err
			}
		}
		return netlink.LinkSetUp(eth)
	})
}

// seen is one frame that came out of a host.
type seen struct {
	port string
	data []byte
	at   time.Time
}

// observer keeps what comes out of the hosts, as the switch sees it.
type observer struct {
	mu     sync.Mutex
	frames []seen
	news   *sync.Cond
}

func watchPorts(l *lan, hosts []string) *observer {
	o := &observer{}
	o.news = sync.NewCond(&o.mu)
	for _, name := range hosts {
		var conn *packet.Conn
		l.sw.do(func() error {
			ifi, err := net.InterfaceByName("p" + name)
			if err != nil {
				return err
			}
			if conn, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil); err != nil {
				return err
			}
			raw, err := conn.SyscallConn()
			if err != nil {
				return err
			}
			var serr error // what the switch sends to the host is not the host's
			err = raw.Control(func(fd uintptr) { serr = unix.SetsockoptInt(int(fd), unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1) })
			return errors.Join(err, serr)
		})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			buf := make([]byte, 4096)
			for {
				n, _, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				o.mu.Lock()
				o.frames = append(o.frames, seen{name, bytes.Clone(buf[:n]), time.Now()})
				o.news.Broadcast()
				o.mu.Unlock()
			}
		}()
		l.t.Cleanup(func() { conn.Close(); <-ended })
	}
	return o
}

// count counts frames that match.
func (o *observer) count(match func(seen) bool) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, f := range o.frames {
		if match(f) {
			n++
		}
	}
	return n
}

// await waits until a frame matches.
func (o *observer) await(t *testing.T, what string, match func(seen) bool) {
	t.Helper()
	until(t, what, func() bool { return o.count(match) > 0 })
}

func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		<-tick.C
	}
}

// identityFrame says whether a frame uses mac0, or claims ip0, and came out of a host.
func identityFrame(from string) func(seen) bool {
	return func(f seen) bool {
		if f.port != from || len(f.data) < 14 {
			return false
		}
		if bytes.Equal(f.data[6:12], mac0) {
			return true
		}
		if c, ok := claim(f.data); ok && dual.has(c.IP) {
			return true
		}
		body := f.data[14:]
		switch {
		case f.data[12] == 0x08 && f.data[13] == 0x00 && len(body) >= 20:
			return bytes.Equal(body[12:16], ip0.AsSlice())
		case f.data[12] == 0x86 && f.data[13] == 0xdd && len(body) >= 40:
			return bytes.Equal(body[8:24], ip06.AsSlice())
		}
		return false
	}
}

// mark sends a frame from a host and waits until the switch has seen it: whatever the host sent before was seen as well.
func (l *lan) mark(name string) {
	l.t.Helper()
	tag := []byte(fmt.Sprintf("mark %d", time.Now().UnixNano()))
	l.host[name].do(func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		conn, err := packet.Listen(ifi, packet.Raw, 0x88b5, nil) // an EtherType for experiments (IEEE 802)
		if err != nil {
			return err
		}
		defer conn.Close()
		frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, ifi.HardwareAddr...)
		frame = append(append(frame, 0x88, 0xb5), tag...)
		_, err = conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]})
		return err
	})
	l.eye.await(l.t, "the mark of "+name+" reaches the switch", func(f seen) bool { return bytes.Contains(f.data, tag) })
}

// kernel opens a Host in a room.
func (l *lan) kernel(name string) *Host {
	l.t.Helper()
	var h *Host
	l.host[name].do(func() (err error) {
		h, err = NewHost("eth0", Best, nil, slog.New(slog.DiscardHandler))
		return err
	})
	l.t.Cleanup(func() { h.Close() })
	return h
}

// prepare builds the identity in a room.
func (l *lan) prepare(name string, h *Host, s Spec) *Hold {
	l.t.Helper()
	var p *Hold
	l.host[name].do(func() (err error) {
		p, err = h.Prepare(s)
		return err
	})
	return p
}

// soon is a deadline on CLOCK_BOOTTIME.
func soon(d time.Duration) time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail on Linux
	return time.Duration(ts.Nano()) + d
}

// dial connects from a room; the socket belongs to its namespace from the start.
func (r *room) dial(network, addr string, limit time.Duration) (net.Conn, error) {
	var conn net.Conn
	err := r.try(func() (err error) {
		d := net.Dialer{Timeout: limit}
		conn, err = d.Dial(network, addr)
		return err
	})
	return conn, err
}

// serve answers TCP connections in a room with the room's name.
func (r *room) serve(addr string) {
	r.t.Helper()
	var l net.Listener
	r.do(func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, r.name)
			c.Close()
		}
	}()
	r.t.Cleanup(func() { l.Close(); <-ended })
}

// openFor opens an identity for some time.
func (p *Hold) openFor(d time.Duration) error { return p.openUntil(soon(d)) }

// openUntil opens an identity as an agent does.
func (p *Hold) openUntil(deadline time.Duration) error {
	g, err := p.Generation()
	if err != nil {
		return err
	}
	return p.Open(deadline, g)
}

// inModes runs a test for an identity with a MAC of its own, and for one with its holder's: of IPv4, and of both families.
func inModes(t *testing.T, test func(t *testing.T, spec, dual Spec)) {
	t.Run("mac", func(t *testing.T) { test(t, spec, dual) })
	t.Run("address", func(t *testing.T) {
		test(t, Spec{Service: "web", Mode: HostMAC, Addrs: spec.Addrs}, Spec{Service: "web", Mode: HostMAC, Addrs: dual.Addrs})
	})
}

// from is the MAC that a host with a number uses for an identity.
func (s Spec) from(last byte) net.HardwareAddr {
	if s.Mode == HostMAC {
		return net.HardwareAddr{0x02, 0xaa, 0, 0, 0, last}
	}
	return s.MAC
}

// another gives a second identity in the same mode.
func (s Spec) another(service string, last byte, addrs ...netip.Addr) Spec {
	other := Spec{Service: service, Mode: s.Mode, Addrs: addrs}
	if s.Mode != HostMAC {
		other.MAC = net.HardwareAddr{2, 0, 0, 0, 0, last}
	}
	return other
}

// word is the mode as a role has it.
func (s Spec) word() string {
	if s.Mode == HostMAC {
		return "address"
	}
	return "mac"
}

// lacks says whether no interface of a host has an address.
func (r *room) lacks(addr string) bool {
	r.t.Helper()
	none := true
	r.do(func() error {
		all, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
		for _, one := range all {
			none = none && one.IP.String() != addr
		}
		return err
	})
	return none
}
