package identity

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestSilentBehindAClosedFence: preparing, being used as a source, and being removed put nothing on the wire.
func TestSilentBehindAClosedFence(t *testing.T) { inModes(t, silentBehindAClosedFence) }

func silentBehindAClosedFence(t *testing.T, spec, dual Spec) {
	l := newLAN(t, "a", "c")
	h := l.kernel("a")
	p := l.prepare("a", h, dual)
	a := l.host["a"]
	a.do(func() error {
		for _, one := range []struct{ network, from, to string }{
			{"udp4", "10.200.0.100:0", "10.200.0.12:9"}, {"udp6", "[fd00:200::100]:0", "[fd00:200::12]:9"},
		} {
			from, err := net.ResolveUDPAddr(one.network, one.from)
			if err != nil {
				return err
			}
			to, err := net.ResolveUDPAddr(one.network, one.to)
			if err != nil {
				return err
			}
			c, err := net.DialUDP(one.network, from, to)
			if err != nil {
				return err
			}
			for range 50 {
				_, _ = c.Write([]byte("flood")) // the fence may report congestion
			}
			c.Close()
		}
		return nil
	})
	// The LAN asks for the address in both families; nobody may answer.
	_, _ = l.host["c"].dial("tcp", "10.200.0.100:80", 50*time.Millisecond)
	_, _ = l.host["c"].dial("tcp", "[fd00:200::100]:80", 50*time.Millisecond)
	a.do(p.Remove)
	l.mark("a")
	if n := l.eye.count(identityFrame("a")); n != 0 {
		t.Errorf("%d frames of the identity left a host that never opened it", n)
	}
	// Control: the same observer sees an open one.
	p = l.prepare("a", h, spec)
	a.do(func() error { return p.openFor(time.Hour) })
	a.do(func() error { return p.Announce(func() bool { return true }) })
	l.eye.await(t, "the announcement of an open identity", identityFrame("a"))
}

// TestOpenServes: announcements in the right order, answers with mac0, and an end at the deadline without the daemon.
func TestOpenServes(t *testing.T) { inModes(t, openServes) }

func openServes(t *testing.T, spec, dual Spec) {
	l := newLAN(t, "b", "c")
	h := l.kernel("b")
	b, c := l.host["b"], l.host["c"]
	b.serve("0.0.0.0:8080")
	p := l.prepare("b", h, dual)
	b.do(func() error { return p.Guard(false) })
	b.do(func() error { return p.openFor(time.Hour) })
	b.do(func() error { return p.Announce(func() bool { return true }) })
	l.eye.await(t, "a neighbour advertisement", func(f seen) bool {
		cl, ok := claim(f.data)
		return ok && f.port == "b" && cl.IP == ip06
	})
	var forms []byte
	l.eye.count(func(f seen) bool {
		if f.port == "b" && f.data[12] == 0x08 && f.data[13] == 0x06 && bytes.Equal(f.data[6:12], dual.from(11)) && bytes.Equal(f.data[28:32], ip0.AsSlice()) {
			forms = append(forms, f.data[21])
		}
		return false
	})
	if !bytes.HasPrefix(forms, []byte{1, 2}) {
		t.Errorf("ARP operations announced: %v, want the request form and then the reply form", forms)
	}
	conn, err := c.dial("tcp", "10.200.0.100:8080", 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(conn); string(got) != "b" {
		t.Errorf("answered by %q", got)
	}
	conn.Close()
	wrong := l.eye.count(func(f seen) bool {
		return identityFrame("b")(f) && !bytes.Equal(f.data[6:12], dual.from(11))
	})
	if wrong != 0 {
		t.Errorf("%d frames of ip0 left with another MAC", wrong)
	}
	// The deadline passes; nobody closes.
	b.do(func() error { return p.Extend(soon(100 * time.Millisecond)) })
	end := time.Now().Add(100 * time.Millisecond)
	for time.Now().Before(end.Add(200 * time.Millisecond)) {
		if conn, err := c.dial("tcp", "10.200.0.100:8080", 50*time.Millisecond); err == nil {
			conn.Close()
		}
	}
	l.mark("b")
	late := l.eye.count(func(f seen) bool { return identityFrame("b")(f) && f.at.After(end.Add(50*time.Millisecond)) })
	if late != 0 {
		t.Errorf("%d frames after the deadline", late)
	}
}

// TestGuard: a front swallows; without the guard the kernel refuses, which shows that the test can tell.
func TestGuard(t *testing.T) { inModes(t, guardHolds) }

func guardHolds(t *testing.T, spec, dual Spec) {
	l := newLAN(t, "a", "c")
	h := l.kernel("a")
	p := l.prepare("a", h, spec)
	a, c := l.host["a"], l.host["c"]
	a.serve("0.0.0.0:22")
	a.do(func() error { return p.openFor(time.Hour) })
	for _, port := range []string{"22", "8080"} {
		_, err := c.dial("tcp", "10.200.0.100:"+port, 300*time.Millisecond)
		if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() {
			t.Errorf("port %s of a front: %v, want silence", port, err)
		}
	}
	a.do(func() error { return p.Guard(false) })
	if _, err := c.dial("tcp", "10.200.0.100:8080", 5*time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("without the guard: %v, want refused", err)
	}
}

// TestHandedOverConnection is the experiment that the project was born from: a client connects while a holds and drops;
// b takes over; the same attempt completes.
func TestHandedOverConnection(t *testing.T) { inModes(t, handedOverConnection) }

func handedOverConnection(t *testing.T, spec, dual Spec) {
	l := newLAN(t, "a", "b", "c")
	a, b, c := l.host["a"], l.host["b"], l.host["c"]
	ha, hb := l.kernel("a"), l.kernel("b")
	b.serve("10.200.0.12:1") // so that b is known to be alive
	pa := l.prepare("a", ha, spec)
	a.do(func() error { return pa.openFor(time.Hour) })
	a.do(func() error { return pa.Announce(func() bool { return true }) })
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		conn, err := c.dial("tcp", "10.200.0.100:8080", 30*time.Second)
		done <- result{conn, err}
	}()
	l.eye.await(t, "the client's SYN", func(f seen) bool {
		return f.port == "c" && len(f.data) > 47 && f.data[12] == 8 && f.data[13] == 0 && f.data[23] == unix.IPPROTO_TCP && f.data[47]&0x12 == 2
	})
	b.serve("0.0.0.0:8080")
	pb := l.prepare("b", hb, spec)
	b.do(func() error { return pb.Guard(false) })
	a.do(pa.Close)
	b.do(func() error { return pb.openFor(time.Hour) })
	b.do(func() error { return pb.Announce(func() bool { return true }) })
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	if got, _ := io.ReadAll(r.conn); string(got) != "b" {
		t.Errorf("answered by %q", got)
	}
	r.conn.Close()
	rst := l.eye.count(func(f seen) bool { return f.port == "a" && identityFrame("a")(f) && f.data[12] == 8 && f.data[13] == 0 })
	if rst != 0 {
		t.Errorf("a answered with %d IP packets", rst)
	}
}

// TestProbe: a stranger is found by address and MAC; a holder with mac0 is none.
func TestProbe(t *testing.T) {
	l := newLAN(t, "a", "b", "x")
	ha, hb := l.kernel("a"), l.kernel("b")
	pa := l.prepare("a", ha, dual)
	probe := func() (found []Foreign) {
		l.host["a"].do(func() (err error) {
			found, err = pa.Probe(context.Background(), 200*time.Millisecond, nil)
			return err
		})
		return found
	}
	if found := probe(); len(found) != 0 {
		t.Errorf("on a quiet LAN: %v", found)
	}
	pb := l.prepare("b", hb, dual)
	l.host["b"].do(func() error { return pb.openFor(time.Hour) })
	if found := probe(); len(found) != 0 {
		t.Errorf("the holder with mac0 was taken for a stranger: %v", found)
	}
	l.host["b"].do(pb.Remove)
	l.host["x"].do(func() error {
		eth, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		for _, one := range dual.Addrs {
			if err := netlink.AddrAdd(eth, &netlink.Addr{IPNet: single(one), Flags: unix.IFA_F_NODAD}); err != nil {
				return err
			}
		}
		return nil
	})
	var who []string
	for _, f := range probe() {
		who = append(who, f.String())
	}
	slices.Sort(who)
	if want := []string{"10.200.0.100 is at 02:aa:00:00:00:0d", "fd00:200::100 is at 02:aa:00:00:00:0d"}; !slices.Equal(who, want) {
		t.Errorf("strangers %v, want %v", who, want)
	}
}

// TestRepair: whatever somebody takes away is noticed and put back, the fence and its deadline included.
func TestRepair(t *testing.T) { inModes(t, repairs) }

func repairs(t *testing.T, spec, dual Spec) {
	link := func(p *Hold) netlink.Link {
		one, err := netlink.LinkByName(p.Link())
		if err != nil {
			return &netlink.Dummy{}
		}
		return one
	}
	flush := func(f nftables.TableFamily) func(*Hold) error {
		return func(p *Hold) error {
			c, err := nftables.New()
			if err != nil {
				return err
			}
			c.DelTable(&nftables.Table{Family: f, Name: tablePrefix + p.link[len(linkPrefix):]})
			return c.Flush()
		}
	}
	damage := map[string]func(*Hold) error{
		"address":     func(p *Hold) error { return netlink.AddrDel(link(p), &netlink.Addr{IPNet: single(ip0)}) },
		"link down":   func(p *Hold) error { return netlink.LinkSetDown(link(p)) },
		"policy rule": func(p *Hold) error { return p.host.dropRules(p.table) },
		"routes":      func(p *Hold) error { return p.host.flushTable(netlink.FAMILY_V4, p.table) },
		"fence": func(p *Hold) error {
			if p.host.suspends == nil {
				return flush(nftables.TableFamilyNetdev)(p)
			}
			return netlink.QdiscDel(&netlink.GenericQdisc{
				QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link(p).Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
				QdiscType:  "clsact",
			})
		},
		"guard": flush(nftables.TableFamilyINet),
	}
	if spec.Mode == HostMAC {
		delete(damage, "link down") // the LAN interface is not ours to bring up
	}
	for what, do := range damage {
		t.Run(what, func(t *testing.T) {
			l := newLAN(t, "a", "c")
			h := l.kernel("a")
			p := l.prepare("a", h, spec)
			a := l.host["a"]
			check := func() (d []Drift) {
				a.do(func() (err error) {
					d, err = p.Check()
					return err
				})
				return d
			}
			a.do(func() error { return p.openFor(time.Hour) })
			if d := check(); len(d) != 0 {
				t.Fatalf("drift of what was just prepared: %v", d)
			}
			a.do(func() error { return do(p) })
			if d := check(); len(d) == 0 {
				t.Error("the damage was not noticed")
			}
			a.do(p.Repair)
			if d := check(); len(d) != 0 {
				t.Errorf("after the repair: %v", d)
			}
			a.do(func() error { return p.Announce(func() bool { return true }) })
			l.eye.await(t, "the repaired identity is open", identityFrame("a"))
		})
	}
}

// TestSweep: a new life closes and removes what a killed one left.
func TestSweep(t *testing.T) { inModes(t, sweeps) }

func sweeps(t *testing.T, spec, dual Spec) {
	l := newLAN(t, "a", "c")
	p := l.prepare("a", l.kernel("a"), dual)
	a := l.host["a"]
	a.do(func() error { return p.openFor(time.Hour) })
	h := l.kernel("a")
	a.do(h.Sweep)
	a.do(func() error {
		if _, err := netlink.LinkByName(p.link); err == nil {
			t.Error("the macvlan is still there")
		}
		all, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
		if err != nil || slices.ContainsFunc(all, func(x netlink.Addr) bool { return x.IP.Equal(ip0.AsSlice()) || x.IP.Equal(ip06.AsSlice()) }) {
			t.Errorf("addresses left: %v, %v", all, err)
		}
		for _, a := range dual.Addrs {
			routes, err := netlink.RouteListFiltered(family(a), &netlink.Route{Table: unix.RT_TABLE_LOCAL, Dst: single(a)}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
			if err != nil || len(routes) > 0 {
				t.Errorf("local routes left: %v, %v", routes, err)
			}
		}
		for _, f := range []nftables.TableFamily{nftables.TableFamilyNetdev, nftables.TableFamilyINet} {
			left, err := h.ours(f)
			if err != nil || len(left) > 0 {
				t.Errorf("tables left: %v, %v", left, err)
			}
		}
		for _, fam := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			rules, err := h.rules(fam)
			if err != nil || len(rules) > 0 {
				t.Errorf("rules left: %v, %v", rules, err)
			}
		}
		return nil
	})
	a.do(h.Sweep) // nothing to do is no error
}

func gateway(link, via string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(via)})
}

// TestLocalClient: a client on the front's own host connects with the host's address, is swallowed, and reaches the
// target after the hand-over.
func TestLocalClient(t *testing.T) { inModes(t, localClient) }

func localClient(t *testing.T, spec, dual Spec) {
	l := newLAN(t, "a", "b")
	a, b := l.host["a"], l.host["b"]
	ha, hb := l.kernel("a"), l.kernel("b")
	b.serve("0.0.0.0:8080")
	pa, pb := l.prepare("a", ha, spec), l.prepare("b", hb, spec)
	a.do(func() error { return pa.openFor(time.Hour) })
	b.do(func() error { return pb.Guard(false) })
	var fd int
	a.do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0); err != nil {
			return err
		}
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: 8080, Addr: ip0.As4()})
		if errors.Is(err, unix.EINPROGRESS) {
			return nil
		}
		return err
	})
	defer unix.Close(fd)
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	if own := netip.AddrFrom4(name.(*unix.SockaddrInet4).Addr); own.String() != "10.200.0.11" {
		t.Errorf("the local client's address is %s, want the host's own", own)
	}
	a.do(pa.Remove)
	b.do(func() error { return pb.openFor(time.Hour) })
	b.do(func() error { return pb.Announce(func() bool { return true }) })
	until(t, "the local client is connected to the target", func() bool {
		_, err := unix.Getpeername(fd)
		return err == nil
	})
}

// TestOnAMacvlan: where the LAN interface is a macvlan itself the kernel puts the identity's on the device below it, and nothing is wrong
// with that. An interface of the same name on another device is another one: nothing of the identity is put there.
func TestOnAMacvlan(t *testing.T) {
	l := newLAN(t, "a")
	a := l.host["a"]
	lan := func(lower string) {
		a.do(func() error {
			on, err := netlink.LinkByName(lower)
			if err != nil {
				return err
			}
			if err := netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "lan0", ParentIndex: on.Attrs().Index}, Mode: netlink.MACVLAN_MODE_BRIDGE}); err != nil {
				return err
			}
			return up("lan0")
		})
	}
	lan("eth0")
	var h *Host
	a.do(func() (err error) {
		h, err = NewHost("lan0", Best, nil, slog.New(slog.DiscardHandler))
		return err
	})
	t.Cleanup(func() { h.Close() })
	p := l.prepare("a", h, spec)
	a.do(func() error { return p.openFor(time.Hour) })
	a.do(func() error {
		if drift, err := p.Check(); err != nil || len(drift) != 0 {
			t.Errorf("on a macvlan: %v, %v", drift, err)
		}
		if err := p.Repair(); err != nil {
			t.Error(err)
		}
		return errors.Join(netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "other0"}}), up("other0"))
	})
	a.do(func() error {
		lan0, err := netlink.LinkByName("lan0")
		if err != nil {
			return err
		}
		return netlink.LinkDel(lan0)
	})
	lan("other0")
	a.do(func() error {
		if _, err := p.Check(); err == nil || !strings.Contains(err.Error(), "no longer lan0") {
			t.Errorf("Check on another device: %v", err)
		}
		if err := p.Repair(); err == nil || !strings.Contains(err.Error(), "no longer lan0") {
			t.Errorf("Repair on another device: %v", err)
		}
		return p.Remove()
	})
}

// TestInterfaceGone: every call ends in a sentence, nothing panics, and all works again when the interface is back.
func TestInterfaceGone(t *testing.T) { inModes(t, interfaceGone) }

func interfaceGone(t *testing.T, spec, dual Spec) {
	l := newLAN(t, "a", "c")
	h := l.kernel("a")
	p := l.prepare("a", h, spec)
	a := l.host["a"]
	a.do(func() error { return p.openFor(time.Hour) })
	a.do(func() error {
		eth, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkDel(eth)
	})
	a.do(func() error {
		if _, err := p.Check(); err == nil || !strings.Contains(err.Error(), "eth0") {
			t.Errorf("Check: %v", err)
		}
		if _, err := h.LAN(); err == nil || !strings.Contains(err.Error(), "does not exist") {
			t.Errorf("LAN: %v", err)
		}
		if _, err := h.Prepare(spec); err == nil {
			t.Error("Prepare without the interface")
		}
		if err := p.Repair(); err == nil {
			t.Error("Repair without the interface")
		}
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		return p.Remove()
	})
	l.plug("a", 11)
	p = l.prepare("a", h, spec)
	a.do(func() error { return p.openFor(time.Hour) })
	if d, err := h.LAN(); err == nil && !d.Up {
		t.Error("the interface is back and does not count as up")
	}
}
