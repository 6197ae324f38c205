package identity

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeMetric is that of the terminal route: larger than any that a person would write.
const routeMetric = 1 << 30

// route gives packets from ip0 a routing table of their own: the LAN's prefixes and gateways by way of the macvlan, and an
// end. Replies so leave with mac0 through the fence; when the macvlan is down its routes vanish, and without the end the
// lookup would fall through to the main table and leave by the LAN interface with the host's own MAC.
func (p *Hold) route() error {
	lower, err := p.host.lowerLink()
	if err != nil {
		return err
	}
	for _, a := range p.spec.Addrs {
		if err := p.terminal(a); err != nil {
			return err
		}
		routes, err := p.wantRoutes(lower, a)
		if err != nil {
			return err
		}
		for _, r := range routes {
			if err := p.host.nl.RouteReplace(&r); err != nil {
				return fmt.Errorf("adding the route %s of %s: %w", r.Dst, a, err)
			}
		}
		if err := p.localSource(lower, a); err != nil {
			return err
		}
	}
	return nil
}

// terminal makes the end of the table, and then the rule that leads into it.
func (p *Hold) terminal(a netip.Addr) error {
	end := &netlink.Route{Table: p.table, Type: unix.RTN_UNREACHABLE, Dst: everything(a), Priority: routeMetric, Family: family(a)}
	if err := p.host.nl.RouteReplace(end); err != nil {
		return fmt.Errorf("adding the terminal route of %s: %w", a, err)
	}
	return p.host.setRule(a, p.table)
}

// wantRoutes gives the routes that ip0's table should have besides its end.
func (p *Hold) wantRoutes(lower netlink.Link, a netip.Addr) ([]netlink.Route, error) {
	var out []netlink.Route
	addrs, err := p.host.ownAddrs(lower, family(a))
	if err != nil {
		return nil, err
	}
	for _, one := range addrs {
		pre, ok := prefixOf(one.IPNet)
		if !ok || pre.Addr().IsLinkLocalUnicast() {
			continue
		}
		m := pre.Masked()
		out = append(out, netlink.Route{
			Table: p.table, LinkIndex: p.index, Family: family(a), Scope: scopeOf(a), Src: a.AsSlice(),
			Dst: &net.IPNet{IP: m.Addr().AsSlice(), Mask: net.CIDRMask(m.Bits(), a.BitLen())},
		})
	}
	gateways, err := p.host.nl.RouteListFiltered(family(a), &netlink.Route{LinkIndex: lower.Attrs().Index, Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("reading the routes of %s: %w", p.host.lower, err)
	}
	for _, g := range gateways {
		if g.Gw == nil {
			continue
		}
		dst := g.Dst
		if dst == nil {
			dst = everything(a)
		}
		out = append(out, netlink.Route{
			Table: p.table, LinkIndex: p.index, Family: family(a), Dst: dst, Gw: g.Gw, Src: a.AsSlice(), Priority: g.Priority, Flags: int(netlink.FLAG_ONLINK),
		})
	}
	return distinct(out), nil
}

// distinct keeps the first of the routes to one destination with one metric: a table holds no more, or the next one would
// replace the one before. (Several addresses in one prefix; two IPv6 routers that announce themselves.)
func distinct(routes []netlink.Route) []netlink.Route {
	var out []netlink.Route
	for _, r := range routes {
		if !slices.ContainsFunc(out, func(o netlink.Route) bool { return sameNet(o.Dst, r.Dst) && metric(o) == metric(r) }) {
			out = append(out, r)
		}
	}
	return out
}

// metric is a route's metric as the kernel lists it: for IPv6, none means 1024.
func metric(r netlink.Route) int {
	if r.Priority == 0 && r.Family == netlink.FAMILY_V6 {
		return 1024
	}
	return r.Priority
}

// same says whether two routes of a table of ours are one.
func same(a, b netlink.Route) bool {
	return a.LinkIndex == b.LinkIndex && a.Gw.Equal(b.Gw) && metric(a) == metric(b) && sameNet(a.Dst, b.Dst)
}

func family(a netip.Addr) int {
	if a.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}

func scopeOf(a netip.Addr) netlink.Scope {
	if a.Is4() {
		return netlink.SCOPE_LINK
	}
	return netlink.SCOPE_UNIVERSE
}

func everything(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: make(net.IP, a.BitLen()/8), Mask: net.CIDRMask(0, a.BitLen())}
}

// setRule leads packets from ip0 to its table.
func (h *Host) setRule(a netip.Addr, table int) error {
	r := netlink.NewRule()
	r.Family, r.Priority, r.Table, r.Src = family(a), rulePrio, table, single(a)
	if err := h.nl.RuleAdd(r); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("adding the rule `from %s lookup %d`: %w", a, table, err)
	}
	return nil
}

// rules lists our policy rules of one family.
func (h *Host) rules(fam int) ([]netlink.Rule, error) {
	all, err := h.nl.RuleListFiltered(fam, &netlink.Rule{Priority: rulePrio}, netlink.RT_FILTER_PRIORITY)
	if err != nil {
		return nil, fmt.Errorf("reading the policy rules: %w", err)
	}
	return all, nil
}

func ourTable(n int) bool { return n >= firstTable && n < firstTable+tablesMost }

// dropRules removes the rules that lead to a table, and the table; 0 = all of ours.
func (h *Host) dropRules(table int) error {
	var errs []error
	for _, fam := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		have, err := h.rules(fam)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, r := range have {
			if !ourTable(r.Table) || (table != 0 && r.Table != table) || (table == 0 && h.keepsTable(r.Table)) {
				continue
			}
			r.Family = fam
			if err := h.nl.RuleDel(&r); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("removing a policy rule: %w", err))
			}
			errs = append(errs, h.flushTable(fam, r.Table))
		}
		if table != 0 {
			errs = append(errs, h.flushTable(fam, table))
		}
	}
	return errors.Join(errs...)
}

func (h *Host) flushTable(fam, table int) error {
	routes, err := h.nl.RouteListFiltered(fam, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return fmt.Errorf("reading the routing table %d: %w", table, err)
	}
	for _, r := range routes {
		if err := h.nl.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("emptying the routing table %d: %w", table, err)
		}
	}
	return nil
}
