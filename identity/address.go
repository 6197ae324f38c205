package identity

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Mode is under whose hardware address an identity is on the wire.
type Mode string

// The two modes.
const (
	OwnMAC Mode = "" // mac0, on a macvlan
	// HostMAC is for networks that allow no second MAC on a port: ip0 is a further address of the LAN interface. What was told of
	// the macvlan is true of that interface, and the fence goes by the address alone.
	HostMAC Mode = "address"
)

// lends notes that the LAN interface has the addresses of one identity more, or (-1) of one less.
func (h *Host) lends(s Spec, by int) {
	if s.Mode != HostMAC {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range s.Addrs {
		if h.lent[a] += by; h.lent[a] <= 0 {
			delete(h.lent, a)
		}
	}
}

// floats says whether an address is an identity's, if the LAN interface has it: it is not this host's own then.
func (h *Host) floats(a netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lent[a] > 0 || h.stray[a]
}

// ownAddrs lists what a link has of addresses, but for those of identities.
func (h *Host) ownAddrs(l netlink.Link, family int) ([]netlink.Addr, error) {
	all, err := h.nl.AddrList(l, family)
	if err != nil {
		return nil, fmt.Errorf("reading the addresses of %s: %w", l.Attrs().Name, err)
	}
	return slices.DeleteFunc(all, func(one netlink.Addr) bool {
		p, ok := prefixOf(one.IPNet)
		return ok && p.IsSingleIP() && h.floats(p.Addr())
	}), nil
}

// findStrays finds out which addresses a former life may have left on an interface of this host: the policy rules tell (an address
// never comes before its rule, and goes before it), and the seal knows what was ever here.
func (h *Host) findStrays() error {
	found := make(map[netip.Addr]bool)
	for _, fam := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := h.rules(fam)
		if err != nil {
			return err
		}
		for _, r := range rules {
			if p, ok := prefixOf(r.Src); ok && ourTable(r.Table) {
				found[p.Addr()] = true
			}
		}
	}
	lower, err := h.lowerLink()
	if err != nil {
		return err
	}
	addrs, err := h.nl.AddrList(lower, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("reading the addresses of %s: %w", h.lower, err)
	}
	for _, one := range addrs {
		p, ok := prefixOf(one.IPNet)
		if ok && p.IsSingleIP() && one.Flags&unix.IFA_F_NOPREFIXROUTE != 0 && h.seal.knows(p.Addr()) {
			found[p.Addr()] = true // somebody has removed the rule
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stray = found
	return nil
}

// leftOn is an address of an identity on an interface that is not its own, left by a former life.
type leftOn struct {
	link netlink.Link
	addr netip.Addr
}

// leftAddresses finds these, but for what was adopted.
func (h *Host) leftAddresses() (out []leftOn, err error) {
	links, err := h.nl.LinkList()
	if err != nil {
		return nil, fmt.Errorf("listing the links: %w", err)
	}
	for _, l := range links {
		if l.Type() == "macvlan" && strings.HasPrefix(l.Attrs().Name, linkPrefix) {
			continue
		}
		addrs, err := h.nl.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return nil, fmt.Errorf("reading the addresses of %s: %w", l.Attrs().Name, err)
		}
		for _, one := range addrs {
			if p, ok := prefixOf(one.IPNet); ok && p.IsSingleIP() && h.isStray(p.Addr()) {
				out = append(out, leftOn{l, p.Addr()})
			}
		}
	}
	return out, nil
}

func (h *Host) isStray(a netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stray[a] && h.lent[a] == 0
}

// noStrays is the end of what a former life left.
func (h *Host) noStrays() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stray = nil
}

// sealLeft takes the identities of such addresses over from their fences, whose maps are out of reach.
func (h *Host) sealLeft(left []leftOn) error {
	for _, one := range left {
		if err := h.seal.put(Spec{Addrs: []netip.Addr{one.addr}}, false); err != nil {
			return err
		}
	}
	return nil
}

// dropLeft takes the addresses off their interfaces. They must be sealed.
func (h *Host) dropLeft(left []leftOn) error {
	var errs []error
	for _, one := range left {
		h.log.Info("removing what a former agent left", "address", one.addr.String(), "link", one.link.Attrs().Name)
		errs = append(errs, h.dropAddress(one.link, one.addr))
	}
	return errors.Join(errs...)
}

// dropAddress takes an address off a link, and its local routes, of which the kernel removes its own only.
func (h *Host) dropAddress(l netlink.Link, a netip.Addr) error {
	err := h.nl.AddrDel(l, &netlink.Addr{IPNet: single(a)})
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("taking %s off %s: %w", a, l.Attrs().Name, err)
	}
	routes, err := h.localsOf(l.Attrs().Index, a)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if err := h.nl.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("removing the local route of %s: %w", a, err)
		}
	}
	return nil
}

// takeBack takes ip0 off the LAN interface, unless another identity has it by now.
func (p *Hold) takeBack() error {
	if !p.gave {
		return nil
	}
	lower, err := p.host.lowerLink()
	if err != nil {
		return nil //nolint:nilerr // the addresses went with it
	}
	for _, a := range p.spec.Addrs {
		if p.host.sharedBy(a) > 1 {
			continue
		}
		if err := p.host.dropAddress(lower, a); err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) sharedBy(a netip.Addr) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lent[a]
}

// addressOf is ip0 as a link is to have it, as /32 and /128: no route of its own, no duplicate address detection (the probe does that).
// On the LAN interface nothing that this host begins by itself may take it for its source: for IPv4 its scope keeps it from that, for
// IPv6 that it is deprecated (RFC 6724 section 5, rule 3).
func (p *Hold) addressOf(a netip.Addr) *netlink.Addr {
	addr := &netlink.Addr{IPNet: single(a), Flags: unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE}
	if p.spec.Mode != HostMAC {
		return addr
	}
	if a.Is4() {
		addr.Scope = unix.RT_SCOPE_LINK
	}
	return addr
}

// putAddress gives a link ip0 as it is to have it.
func (p *Hold) putAddress(l netlink.Link, a netip.Addr) error {
	if p.spec.Mode == HostMAC && a.Is6() {
		return p.host.asks.deprecated(l.Attrs().Index, a, p.addressOf(a).Flags)
	}
	return p.host.nl.AddrReplace(l, p.addressOf(a))
}

// mac is the hardware address under which the identity is on the wire.
func (p *Hold) mac() net.HardwareAddr {
	if p.spec.Mode != HostMAC {
		return p.spec.MAC
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.card
}

// device finds the link that carries the identity: its macvlan, or the LAN interface.
func (p *Hold) device(lower netlink.Link) (netlink.Link, error) {
	if p.spec.Mode == HostMAC {
		return lower, nil
	}
	link, err := p.host.nl.LinkByName(p.link)
	if err != nil {
		return nil, fmt.Errorf("the macvlan %s of %s is gone: %w", p.link, p.spec.Service, err)
	}
	return link, nil
}

// checkDevice compares that link with what it was.
func (p *Hold) checkDevice(lower, link netlink.Link) (out []Drift, err error) {
	a := link.Attrs()
	switch {
	case p.spec.Mode == HostMAC && a.Index != p.index:
		return nil, fmt.Errorf("%s is not the interface any more that %s was prepared on", p.host.lower, p.spec.Service)
	case p.spec.Mode != HostMAC && a.ParentIndex != carrier(lower):
		return nil, fmt.Errorf("the macvlan %s stands on an interface that is no longer %s", p.link, p.host.lower)
	}
	if a.Flags&net.FlagUp == 0 {
		out = append(out, "link down")
	}
	if !bytes.Equal(a.HardwareAddr, p.mac()) {
		out = append(out, "another MAC")
	}
	return out, nil
}

// carrier is the index of what the kernel lets a macvlan stand on: where that is a macvlan itself, the device below it (macvlan_common_newlink).
func carrier(lower netlink.Link) int {
	if t := lower.Type(); t == "macvlan" || t == "macvtap" {
		return lower.Attrs().ParentIndex
	}
	return lower.Attrs().Index
}

// repairDevice makes the link what it was; the LAN interface is left as it is, and followed.
func (p *Hold) repairDevice(link netlink.Link) error {
	a := link.Attrs()
	if p.spec.Mode == HostMAC {
		if a.Flags&net.FlagUp == 0 {
			return fmt.Errorf("%s is down: bring it up", p.host.lower)
		}
		p.mu.Lock()
		p.card = slices.Clone(a.HardwareAddr)
		p.mu.Unlock()
		return p.address(link)
	}
	if !bytes.Equal(a.HardwareAddr, p.spec.MAC) {
		if err := p.host.nl.LinkSetHardwareAddr(link, p.spec.MAC); err != nil {
			return fmt.Errorf("giving %s its MAC back: %w", p.link, err)
		}
	}
	if err := errors.Join(p.silence(), p.address(link)); err != nil {
		return err
	}
	if err := p.host.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("bringing %s up again: %w", p.link, err)
	}
	return nil
}

// buildShared prepares an identity on the LAN interface: seal, fence, closed; guard, on; terminal route and rule, which are the mark
// by which a later life knows the address; the address; the routes. The order is that of build.
func (p *Hold) buildShared(lower netlink.Link) error {
	a := lower.Attrs()
	if a.Flags&net.FlagUp == 0 {
		return fmt.Errorf("%s is down: bring it up", p.host.lower)
	}
	p.index, p.card = a.Index, slices.Clone(a.HardwareAddr)
	var err error
	if p.fence, err = p.host.newFence(p.spec, p.link, priorityOf(p.table)); err != nil {
		return err
	}
	if err := p.host.seal.lift(p.spec); err != nil {
		return err
	}
	p.unsealed = true
	if err := p.makeGuard(true); err != nil {
		return err
	}
	for _, one := range p.spec.Addrs {
		if err := p.terminal(one); err != nil {
			return err
		}
	}
	p.host.lends(p.spec, 1)
	p.gave = true
	if err := p.address(lower); err != nil {
		return err
	}
	return p.route()
}
