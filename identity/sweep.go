package identity

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/nftables"
)

// Sweep removes whatever a former agent left on this host. Its fence may still be open until its deadline, so every fence is
// closed before anything is taken down; the links go before their fences.
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
	links, err := h.nl.LinkList()
	if err != nil {
		return fmt.Errorf("listing the links: %w", err)
	}
	var errs []error
	for _, l := range links {
		if l.Type() == "macvlan" && strings.HasPrefix(l.Attrs().Name, linkPrefix) {
			h.log.Info("removing what a former agent left", "link", l.Attrs().Name)
			errs = append(errs, h.dropLink(l.Attrs().Name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err // a link is still there: so the fences stay, closed
	}
	errs = append(errs, h.dropRules(0))
	guards, err := h.ours(nftables.TableFamilyINet)
	errs = append(errs, err)
	for _, t := range append(fences, guards...) {
		errs = append(errs, removeTable(h.nft, t))
	}
	return errors.Join(errs...)
}

func (h *Host) ours(family nftables.TableFamily) ([]*nftables.Table, error) {
	all, err := h.nft.tables(family)
	if err != nil {
		return nil, fmt.Errorf("listing the nftables tables: %w", err)
	}
	var out []*nftables.Table
	for _, t := range all {
		if strings.HasPrefix(t.Name, tablePrefix) {
			out = append(out, t)
		}
	}
	return out, nil
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
	f := &nftFence{nft: h.nft, table: t, late: &nftables.Chain{Name: lateChain, Table: t}}
	if err := h.nft.batch(func(c *nftables.Conn) { f.setLate(c, 0) }); err != nil {
		return fmt.Errorf("closing the fence %s that a former agent left: %w", t.Name, err)
	}
	return nil
}
