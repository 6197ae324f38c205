package wake

import (
	"net/netip"
	"os"
	"testing"
	"time"
)

// What a target heard while nobody listened it gives to itself: the client is connected at once, over the wire.
func TestReplayToOneself(t *testing.T) {
	for _, to := range []netip.Addr{guard4, guard6} {
		t.Run(to.String(), func(t *testing.T) {
			t.Parallel()
			l := newSegment(t)
			must(t, l.front.do(func() error { // the strictest setting of this kind
				return os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte("1"), 0o644)
			}))
			l.announce(t, l.front)
			k := l.listen(t, nil)
			fd, connected := l.dial(t, to, "")
			k.await(t, "a SYN that was repeated and is old enough", func(one *kept) bool {
				return one.heard.first != one.heard.newest && BootTime()-one.heard.newest.at > 300*time.Millisecond
			})
			l.target, l.front = l.front, l.target // the one that heard it is the one that serves
			var own *Own
			must(t, l.target.do(func() (err error) {
				own, err = OpenOwn()
				return err
			}))
			defer own.Close()
			must(t, l.target.do(func() error {
				if err := os.WriteFile("/proc/sys/net/ipv6/conf/svc/disable_ipv6", []byte("0"), 0o644); err != nil {
					return err
				}
				if err := addr("svc", "10.77.0.200/24"); err != nil {
					return err
				}
				return addr("svc", "fd77::200/64")
			}))
			conns, bytes := l.serve(t)
			k.mu.Lock()
			frames, _ := k.w.Take(all, BootTime(), own.Address(), own.Address())
			k.mu.Unlock()
			if len(frames) != 1 {
				t.Fatalf("%d frames", len(frames))
			}
			began := time.Now()
			must(t, own.Send(frames[0]))
			took := (<-connected).Sub(began)
			i := info(t, fd)
			t.Logf("connected %v after the service listens; rtt %d us, rto %d us", took, i.Rtt, i.Rto)
			if took > 300*time.Millisecond {
				t.Errorf("connected after %v: as if by the client's own next SYN", took)
			}
			data := filler(200 << 10)
			echo(t, fd, data)
			if conns.Load() != 1 || bytes.Load() != int64(len(data)) {
				t.Errorf("%d connections, %d bytes", conns.Load(), bytes.Load())
			}
		})
	}
}
