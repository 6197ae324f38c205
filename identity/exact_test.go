package identity

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// exact prepares an identity behind the BPF fence, opens it for an hour, and gives two sockets that speak with its addresses.
func (l *lan) exact(name string, dual Spec) (*Host, *Hold, *exactFence, []*net.UDPConn) {
	l.t.Helper()
	a, h := l.host[name], l.kernel(name)
	if h.suspends == nil {
		l.t.Skip("BPF needs root in the first user namespace")
	}
	a.knows(l.host["c"])
	p := l.prepare(name, h, dual)
	f, ok := p.fence.(*exactFence)
	if !ok {
		l.t.Fatalf("the fence is %T", p.fence)
	}
	a.do(func() error { return p.openFor(time.Hour) })
	talkers := []*net.UDPConn{a.talker(ip0), a.talker(ip06)}
	l.bothSay(talkers, "open")
	return h, p, f, talkers
}

// suspendBegins does what the tracepoint does.
func (s *suspends) begins() error {
	n, err := s.now()
	if err != nil {
		return err
	}
	return s.count.Update(uint32(0), n+1, ebpf.UpdateExist)
}

// TestASuspendShutsTheFence: from its beginning on, whatever a daemon that still runs writes, until a new acquisition.
func TestASuspendShutsTheFence(t *testing.T) { inModes(t, aSuspendShutsTheFence) }

func aSuspendShutsTheFence(t *testing.T, spec, dual Spec) {
	l := newLAN(t, "a", "c")
	h, p, _, talkers := l.exact("a", dual)
	a := l.host["a"]
	before, err := p.Generation()
	if err != nil {
		t.Fatal(err)
	}
	a.do(h.suspends.begins)
	l.silent(talkers, "asleep")
	a.do(func() error { return p.Extend(soon(2 * time.Hour)) })
	l.silent(talkers, "renewed")
	a.do(func() error { return p.Open(soon(2*time.Hour), before) })
	l.silent(talkers, "opened by what was granted before")
	a.do(func() error { return p.openFor(time.Hour) })
	l.bothSay(talkers, "acquired")
}

// TestClocksShutTheFence: the distance of the two clocks has changed since the last renewal.
func TestClocksShutTheFence(t *testing.T) {
	for name, by := range map[string]time.Duration{"a suspend": -time.Second, "a clock that went wrong": time.Second} {
		t.Run(name, func(t *testing.T) {
			l := newLAN(t, "a", "c")
			_, p, f, talkers := l.exact("a", dual)
			offset := f.gate.word(wordOffset)
			offset.Store(uint64(int64(offset.Load()) + int64(by)))
			l.silent(talkers, "jumped")
			l.host["a"].do(func() error { return p.Extend(soon(time.Hour)) })
			l.bothSay(talkers, "renewed")
		})
	}
}

// TestTheLANInterfaceIsFenced: what claims the identity cannot leave by it with the host's own MAC, in whatever form; what does not, can.
func TestTheLANInterfaceIsFenced(t *testing.T) { inModes(t, theLANInterfaceIsFenced) }

func theLANInterfaceIsFenced(t *testing.T, spec, dual Spec) {
	l := newLAN(t, "a", "c")
	_, p, _, _ := l.exact("a", dual)
	a := l.host["a"]
	host := net.HardwareAddr{0x02, 0xaa, 0, 0, 0, 11}
	c := net.HardwareAddr{0x02, 0xaa, 0, 0, 0, 12}
	ether := func(src net.HardwareAddr, kind uint16, body ...byte) []byte {
		f := append(append([]byte{}, c...), src...)
		f = binary.BigEndian.AppendUint16(f, kind)
		f = append(f, body...)
		return append(f, make([]byte, max(0, 100-len(f)))...)
	}
	ip4 := func(src []byte) []byte {
		return append([]byte{0x45, 0, 0, 40, 0, 0, 0, 0, 64, 17, 0, 0}, append(src, 10, 200, 0, 12)...)
	}
	ip6 := func(src []byte, next byte, rest ...byte) []byte {
		b := append([]byte{0x60, 0, 0, 0, 0, 24, next, 255}, src...)
		b = append(b, 0xfd, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12)
		return append(b, rest...)
	}
	arp := func(sender []byte) []byte {
		return append([]byte{0, 1, 8, 0, 6, 4, 0, 2, 2, 0xaa, 0, 0, 0, 11}, append(sender, make([]byte, 10)...)...)
	}
	own4, own6 := []byte{10, 200, 0, 11}, append([]byte{0xfd, 0, 2, 0}, append(make([]byte, 11), 0x11)...)
	advert := func(target []byte) []byte { return append([]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, target...) }
	frames := map[string]struct {
		frame  []byte
		closed bool // must not leave while the fence is closed
	}{
		"its MAC":                         {ether(mac0, 0x88b5, 1), dual.Mode != HostMAC},
		"its IPv4":                        {ether(host, unix.ETH_P_IP, ip4(ip0.AsSlice())...), true},
		"its IPv4 in ARP":                 {ether(host, unix.ETH_P_ARP, arp(ip0.AsSlice())...), true},
		"its IPv6":                        {ether(host, unix.ETH_P_IPV6, ip6(ip06.AsSlice(), 17)...), true},
		"its IPv6 advertised":             {ether(host, unix.ETH_P_IPV6, ip6(own6, 58, advert(ip06.AsSlice())...)...), true},
		"another MAC":                     {ether(host, 0x88b5, 1), false},
		"the host's IPv4":                 {ether(host, unix.ETH_P_IP, ip4(own4)...), false},
		"the host's ARP":                  {ether(host, unix.ETH_P_ARP, arp(own4)...), false},
		"the host's IPv6":                 {ether(host, unix.ETH_P_IPV6, ip6(own6, 17)...), false},
		"the host's IPv6 advertised":      {ether(host, unix.ETH_P_IPV6, ip6(own6, 58, advert(own6)...)...), false},
		"a solicitation for the identity": {ether(host, unix.ETH_P_IPV6, ip6(own6, 58, append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, ip06.AsSlice()...)...)...), false},
		"a short frame":                   {append(append([]byte{}, c...), host...)[:12:12], false},
	}
	for state, open := range map[string]bool{"closed": false, "open": true} {
		a.do(func() error {
			if open {
				return p.openFor(time.Hour)
			}
			return p.Close()
		})
		for name, f := range frames {
			if len(f.frame) < 14 {
				continue // the kernel sends no frame without a header
			}
			tagged := append([]byte{}, f.frame...)
			binary.BigEndian.PutUint32(tagged[len(tagged)-4:], uint32(time.Now().UnixNano()))
			a.do(func() error { return emit("eth0", tagged) })
			l.mark("a")
			n := l.eye.count(func(s seen) bool { return s.port == "a" && string(s.data) == string(tagged) })
			if want := open || !f.closed; (n == 1) != want {
				t.Errorf("%s, with a fence that is %s: %d frames", name, state, n)
			}
		}
	}
}

// emit sends a frame by a link, past everything but what hooks on the way out.
func emit(link string, frame []byte) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index})
	if errors.Is(err, unix.ENOBUFS) {
		return nil // dropped on the way out: what the fence does
	}
	return err
}

// TestAFenceThatCannotCountEndsWithItsDaemon: where the counter of suspends cannot be pinned, the end of the process shuts the fence,
// whatever its deadline.
func TestAFenceThatCannotCountEndsWithItsDaemon(t *testing.T) { inModes(t, aFenceThatCannotCount) }

func aFenceThatCannotCount(t *testing.T, spec, dual Spec) {
	l := newLAN(t, "a", "c")
	a, h := l.host["a"], l.kernel("a")
	if h.suspends == nil {
		t.Skip("BPF needs root in the first user namespace")
	}
	pinned := h.suspends
	t.Cleanup(func() { pinned.close() })
	var err error
	if h.suspends, err = openSuspends(t.TempDir() + "/nowhere"); err != nil {
		t.Fatal(err)
	}
	if !h.suspends.mortal() || len(h.suspends.limits) != 1 {
		t.Fatalf("a counter that is not pinned: %q", h.suspends.limits)
	}
	a.knows(l.host["c"])
	p := l.prepare("a", h, dual)
	a.do(func() error { return p.openFor(time.Hour) })
	talkers := []*net.UDPConn{a.talker(ip0), a.talker(ip06)}
	l.bothSay(talkers, "open")
	f := p.fence.(*exactFence)
	a.do(f.Rebuild)
	l.bothSay(talkers, "rebuilt")
	if err := f.alive.Close(); err != nil { // as the end of the process does
		t.Fatal(err)
	}
	f.alive = nil
	until(t, "the array is empty", func() bool {
		word := fmt.Sprint("dead", soon(0))
		chat(talkers, word)
		l.mark("a")
		return l.eye.count(says(word, unix.ETH_P_IP))+l.eye.count(says(word, unix.ETH_P_IPV6)) == 0
	})
	l.silent(talkers, "later")
}

// TestPins: a new life leaves the former one's counter alone until its fences are closed; a purge leaves none.
func TestPins(t *testing.T) {
	l := newLAN(t, "a", "b")
	a := l.host["a"]
	pins := func() (n int) {
		a.do(func() error {
			dir, err := pinDir(pinRoot)
			if err != nil {
				return err
			}
			all, err := filepath.Glob(dir + "/*")
			n = len(all)
			return err
		})
		return n
	}
	old := pins() // a namespace of an earlier test may have had this one's number
	if l.kernel("a").suspends == nil {
		t.Skip("BPF needs root in the first user namespace")
	}
	if n := pins(); n != old+1 {
		t.Errorf("the first life has %d pins, and before it there were %d", n, old)
	}
	second := l.kernel("a")
	if n := pins(); n != old+2 {
		t.Errorf("before the sweep there are %d pins, want both, and the %d from before", n, old)
	}
	a.do(second.Sweep)
	if n := pins(); n != 1 {
		t.Errorf("after the sweep there are %d pins", n)
	}
	if l.kernel("b"); pins() != 1 {
		t.Error("another host on this machine changed this one's pins")
	}
	a.do(second.Purge)
	if n := pins(); n != 1 { // its own goes with the process; `nightporter purge` has none
		t.Errorf("after a purge there are %d pins", n)
	}
}

// TestMeddlingIsNoticed: whoever removes, replaces or flushes the exact fence's filters is found out by the watch, and what he opened
// is behind the fence again.
func TestMeddlingIsNoticed(t *testing.T) { inModes(t, meddlingIsNoticed) }

func meddlingIsNoticed(t *testing.T, spec, dual Spec) {
	l := newLAN(t, "a", "c")
	h, p, f, talkers := l.exact("a", dual)
	a := l.host["a"]
	var bell <-chan Stir
	a.do(func() error { bell = h.Watch(t.Context()); return nil })
	<-bell
	for name, deed := range map[string]func() error{
		"a filter is deleted": func() error {
			return h.dropKeyed(func(*netlink.BpfFilter) bool { return true })
		},
		"the qdisc of the macvlan is deleted": func() error { return h.dropClsact(p.Link()) },
		"the qdisc of the LAN is deleted":     func() error { return h.dropClsact("eth0") },
	} {
		for len(bell) > 0 {
			<-bell
		}
		a.do(deed)
		began := time.Now()
		<-bell
		t.Logf("%s: noticed after %v", name, time.Since(began).Round(time.Millisecond))
		drift, err := p.Check()
		if err != nil || len(drift) != 1 || drift[0] != "fence removed" {
			t.Errorf("%s: the check finds %q, %v", name, drift, err)
		}
		a.do(p.Repair)
		l.bothSay(talkers, name)
		a.do(deed)
		a.do(p.Close) // without a repair: what closes must see to it that there is something to close
		l.silent(talkers, name+", closed")
		if there, err := f.Present(); err != nil || !there {
			t.Errorf("%s: closing did not put it back (%v)", name, err)
		}
		a.do(func() error { return p.openFor(time.Hour) })
	}
}

// dropClsact is `tc qdisc del dev NAME clsact`.
func (h *Host) dropClsact(name string) error {
	l, err := h.nl.LinkByName(name)
	if err != nil {
		return err
	}
	return h.nl.QdiscDel(&netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	})
}

// TestFormOfTheFence: nftables where it is asked for, or where BPF fails; nothing where the exact one is required and cannot be had.
func TestFormOfTheFence(t *testing.T) {
	l := newLAN(t, "a")
	a := l.host["a"]
	made := func(form Form, change func(*Host)) (kind, refusal string, err error) {
		a.do(func() error {
			h, oerr := NewHost("eth0", form, nil, slog.New(slog.DiscardHandler))
			if oerr != nil {
				return oerr
			}
			defer h.Close()
			change(h)
			refusal = h.Refusal()
			p, perr := h.Prepare(spec)
			if perr != nil {
				err = perr
				return nil
			}
			kind = p.Fence().Kind()
			return p.Remove()
		})
		return kind, refusal, err
	}
	if kind, _, err := made(NFTables, func(*Host) {}); kind != "nftables" || err != nil {
		t.Errorf("asked for nftables: %s, %v", kind, err)
	}
	nothing := func(h *Host) {
		h.form, h.suspends = Exact, nil
		h.refusal = errors.New("no BPF")
	}
	if _, refusal, err := made(NFTables, nothing); refusal != "no BPF" || err == nil {
		t.Errorf("required and not to be had: %q, %v", refusal, err)
	}
	if os.Getenv(root) == "" {
		return
	}
	if kind, refusal, err := made(Exact, func(*Host) {}); kind != "bpf" || refusal != "" || err != nil {
		t.Errorf("required: %s, %q, %v", kind, refusal, err)
	}
	ingress := func(h *Host) {
		eth, err := h.nl.LinkByName("eth0")
		if err == nil {
			_ = h.dropClsact("eth0") // is there, or is not
			err = h.nl.QdiscAdd(&netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: eth.Attrs().Index, Parent: netlink.HANDLE_INGRESS}})
		}
		if err != nil {
			t.Error(err)
		}
	}
	if _, _, err := made(Exact, ingress); err == nil || !strings.Contains(err.Error(), "`ingress`") {
		t.Errorf("required, with a qdisc in the way: %v", err)
	}
	if kind, _, err := made(Best, func(*Host) {}); kind != "nftables" || err != nil {
		t.Errorf("with a qdisc in the way: %s, %v", kind, err)
	}
}

// TestRequiredAndBlocked: a qdisc in the fence's place makes the host unfit where the exact fence is required, for as long as it is there.
func TestRequiredAndBlocked(t *testing.T) {
	if os.Getenv(root) == "" {
		t.Skip("BPF needs root in the first user namespace")
	}
	l := newLAN(t, "a")
	a := l.host["a"]
	block := func(f func(*netlink.Handle, netlink.Qdisc) error) func() error {
		return func() error {
			nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
			if err != nil {
				return err
			}
			defer nl.Close()
			on, err := nl.LinkByName("eth0")
			if err != nil {
				return err
			}
			return f(nl, &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: on.Attrs().Index, Parent: netlink.HANDLE_INGRESS, Handle: netlink.MakeHandle(0xffff, 0)}})
		}
	}
	a.do(block((*netlink.Handle).QdiscAdd))
	h := l.nextLife("a", Exact, Legacy{})
	refused := func() (why string) {
		a.do(func() error { why = h.Refusal(); return nil })
		return why
	}
	if why := refused(); !strings.Contains(why, "ingress") {
		t.Errorf("with a qdisc in its place: %q", why)
	}
	a.do(block((*netlink.Handle).QdiscDel))
	if why := refused(); why != "" {
		t.Errorf("without it: %s", why)
	}
	h = l.nextLife("a", Exact, Legacy{})
	if why := refused(); why != "" {
		t.Errorf("after a trial: %s", why)
	}
	a.do(func() error {
		lower, err := h.lowerLink()
		if err != nil {
			return err
		}
		qdiscs, err := h.nl.QdiscList(lower)
		for _, q := range qdiscs {
			if q.Type() == "clsact" {
				t.Error("the trial left its qdisc")
			}
		}
		return err
	})
}
