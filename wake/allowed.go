package wake

import (
	"net/netip"
	"slices"
)

// Source is what demand is counted by: an IPv4 address, or the /64 of an IPv6 address, of which a host may have as many as it likes.
func Source(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address
	}
	return p
}

// Admission says whose demand wakes. Deny wins over Allow, whichever is longer: who writes a network under deny means all of it.
type Admission struct {
	Allow []netip.Prefix // none = all
	Deny  []netip.Prefix
}

// Wakes says whether an address's demand does.
func (s Admission) Wakes(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	has := func(p netip.Prefix) bool { return p.Contains(a) }
	return !slices.ContainsFunc(s.Deny, has) && (len(s.Allow) == 0 || slices.ContainsFunc(s.Allow, has))
}
