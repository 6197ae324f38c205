package lab_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nightporter/chaos/lab"
)

// switches are the two forms of the lab's switch.
var switches = []string{lab.SwitchBridge, lab.SwitchUser}

// inBoth runs a test with each form.
func inBoth(t *testing.T, o lab.Options, f func(*testing.T, *lab.Lab)) {
	for _, form := range switches {
		t.Run(form, func(t *testing.T) {
			o := o
			o.Switch = form
			f(t, up(t, o))
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func capture(t *testing.T, l *lab.Lab) *lab.Capture {
	t.Helper()
	c, err := l.Capture(limit(t), nil, false)
	must(t, err)
	t.Cleanup(func() { _, _ = c.Stop() }) // a test that needs all frames asks itself
	return c
}

// numbered sends n frames with their numbers from one place to another and gives the numbers in the order in which they
// left the switch, with the delay of each. Behind them go last frames, until one arrives whatever happens to the others.
func numbered(t *testing.T, c *lab.Capture, from, to *lab.Host, n int) (order []int, late []time.Duration) {
	t.Helper()
	s := newSender(t, from)
	mark := fmt.Sprintf("numbered %x ", rand.Uint64())
	came := make([]time.Time, n)
	for k := range n {
		s.send(s.raw(from.MAC(), to.MAC(), binary.BigEndian.AppendUint32([]byte(mark), uint32(k))))
		if k%64 == 63 { // let the switch come along: how long its ring is, is not in question here
			watch(limit(t), t, c, "", func(f lab.Frame) bool { return seen(f, from, to, mark, &order, came, &late) && number(f, mark) == k })
		}
	}
	last := append([]byte("last of "), mark...)
	ctx := limit(t)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case f := <-c.Frames():
			seen(f, from, to, mark, &order, came, &late)
			if f.Port == to.Name() && f.ToHost && bytes.Contains(f.Data, last) {
				return order, late
			}
		case <-tick.C:
			s.send(s.raw(from.MAC(), to.MAC(), last))
		case <-ctx.Done():
			t.Fatal("no last frame came")
		}
	}
}

// number is what a frame of numbered is; -1 = another frame.
func number(f lab.Frame, mark string) int {
	i := bytes.Index(f.Data, []byte(mark))
	if i < 0 || len(f.Data) < i+len(mark)+4 || bytes.Contains(f.Data, []byte("last of ")) {
		return -1
	}
	return int(binary.BigEndian.Uint32(f.Data[i+len(mark):]))
}

// seen notes a frame and says whether it just came in.
func seen(f lab.Frame, from, to *lab.Host, mark string, order *[]int, came []time.Time, late *[]time.Duration) bool {
	k := number(f, mark)
	if k < 0 {
		return false
	}
	if f.Port == from.Name() && !f.ToHost {
		came[k] = f.Time
		return true
	}
	if f.Port == to.Name() && f.ToHost {
		*order = append(*order, k)
		*late = append(*late, f.Time.Sub(came[k]))
	}
	return false
}

func TestLoss(t *testing.T) {
	inBoth(t, lab.Options{Hosts: 2, NoAgent: true}, func(t *testing.T, l *lab.Lab) {
		ctx, c := limit(t), capture(t, l)
		h1, h2 := l.Host("h1"), l.Host("h2")
		must(t, l.Shape(ctx, lab.Shape{Loss: 1}))
		must(t, l.Shape(ctx, lab.Shape{From: "h1", Loss: 0.3, Seed: 7}))
		got, _ := numbered(t, c, h1, h2, 2000)
		// Six standard deviations of a share of 0.3 among 2000 are 0.06.
		if share := 1 - float64(len(got))/2000; share < 0.24 || share > 0.36 {
			t.Errorf("lost %.3f of the frames, want 0.3", share)
		}
		must(t, l.Shape(ctx, lab.Shape{From: "h2", To: "h1", Loss: 0}))
		if back, _ := numbered(t, c, h2, h1, 200); len(back) != 200 {
			t.Errorf("the exact shape does not count alone: %d of 200 frames came", len(back))
		}
		must(t, l.Smooth(ctx, "h1"))
		st, err := l.Status(ctx)
		must(t, err)
		if len(st.Shapes) != 1 {
			t.Errorf("after smooth h1 the shapes are %+v", st.Shapes)
		}
		must(t, l.Smooth(ctx, ""))
		if got, _ := numbered(t, c, h1, h2, 200); len(got) != 200 {
			t.Errorf("smooth: %d of 200 frames came", len(got))
		}
	})
}

func TestDuplicates(t *testing.T) {
	l := up(t, lab.Options{Hosts: 2, NoAgent: true, Switch: lab.SwitchUser})
	c := capture(t, l)
	must(t, l.Shape(limit(t), lab.Shape{Duplicate: 0.5}))
	got, _ := numbered(t, c, l.Host("h1"), l.Host("h2"), 1000)
	count := map[int]int{}
	for _, k := range got {
		count[k]++
	}
	twice := 0
	for k := range 1000 {
		switch count[k] {
		case 1:
		case 2:
			twice++
		default:
			t.Fatalf("frame %d came %d times", k, count[k])
		}
	}
	if twice < 400 || twice > 600 {
		t.Errorf("%d of 1000 frames came twice, want about 500", twice)
	}
}

func TestReordering(t *testing.T) {
	l := up(t, lab.Options{Hosts: 2, NoAgent: true, Switch: lab.SwitchUser})
	ctx, c := limit(t), capture(t, l)
	for name, s := range map[string]lab.Shape{
		"alone": {Reorder: 0.2}, "with a delay": {Reorder: 0.2, Delay: 3 * time.Millisecond, Jitter: 2 * time.Millisecond},
	} {
		must(t, l.Shape(ctx, s))
		got, _ := numbered(t, c, l.Host("h1"), l.Host("h2"), 1000)
		passed := 0
		for i := 1; i < len(got); i++ {
			if got[i] < got[i-1] {
				passed++
			}
		}
		if len(got) != 1000 || passed < 100 || passed > 300 {
			t.Errorf("%s: %d frames came and %d were passed by a later one; want 1000 and about 160", name, len(got), passed)
		}
	}
}

func TestDelay(t *testing.T) {
	l := up(t, lab.Options{Hosts: 2, NoAgent: true, Switch: lab.SwitchUser})
	ctx, c := limit(t), capture(t, l)
	const delay = 20 * time.Millisecond
	must(t, l.Shape(ctx, lab.Shape{From: "h1", To: "h2", Delay: delay, Jitter: 5 * time.Millisecond}))
	got, late := numbered(t, c, l.Host("h1"), l.Host("h2"), 200)
	longest := time.Duration(0)
	for i, k := range got {
		if k != i {
			t.Fatalf("frame %d came in place %d: jitter changed the order", k, i)
		}
		if late[i] < delay {
			t.Errorf("frame %d was delayed by %v, less than %v", i, late[i], delay)
		}
		longest = max(longest, late[i])
	}
	if len(got) != 200 || longest < delay+time.Millisecond {
		t.Errorf("%d of 200 frames came, and the longest delay was %v: no jitter", len(got), longest)
	}
	// What is in flight when the path is cut does not arrive.
	must(t, l.Shape(ctx, lab.Shape{From: "h1", To: "h2", Delay: 300 * time.Millisecond}))
	s := newSender(t, l.Host("h1"))
	s.send(s.raw(l.Host("h1").MAC(), l.Host("h2").MAC(), []byte("in flight")))
	watch(ctx, t, c, "", func(f lab.Frame) bool { return f.Port == "h1" && bytes.Contains(f.Data, []byte("in flight")) })
	must(t, l.Cut(ctx, lab.Cut{From: "h1", To: "h2", OneWay: true}))
	s.send(s.raw(l.Host("h1").MAC(), broadcast, []byte("a fence")))
	must(t, l.Shape(ctx, lab.Shape{From: "h1", To: "c1", Delay: 600 * time.Millisecond}))
	s.send(s.raw(l.Host("h1").MAC(), l.Client(1).MAC(), []byte("behind it")))
	watch(ctx, t, c, "", func(f lab.Frame) bool {
		if f.Port == "h2" && f.ToHost && bytes.Contains(f.Data, []byte("in flight")) {
			t.Error("a frame came through a cut because it had been on the way")
		}
		return f.Port == "c1" && f.ToHost && bytes.Contains(f.Data, []byte("behind it"))
	})
}

func TestTheBridgeOnlyLoses(t *testing.T) {
	l := up(t, lab.Options{Hosts: 2, NoAgent: true})
	ctx := limit(t)
	for _, s := range []lab.Shape{{Delay: time.Millisecond}, {Jitter: time.Millisecond}, {Duplicate: 0.1}, {Reorder: 0.1}} {
		err := l.Shape(ctx, s)
		if err == nil || !strings.Contains(err.Error(), "--switch user") {
			t.Errorf("%+v: %v", s, err)
		}
	}
	for _, s := range []lab.Shape{{Loss: 1.1}, {Loss: -1}, {Delay: -1}, {From: "h1", To: "h1"}, {From: "h9", Loss: 1}} {
		if err := l.Shape(ctx, s); err == nil {
			t.Errorf("%+v was taken", s)
		}
	}
	if err := l.Smooth(ctx, "h9"); err == nil {
		t.Error("a host that the lab does not have was smoothed")
	}
	st, err := l.Status(ctx)
	must(t, err)
	if len(st.Shapes) != 0 || st.Switch != lab.SwitchBridge {
		t.Errorf("afterwards the switch is %q with %+v", st.Switch, st.Shapes)
	}
	if _, err := lab.Up(ctx, lab.Options{Switch: "hub"}); err == nil {
		t.Error("a lab with a hub was built")
	}
}

// arrivals sends one frame and gives the places that it went out to. The fence behind it is a broadcast.
func arrivals(t *testing.T, c *lab.Capture, s *sender, src, dst net.HardwareAddr, fenceTo string) map[string]bool {
	t.Helper()
	mark := fmt.Appendf(nil, "arrivals %x", rand.Uint64())
	out := map[string]bool{}
	s.send(s.raw(src, dst, mark))
	s.send(s.raw(src, broadcast, append([]byte("fence "), mark...)))
	watch(limit(t), t, c, "", func(f lab.Frame) bool {
		fence := bytes.Contains(f.Data, append([]byte("fence "), mark...))
		if !fence && f.ToHost && bytes.Contains(f.Data, mark) {
			out[f.Port] = true
		}
		return fence && f.ToHost && f.Port == fenceTo
	})
	return out
}

// linked waits until the host's kernel sends by its card again. That is some milliseconds after the link is there.
func linked(t *testing.T, h *lab.Host) {
	t.Helper()
	eventually(t, "the card of "+h.Name()+" is in operation", func() bool {
		out, err := h.Output(limit(t), "cat", "/sys/class/net/eth0/operstate")
		return err == nil && out == "up\n"
	})
}

func TestTheSwitchLearns(t *testing.T) {
	inBoth(t, lab.Options{Hosts: 3, NoAgent: true}, func(t *testing.T, l *lab.Lab) {
		ctx, c := limit(t), capture(t, l)
		moving := net.HardwareAddr{2, 0, 0, 0, 0, 0x42}
		s1, s2, s3 := newSender(t, l.Host("h1")), newSender(t, l.Host("h2")), newSender(t, l.Host("h3"))
		me := l.Host("h3").MAC()
		expect := func(when string, to net.HardwareAddr, want ...string) {
			t.Helper()
			got := arrivals(t, c, s3, me, to, "c1")
			if len(got) != len(want) {
				t.Errorf("%s: the frame went out to %v, want %v", when, got, want)
			}
			for _, name := range want {
				if !got[name] {
					t.Errorf("%s: the frame did not go out to %s", when, name)
				}
			}
		}
		learn := func(s *sender) {
			t.Helper()
			arrivals(t, c, s, moving, broadcast, "c1")
		}
		expect("unknown", moving, "h1", "h2", "c1")
		learn(s1)
		expect("at h1", moving, "h1")
		learn(s2)
		expect("moved to h2", moving, "h2")
		expect("multicast", net.HardwareAddr{0x33, 0x33, 0, 0, 0x12, 0x34}, "h1", "h2", "c1")
		must(t, l.Cut(ctx, lab.Cut{From: "h2", Cable: true}))
		expect("the cable of h2 is out", moving, "h1", "c1")
		must(t, l.Heal(ctx, "h2"))
		linked(t, l.Host("h2"))
		learn(s2)
		expect("back at h2", moving, "h2")
		_, err := l.Host("h2").Kill(ctx)
		must(t, err)
		expect("h2 is off", moving, "h1", "c1")
		must(t, l.Host("h2").Start(ctx))
		learn(newSender(t, l.Host("h2")))
		expect("h2 is on again", moving, "h2")
	})
}

// listen opens a TCP port in a host.
func listen(t testing.TB, h *lab.Host, addr netip.Addr) net.Listener {
	t.Helper()
	family, to := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: 5001, Addr: addr.As16()})
	if addr.Is4() {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Port: 5001, Addr: addr.As4()}
	}
	f, err := h.Socket(limit(t), family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	must(t, err)
	defer f.Close()
	must(t, unix.SetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	must(t, unix.Bind(int(f.Fd()), to))
	must(t, unix.Listen(int(f.Fd()), 8))
	ln, err := net.FileListener(f)
	must(t, err)
	t.Cleanup(func() { ln.Close() })
	return ln
}

// pour sends size bytes from the client to the host, and tells whether they came as they were sent.
func pour(t testing.TB, l *lab.Lab, addr netip.Addr, size int64) time.Duration {
	t.Helper()
	ctx := limit(t)
	ln := listen(t, l.Host("h1"), addr)
	sent, got := sha256.New(), sha256.New()
	began := time.Now()
	failed := make(chan error, 1)
	go func() {
		conn, err := l.Client(1).Dial(ctx, "tcp", netip.AddrPortFrom(addr, 5001))
		if err == nil {
			_, err = io.Copy(io.MultiWriter(conn, sent), io.LimitReader(rand.NewChaCha8([32]byte{1}), size))
			err = errors.Join(err, conn.Close())
		}
		if err != nil {
			ln.Close()
		}
		failed <- err
	}()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(errors.Join(err, <-failed))
	}
	n, err := io.Copy(got, conn)
	took := time.Since(began)
	must(t, errors.Join(err, conn.Close(), <-failed, ln.Close()))
	if n != size || !bytes.Equal(got.Sum(nil), sent.Sum(nil)) {
		t.Errorf("%s: %d bytes came, want %d; as they were sent: %v", addr, n, size, bytes.Equal(got.Sum(nil), sent.Sum(nil)))
	}
	return took
}

func TestStreamsComeThroughWhole(t *testing.T) {
	l := up(t, lab.Options{Hosts: 1, NoAgent: true, Switch: lab.SwitchUser})
	both := []netip.Addr{l.Host("h1").Addr(), l.Host("h1").Addr6()}
	for _, addr := range both {
		const size = 64 << 20
		took := pour(t, l, addr, size)
		t.Logf("%s: %.0f Mbit/s", addr, size*8/took.Seconds()/1e6)
	}
	must(t, l.Shape(limit(t), lab.Shape{Loss: 0.002, Duplicate: 0.02, Reorder: 0.02, Delay: 200 * time.Microsecond}))
	for _, addr := range both {
		pour(t, l, addr, 4<<20)
	}
}
