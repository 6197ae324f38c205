package identity

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// TestManyAtOnce: many identities are prepared, opened, closed and removed by as many goroutines at one time, and nothing of them is left;
// another one on the same host notices nothing.
func TestManyAtOnce(t *testing.T) {
	inModes(t, func(t *testing.T, spec, _ Spec) {
		const many = 60
		l := newLAN(t, "a", "c")
		a, h := l.host["a"], l.kernel("a")
		a.do(h.Sweep)
		stays := l.prepare("a", h, spec)
		a.do(func() error { return stays.openFor(time.Hour) })
		holds := make([]*Hold, many)
		each := func(what string, do func(i int) error) {
			began := time.Now()
			errs := make([]error, many)
			var all sync.WaitGroup
			for i := range many {
				all.Go(func() { errs[i] = a.within(func() error { return do(i) }) })
			}
			all.Wait()
			if err := errors.Join(errs...); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			t.Logf("%d at once: %s took %v", many, what, time.Since(began).Round(100*time.Microsecond))
		}
		each("prepare", func(i int) (err error) {
			s := spec.another(fmt.Sprintf("s%d", i), byte(0x80+i), netip.AddrFrom4([4]byte{10, 200, 1, byte(i + 1)}))
			holds[i], err = h.Prepare(s)
			return err
		})
		each("open", func(i int) error { return holds[i].openFor(time.Hour) })
		each("check", func(i int) error {
			drift, err := holds[i].Check()
			if len(drift) > 0 {
				err = errors.Join(err, fmt.Errorf("drift %v", drift))
			}
			return err
		})
		each("close", func(i int) error { return holds[i].Close() })
		each("remove", func(i int) error { return holds[i].Remove() })
		a.do(func() error {
			links, err := netlink.LinkList()
			if err != nil {
				return err
			}
			for _, one := range links {
				if strings.HasPrefix(one.Attrs().Name, linkPrefix) && one.Attrs().Name != stays.link {
					t.Errorf("%s is left", one.Attrs().Name)
				}
			}
			addrs, err := netlink.AddrList(nil, netlink.FAMILY_V4)
			if err != nil || slices.ContainsFunc(addrs, func(x netlink.Addr) bool { return x.IP.To4()[2] == 1 }) {
				t.Errorf("addresses are left: %v, %v", addrs, err)
			}
			rules, err := h.rules(netlink.FAMILY_V4)
			if err != nil || len(rules) != 1 {
				t.Errorf("%d rules, %v; want that of the one that stays", len(rules), err)
			}
			drift, err := stays.Check()
			if err != nil || len(drift) > 0 {
				t.Errorf("the one that stays: %v, %v", drift, err)
			}
			return nil
		})
		a.do(func() error { return stays.Announce(func() bool { return true }) })
		l.eye.await(t, "the one that stays is heard", identityFrame("a"))
	})
}
