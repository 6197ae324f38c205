package identity

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// filterName begins the names of our filters, so that a later life finds them.
const filterName = "np_"

// lowerPriority is that of the first identity's filter on the LAN interface. Tools take numbers from 1 up or from 49152 down.
const lowerPriority = 7373

// priorityOf is that of the filter of the identity with a routing table.
func priorityOf(table int) uint16 { return lowerPriority + uint16(table-firstTable) }

// attach puts a program on one direction of a link, in the place of what was there at that priority.
func (h *Host) attach(on netlink.Link, parent uint32, priority uint16, name string, p *ebpf.Program) error {
	index := on.Attrs().Index
	qdisc := &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	}
	err := h.nl.QdiscAdd(qdisc)
	if errors.Is(err, unix.EEXIST) {
		err = h.hasClsact(on)
	}
	if err != nil {
		return fmt.Errorf("making clsact on %s: %w", on.Attrs().Name, err)
	}
	err = h.nl.FilterReplace(&netlink.BpfFilter{
		FilterAttrs:  filterAt(index, parent, priority),
		Fd:           p.FD(),
		Name:         name,
		DirectAction: true,
	})
	if err != nil {
		return fmt.Errorf("attaching the fence to %s: %w", on.Attrs().Name, err)
	}
	return nil
}

func filterAt(index int, parent uint32, priority uint16) netlink.FilterAttrs {
	return netlink.FilterAttrs{LinkIndex: index, Parent: parent, Handle: 1, Priority: priority, Protocol: unix.ETH_P_ALL}
}

// detach removes what attach has put there. Whatever is gone is no error: the filter, the qdisc, the link.
func (h *Host) detach(on netlink.Link, parent uint32, priority uint16) error {
	err := h.nl.FilterDel(&netlink.BpfFilter{FilterAttrs: filterAt(on.Attrs().Index, parent, priority)})
	for _, gone := range []error{unix.ENOENT, unix.EINVAL, unix.ENODEV} {
		if errors.Is(err, gone) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("detaching the fence from %s: %w", on.Attrs().Name, err)
	}
	return nil
}

// hasClsact refuses the qdisc `ingress`, which takes a filter for the way out and puts it on the way in.
func (h *Host) hasClsact(on netlink.Link) error {
	all, err := h.nl.QdiscList(on)
	if err != nil {
		return err
	}
	for _, q := range all {
		if q.Attrs().Parent == netlink.HANDLE_CLSACT && q.Type() != "clsact" {
			return fmt.Errorf("it has a qdisc `%s`, which sees only one direction: make that `clsact`, which does all that it does", q.Type())
		}
	}
	return nil
}

// blocked says what is in the fence's place on the LAN interface. One that is gone is not.
func (h *Host) blocked() error {
	lower, err := h.lowerLink()
	if err != nil {
		return nil //nolint:nilerr // that has its own sentence
	}
	return h.hasClsact(lower)
}

// trial attaches a program that lets everything pass to the LAN interface, and removes it: a kernel without the classifier, or a user who
// may not, is found out before this host is given anything.
func (h *Host) trial() error {
	lower, err := h.lowerLink()
	if err != nil {
		return err
	}
	p, err := classifier("np_trial", asm.Instructions{asm.Mov.Imm(asm.R0, actPass), asm.Return()})
	if err != nil {
		return fmt.Errorf("loading a program: %w", err)
	}
	defer p.Close()
	const name = filterName + "trial"
	if err := h.attach(lower, netlink.HANDLE_MIN_EGRESS, lowerPriority+tablesMost, name, p); err != nil {
		return err
	}
	return errors.Join(h.dropKeyed(func(b *netlink.BpfFilter) bool { return b.Name == name }), h.dropEmptyClsact())
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

// dropKeyed removes filters of ours from the LAN interface.
func (h *Host) dropKeyed(which func(*netlink.BpfFilter) bool) error {
	lower, err := h.lowerLink()
	if err != nil {
		return nil //nolint:nilerr // its filters went with it
	}
	var errs []error
	for _, parent := range []uint32{netlink.HANDLE_MIN_EGRESS, netlink.HANDLE_MIN_INGRESS} {
		all, err := h.filters(lower, parent)
		errs = append(errs, err)
		for _, one := range all {
			if which(one) {
				errs = append(errs, h.nl.FilterDel(one))
			}
		}
	}
	return errors.Join(errs...)
}

// dropEmptyClsact removes the qdisc from the LAN interface if nothing is attached to it.
func (h *Host) dropEmptyClsact() error {
	lower, err := h.lowerLink()
	if err != nil || h.hasClsact(lower) != nil {
		return nil //nolint:nilerr // there is none of ours
	}
	for _, parent := range []uint32{netlink.HANDLE_MIN_EGRESS, netlink.HANDLE_MIN_INGRESS} {
		if all, err := h.nl.FilterList(lower, parent); err != nil || len(all) > 0 {
			return nil //nolint:nilerr // no qdisc, or somebody uses it
		}
	}
	err = h.nl.QdiscDel(&netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: lower.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	})
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("removing clsact from %s: %w", h.lower, err)
	}
	return nil
}

// dropExact removes what there is of an exact fence of a link that is down.
func (h *Host) dropExact(name string) error {
	errs := []error{h.dropKeyed(func(b *netlink.BpfFilter) bool { return b.Name == filterName+name[len(linkPrefix):] })}
	made, err := h.nl.LinkByName(name)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return errors.Join(errs...) // mode address has none
	}
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("finding the macvlan %s: %w", name, err))...)
	}
	for _, parent := range []uint32{netlink.HANDLE_MIN_EGRESS, netlink.HANDLE_MIN_INGRESS} {
		all, err := h.filters(made, parent)
		errs = append(errs, err)
		for _, one := range all {
			errs = append(errs, h.nl.FilterDel(one))
		}
	}
	return errors.Join(errs...)
}
