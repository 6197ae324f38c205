package identity

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
)

// watcher makes a watch of the network in a room, of which the test reads the tokens before they are coalesced.
func (l *lan) watcher(name string, h *Host) (*watcher, feed) {
	w := &watcher{host: h, raw: make(chan struct{}, 1), links: make(map[int32]string)}
	f := w.network()
	here := f.open
	f.open = func() (s *nl.NetlinkSocket, err error) {
		err = l.host[name].try(func() (err error) {
			s, err = here()
			return err
		})
		return s, err
	}
	return w, f
}

// stranger gives a room an interface that is none of ours.
func (r *room) stranger() {
	r.t.Helper()
	r.do(func() error {
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "docker0"}}); err != nil {
			return err
		}
		return give6("docker0", "10.99.0.1/16")
	})
}

// churn adds and removes routes by an interface.
func churn(link, via string, times int) error {
	dev, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	for i := range times {
		to := single(netip.MustParseAddr(fmt.Sprintf("172.16.%d.%d", i/200, i%200)))
		r := &netlink.Route{LinkIndex: dev.Attrs().Index, Gw: net.ParseIP(via), Dst: to}
		if err := errors.Join(netlink.RouteAdd(r), netlink.RouteDel(r)); err != nil {
			return err
		}
	}
	return nil
}

// TestWatchIgnoresStrangers: of what happens to links, addresses and routes, only what is ours or the LAN interface's counts.
func TestWatchIgnoresStrangers(t *testing.T) {
	l := newLAN(t, "a")
	a, h := l.host["a"], l.kernel("a")
	p := l.prepare("a", h, dual)
	w, f := l.watcher("a", h)
	var told, ours atomic.Int64
	judge := f.concerns
	f.concerns = func(m syscall.NetlinkMessage) whom {
		about := judge(m)
		if about.anybody() {
			ours.Add(1)
		}
		told.Add(1)
		return about
	}
	s, err := f.open()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.follow(t.Context(), f, s)
	}()
	t.Cleanup(func() { <-ended })
	a.stranger()
	a.do(func() error { return churn("docker0", "10.99.0.2", 50) })
	until(t, "the strangers' changes are told", func() bool { return told.Load() >= 100 })
	if n := ours.Load(); n != 0 {
		t.Errorf("%d of %d notifications counted; all were strangers'", n, told.Load())
	}
	for what, do := range map[string]func() error{
		"a route of the LAN interface": func() error { return route("10.200.0.12", netlink.RouteAdd) },
		"an address of it":             func() error { return give6("eth0", "10.200.0.77/24") },
		"a policy rule":                func() error { return h.dropRules(p.table) },
		"the macvlan":                  func() error { return h.dropLink(p.link) },
	} {
		before := ours.Load()
		a.do(do)
		until(t, what+" counts", func() bool { return ours.Load() > before })
	}
}

// TestWatchCoalesces: a storm gives a token now and then, not one per change.
func TestWatchCoalesces(t *testing.T) {
	l := newLAN(t, "a")
	a, h := l.host["a"], l.kernel("a")
	var bell <-chan Stir
	a.do(func() error {
		bell = h.Watch(t.Context())
		return nil
	})
	const tokens = 5
	begin := time.Now()
	for range tokens {
		for rung := false; !rung; {
			a.do(func() error { return churn("eth0", "10.200.0.12", 20) })
			select {
			case <-bell:
				rung = true
			default:
			}
		}
	}
	if d := time.Since(begin); d < (tokens-2)*watchGap {
		t.Errorf("%d tokens within %v, want %v between two", tokens, d, watchGap)
	}
}

// TestWatchGoesOn: neither an overflow of the kernel's queue nor the end of a subscription ends the watch, and after both
// it rings, as something may have been missed.
func TestWatchGoesOn(t *testing.T) {
	l := newLAN(t, "a")
	a, h := l.host["a"], l.kernel("a")
	a.stranger()
	a.do(func() error { return sysctl("ipv6", "eth0", "disable_ipv6", "1") }) // it would speak of itself meanwhile
	w, f := l.watcher("a", h)
	open, opened := f.open, make(chan *nl.NetlinkSocket, 1)
	first, err := f.open()
	if err != nil {
		t.Fatal(err)
	}
	f.open = func() (*nl.NetlinkSocket, error) {
		s, err := open()
		opened <- s
		return s, err
	}
	if err := first.SetReceiveBufferSize(1, false); err != nil { // the kernel makes it its least
		t.Fatal(err)
	}
	a.do(func() error { return churn("docker0", "10.99.0.2", 100) }) // nobody reads yet: the queue overflows
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.follow(t.Context(), f, first)
	}()
	t.Cleanup(func() { <-ended })
	wait := func(what string) {
		t.Helper()
		select {
		case <-w.raw:
		case <-time.After(20 * time.Second):
			t.Fatal("no token: " + what)
		}
	}
	wait("after an overflow by what is none of ours")
	if len(opened) > 0 {
		t.Error("the overflow ended the subscription; a new one may not be had")
	}
	first.Close()
	if <-opened == nil {
		t.Fatal("the subscription was not made anew")
	}
	wait("after the renewal")
	a.do(func() error { return route("10.200.0.12", netlink.RouteAdd) })
	wait("the renewed subscription notices")
}

// TestWatchTellsWhose: what happens to one of several identities concerns that one, and nobody looks at the others; what happens to the
// LAN interface concerns all.
func TestWatchTellsWhose(t *testing.T) { inModes(t, watchTellsWhose) }

func watchTellsWhose(t *testing.T, _, dual Spec) {
	l := newLAN(t, "a")
	a, h := l.host["a"], l.kernel("a")
	one, two := dual, dual
	two.Service, two.Addrs = "mail", []netip.Addr{netip.MustParseAddr("10.200.0.101"), netip.MustParseAddr("fd00:200::65")}
	if two.Mode != HostMAC {
		two.MAC = net.HardwareAddr{2, 0, 0, 0, 0, 0x65}
	}
	l.prepare("a", h, one)
	p := l.prepare("a", h, two)
	var stirs <-chan Stir
	a.do(func() error {
		stirs = h.Watch(t.Context())
		return nil
	})
	next := func() Stir {
		select {
		case s, open := <-stirs:
			if !open {
				t.Fatal("the watch ended")
			}
			return s
		case <-time.After(20 * time.Second):
			t.Fatal("nothing is told")
			return Stir{}
		}
	}
	settled := func() { // what is on its way from before is told
		for {
			select {
			case <-stirs:
			case <-time.After(20 * watchGap):
				return
			}
		}
	}
	if s := next(); !s.All {
		t.Errorf("the first one is about %v", s.Services)
	}
	settled()
	for what, do := range map[string]func() error{
		"its policy rules": func() error { return h.dropRules(p.table) },
		"its guard":        func() error { return removeTable(h.nft, p.guard) },
		"its address": func() error {
			link, err := h.nl.LinkByName(p.Link())
			if err != nil {
				return err
			}
			return h.nl.AddrDel(link, p.addressOf(two.Addrs[0]))
		},
	} {
		a.do(do)
		if s := next(); s.All || !slices.Equal(s.Services, []string{"mail"}) {
			t.Errorf("%s: all %v, services %v", what, s.All, s.Services)
		}
		settled()
	}
	a.do(func() error { return give6("eth0", "10.200.0.77/24") })
	if s := next(); !s.All {
		t.Errorf("an address of the LAN interface is about %v", s.Services)
	}
}
