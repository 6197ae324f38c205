package identity

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// TestClosingWaitsForNothing: a fence whose filters nobody touched closes without a question by rtnetlink, which stands behind whatever
// else is done to links; one of which a filter was removed is not taken for whole, whatever happened to other identities meanwhile.
func TestClosingWaitsForNothing(t *testing.T) { inModes(t, closingWaitsForNothing) }

func closingWaitsForNothing(t *testing.T, _, dual Spec) {
	if os.Getenv(root) == "" {
		t.Skip("BPF needs root in the first user namespace")
	}
	l := newLAN(t, "a")
	a, h := l.host["a"], l.kernel("a")
	two := dual
	two.Service, two.Addrs = "mail", []netip.Addr{netip.MustParseAddr("10.200.0.101")}
	if two.Mode != HostMAC {
		two.MAC = net.HardwareAddr{2, 0, 0, 0, 0, 0x65}
	}
	p := l.prepare("a", h, dual)
	f := p.fence.(*exactFence)
	q := l.prepare("a", h, two)
	if !h.vigil.untouched(f) {
		t.Error("another identity that was prepared counts")
	}
	a.do(q.Remove)
	if !h.vigil.untouched(f) {
		t.Error("another identity that was removed counts")
	}
	closes := func(busy string) {
		t.Helper()
		a.do(func() error { return p.openFor(time.Hour) })
		asks, handle := h.asks, h.nl
		h.asks, h.nl = nil, nil // who looks at a filter, or for a link, ends here
		a.do(p.Close)
		h.asks, h.nl = asks, handle
		if f.gate.word(wordDeadline).Load() != 0 {
			t.Error(busy + ": it is open")
		}
	}
	closes("nothing happened")
	a.do(func() error {
		places, err := f.places()
		h.vigil.look(f, places)
		return err
	})
	closes("while another look is under way")
	h.vigil.doubt(f)
	if h.vigil.untouched(f) {
		t.Error("a look that has not ended counts as one that found all")
	}
	a.do(func() error { _, err := f.Present(); return err })
	closes("after another look")
	a.do(func() error {
		return h.dropKeyed(func(b *netlink.BpfFilter) bool { return b.Name == f.keyed() })
	})
	if h.vigil.untouched(f) {
		t.Error("a filter that was removed does not count")
	}
	a.do(p.Close)
	if !h.vigil.untouched(f) {
		t.Error("closing did not put it back")
	}
	h.vigil.mu.Lock()
	h.vigil.missed = true
	h.vigil.mu.Unlock()
	if h.vigil.untouched(f) {
		t.Error("without the notifications it counts as untouched")
	}
}
