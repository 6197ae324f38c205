package wake

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// asleep takes the identity from the target to the front: what the target reports is what the front knows.
func (l *segmentLAN) asleep(t *testing.T, k *keeper) {
	t.Helper()
	var flows []Flow
	must(t, l.target.do(func() error {
		link, err := netlink.LinkByName("svc")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetDown(link); err != nil {
			return err
		}
		flows, err = Established([]netip.Addr{guard4})
		return err
	}))
	k.mu.Lock()
	k.p.Learn(flows)
	k.mu.Unlock()
	l.announce(t, l.front)
}

// A connection with real kernels at both ends: the front's answers keep it alive while the target is away, far longer than the client
// would wait; then the client's word is with the server milliseconds after the target is back, and the client's notion of the round
// trip is as good as before.
func TestReplayOnAConnection(t *testing.T) {
	t.Parallel()
	l := newSegment(t)
	l.targetUp(t)
	l.announce(t, l.target)
	conns, bytes := l.serve(t)
	fd, connected := l.dial(t, guard4, "")
	<-connected
	echo(t, fd, filler(1000))

	wire, sight := l.opened(t)
	voice := l.voice(t)
	var answers atomic.Int64
	k := l.listen(t, func(k *keeper, d Demand) {
		if d.Stage != Later {
			return
		}
		if _, answer := k.p.Hear(d); answer != nil {
			answers.Add(1)
			if err := voice.Send(answer); err != nil {
				t.Error(err)
			}
		}
	})
	for what, v := range map[int]int{unix.TCP_KEEPIDLE: 1, unix.TCP_KEEPINTVL: 1, unix.TCP_KEEPCNT: 2} {
		must(t, unix.SetsockoptInt(fd, unix.IPPROTO_TCP, what, v))
	}
	must(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
	l.asleep(t, k)
	until(t, "the client has asked twice as often as it would have given up after", func() bool { return answers.Load() >= 4 })

	const said = "what the client says"
	if _, err := unix.Write(fd, []byte(said)); err != nil {
		t.Fatal(err)
	}
	until(t, "the word was repeated and is old enough", func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		for _, one := range k.p.flows {
			return one.frame != nil && one.heard.newest.at-one.heard.first.at > apart && BootTime()-one.heard.newest.at > 400*time.Millisecond
		}
		return false
	})
	sight.Again()
	before := bytes.Load()
	must(t, l.target.do(func() error { return errors.Join(up("svc"), addressStays()) }))
	l.target.awaitCarrier(t, "svc")
	l.announce(t, l.target)
	until(t, "the announcement is seen", func() bool { return sight.Seen() != nil })
	k.mu.Lock()
	frames, _ := k.p.Take(false, 10, BootTime(), wire.Address(), sight.Seen())
	k.mu.Unlock()
	if len(frames) != 1 {
		t.Fatalf("%d frames", len(frames))
	}
	began := time.Now()
	must(t, wire.Send(frames[0]))
	got := make([]byte, len(said))
	for n := 0; n < len(got); {
		m, err := unix.Read(fd, got[n:])
		if err != nil || m == 0 {
			t.Fatalf("read: %d, %v", m, err)
		}
		n += m
	}
	took := time.Since(began)
	if string(got) != said || bytes.Load() != before+int64(len(said)) {
		t.Errorf("got %q, the server %d bytes", got, bytes.Load()-before)
	}
	i := info(t, fd)
	t.Logf("answered %v after ready, %d keepalives were answered; rtt %d us, rto %d us", took, answers.Load(), i.Rtt, i.Rto)
	if took > 200*time.Millisecond {
		t.Errorf("answered after %v: as if by the client's own repetition", took)
	}
	if rtt := time.Duration(i.Rtt) * time.Microsecond; rtt > 50*time.Millisecond {
		t.Errorf("the client takes the wait for the round trip: %v", rtt)
	}
	echo(t, fd, filler(200<<10))
	if conns.Load() != 1 || l.resets.Load() != 0 {
		t.Errorf("%d connections, %d resets", conns.Load(), l.resets.Load())
	}
}

// addressStays is how it should be: the address outlives a link that goes down.
func addressStays() error {
	link, err := netlink.LinkByName("svc")
	if err != nil {
		return err
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err == nil && len(addrs) != 1 {
		err = fmt.Errorf("svc has %v", addrs)
	}
	return err
}

// targetUp gives the target its link and addresses.
func (l *segmentLAN) targetUp(t *testing.T) {
	t.Helper()
	must(t, l.target.do(func() error {
		quiet := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0o644) // what it said by itself would move it
		return errors.Join(quiet, macvlan("svc", "eth0"))
	}))
	l.target.awaitCarrier(t, "svc")
	must(t, l.target.do(func() error { return addr("svc", "10.77.0.200/24") }))
}

// voice is the front's way to speak for the identity.
func (l *segmentLAN) voice(t *testing.T) (w *Wire) {
	t.Helper()
	must(t, l.front.do(func() (err error) {
		w, err = OpenWire("svc")
		return err
	}))
	t.Cleanup(func() { w.Close() })
	return w
}

// until looks every few milliseconds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	end := time.Now().Add(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
		<-tick.C
	}
}
