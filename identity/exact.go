package identity

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// exactFence is the fence as BPF programs on clsact: everything in and out of the macvlan, and on the way out of the LAN
// interface whatever claims the identity, passes only until a point of CLOCK_BOOTTIME, only while that clock stands to
// CLOCK_MONOTONIC as it did at the last renewal, and only while no suspend has begun since the acquisition. Programs and map
// live as long as their interfaces do, whatever happens to the daemon.
type exactFence struct {
	host     *Host
	suspends *suspends
	spec     Spec
	link     string
	priority uint16 // of the filter on the LAN interface

	mu    sync.Mutex
	gate  *ebpf.Map
	state gateState
}

// gateState is what a gate's map has, word by word (program.go).
type gateState struct{ Deadline, Offset, Armed uint64 }

var _ Fence = (*exactFence)(nil)

// filterName begins the names of our filters, so that a later life finds them.
const filterName = "np_"

// newExactFence builds the fence, closed. The link must exist and be down.
func newExactFence(h *Host, s Spec, name string, priority uint16) (_ *exactFence, err error) {
	f := &exactFence{host: h, suspends: h.suspends, spec: s, link: name, priority: priority}
	f.gate, err = ebpf.NewMap(&ebpf.MapSpec{Name: "np_gate", Type: ebpf.Array, KeySize: 4, ValueSize: gateSize, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("making the map of the fence: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("building the fence of %s: %w", s.Service, err), f.gate.Close())
		}
	}()
	if err = f.Rebuild(); err != nil {
		return nil, err
	}
	// Now this fence is closed; what closed a former life's may go, and so may that one's filter.
	err = errors.Join(removeTable(h.nft, fenceTableOf(name)), h.dropKeyed(func(b *netlink.BpfFilter) bool {
		return b.Name == f.keyed() && b.Priority != priority
	}))
	return f, err
}

// Rebuild implements Fence. What the map says is in force again at once.
func (f *exactFence) Rebuild() error {
	gate, err := gateProgram(f.gate, f.suspends.count)
	if err != nil {
		return err
	}
	defer gate.Close() // the filters keep it
	keyed, err := keyedProgram(f.gate, f.suspends.count, f.spec)
	if err != nil {
		return err
	}
	defer keyed.Close()
	lower, err := f.host.lowerLink()
	if err != nil {
		return err
	}
	made, err := f.host.nl.LinkByName(f.link)
	if err != nil {
		return fmt.Errorf("finding the macvlan %s: %w", f.link, err)
	}
	return errors.Join(
		f.host.attach(made, netlink.HANDLE_MIN_INGRESS, 1, filterName+"in", gate),
		f.host.attach(made, netlink.HANDLE_MIN_EGRESS, 1, filterName+"out", gate),
		f.host.attach(lower, netlink.HANDLE_MIN_EGRESS, f.priority, f.keyed(), keyed),
	)
}

// keyed is the name of the filter on the LAN interface.
func (f *exactFence) keyed() string { return filterName + f.link[len(linkPrefix):] }

// attach puts a program on one direction of a link, in the place of what was there at that priority.
func (h *Host) attach(on netlink.Link, parent uint32, priority uint16, name string, p *ebpf.Program) error {
	index := on.Attrs().Index
	qdisc := &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	}
	if err := h.nl.QdiscAdd(qdisc); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("making clsact on %s: %w", on.Attrs().Name, err)
	}
	err := h.nl.FilterReplace(&netlink.BpfFilter{
		FilterAttrs:  netlink.FilterAttrs{LinkIndex: index, Parent: parent, Handle: 1, Priority: priority, Protocol: unix.ETH_P_ALL},
		Fd:           p.FD(),
		Name:         name,
		DirectAction: true,
	})
	if err != nil {
		return fmt.Errorf("attaching the fence to %s: %w", on.Attrs().Name, err)
	}
	return nil
}

// write puts the state into the map. Each word is stored at once, and the words need no common instant: a renewal changes only
// the deadline, after a suspend none of them opens by itself, and what arms is written alone.
func (f *exactFence) write(s gateState) error {
	if err := f.gate.Update(uint32(0), s, ebpf.UpdateExist); err != nil {
		return err
	}
	f.state = s
	return nil
}

// Open implements Fence.
func (f *exactFence) Open(deadline time.Duration, generation uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	next, err := f.until(deadline)
	if err == nil {
		err = f.write(next)
	}
	if err == nil && next.Armed != generation {
		next.Armed = generation
		err = f.write(next)
	}
	if err != nil {
		return fmt.Errorf("opening the fence %s: %w", f.link, err)
	}
	return nil
}

// Extend implements Fence.
func (f *exactFence) Extend(deadline time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	next, err := f.until(deadline)
	if err == nil {
		err = f.write(next)
	}
	if err != nil {
		return fmt.Errorf("moving the deadline of the fence %s: %w", f.link, err)
	}
	return nil
}

// until is the state with another deadline.
func (f *exactFence) until(deadline time.Duration) (gateState, error) {
	boot, mono, err := clocks()
	next := f.state
	next.Deadline, next.Offset = uint64(max(deadline, 0)), uint64(boot-mono)
	return next, err
}

// Close implements Fence.
func (f *exactFence) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := f.state
	next.Deadline = 0
	if err := f.write(next); err != nil {
		return fmt.Errorf("closing the fence %s: %w", f.link, err)
	}
	return nil
}

// clocks reads CLOCK_BOOTTIME and CLOCK_MONOTONIC.
func clocks() (boot, mono time.Duration, err error) {
	var b, m unix.Timespec
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_BOOTTIME, &b), unix.ClockGettime(unix.CLOCK_MONOTONIC, &m)); err != nil {
		return 0, 0, fmt.Errorf("reading the clocks: %w", err)
	}
	return time.Duration(b.Nano()), time.Duration(m.Nano()), nil
}

// Generation implements Fence.
func (f *exactFence) Generation() (uint64, error) { return f.suspends.now() }

// Present implements Fence.
func (f *exactFence) Present() (bool, error) {
	lower, err := f.host.lowerLink()
	if err != nil {
		return false, err
	}
	made, err := f.host.nl.LinkByName(f.link)
	if err != nil {
		return false, fmt.Errorf("finding the macvlan %s: %w", f.link, err)
	}
	for _, want := range []struct {
		on     netlink.Link
		parent uint32
		name   string
	}{
		{made, netlink.HANDLE_MIN_INGRESS, filterName + "in"},
		{made, netlink.HANDLE_MIN_EGRESS, filterName + "out"},
		{lower, netlink.HANDLE_MIN_EGRESS, f.keyed()},
	} {
		ours, err := f.host.filters(want.on, want.parent)
		if err != nil {
			return false, err
		}
		found := false
		for _, one := range ours {
			found = found || one.Name == want.name
		}
		if !found {
			return false, nil
		}
	}
	return true, nil
}

// filters lists our filters on one direction of a link.
func (h *Host) filters(on netlink.Link, parent uint32) ([]*netlink.BpfFilter, error) {
	all, err := h.nl.FilterList(on, parent)
	if err != nil {
		return nil, fmt.Errorf("listing the filters of %s: %w", on.Attrs().Name, err)
	}
	var out []*netlink.BpfFilter
	for _, f := range all {
		if b, ok := f.(*netlink.BpfFilter); ok && strings.HasPrefix(b.Name, filterName) {
			out = append(out, b)
		}
	}
	return out, nil
}

// Remove implements Fence. The link must be gone already, or the identity would be open for a moment.
func (f *exactFence) Remove() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	errs := []error{f.host.dropKeyed(func(b *netlink.BpfFilter) bool { return b.Name == f.keyed() })}
	return errors.Join(append(errs, f.gate.Close())...)
}

// dropKeyed removes filters of ours from the LAN interface.
func (h *Host) dropKeyed(which func(*netlink.BpfFilter) bool) error {
	lower, err := h.lowerLink()
	if err != nil {
		return nil // its filters went with it
	}
	all, err := h.filters(lower, netlink.HANDLE_MIN_EGRESS)
	if err != nil {
		return err
	}
	var errs []error
	for _, one := range all {
		if which(one) {
			errs = append(errs, h.nl.FilterDel(one))
		}
	}
	return errors.Join(errs...)
}

// Kind implements Fence.
func (*exactFence) Kind() string { return "bpf" }

// Limits implements Fence.
func (f *exactFence) Limits() []string {
	limits := []string{
		"somebody with root who removes the clsact qdisc opens it until the next check finds out",
		"frames sent with PACKET_QDISC_BYPASS or AF_XDP are not seen",
		"a virtual machine that is paused stops all clocks, and the deadline with them",
	}
	return append(limits, f.suspends.limits...)
}

// suspends counts the suspends of this host, in the kernel, at the moment at which each begins.
type suspends struct {
	count  *ebpf.Map
	link   link.Link
	limits []string
}

// pinDir is where what must outlive the daemon is pinned: a BPF file system.
var pinDir = filepath.Join("/sys/fs/bpf", "nightporter")

func openSuspends() (_ *suspends, err error) {
	s := &suspends{}
	if s.count, err = ebpf.NewMap(&ebpf.MapSpec{Name: "np_suspends", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1}); err != nil {
		return nil, fmt.Errorf("making a BPF map (root, or CAP_BPF and CAP_NET_ADMIN, is needed): %w", err)
	}
	if err := s.watch(); err != nil {
		s.limits = append(s.limits, "a suspend is noticed by the clocks and the deadline only ("+err.Error()+")")
	}
	return s, nil
}

// watch attaches the counter.
func (s *suspends) watch() error {
	p, err := countProgram(s.count)
	if err != nil {
		return fmt.Errorf("CAP_PERFMON is needed: %w", err)
	}
	defer p.Close()
	if s.link, err = link.AttachRawTracepoint(link.RawTracepointOptions{Name: "suspend_resume", Program: p}); err != nil {
		return fmt.Errorf("this kernel has no tracepoint suspend_resume: %w", err)
	}
	if err := s.pin(); err != nil {
		s.limits = append(s.limits, "a suspend after the end of this daemon is noticed by the clocks and the deadline only ("+err.Error()+")")
	}
	return nil
}

// pin keeps the counter alive after this process.
func (s *suspends) pin() error {
	if err := os.MkdirAll(pinDir, 0o700); err != nil {
		return fmt.Errorf("no BPF file system at /sys/fs/bpf: %w", err)
	}
	path := filepath.Join(pinDir, "suspends")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return s.link.Pin(path)
}

func (s *suspends) now() (uint64, error) {
	var n uint64
	if err := s.count.Lookup(uint32(0), &n); err != nil {
		return 0, fmt.Errorf("reading the count of suspends: %w", err)
	}
	return n, nil
}

func (s *suspends) close() error {
	err := s.count.Close()
	if s.link != nil {
		err = errors.Join(err, s.link.Close())
	}
	return err
}
