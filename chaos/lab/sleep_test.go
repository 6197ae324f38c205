package lab_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nightporter/chaos/lab"
)

// counting starts a program in the host that forks all the time and writes down that it lives.
func counting(t *testing.T, h *lab.Host) (size func() int64) {
	t.Helper()
	path := filepath.Join(h.Dir(), "count")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = h.Exec(ctx, lab.Stdio{}, "sh", "-c", "while :; do (echo x; /bin/true) >>"+path+"; done") // ends by cancel
	}()
	t.Cleanup(func() { cancel(); <-done })
	return func() int64 {
		info, err := os.Stat(path)
		if err != nil {
			return 0
		}
		return info.Size()
	}
}

// eventually looks every few milliseconds until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx := limit(t)
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestASleepingHostIsSilentAndStill(t *testing.T) {
	for name, noCgroup := range map[string]bool{"best freezer": false, "signals": true} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, lab.Options{Hosts: 2, NoAgent: true, NoCgroup: noCgroup}, silentAndStill)
		})
	}
}

func silentAndStill(t *testing.T, l *lab.Lab) {
	ctx := limit(t)
	h1, h2 := l.Host("h1"), l.Host("h2")
	s := newSender(t, l.Client(1))
	c, err := l.Capture(ctx, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	size := counting(t, h2)
	eventually(t, "the program in h2 runs", func() bool { return size() > 20 })

	// Awake it answers: otherwise its silence below would say nothing.
	s.send(s.arp(h2))
	watch(ctx, t, c, "h2", func(f lab.Frame) bool { return s.answers(f, h2, unix.ETH_P_ARP) })
	s.send(s.ping(h2))
	watch(ctx, t, c, "h2", func(f lab.Frame) bool { return s.answers(f, h2, unix.ETH_P_IP) })

	if err := h2.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	before := size()
	began := time.Now()
	for range 50 {
		s.send(s.arp(h2))
		s.send(s.ping(h2))
		s.send(s.ping(h1))
		heard := watch(ctx, t, c, "h2", func(f lab.Frame) bool { return s.answers(f, h1, unix.ETH_P_IP) })
		for _, f := range heard {
			if f.Time.After(began) {
				t.Fatalf("the sleeping host sent a frame: %x", f.Data)
			}
		}
	}
	if now := size(); now != before {
		t.Fatalf("a program of the sleeping host wrote %d bytes", now-before)
	}
	if _, err := h2.Output(ctx, "true"); err == nil || !strings.Contains(err.Error(), "asleep") {
		t.Errorf("a sleeping host ran a program (error %v)", err)
	}

	if err := h2.Wake(ctx); err != nil {
		t.Fatal(err)
	}
	if err := h2.AwaitPower(ctx, lab.PowerUp); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the program in h2 runs again", func() bool { return size() > before })
	s.send(s.ping(h2))
	watch(ctx, t, c, "h2", func(f lab.Frame) bool { return s.answers(f, h2, unix.ETH_P_IP) })
}

// wokenBy wakes h2 by the frame and gives what the stand-in says; the wrong frames before it go through the same socket
// in the same order, so that each of them has been looked at and has done nothing.
func TestOnlyTheRightMagicPacketWakes(t *testing.T) {
	inBoth(t, lab.Options{Hosts: 2, NoAgent: true}, rightMagicPacket)
}

func rightMagicPacket(t *testing.T, l *lab.Lab) {
	ctx := limit(t)
	h2 := l.Host("h2")
	s := newSender(t, l.Client(1))
	mac, other := h2.MAC(), l.Host("h1").MAC()
	wrong := stream(mac)
	wrong[60] ^= 1
	short := stream(mac)[:101]
	liar := net.HardwareAddr{2, 0, 0, 0, 0, 0xbb} // the source of all wrong frames
	group := net.HardwareAddr{1, 0, 0x5e, 0, 0, 1}
	bad := [][]byte{
		s.raw(liar, broadcast, wrong), s.raw(liar, mac, wrong), s.raw(liar, broadcast, short), s.raw(liar, broadcast, stream(other)),
		s.raw(liar, group, stream(mac)), s.raw(liar, other, stream(mac)),
		s.udp(liar, broadcast, h2.Addr(), wrong), s.udp(liar, broadcast, h2.Addr(), stream(other)),
		s.arp(h2), s.ping(h2),
	}
	for k, good := range []struct {
		name  string
		frame func(src net.HardwareAddr) []byte
	}{
		{"raw broadcast", func(src net.HardwareAddr) []byte { return s.raw(src, broadcast, stream(mac)) }},
		{"raw unicast", func(src net.HardwareAddr) []byte { return s.raw(src, mac, stream(mac)) }},
		{"raw, in the middle", func(src net.HardwareAddr) []byte {
			return s.raw(src, broadcast, append([]byte("before"), append(stream(mac), "after"...)...))
		}},
		{"UDP broadcast", func(src net.HardwareAddr) []byte { return s.udp(src, broadcast, h2.Addr(), stream(mac)) }},
		{"UDP unicast, in the middle", func(src net.HardwareAddr) []byte {
			return s.udp(src, mac, h2.Addr(), append([]byte{0xff, 0xff, 1}, stream(mac)...))
		}},
	} {
		if err := h2.Freeze(ctx); err != nil {
			t.Fatal(err)
		}
		for _, f := range bad {
			s.send(f)
		}
		src := net.HardwareAddr{2, 0, 0, 0, 1, byte(k)}
		s.send(good.frame(src))
		if err := h2.AwaitPower(ctx, lab.PowerUp); err != nil {
			t.Fatalf("%s: %v", good.name, err)
		}
		st, err := l.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if by := st.Hosts[1].WokenBy; !strings.HasSuffix(by, src.String()) {
			t.Errorf("%s: h2 was woken by %q, want the frame from %s", good.name, by, src)
		}
	}
}

// A card with a SecureOn password looks at what follows the address, and a deaf one at nothing.
func TestCards(t *testing.T) {
	l := up(t, lab.Options{Hosts: 2, NoAgent: true})
	ctx := limit(t)
	h2 := l.Host("h2")
	right, wrong := net.HardwareAddr{1, 2, 3, 4, 5, 6}, net.HardwareAddr{1, 2, 3, 4, 5, 7}
	must(t, l.Card(ctx, "h2", lab.Card{Password: right}))
	must(t, h2.Freeze(ctx))
	must(t, h2.Wake(ctx))
	must(t, h2.WakeSecure(ctx, wrong))
	must(t, h2.WakeSecure(ctx, right)) // through the same socket as the others: they have been looked at
	must(t, h2.AwaitPower(ctx, lab.PowerUp))
	ignored := func(want int64) {
		t.Helper()
		eventually(t, "the card has looked at the packets", func() bool {
			st, err := l.Status(ctx)
			return err == nil && st.Hosts[1].Ignored == want
		})
	}
	ignored(2)
	must(t, l.Card(ctx, "h2", lab.Card{Deaf: true}))
	must(t, h2.Freeze(ctx))
	must(t, h2.WakeSecure(ctx, right))
	ignored(3)
	must(t, h2.PressPower(ctx))
	must(t, h2.AwaitPower(ctx, lab.PowerUp))
	must(t, l.Card(ctx, "h2", lab.Card{}))
	must(t, h2.Freeze(ctx))
	must(t, h2.WakeSecure(ctx, wrong)) // a card without a password does not look at it
	must(t, h2.AwaitPower(ctx, lab.PowerUp))
	if err := l.Card(ctx, "h2", lab.Card{Password: right[:4]}); err == nil || !strings.Contains(err.Error(), "6 bytes, not 4") {
		t.Error(err)
	}
	if err := l.Card(ctx, "c1", lab.Card{}); err == nil || !strings.Contains(err.Error(), "client") {
		t.Error(err)
	}
}

// A host that suspends itself returns from that only after it was woken, and takes its whole tree with it.
func TestSuspendSelf(t *testing.T) {
	l := up(t, lab.Options{Hosts: 2, NoAgent: true, ResumeTime: 200 * time.Millisecond})
	ctx := limit(t)
	h2 := l.Host("h2")
	type result struct {
		out string
		err error
	}
	ended := make(chan result, 1)
	go func() {
		out, err := h2.Output(ctx, "sh", "-c", "echo before; nightporter lab suspend-self --dir "+l.Dir()+" --host h2 && echo after")
		ended <- result{out, err}
	}()
	if err := h2.AwaitPower(ctx, lab.PowerAsleep); err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-ended:
		t.Fatalf("the program of the sleeping host went on: %q, %v", r.out, r.err)
	default:
	}
	sent := time.Now()
	if err := h2.Wake(ctx); err != nil {
		t.Fatal(err)
	}
	r := <-ended
	if r.err != nil || r.out != "before\nafter\n" {
		t.Fatalf("after the wake: %q, %v", r.out, r.err)
	}
	if took := time.Since(sent); took < 200*time.Millisecond {
		t.Errorf("the host needed %v to resume, less than the resume time", took)
	}
}

func TestPowerButton(t *testing.T) {
	l := up(t, lab.Options{Hosts: 1, NoAgent: true})
	ctx := limit(t)
	h := l.Host("h1")
	if err := h.PressPower(ctx); err == nil {
		t.Error("a host that is up was woken")
	}
	if err := h.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	if err := h.PressPower(ctx); err != nil {
		t.Fatal(err)
	}
	if err := h.AwaitPower(ctx, lab.PowerUp); err != nil {
		t.Fatal(err)
	}
}

// A host can be suspended at any instant: right after its start, while its programs fork, while it still resumes from the
// sleep before. Its clocks never go backwards, and the sleeps are all that CLOCK_MONOTONIC lacks.
func TestSuspendAtAnyInstant(t *testing.T) {
	for name, noCgroup := range map[string]bool{"best freezer": false, "signals": true} {
		t.Run(name, func(t *testing.T) {
			forks := []string{"sh", "-c", "while :; do (/bin/true & /bin/true); done"}
			suspendedOften(t, up(t, lab.Options{Hosts: 1, Agent: forks, NoCgroup: noCgroup}))
		})
	}
}

func suspendedOften(t *testing.T, l *lab.Lab) {
	ctx := limit(t)
	h := l.Host("h1")
	var slept time.Duration // at least
	for k := range 24 {
		if k%8 == 7 {
			_, err := h.Kill(ctx)
			must(t, err)
			must(t, h.Start(ctx))
			slept = 0
		}
		must(t, h.Freeze(ctx))
		asleep := time.Now()
		if err := h.Freeze(ctx); err == nil {
			t.Fatal("a sleeping host was suspended")
		}
		slept += time.Since(asleep)
		if k%2 == 0 {
			must(t, h.PressPower(ctx))
		} else {
			must(t, h.Wake(ctx))
		}
		must(t, h.AwaitPower(ctx, lab.PowerUp))
	}
	if v := page(t, h); v.Mono > -slept || v.Boot != 0 {
		t.Errorf("after sleeps of at least %v the host reads %+v", slept, v)
	}
	st, err := l.Status(ctx)
	must(t, err)
	if n := st.Hosts[0].Sleeps; n != 24 {
		t.Errorf("the host slept %d times, want 24", n)
	}
}
