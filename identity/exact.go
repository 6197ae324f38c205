package identity

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"

	"nightporter/internal/mutant"
)

// exactFence is the fence as BPF programs on clsact: everything in and out of the macvlan, and on the way out of the LAN
// interface whatever claims the identity (in mode address there is no macvlan, and what comes in by the LAN interface for the
// address is judged there), passes only until a point of CLOCK_BOOTTIME, only while that clock stands to
// CLOCK_MONOTONIC as it did at the last renewal, and only while no suspend has begun since the acquisition. Programs and map
// live as long as their interfaces do, whatever happens to the daemon.
type exactFence struct {
	host     *Host
	suspends *suspends
	spec     Spec
	link     string
	priority uint16 // of the filter on the LAN interface

	mu    sync.Mutex
	gate  *gate     // nil = removed
	alive *ebpf.Map // where the count of suspends ends with this process: an array of the one program that judges
}

var _ Fence = (*exactFence)(nil)

// newExactFence builds the fence, closed. The link must exist and be down.
func newExactFence(h *Host, s Spec, name string, priority uint16) (_ *exactFence, err error) {
	f := &exactFence{host: h, suspends: h.suspends, spec: s, link: name, priority: priority}
	if f.gate, err = newGate(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("building the fence of %s: %w", s.Service, err), f.let())
		}
	}()
	if f.suspends.mortal() {
		f.alive, err = ebpf.NewMap(&ebpf.MapSpec{Name: aliveName, Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
		if err != nil {
			return nil, err
		}
	}
	if err = f.Rebuild(); err != nil {
		return nil, err
	}
	if h.swept.Load() {
		return f, nil
	}
	// Now this fence is closed; what closed a former life's may go, and so may that one's filter.
	err = errors.Join(removeTable(h.nft, fenceTableOf(name)), h.dropKeyed(func(b *netlink.BpfFilter) bool {
		return b.Name == f.keyed() && b.Priority != priority
	}))
	return f, err
}

// aliveName tells such an array from other maps.
const aliveName = "np_alive"

// end is how the programs judge what they have picked.
func (f *exactFence) end() (asm.Instructions, error) {
	end := judge(f.gate.kernel, f.suspends.count)
	if f.alive == nil {
		return end, nil
	}
	p, err := gateProgram(end)
	if err != nil {
		return nil, err
	}
	defer p.Close() // the array keeps it
	if err := f.alive.Update(uint32(0), uint32(p.FD()), ebpf.UpdateAny); err != nil {
		return nil, fmt.Errorf("filling the array of programs: %w", err)
	}
	return living(f.alive), nil
}

// Rebuild implements Fence. What the map says is in force again at once.
func (f *exactFence) Rebuild() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rebuild()
}

func (f *exactFence) rebuild() error {
	end, err := f.end()
	if err != nil {
		return err
	}
	places, err := f.places()
	if err != nil {
		return err
	}
	programs := make(map[judgement]*ebpf.Program)
	defer func() {
		for _, p := range programs {
			p.Close() // the filters keep them
		}
	}()
	var errs []error
	for _, p := range places {
		if programs[p.by] == nil {
			program, err := p.by.program(f.spec, end)
			if err != nil {
				return err
			}
			programs[p.by] = program
		}
		errs = append(errs, f.host.attach(p.on, p.parent, p.priority, p.name, programs[p.by]))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	there, err := f.attached(places)
	if err == nil && !there {
		err = errors.New("the filters are not where they were put: somebody removes them")
	}
	return err
}

// judgement is what a program judges: everything, what claims the identity, or what comes in for it.
type judgement int

const (
	passing judgement = iota
	claiming
	coming
)

func (j judgement) program(s Spec, end asm.Instructions) (*ebpf.Program, error) {
	switch j {
	case claiming:
		return keyedProgram(s, end)
	case coming:
		return arrivalProgram(s, end)
	}
	return gateProgram(end)
}

// place is one hook of the fence.
type place struct {
	on       netlink.Link
	parent   uint32
	priority uint16
	name     string
	by       judgement
}

func (f *exactFence) places() ([]place, error) {
	lower, err := f.host.lowerLink()
	if err != nil {
		return nil, err
	}
	if f.spec.Mode == HostMAC {
		return []place{
			{lower, netlink.HANDLE_MIN_EGRESS, f.priority, f.keyed(), claiming},
			{lower, netlink.HANDLE_MIN_INGRESS, f.priority, f.keyed(), coming},
		}, nil
	}
	made, err := f.host.nl.LinkByName(f.link)
	if err != nil {
		return nil, fmt.Errorf("finding the macvlan %s: %w", f.link, err)
	}
	all := []place{
		{lower, netlink.HANDLE_MIN_EGRESS, f.priority, f.keyed(), claiming},
		{made, netlink.HANDLE_MIN_EGRESS, 1, filterName + "out", passing},
		{made, netlink.HANDLE_MIN_INGRESS, 1, filterName + "in", passing},
	}
	if mutant.On(mutant.MacvlanOnly) { // breaks I1 and I3 for a socket that is bound to the LAN interface
		all = all[1:]
	}
	return all, nil
}

// keyed is the name of the filter on the LAN interface.
func (f *exactFence) keyed() string { return filterName + f.link[len(linkPrefix):] }

// errRemoved is what a fence says that was taken down.
var errRemoved = errors.New("the fence was removed")

// Open implements Fence. What arms is stored last.
func (f *exactFence) Open(deadline time.Duration, generation uint64) error {
	return f.with("opening", func() error {
		if err := f.gate.until(deadline); err != nil {
			return err
		}
		f.gate.arm(generation)
		return nil
	})
}

// Extend implements Fence.
func (f *exactFence) Extend(deadline time.Duration) error {
	return f.with("moving the deadline of", func() error { return f.gate.until(deadline) })
}

// Restore implements Fence. Rebuild has done it: only a renewal may write to the map, which knows by what clocks it was open.
func (*exactFence) Restore(time.Duration) error { return nil }

// Close implements Fence. The map shuts all programs that read it; where somebody removed one, it is put back, or the identity
// would go on without it. A link that is gone is closed as well. Where nobody touched them it waits for nothing.
func (f *exactFence) Close() error {
	return f.with("closing", func() error {
		f.gate.shut()
		if f.host.vigil.untouched(f) {
			return nil
		}
		places, err := f.places()
		if err != nil {
			return nil //nolint:nilerr // without the link or the LAN interface there is nothing to close
		}
		there, err := f.attached(places)
		if err == nil && !there {
			err = f.rebuild()
		}
		return err
	})
}

func (f *exactFence) with(what string, do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := errRemoved
	if f.gate != nil {
		err = do()
	}
	if err != nil {
		return fmt.Errorf("%s the fence %s: %w", what, f.link, err)
	}
	return nil
}

// Generation implements Fence.
func (f *exactFence) Generation() (uint64, error) { return f.suspends.now() }

// Present implements Fence.
func (f *exactFence) Present() (bool, error) {
	places, err := f.places()
	if err != nil {
		return false, err
	}
	return f.attached(places)
}

// attached looks at the filters themselves.
func (f *exactFence) attached(places []place) (bool, error) {
	look := f.host.vigil.look(f, places)
	for _, want := range places {
		if there, err := f.host.asks.filter(want); err != nil || !there {
			f.host.vigil.doubt(f)
			return false, err
		}
	}
	f.host.vigil.sound(f, look)
	return true, nil
}

// Remove implements Fence. The link must be gone already, or the identity would be open for a moment.
func (f *exactFence) Remove() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.unhang(), f.let())
}

// unhang removes the filters from the LAN interface; those of the macvlan went with it.
func (f *exactFence) unhang() error {
	lower, err := f.host.lowerLink()
	if err != nil {
		return nil //nolint:nilerr // its filters went with it
	}
	errs := []error{f.host.detach(lower, netlink.HANDLE_MIN_EGRESS, f.priority)}
	if f.spec.Mode == HostMAC {
		errs = append(errs, f.host.detach(lower, netlink.HANDLE_MIN_INGRESS, f.priority))
	}
	return errors.Join(errs...)
}

// let closes what this process has open of the fence.
func (f *exactFence) let() error {
	f.host.vigil.doubt(f)
	var errs []error
	if f.gate != nil {
		errs = append(errs, f.gate.close())
		f.gate = nil
	}
	if f.alive != nil {
		errs = append(errs, f.alive.Close())
		f.alive = nil
	}
	return errors.Join(errs...)
}

// Kind implements Fence.
func (*exactFence) Kind() string { return "bpf" }

// Limits implements Fence.
func (f *exactFence) Limits() []string {
	limits := []string{
		"somebody with root who removes its filters, or puts ones that pass before them (tcx, tc), opens it until this daemon finds out",
		"frames sent with PACKET_QDISC_BYPASS or AF_XDP are not seen",
		"a virtual machine that is paused stops all clocks, and the deadline with them",
	}
	return append(append(limits, f.suspends.limits...), f.spec.limits()...)
}
