package identity

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// These tests judge the fence by frames alone: a process of its own holds a lease and renews it, the host floods, something happens
// to the process, and the far end of the cable has the kernel's time stamp of every frame.

const (
	roleName = "NIGHTPORTER_TEST_ROLE"
	leaseFor = 60 * time.Millisecond // of the lease in these tests
	// transit is how much later than the judgement a frame may get its time stamp: it crosses a virtual cable, on a machine that
	// may take the processor away in between. The distribution is in the log.
	transit = 300 * time.Microsecond
)

// act is a process that a test starts in a host.
func act(role string) int {
	words := strings.Fields(role) // form, mode, once
	forms := map[string]Form{"exact": Exact, "nftables": NFTables}
	s := dual
	if words[1] == "address" {
		s.Mode, s.MAC = HostMAC, nil
	}
	err := hold(forms[words[0]], s, len(words) > 2)
	fmt.Println("error", err)
	return 1
}

// hold prepares the identity, opens it, and renews it until it is killed; it tells every deadline before the kernel has it.
func hold(form Form, s Spec, once bool) error {
	h, err := NewHost("eth0", form, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if err := h.Sweep(); err != nil {
		return err
	}
	if once {
		fmt.Println("swept", int64(soon(0)))
		select {}
	}
	p, err := h.Prepare(s)
	if err != nil {
		return err
	}
	if err := p.Guard(false); err != nil {
		return err
	}
	move := p.openUntil
	for range time.Tick(leaseFor / 4) {
		at := soon(0)
		until := at + leaseFor // one point for both: what is left of it, added to a later reading, would be as late as the pause in between
		fmt.Println("until", int64(at), int64(until))
		if err := move(until); err != nil {
			return err
		}
		move = p.Extend
	}
	return nil
}

// keeper is such a process, and what it said.
type keeper struct {
	cmd   *exec.Cmd
	ended chan struct{}

	mu    sync.Mutex
	tries []try
	said  []string
}

// try is a deadline that was about to be written.
type try struct{ at, until time.Duration }

func (r *room) keeper(role string) *keeper {
	r.t.Helper()
	k := &keeper{ended: make(chan struct{})}
	r.do(func() error {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		k.cmd = exec.Command(self)
		k.cmd.Env = append(os.Environ(), roleName+"="+role)
		out, err := k.cmd.StdoutPipe()
		if err != nil {
			return err
		}
		k.cmd.Stderr = os.Stderr
		go k.listen(out)
		return k.cmd.Start()
	})
	r.t.Cleanup(func() { k.signal(r.t, syscall.SIGKILL); <-k.ended })
	return k
}

func (k *keeper) listen(out io.Reader) {
	defer close(k.ended)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		k.mu.Lock()
		if word == "until" {
			at, until, _ := strings.Cut(rest, " ")
			a, _ := strconv.ParseInt(at, 10, 64) // our own words
			u, _ := strconv.ParseInt(until, 10, 64)
			k.tries = append(k.tries, try{time.Duration(a), time.Duration(u)})
		} else {
			k.said = append(k.said, lines.Text())
		}
		k.mu.Unlock()
	}
	_ = k.cmd.Wait() // it was killed
}

func (k *keeper) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := k.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
}

func (k *keeper) told() ([]try, []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.tries), slices.Clone(k.said)
}

// camera has the kernel's time of every frame of the identity that came out of a host, on CLOCK_BOOTTIME.
type camera struct {
	fd     int
	ended  chan struct{}
	offset time.Duration // wall minus boot

	mu    sync.Mutex
	at    []time.Duration
	kinds map[uint16]int // by EtherType; 0 = TCP
}

func (l *lan) camera(name string) *camera {
	l.t.Helper()
	c := &camera{ended: make(chan struct{}), offset: wallMinusBoot(), kinds: map[uint16]int{}}
	l.sw.do(func() error {
		link, err := netlink.LinkByName("p" + name)
		if err != nil {
			return err
		}
		c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
		return errors.Join(err,
			unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 256<<20),
			unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20000}),
			unix.Bind(c.fd, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index, Protocol: htons(unix.ETH_P_ALL)}))
	})
	stop := make(chan struct{})
	go c.film(name, stop)
	l.t.Cleanup(func() { close(stop); <-c.ended; unix.Close(c.fd) })
	return c
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

func (c *camera) film(name string, stop <-chan struct{}) {
	defer close(c.ended)
	buf, oob := make([]byte, 2048), make([]byte, 128)
	is := identityFrame(name)
	for {
		n, m, _, from, err := unix.Recvmsg(c.fd, buf, oob, 0)
		select {
		case <-stop:
			return
		default:
		}
		if err != nil {
			continue // nothing for a moment
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); !ok || ll.Pkttype == unix.PACKET_OUTGOING || !is(seen{port: name, data: buf[:n]}) {
			continue
		}
		stamp := time.Duration(0)
		messages, _ := unix.ParseSocketControlMessage(oob[:m])
		for _, one := range messages {
			if one.Header.Type == unix.SO_TIMESTAMPNS {
				stamp = time.Duration((*unix.Timespec)(unsafe.Pointer(&one.Data[0])).Nano()) // each half is as wide as the machine's long
			}
		}
		kind := binary.BigEndian.Uint16(buf[12:])
		if kind == unix.ETH_P_IP && buf[23] == unix.IPPROTO_TCP {
			kind = 0
		}
		c.mu.Lock()
		c.at, c.kinds[kind] = append(c.at, stamp-c.offset), c.kinds[kind]+1
		c.mu.Unlock()
	}
}

// frames gives what was filmed, in order of time, and how many of each kind.
func (c *camera) frames() ([]time.Duration, map[uint16]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := slices.Clone(c.at)
	slices.Sort(at)
	kinds := map[uint16]int{}
	for k, n := range c.kinds {
		kinds[k] = n
	}
	return at, kinds
}

// lost is how many frames the camera had no room for.
func (c *camera) lost(t *testing.T) uint32 {
	t.Helper()
	s, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		t.Fatal(err)
	}
	return s.Drops
}

// wallMinusBoot is the smallest of some differences, read one after the other: a pause in between makes one larger.
func wallMinusBoot() time.Duration {
	best := time.Duration(1<<63 - 1)
	for range 50 {
		boot := soon(0)
		var w unix.Timespec
		_ = unix.ClockGettime(unix.CLOCK_REALTIME, &w) // cannot fail on Linux
		best = min(best, time.Duration(w.Nano())-boot)
	}
	return best
}

// flood speaks with the identity as fast as it can, in every protocol: UDP of both families, TCP, and ARP past the IP stack.
func (l *lan) flood(name string, s Spec) {
	l.t.Helper()
	mac, on := s.from(11), "eth0"
	if s.Mode != HostMAC {
		on = linkName(s.Service)
	}
	a := l.host[name]
	var writers []func() error
	for _, c := range []*net.UDPConn{a.talker(ip0), a.talker(ip06)} {
		word := make([]byte, 64)
		writers = append(writers, func() error { _, err := c.Write(word); return err })
	}
	var link netlink.Link
	fd := -1
	a.do(func() (err error) {
		if link, err = netlink.LinkByName(on); err != nil {
			return err
		}
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	arp := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac...)
	arp = append(arp, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2)
	arp = append(append(append(arp, mac...), ip0.AsSlice()...), make([]byte, 28)...)
	to := &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index}
	writers = append(writers, func() error { return unix.Sendto(fd, arp, 0, to) })
	stop := make(chan struct{})
	var running sync.WaitGroup
	for _, w := range writers {
		running.Go(func() { again(stop, 20*time.Microsecond, w) })
	}
	l.stream(name, stop, &running)
	l.t.Cleanup(func() { close(stop); running.Wait(); unix.Close(fd) })
}

// stream writes into a TCP connection from the identity to c, for as long as the kernel takes it; then the kernel retransmits.
func (l *lan) stream(name string, stop <-chan struct{}, running *sync.WaitGroup) {
	l.t.Helper()
	var sink net.Listener
	l.host["c"].do(func() (err error) {
		sink, err = net.Listen("tcp", "10.200.0.12:7")
		return err
	})
	running.Go(func() {
		c, err := sink.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		go func() { <-stop; c.Close() }()
		_, _ = io.Copy(io.Discard, c)
	})
	running.Go(func() {
		<-stop
		sink.Close()
	})
	var conn net.Conn
	l.host[name].do(func() (err error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: ip0.AsSlice()}, Timeout: 10 * time.Second}
		conn, err = d.Dial("tcp", "10.200.0.12:7")
		return err
	})
	running.Go(func() {
		go func() { <-stop; conn.Close() }()
		word := make([]byte, 1000)
		again(stop, 100*time.Microsecond, func() error { _, err := conn.Write(word); return err })
	})
}

// again does something over and over at a pace. What becomes of it is the camera's to say.
func again(stop <-chan struct{}, every time.Duration, do func() error) {
	pace := time.NewTicker(every)
	defer pace.Stop()
	for {
		select {
		case <-stop:
			return
		case <-pace.C:
			_ = do()
		}
	}
}

// judge compares every frame with the deadlines that had been told by then, and gives how far before its deadline each silence
// began; negative: after it.
func judgeCut(t *testing.T, frames []time.Duration, tries []try) (gaps []time.Duration) {
	t.Helper()
	late, i, until := 0, 0, time.Duration(0)
	last := time.Duration(0)
	for _, at := range frames {
		for i < len(tries) && tries[i].at <= at {
			if last != 0 && tries[i].at > until {
				gaps = append(gaps, until-last)
			}
			until = max(until, tries[i].until)
			i++
		}
		if at > until+transit {
			if late++; late < 5 {
				t.Errorf("a frame %v after the deadline", at-until)
			}
		}
		last = at
	}
	if late > 0 {
		t.Errorf("%d of %d frames after the deadline", late, len(frames))
	}
	return append(gaps, until-last)
}

// TestNothingAfterTheDeadline: whatever happens to the process that renews, under a flood.
func TestNothingAfterTheDeadline(t *testing.T) { inModes(t, nothingAfterTheDeadline) }

func nothingAfterTheDeadline(t *testing.T, spec, dual Spec) {
	for _, form := range []string{"exact", "nftables"} {
		for name, harm := range map[string]func(*keeper){
			"killed":  func(k *keeper) { k.signal(t, syscall.SIGKILL) },
			"stopped": func(k *keeper) { k.signal(t, syscall.SIGSTOP) },
			"starved": func(k *keeper) {
				for range 8 { // it runs a third of the time, so that it comes too late again and again
					k.signal(t, syscall.SIGSTOP)
					<-time.After(2 * leaseFor)
					k.signal(t, syscall.SIGCONT)
					<-time.After(leaseFor)
				}
				k.signal(t, syscall.SIGSTOP)
			},
		} {
			t.Run(form+"/"+name, func(t *testing.T) {
				if form == "exact" && os.Getenv(root) == "" {
					t.Skip("BPF needs root in the first user namespace")
				}
				l := newLAN(t, "a", "c")
				a := l.host["a"]
				a.knows(l.host["c"])
				eye := l.camera("a")
				k := a.keeper(form + " " + dual.word())
				until(t, "it is open", func() bool {
					tries, said := k.told()
					if len(said) > 0 {
						t.Fatal(said)
					}
					return len(tries) > 2
				})
				l.flood("a", dual)
				until(t, "every protocol is heard", func() bool {
					_, kinds := eye.frames()
					return kinds[0] > 20 && kinds[unix.ETH_P_IP] > 20 && kinds[unix.ETH_P_IPV6] > 20 && kinds[unix.ETH_P_ARP] > 20
				})
				harm(k)
				deadline := time.Duration(0)
				until(t, "the last lease is over for long", func() bool {
					tries, _ := k.told()
					deadline = tries[len(tries)-1].until
					return soon(0) > deadline+5*leaseFor
				})
				l.mark("a") // everything that left was filmed
				frames, kinds := eye.frames()
				tries, _ := k.told()
				gaps := judgeCut(t, frames, tries)
				if n := eye.lost(t); n > 0 {
					t.Errorf("the camera lost %d frames", n)
				}
				if drift := (wallMinusBoot() - eye.offset).Abs(); drift > transit/2 {
					t.Errorf("the wall clock moved by %v", drift)
				}
				slices.Sort(gaps)
				t.Logf("%d frames %v, %d silences; the last frame before each deadline by %v", len(frames), kinds, len(gaps), gaps)
			})
		}
	}
}

// TestANewLifeIsSilent: a process that holds is killed, and a new one starts, finds the fence open, and closes it before anything
// else: under the flood nothing leaves between then and a lease of its own.
func TestANewLifeIsSilent(t *testing.T) { inModes(t, aNewLifeIsSilent) }

func aNewLifeIsSilent(t *testing.T, spec, dual Spec) {
	l := newLAN(t, "a", "c")
	a := l.host["a"]
	a.knows(l.host["c"])
	eye := l.camera("a")
	p := l.prepare("a", l.kernel("a"), dual)
	a.do(func() error { return errors.Join(p.Guard(false), p.openFor(time.Hour)) }) // this test's process stands for the killed one
	l.flood("a", dual)
	until(t, "it is heard", func() bool { _, kinds := eye.frames(); return kinds[unix.ETH_P_ARP] > 100 })
	form := "nftables"
	if os.Getenv(root) != "" {
		form = "exact"
	}
	var swept time.Duration
	k := a.keeper(form + " " + dual.word() + " once")
	until(t, "the new life has swept", func() bool {
		_, said := k.told()
		if len(said) == 0 {
			return false
		}
		at, ok := strings.CutPrefix(said[0], "swept ")
		if !ok {
			t.Fatal(said)
		}
		ns, err := strconv.ParseInt(at, 10, 64)
		swept = time.Duration(ns)
		return err == nil
	})
	until(t, "the flood went on for a while", func() bool { return soon(0) > swept+300*time.Millisecond })
	l.mark("a")
	frames, _ := eye.frames()
	if last := frames[len(frames)-1]; last > swept {
		t.Errorf("a frame %v after the sweep", last-swept)
	} else {
		t.Logf("%d frames, the last %v before the sweep had ended", len(frames), swept-last)
	}
}
