package identity

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Drift is one thing about an identity that is not as it was prepared.
type Drift string

// routesChanged begins the one kind that is nobody's meddling: the LAN interface has other routes now.
const routesChanged = "routes of "

// fenceRemoved is the drift that opens.
const fenceRemoved Drift = "fence removed"

// Routine says whether nothing but the routes has to follow the LAN interface's.
func (d Drift) Routine() bool { return strings.HasPrefix(string(d), routesChanged) }

// Check compares the identity with what Prepare built. An error says that it cannot be repaired in place: the link or the LAN
// interface is gone.
func (p *Hold) Check() ([]Drift, error) {
	defer p.host.turn()()
	lower, err := p.host.lowerLink()
	if err != nil {
		return nil, err
	}
	link, err := p.device(lower)
	if err != nil {
		return nil, err
	}
	out, err := p.checkDevice(lower, link)
	if err != nil {
		return nil, err
	}
	more, err := p.checkAddresses(lower, link)
	if err != nil {
		return nil, err
	}
	out = append(out, more...)
	have, err := p.fence.Present()
	if err != nil {
		return nil, err
	}
	if !have {
		out = append(out, fenceRemoved)
	}
	guarded, err := p.guardPresent()
	if err != nil {
		return nil, err
	}
	if !guarded {
		out = append(out, "guard removed")
	}
	return out, nil
}

// checkAddresses looks at addresses, rules and routes.
func (p *Hold) checkAddresses(lower, link netlink.Link) ([]Drift, error) {
	var out []Drift
	for _, a := range p.spec.Addrs {
		addrs, err := p.host.nl.AddrList(link, family(a))
		if err != nil {
			return nil, fmt.Errorf("reading the addresses of %s: %w", link.Attrs().Name, err)
		}
		if !slices.ContainsFunc(addrs, func(x netlink.Addr) bool { return x.IP.Equal(a.AsSlice()) }) {
			out = append(out, Drift("address "+a.String()+" removed"))
		}
		rules, err := p.host.rules(family(a))
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(rules, func(r netlink.Rule) bool { return r.Table == p.table }) {
			out = append(out, Drift("policy rule of "+a.String()+" removed"))
		}
		ok, err := p.routesPresent(lower, a)
		if err != nil {
			return nil, err
		}
		if !ok {
			out = append(out, Drift(routesChanged+a.String()+" changed"))
		}
		if ok, err = p.localRight(lower, a); err != nil {
			return nil, err
		}
		if !ok && link.Attrs().Flags&net.FlagUp != 0 {
			out = append(out, Drift("local route of "+a.String()+" changed"))
		}
	}
	return out, nil
}

func (p *Hold) routesPresent(lower netlink.Link, a netip.Addr) (bool, error) {
	want, err := p.wantRoutes(lower, a)
	if err != nil {
		return false, err
	}
	have, err := p.host.nl.RouteListFiltered(family(a), &netlink.Route{Table: p.table}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return false, fmt.Errorf("reading the routing table %d: %w", p.table, err)
	}
	ends := 0
	for _, r := range have {
		switch {
		case r.Type == unix.RTN_UNREACHABLE:
			ends++
		case !slices.ContainsFunc(want, func(w netlink.Route) bool { return same(r, w) }):
			return false, nil // a gateway that the LAN interface has no longer
		}
	}
	for _, w := range want {
		if !slices.ContainsFunc(have, func(r netlink.Route) bool { return same(r, w) }) {
			return false, nil
		}
	}
	return ends > 0, nil
}

// sameNet compares destinations; the default route comes as nil or as a network of length 0.
func sameNet(a, b *net.IPNet) bool {
	text := func(n *net.IPNet) string {
		if n == nil {
			return "default"
		}
		if ones, _ := n.Mask.Size(); ones == 0 {
			return "default"
		}
		return n.String()
	}
	return text(a) == text(b)
}

func (p *Hold) guardPresent() (bool, error) {
	have, err := p.host.nft.has(p.guard, guardChain)
	if err != nil {
		return false, fmt.Errorf("reading the guard of %s: %w", p.spec.Service, err)
	}
	if !have {
		return false, nil
	}
	if have, err = p.host.nft.has(p.guard, startChain); err != nil || !have {
		return false, err // an older program did not make it
	}
	starting, err := p.host.nft.rules(p.guard, startChain)
	if err != nil {
		return false, fmt.Errorf("reading the guard of %s: %w", p.spec.Service, err)
	}
	n, err := p.host.nft.rules(p.guard, guardChain)
	if err != nil {
		return false, fmt.Errorf("reading the guard of %s: %w", p.spec.Service, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	want := 2 * len(p.spec.Addrs)
	if len(p.answers) > 0 {
		want++
	}
	return (!p.guarded || n == want) && starting == p.starting.count(), nil
}

// Repair puts back what is missing, fence and guard first; an open identity keeps its deadline. What Check says cannot be repaired in place
// is an error here, too.
func (p *Hold) Repair() error {
	lower, err := p.host.lowerLink()
	if err != nil {
		return err
	}
	link, err := p.device(lower)
	if err != nil {
		return err
	}
	if _, err := p.checkDevice(lower, link); err != nil {
		return err
	}
	p.mu.Lock()
	opened, deadline, guarded := p.opened, p.deadline, p.guarded
	p.mu.Unlock()
	if err := p.repairFilters(opened, guarded); err != nil {
		return err
	}
	if err := p.repairDevice(link); err != nil {
		return err
	}
	if err := p.pruneRoutes(lower); err != nil {
		return err
	}
	if err := p.route(); err != nil {
		return err
	}
	if opened {
		return p.fence.Restore(deadline)
	}
	return nil
}

// repairFilters builds the fence (closed) and the guard anew where they are gone.
func (p *Hold) repairFilters(opened, guarded bool) error {
	have, err := p.fence.Present()
	if err != nil {
		return err
	}
	if !have {
		p.log.Warn("the fence was removed by somebody; it is built again, closed", "service", p.spec.Service, "open", opened)
		if err := p.fence.Rebuild(); err != nil {
			return err
		}
	}
	ok, err := p.guardPresent()
	if err != nil || ok {
		return err
	}
	return p.makeGuard(guarded)
}

// pruneRoutes removes routes that the LAN interface no longer has: a gateway that changed.
func (p *Hold) pruneRoutes(lower netlink.Link) error {
	for _, a := range p.spec.Addrs {
		want, err := p.wantRoutes(lower, a)
		if err != nil {
			return err
		}
		have, err := p.host.nl.RouteListFiltered(family(a), &netlink.Route{Table: p.table}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return fmt.Errorf("reading the routing table %d: %w", p.table, err)
		}
		for _, r := range have {
			known := r.Type == unix.RTN_UNREACHABLE || slices.ContainsFunc(want, func(w netlink.Route) bool { return same(r, w) })
			if known {
				continue
			}
			if err := p.host.nl.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("removing the old route %s: %w", r.Dst, err)
			}
		}
	}
	return nil
}
