package identity

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// A daemon that replaces itself by a newer program (exec in place) can leave identities open: the kernel goes on with them until
// their deadline, and the next life takes them over instead of sweeping them away. What of that cannot be found again by name goes
// along as open file descriptors.

// Legacy is what one life of the daemon leaves to the next, besides its identities. Descriptors are 0 where there is nothing.
type Legacy struct {
	Count   int    `json:"count"`   // the map with the count of suspends
	Counter int    `json:"counter"` // what counts
	Pin     string `json:"pin"`
}

// Heirloom is one open identity of such a legacy.
type Heirloom struct {
	Spec     Spec          `json:"spec"`
	Table    int           `json:"table"`
	Kind     string        `json:"kind"` // of the fence
	Guarded  bool          `json:"guarded"`
	Deadline time.Duration `json:"deadline"` // CLOCK_BOOTTIME
	Apart    time.Duration `json:"apart"`    // for nftables: CLOCK_BOOTTIME minus CLOCK_MONOTONIC at the last renewal
	Gate     int           `json:"gate"`
	Alive    int           `json:"alive"`
}

// inheritable is a second descriptor that stays open over exec.
func inheritable(fd int) (int, error) {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, 3)
	if err != nil {
		return 0, fmt.Errorf("keeping a descriptor for the next life: %w", err)
	}
	return n, nil
}

// Bequeath gives what the next life needs besides the identities themselves.
func (h *Host) Bequeath() (l Legacy, err error) {
	if h.suspends == nil {
		return l, nil
	}
	l.Pin = h.suspends.pin
	if l.Count, err = inheritable(h.suspends.count.FD()); err != nil || h.suspends.link == nil {
		return l, err
	}
	fd, ok := h.suspends.link.(interface{ FD() int })
	if !ok {
		return l, errors.New("the counter of suspends has no descriptor (Linux 5.8 or later is needed)")
	}
	l.Counter, err = inheritable(fd.FD())
	return l, err
}

// Bequeath leaves an open identity as it is to the next life. Nothing else may be done with it here.
func (p *Hold) Bequeath() (Heirloom, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := Heirloom{Spec: p.spec, Table: p.table, Kind: p.fence.Kind(), Guarded: p.guarded, Deadline: p.deadline}
	if !p.opened {
		return l, fmt.Errorf("the identity of %s is not open", p.spec.Service)
	}
	if f, ok := p.fence.(*nftFence); ok {
		l.Apart = time.Duration(f.apart.Load())
	}
	f, exact := p.fence.(*exactFence)
	if !exact {
		return l, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gate == nil {
		return l, errRemoved
	}
	var err error
	if l.Gate, err = inheritable(f.gate.kernel.FD()); err == nil && f.alive != nil {
		l.Alive, err = inheritable(f.alive.FD())
	}
	return l, err
}

// isOf says whether a descriptor is of a kind of BPF object. One that is not is somebody else's, and is left alone.
func isOf(fd int, kind string) error {
	have, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err == nil && have != "anon_inode:"+kind {
		err = fmt.Errorf("the descriptor %d is of %s", fd, have)
	}
	return err
}

// inheritedMap takes a descriptor over, if it is of a map with a name.
func inheritedMap(fd int, name string) (*ebpf.Map, error) {
	if fd < 3 {
		return nil, fmt.Errorf("no descriptor of the map %s was left", name)
	}
	if err := isOf(fd, "bpf-map"); err != nil {
		return nil, fmt.Errorf("taking over the map %s: %w", name, err)
	}
	unix.CloseOnExec(fd)
	m, err := ebpf.NewMapFromFD(fd)
	if err != nil {
		return nil, fmt.Errorf("taking over the map %s: %w", name, err)
	}
	info, err := m.Info()
	if err == nil && info.Name != name {
		err = fmt.Errorf("it is called %q", info.Name)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("taking over the map %s: %w", name, err), m.Close())
	}
	return m, nil
}

// inheritSuspends takes a former life's counter over.
func inheritSuspends(l Legacy) (*suspends, error) {
	count, err := inheritedMap(l.Count, countName)
	if err != nil {
		return nil, err
	}
	s := &suspends{count: count, pin: l.Pin}
	if l.Counter < 3 {
		s.limits = []string{"a suspend is noticed by the clocks and the deadline only"}
		return s, nil
	}
	if err := isOf(l.Counter, "bpf_link"); err != nil {
		return nil, errors.Join(fmt.Errorf("taking over the counter of suspends: %w", err), count.Close())
	}
	unix.CloseOnExec(l.Counter)
	if s.link, err = link.NewFromFD(l.Counter); err != nil {
		return nil, errors.Join(fmt.Errorf("taking over the counter of suspends: %w", err), count.Close())
	}
	if s.pin == "" {
		s.limits = []string{mortalLimit}
	}
	return s, nil
}

// Adopt takes an open identity over that a former life of this process left. On an error it is closed, and Sweep removes it.
func (h *Host) Adopt(l Heirloom) (_ *Hold, err error) {
	name := linkName(l.Spec.Service)
	if !slices.Contains([]string{"bpf", "nftables"}, l.Kind) || !ourTable(l.Table) {
		return nil, fmt.Errorf("what is left of %s makes no sense", l.Spec.Service)
	}
	p := &Hold{
		host: h, spec: l.Spec, log: h.log, link: name, table: l.Table, opened: true, deadline: l.Deadline, guarded: l.Guarded,
		guard: &nftables.Table{Family: nftables.TableFamilyINet, Name: tablePrefix + name[len(linkPrefix):]},
	}
	if l.Kind == "nftables" {
		p.fence, err = adoptNFTFence(h, l, name)
	} else {
		p.fence, err = adoptExactFence(h, l, name)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.fence.Close())
		}
	}()
	if err = p.find(); err != nil {
		return nil, err
	}
	drift, err := p.Check()
	if err == nil && slices.Contains(drift, fenceRemoved) { // the rest can be repaired
		err = fmt.Errorf("%s: %s", name, fenceRemoved)
	}
	if err != nil {
		return nil, err
	}
	h.seal.adopt(l.Spec)
	p.unsealed = true
	h.lends(l.Spec, 1)
	p.gave = l.Spec.Mode == HostMAC
	h.notes(name, l.Spec, l.Table)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tables[l.Table], h.adopted[name] = true, l.Table
	return p, nil
}

// find looks where an adopted identity is.
func (p *Hold) find() error {
	lower, err := p.host.lowerLink()
	if err != nil {
		return err
	}
	link, err := p.device(lower)
	if err != nil {
		return err
	}
	p.index = link.Attrs().Index
	if p.spec.Mode == HostMAC {
		p.card = slices.Clone(link.Attrs().HardwareAddr)
	}
	return nil
}

func adoptNFTFence(h *Host, l Heirloom, name string) (Fence, error) {
	if h.form == Exact {
		return nil, errors.New("the fence is nftables', and the exact one is required now")
	}
	f := &nftFence{nft: h.nft, table: fenceTableOf(name), spec: l.Spec, link: name, lower: h.lower}
	f.apart.Store(int64(l.Apart))
	var err error
	if f.late, err = newLate(h.nft, &nftables.Chain{Name: lateChain, Table: f.table}); err != nil {
		return nil, err
	}
	return f, nil
}

func adoptExactFence(h *Host, l Heirloom, name string) (Fence, error) {
	m, err := inheritedMap(l.Gate, gateName)
	if err != nil {
		return nil, err
	}
	f := &exactFence{host: h, suspends: h.suspends, spec: l.Spec, link: name, priority: priorityOf(l.Table)}
	if f.gate, err = mapGate(m); err != nil {
		return nil, err
	}
	if l.Alive != 0 {
		f.alive, err = inheritedMap(l.Alive, aliveName)
	}
	if err == nil && !h.inherited {
		err = errors.New("its count of suspends was not left to this life, or nftables' fence is asked for now")
	}
	if err == nil {
		err = h.refusal // what this life may not hold it may not go on with either
	}
	if err != nil {
		f.gate.shut()
		return nil, errors.Join(err, f.let())
	}
	return f, nil
}

// keeps says whether something of an identity belongs to one that was adopted: by the digits of its link's name.
func (h *Host) keeps(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for kept := range h.adopted {
		if strings.HasSuffix(name, kept[len(linkPrefix):]) {
			return true
		}
	}
	return false
}

// keepsTable says so of a routing table.
func (h *Host) keepsTable(n int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, kept := range h.adopted {
		if kept == n {
			return true
		}
	}
	return false
}
