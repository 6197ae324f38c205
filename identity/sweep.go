package identity

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// Sweep removes whatever a former agent left on this host, but for what was adopted. Its fence may still be open until its deadline, so every fence is
// closed before anything is taken down; the links go before their fences, and what they carried is sealed before these go.
func (h *Host) Sweep() error {
	fences, err := h.ours(nftables.TableFamilyNetdev)
	if err != nil {
		return err
	}
	for _, t := range fences {
		if err := h.shutTable(t); err != nil {
			return err
		}
	}
	shared, err := h.leftAddresses()
	if err != nil {
		return err
	}
	if err := h.sealLeft(shared); err != nil {
		return err
	}
	links, left, err := h.leftovers()
	if err != nil {
		return err
	}
	var errs []error
	for i, name := range links {
		errs = append(errs, h.shutLeftover(name, left[i])) // one whose map is out of reach
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, name := range links {
		h.log.Info("removing what a former agent left", "link", name)
	}
	errs = append(errs, h.dropLinks(links))
	if err := errors.Join(errs...); err != nil {
		return err // a link is still there: so the fences stay, closed
	}
	for _, s := range left {
		errs = append(errs, h.seal.put(s, false))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := h.dropLeft(shared); err != nil {
		return err // the rules that tell of it stay as well
	}
	h.noStrays()
	errs = append(errs, h.dropRules(0))
	errs = append(errs, h.dropKeyed(func(b *netlink.BpfFilter) bool { return !h.keeps(b.Name) }))
	guards, err := h.ours(nftables.TableFamilyINet)
	errs = append(errs, err)
	fences, err = h.ours(nftables.TableFamilyNetdev)
	errs = append(errs, err)
	for _, t := range append(fences, guards...) {
		errs = append(errs, removeTable(h.nft, t))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	keep := "" // of the counters of suspends: what relied on the others is closed now
	if h.suspends != nil {
		keep = h.suspends.pin
	}
	h.swept.Store(true)
	return dropPins(pinRoot, keep)
}

// leftovers finds the links of a former agent, and what it carried: by the links, and by the policy rules, which stay when
// a link vanishes with the LAN interface.
func (h *Host) leftovers() (names []string, carried []Spec, err error) {
	links, err := h.nl.LinkList()
	if err != nil {
		return nil, nil, fmt.Errorf("listing the links: %w", err)
	}
	for _, l := range links {
		a := l.Attrs()
		if l.Type() != "macvlan" || !strings.HasPrefix(a.Name, linkPrefix) || h.keeps(a.Name) {
			continue
		}
		names = append(names, a.Name)
		s := Spec{MAC: a.HardwareAddr}
		addrs, err := h.nl.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return nil, nil, fmt.Errorf("reading the addresses of %s: %w", a.Name, err)
		}
		for _, one := range addrs {
			if p, ok := prefixOf(one.IPNet); ok && p.IsSingleIP() {
				s.Addrs = append(s.Addrs, p.Addr())
			}
		}
		carried = append(carried, s)
	}
	for _, fam := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := h.rules(fam)
		if err != nil {
			return nil, nil, err
		}
		for _, r := range rules {
			if p, ok := prefixOf(r.Src); ok && ourTable(r.Table) && !h.keepsTable(r.Table) {
				carried = append(carried, Spec{Addrs: []netip.Addr{p.Addr()}})
			}
		}
	}
	return names, carried, nil
}

// ours lists the tables of identities, in one family.
func (h *Host) ours(family nftables.TableFamily) ([]*nftables.Table, error) {
	all, err := h.nft.tables(family)
	if err != nil {
		return nil, fmt.Errorf("listing the nftables tables: %w", err)
	}
	var out []*nftables.Table
	for _, t := range all {
		if strings.HasPrefix(t.Name, tablePrefix) && !isSeal(t) && !h.keeps(t.Name) {
			out = append(out, t)
		}
	}
	return out, nil
}

// shutLeftover closes whatever fence a former life left for a link: its own table, or one that closes a link whose fence is of
// another kind.
func (h *Host) shutLeftover(name string, s Spec) error {
	t := fenceTableOf(name)
	have, err := h.nft.has(t, lateChain)
	if err != nil {
		return fmt.Errorf("reading the table %s: %w", t.Name, err)
	}
	if have {
		return h.shutTable(t)
	}
	made, err := h.nl.LinkByName(name)
	if err != nil {
		return nil //nolint:nilerr // nothing is left that has a link; what has none is sealed before anything else
	}
	s.Mode, s.MAC = OwnMAC, made.Attrs().HardwareAddr
	_, err = newNFTFence(h.nft, s, name, h.lower)
	return err
}

// shutTable closes a fence that this process did not build.
func (h *Host) shutTable(t *nftables.Table) error {
	have, err := h.nft.chains(t)
	if err != nil {
		return fmt.Errorf("reading the table %s: %w", t.Name, err)
	}
	if !have[lateChain] {
		return nil
	}
	l, err := newLate(h.nft, &nftables.Chain{Name: lateChain, Table: t})
	if err == nil {
		err = l.never()
	}
	if err != nil {
		return fmt.Errorf("closing the fence %s that a former agent left: %w", t.Name, err)
	}
	return nil
}
