package identity

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"
)

// nextLife is a Host of a life that was left something.
func (l *lan) nextLife(name string, form Form, former Legacy) *Host {
	l.t.Helper()
	var h *Host
	l.host[name].do(func() (err error) {
		h, err = NewHost("eth0", form, &former, slog.New(slog.DiscardHandler))
		return err
	})
	l.t.Cleanup(func() { h.Close() })
	return h
}

// TestAdopt: a next life takes an open identity over, spares it in its sweep, renews and closes it; with the exact fence a suspend
// shuts it as before.
func TestAdopt(t *testing.T) { inModes(t, adopts) }

func adopts(t *testing.T, spec, dual Spec) {
	forms := map[string]Form{"nftables": NFTables}
	if os.Getenv(root) != "" {
		forms["bpf"] = Exact
	}
	for kind, form := range forms {
		t.Run(kind, func(t *testing.T) {
			l := newLAN(t, "a", "c")
			a := l.host["a"]
			a.knows(l.host["c"])
			first := l.nextLife("a", form, Legacy{})
			p := l.prepare("a", first, dual)
			l.prepare("a", first, dual.another("other", 0x65, netip.MustParseAddr("10.200.0.101")))
			a.do(func() error { return p.openFor(time.Hour) })
			talkers := []*net.UDPConn{a.talker(ip0), a.talker(ip06)}
			l.bothSay(talkers, "open")
			var left Heirloom
			var legacy Legacy
			a.do(func() (err error) {
				if legacy, err = first.Bequeath(); err == nil {
					left, err = p.Bequeath()
				}
				return err
			})
			next := l.nextLife("a", form, legacy)
			var q *Hold
			a.do(func() (err error) { q, err = next.Adopt(left); return err })
			a.do(next.Sweep)
			l.bothSay(talkers, "adopted and swept")
			if _, err := next.nl.LinkByName(linkName("other")); err == nil || !a.lacks("10.200.0.101") {
				t.Error("what was not adopted was not swept away")
			}
			until(t, "nothing but the kernel's late local route drifts", func() bool {
				drift, err := q.Check()
				if err != nil || slices.Contains(drift, fenceRemoved) || slices.Contains(drift, "guard removed") {
					t.Fatalf("after the sweep: %q, %v", drift, err)
				}
				if len(drift) > 0 {
					a.do(q.Repair)
				}
				return len(drift) == 0
			})
			a.do(func() error { return q.Extend(soon(time.Hour)) })
			l.bothSay(talkers, "renewed")
			if kind == "bpf" {
				a.do(next.suspends.begins)
				l.silent(talkers, "asleep")
				a.do(func() error { return q.Extend(soon(time.Hour)) })
				l.silent(talkers, "still asleep")
				a.do(func() error { return q.openFor(time.Hour) })
				l.bothSay(talkers, "acquired")
			}
			a.do(q.Close)
			l.silent(talkers, "closed")
			a.do(q.Remove)
			l.silent(talkers, "removed")
			p = l.prepare("a", next, dual)
			l.silent(talkers, "prepared")
			a.do(func() error { return p.openFor(time.Hour) })
			l.bothSay(talkers, "again")
		})
	}
}

// TestAdoptFailsClosed: what cannot be taken over is closed by the sweep: descriptors that were not left, another form, a fence that
// somebody removed, or no identity.
func TestAdoptFailsClosed(t *testing.T) { inModes(t, adoptFailsClosed) }

func adoptFailsClosed(t *testing.T, spec, dual Spec) {
	if os.Getenv(root) == "" {
		t.Skip("BPF needs root in the first user namespace")
	}
	for name, spoil := range map[string]func(*lan, *Hold, *Heirloom, *Legacy) Form{
		"no gate":         func(_ *lan, _ *Hold, h *Heirloom, _ *Legacy) Form { h.Gate = 0; return Exact },
		"the wrong gate":  func(_ *lan, _ *Hold, h *Heirloom, l *Legacy) Form { h.Gate = l.Count; return Exact },
		"no count":        func(_ *lan, _ *Hold, _ *Heirloom, l *Legacy) Form { l.Count = 0; return Exact },
		"nftables is set": func(_ *lan, _ *Hold, _ *Heirloom, _ *Legacy) Form { return NFTables },
		"a limit, and the exact fence is required": func(_ *lan, _ *Hold, _ *Heirloom, l *Legacy) Form { l.Pin = ""; return Exact },
		"another table":   func(_ *lan, _ *Hold, h *Heirloom, _ *Legacy) Form { h.Table = 5; return Exact },
		"another service": func(_ *lan, _ *Hold, h *Heirloom, _ *Legacy) Form { h.Spec.Service = "x"; return Exact },
		"fence removed": func(l *lan, p *Hold, _ *Heirloom, _ *Legacy) Form {
			l.host["a"].do(func() error { return p.host.dropClsact(p.Link()) })
			return Exact
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLAN(t, "a", "c")
			_, p, _, talkers := l.exact("a", dual)
			a := l.host["a"]
			var left Heirloom
			var legacy Legacy
			a.do(func() (err error) {
				if legacy, err = p.host.Bequeath(); err == nil {
					left, err = p.Bequeath()
				}
				return err
			})
			form := spoil(l, p, &left, &legacy)
			next := l.nextLife("a", form, legacy)
			a.do(func() error {
				if _, err := next.Adopt(left); err == nil {
					t.Error("it was taken over")
				}
				return nil
			})
			a.do(next.Sweep)
			l.silent(talkers, "swept")
		})
	}
}

// TestAdoptTwo: what the first one writes does not silence the second.
func TestAdoptTwo(t *testing.T) { inModes(t, adoptTwo) }

func adoptTwo(t *testing.T, spec, dual Spec) {
	l := newLAN(t, "a", "c")
	a := l.host["a"]
	a.knows(l.host["c"])
	first := l.nextLife("a", Best, Legacy{})
	other := spec.another("other", 0x65, dual.Addrs[1:]...)
	var left []Heirloom
	for _, s := range []Spec{spec, other} {
		p := l.prepare("a", first, s)
		a.do(func() error { return p.openFor(time.Hour) })
		a.do(func() error {
			one, err := p.Bequeath()
			left = append(left, one)
			return err
		})
	}
	var legacy Legacy
	a.do(func() (err error) { legacy, err = first.Bequeath(); return err })
	next := l.nextLife("a", Best, legacy)
	for i, one := range left {
		a.do(func() error { _, err := next.Adopt(one); return err })
		a.do(func() error {
			for _, set := range sealSets(next.seal.table()) {
				if keys, err := next.nft.elements(set); err == nil && len(keys) > 0 {
					t.Errorf("with %d of 2 adopted the kernel seals %x", i+1, keys)
				}
			}
			return nil
		})
	}
	a.do(next.Sweep)
	a.do(next.seal.mend)
	l.bothSay([]*net.UDPConn{a.talker(ip0), a.talker(ip06)}, "adopted and swept")
}

// TestForeignDescriptors: a number that belongs to something else now is left alone.
func TestForeignDescriptors(t *testing.T) {
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := inheritedMap(int(f.Fd()), gateName); err == nil {
		t.Error("it was taken for a map")
	}
	if _, err := f.Stat(); err != nil {
		t.Errorf("it was closed: %v", err)
	}
}
