package scenarios

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nightporter/api"
	"nightporter/chaos/judge"
	"nightporter/chaos/lab"
)

// otherAddr is where web is after its address was changed, and otherMAC its MAC after that.
var (
	otherAddr = netip.MustParseAddr("10.77.0.210")
	otherMAC  = net.HardwareAddr{0x02, 0, 0, 0, 0x77, 0x10}
)

// part is one trait of an identity that a service has had, an address or a MAC: who used it first, and who last.
type part struct {
	judge.Identity
	first, last judge.Use
}

// trace has the wire note who uses a trait. It is for services of which not the whole identity changes at one time.
func (x *wire) trace(id judge.Identity) *part {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := &part{Identity: id}
	x.parts = append(x.parts, p)
	return p
}

// gaveWay fails the test unless one trait was silent before another one was used for the first time.
func (w *world) gaveWay(what string, old, fresh *part) {
	w.Helper()
	w.wire.mu.Lock()
	defer w.wire.mu.Unlock()
	switch {
	case old.last.At.IsZero() || fresh.first.At.IsZero():
		w.Errorf("%s: nobody used the old one (%v) or the new one (%v): this shows nothing", what, old.last, fresh.first)
	case !old.last.At.Before(fresh.first.At):
		w.Errorf("%s: %s used the old one, frame %x, after %s had begun to use the new one, frame %x", what, old.last, old.last.Frame, fresh.first, fresh.first.Frame)
	default:
		w.Logf("%s: both were silent for %v between %s and %s", what, fresh.first.At.Sub(old.last.At), old.last, fresh.first)
	}
}

// change edits what `nightporter get` says and applies it, as a person does.
func (w *world) change(host, from, to string) {
	w.Helper()
	h := w.lab.Host(host)
	text, err := h.Output(w.limit(), "nightporter", "get")
	w.must(err)
	if !strings.Contains(text, from) {
		w.Fatalf("%q is not in %s", from, text)
	}
	file := filepath.Join(w.lab.Dir(), "services.yaml")
	w.must(os.WriteFile(file, []byte(strings.Replace(text, from, to, 1)), 0o600))
	said, err := h.Output(w.limit(), "nightporter", "apply", "-f", file)
	w.must(err)
	w.Logf("apply says %q", said)
}

// served waits until web is served, under a higher epoch than before.
func (w *world) served(after uint64) (holder string, s api.ServiceStatus) {
	w.Helper()
	w.await("it is served again", func() (missing string) {
		holder, s, missing = w.holder(web)
		if missing == "" && (s.Role != "serving" || s.Epoch <= after) {
			missing = fmt.Sprintf("%s is %s under epoch %d", holder, s.Role, s.Epoch)
		}
		return missing
	})
	return holder, s
}

// A service that is held and used gets another address, and then another MAC: each time the old trait is silent before the new one is
// heard, and clients of the new address are served. So it is where the holder is cut off from the others, and hears of it last of all.
func TestTheIdentityChangesWhileItIsHeld(t *testing.T) {
	w := build(t, lab.Options{Hosts: 3, Clients: 2, Sleepers: []int{2, 3}})
	_, s := w.settled(nil, 3)
	s = w.awaitServing("h2")
	address := w.wire.trace(judge.Identity{Addrs: s.Addresses})
	mac := w.wire.trace(judge.Identity{MAC: net.HardwareAddr(s.MAC)})
	newAddress := w.wire.trace(judge.Identity{Addrs: []netip.Addr{otherAddr}})
	newMAC := w.wire.trace(judge.Identity{MAC: otherMAC})
	to := netip.AddrPortFrom(otherAddr, lab.ServerPort)

	p := w.probe("c1", webPort())
	w.awaitAnswer(p)
	w.change("h1", lab.ServiceAddr().String(), otherAddr.String())
	_, s = w.served(s.Epoch)
	w.connectSoon("c2", to)
	p.end()
	w.gaveWay("the address", address, newAddress)
	if got := w.wire.refused(); len(got) > 0 {
		t.Errorf("clients of the old address were told %v", got)
	}

	// The client knows the old MAC, and asks all the time: the announcement tells it of the new one.
	p = w.probe("c2", to)
	w.awaitAnswer(p)
	w.wire.mu.Lock()
	w.wire.services[0].id = judge.Identity{MAC: net.HardwareAddr(s.MAC), Addrs: []netip.Addr{otherAddr}} // from here on the judge's, too
	w.wire.mu.Unlock()
	w.change("h1", s.MAC.String(), otherMAC.String())
	holder, s := w.served(s.Epoch)
	w.awaitAnswer(p)
	p.end()
	t.Logf("the MAC changed: clients missed %v", p.longest())
	w.gaveWay("the MAC", mac, newMAC)
	if g := p.longest(); g.long > takeoverBound {
		t.Errorf("the change of the MAC cost clients %v", g)
	}

	// The holder is cut off from the other hosts, though not from the clients.
	third := netip.MustParseAddr("10.77.0.211")
	again := w.wire.trace(judge.Identity{Addrs: []netip.Addr{third}})
	p = w.probe("c2", to)
	w.awaitAnswer(p)
	for _, other := range without(w.hosts, holder) {
		w.must(w.lab.Cut(w.limit(), lab.Cut{From: holder, To: other}))
	}
	asker := "h1"
	w.await("the others can decide", func() string {
		st, err := w.ask(asker)
		if err != nil || st.Leader == "" || st.Leader == holder {
			return fmt.Sprintf("%s leads, %v", st.Leader, err)
		}
		return ""
	})
	w.change(asker, otherAddr.String(), third.String())
	w.connectSoon("c1", netip.AddrPortFrom(third, lab.ServerPort))
	p.end()
	w.gaveWay("the address of a holder that is cut off", newAddress, again)
	w.must(w.lab.Heal(w.limit(), ""))
	w.settled(nil, 3)
	w.spotless(w.hosts...)
}
