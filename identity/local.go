package identity

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// localWait bounds the wait for the local route that the kernel makes for an IPv6 address: it comes from a work queue,
// as a rule within a millisecond, and not at all while the LAN interface has no carrier.
const localWait = 100 * time.Millisecond

// localSource gives the local route of ip0 the host's own address as its source: a client on this host that connects to ip0
// while this host is the front must not take ip0 itself as its address, or its connection could never reach the target.
func (p *Hold) localSource(lower netlink.Link, a netip.Addr) error {
	r := &netlink.Route{
		Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, LinkIndex: p.index, Family: family(a), Dst: single(a),
		Protocol: unix.RTPROT_KERNEL,
	}
	own, ok := p.ownAddress(lower, a)
	if ok {
		r.Src = own.AsSlice()
	}
	if a.Is4() {
		r.Scope = netlink.SCOPE_HOST // so it replaces the kernel's
	} else {
		r.Protocol = unix.RTPROT_STATIC // it comes beside the kernel's, with a larger metric
	}
	if err := p.host.nl.RouteReplace(r); err != nil {
		return fmt.Errorf("setting the source of local connections to %s: %w", a, err)
	}
	if a.Is4() || !ok {
		return nil
	}
	return p.dropKernelLocal(a)
}

// dropKernelLocal removes the local route that the kernel made for an IPv6 address. Its metric is 0, which no request can
// ask for, so it can only be deleted, not replaced; the address does without it.
func (p *Hold) dropKernelLocal(a netip.Addr) error {
	step := time.NewTicker(time.Millisecond)
	defer step.Stop()
	end := time.Now().Add(localWait)
	for quiet := 0; ; <-step.C {
		have, err := p.locals(a)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(have, func(r netlink.Route) bool { return r.Protocol == unix.RTPROT_KERNEL })
		if i >= 0 {
			if err := p.host.nl.RouteDel(&have[i]); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("removing the kernel's local route of %s: %w", a, err)
			}
			return nil
		}
		if done, err := p.settled(a); err != nil {
			return err
		} else if done {
			quiet++ // the route comes a little after the address counts as settled; or it was deleted before
		}
		if quiet > 5 || time.Now().After(end) {
			return nil // should it still come, Check finds it
		}
	}
}

// settled says whether an IPv6 address has gone through its (empty) duplicate address detection.
func (p *Hold) settled(a netip.Addr) (bool, error) {
	link, err := p.host.nl.LinkByIndex(p.index)
	if err != nil {
		return false, fmt.Errorf("finding the link %s: %w", p.Link(), err)
	}
	addrs, err := p.host.nl.AddrList(link, family(a))
	if err != nil {
		return false, fmt.Errorf("reading the addresses of %s: %w", p.Link(), err)
	}
	return slices.ContainsFunc(addrs, func(x netlink.Addr) bool {
		return x.IP.Equal(a.AsSlice()) && x.Flags&unix.IFA_F_TENTATIVE == 0
	}), nil
}

// locals lists the local routes of an address.
func (p *Hold) locals(a netip.Addr) ([]netlink.Route, error) { return p.host.localsOf(p.index, a) }

func (h *Host) localsOf(index int, a netip.Addr) ([]netlink.Route, error) {
	all, err := h.nl.RouteListFiltered(family(a), &netlink.Route{Table: unix.RT_TABLE_LOCAL, LinkIndex: index, Dst: single(a)},
		netlink.RT_FILTER_TABLE|netlink.RT_FILTER_OIF|netlink.RT_FILTER_DST)
	if err != nil {
		return nil, fmt.Errorf("reading the local routes of %s: %w", a, err)
	}
	return slices.DeleteFunc(all, func(r netlink.Route) bool { return r.Type != unix.RTN_LOCAL }), nil
}

// localRight says whether clients on this host reach ip0, with the host's own address. The kernel takes the route away when
// that address changes (IPv4), or puts its own beside it when ip0 was taken off and given back (IPv6).
func (p *Hold) localRight(lower netlink.Link, a netip.Addr) (bool, error) {
	have, err := p.locals(a)
	if err != nil {
		return false, err
	}
	own, ok := p.ownAddress(lower, a)
	if !ok {
		return len(have) > 0, nil
	}
	return len(have) > 0 && have[0].Src.Equal(own.AsSlice()), nil // the kernel lists them in the order in which it asks them
}

// ownAddress is the host's address in the prefix that ip0 is in, else any of the same family.
func (p *Hold) ownAddress(lower netlink.Link, a netip.Addr) (netip.Addr, bool) {
	addrs, err := p.host.ownAddrs(lower, family(a))
	if err != nil {
		return netip.Addr{}, false
	}
	var any netip.Addr
	for _, one := range addrs {
		pre, ok := prefixOf(one.IPNet)
		if !ok || pre.Addr().IsLinkLocalUnicast() || p.spec.has(pre.Addr()) {
			continue
		}
		if pre.Contains(a) {
			return pre.Addr(), true
		}
		any = pre.Addr()
	}
	return any, any.IsValid()
}
