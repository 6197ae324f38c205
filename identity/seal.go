package identity

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// sealTable is the netdev table of the seal, and sealChain its one chain, on the way out of the LAN interface.
const (
	sealTable = tablePrefix + "seal"
	sealChain = "out"
)

// seal keeps identities that are not prepared here from leaving by the LAN interface. Sockets outlive the address that they
// are bound to, and the fence goes with the macvlan; IPv6 routes what such a socket still says (a datagram, the
// retransmissions of a connection) by the main table without asking whether its source is still one of ours, and so does
// IPv4 for transparent sockets and for what is translated to ip0. So an identity that was here once is either behind its
// fence or sealed, until Retain or Purge.
//
// It hooks on what leaves with ip0 or mac0, nothing else: clients on this host that speak to ip0 use the host's own address.
type seal struct {
	nft   *filter
	lower string
	there func() bool // whether the LAN interface exists

	mu    sync.Mutex
	stale bool            // the kernel has not got what is wanted
	known map[string]bool // MACs and addresses as bytes; their lengths tell them apart
	shut  map[string]bool // those that the kernel has sealed, as it was read or written last
	aside map[string]bool // what the kernel has in the second table, as it was written last; nil = it was not written in this life
	held  map[string]int  // how many prepared identities have them: behind a fence, not sealed
}

// newSeal takes over what an earlier life sealed.
func newSeal(nft *filter, lower string, there func() bool) (*seal, error) {
	s := &seal{nft: nft, lower: lower, there: there, known: make(map[string]bool), shut: make(map[string]bool), held: make(map[string]int)}
	for i, sets := range [][]*nftables.Set{sealSets(s.table()), astraySets(astrayTable())} {
		tables, err := nft.tables(sets[0].Table.Family)
		if err != nil {
			return nil, fmt.Errorf("listing the nftables tables (root, or CAP_NET_ADMIN in this namespace, is needed): %w", err)
		}
		if !slices.ContainsFunc(tables, isSeal) {
			continue
		}
		for _, set := range sets {
			keys, err := nft.elements(set)
			if err != nil {
				return nil, fmt.Errorf("reading the seal of earlier identities: %w", err)
			}
			for _, k := range keys {
				s.known[string(k)] = true
				if i == 0 { // what was behind a fence is in the second table only
					s.shut[string(k)] = true
				}
			}
		}
	}
	return s, nil
}

func (s *seal) table() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyNetdev, Name: sealTable}
}

// sealSets are the sets of sealed MACs, IPv4 and IPv6 addresses.
func sealSets(t *nftables.Table) []*nftables.Set {
	return []*nftables.Set{
		{Table: t, Name: "mac", KeyType: nftables.TypeEtherAddr},
		{Table: t, Name: "ip4", KeyType: nftables.TypeIPAddr},
		{Table: t, Name: "ip6", KeyType: nftables.TypeIP6Addr},
	}
}

func (s Spec) keys() []string {
	var out []string
	if len(s.MAC) > 0 {
		out = append(out, string(s.MAC))
	}
	for _, a := range s.Addrs {
		out = append(out, string(a.AsSlice()))
	}
	return out
}

// lift leaves an identity to its fence, which must stand, closed.
func (s *seal) lift(spec Spec) error {
	return s.change(func() {
		for _, k := range spec.keys() {
			s.known[k] = true
			s.held[k]++
		}
	})
}

// adopt is lift for an identity that the former life of this process had lifted: the kernel has it so already. Writing what is wanted
// would seal those that are adopted next, so that is left to the watch.
func (s *seal) adopt(spec Spec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range spec.keys() {
		s.known[k] = true
		s.held[k]++
	}
	s.stale = true
}

// put takes an identity over from its fence, which must stand until this has returned.
func (s *seal) put(spec Spec, wasLifted bool) error {
	return s.change(func() {
		for _, k := range spec.keys() {
			s.known[k] = true
			if !wasLifted {
				continue
			}
			if s.held[k]--; s.held[k] <= 0 {
				delete(s.held, k)
			}
		}
	}, spec.keys()...)
}

// forget gives addresses and MACs back to whoever uses them.
func (s *seal) forget(gone func(key string) bool) error {
	return s.change(func() {
		maps.DeleteFunc(s.known, func(k string, _ bool) bool { return gone(k) })
	})
}

// sealed gives what is known and not behind a fence, by length, sorted.
func (s *seal) sealed() []string {
	var out []string
	for k := range s.known {
		if s.held[k] == 0 {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// change edits what is sealed and carries that over to the kernel, also where nothing but the kernel lacks some that must be there.
func (s *seal) change(edit func(), must ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sealed, known := s.sealed(), len(s.known) // which changes in one direction at a time
	edit()
	lacks := slices.ContainsFunc(must, func(k string) bool { return s.held[k] == 0 && !s.shut[k] })
	if !lacks && slices.Equal(sealed, s.sealed()) && known == len(s.known) {
		return nil
	}
	return s.write()
}

// knows says whether an address was ever here, and is a service's still.
func (s *seal) knows(a netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[string(a.AsSlice())]
}

// mend puts back what somebody flushed, or what went away with the LAN interface.
func (s *seal) mend() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	whole := !s.stale
	if whole && len(s.sealed()) > 0 {
		ok, err := s.complete(s.table(), sealChain, len(sealRules(sealSets(s.table()))))
		if err != nil {
			return err
		}
		whole = ok
	}
	if whole && len(s.known) > 0 {
		ok, err := s.complete(astrayTable(), astrayChain, len(astrayRules(s.lower, astraySets(astrayTable()))))
		if err != nil {
			return err
		}
		whole = ok
	}
	if whole {
		return nil
	}
	s.stale = true // all of it is to be written
	return s.write()
}

// complete says whether the kernel has a chain with all its rules.
func (s *seal) complete(t *nftables.Table, chain string, rules int) (bool, error) {
	have, err := s.nft.chains(t)
	if err != nil {
		return false, fmt.Errorf("reading the seal of earlier identities: %w", err)
	}
	if !have[chain] {
		return false, nil
	}
	n, err := s.nft.rules(t, chain)
	if err != nil {
		return false, fmt.Errorf("reading the seal of earlier identities: %w", err)
	}
	return n == rules, nil
}

// write replaces both tables in one transaction. Without the LAN interface there is nothing to hook on and no way out either;
// mend comes when it is back.
func (s *seal) write() error {
	if s.amend() {
		return nil
	}
	if s.stale = true; !s.there() {
		return nil
	}
	t, keys := s.table(), s.sealed()
	sets := sealSets(t)
	var built error
	err := s.nft.batch(func(c *nftables.Conn) {
		built = s.addAstray(c, slices.Collect(maps.Keys(s.known)))
		c.AddTable(t)
		c.DelTable(t)
		if len(keys) == 0 {
			return
		}
		c.AddTable(t)
		for _, set := range sets {
			built = errors.Join(built, c.AddSet(set, elementsOf(keys, int(set.KeyType.Bytes))))
		}
		chain := c.AddChain(&nftables.Chain{
			Name: sealChain, Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookEgress,
			Priority: nftables.ChainPriorityRef(-500), Device: s.lower,
		})
		for _, r := range sealRules(sets) {
			c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: append(r, drop())})
		}
	})
	if err = errors.Join(built, err); err != nil {
		return fmt.Errorf("sealing the identities that are not prepared here: %w", err)
	}
	s.stale = false
	s.note(keys)
	return nil
}

// note remembers what the kernel has now.
func (s *seal) note(sealed []string) {
	s.shut, s.aside = make(map[string]bool), maps.Clone(s.known)
	for _, k := range sealed {
		s.shut[k] = true
	}
}

// amend changes single elements of both tables, where this life has written them: with many identities that is far less than all of them.
// False: it cannot be done, or somebody has removed something, and all is to be written.
func (s *seal) amend() bool {
	keys := s.sealed()
	if s.stale || len(s.shut) == 0 || len(s.aside) == 0 || len(keys) == 0 || len(s.known) == 0 {
		return false
	}
	wanted := make(map[string]bool)
	for _, k := range keys {
		wanted[k] = true
	}
	var built error
	err := s.nft.batch(func(c *nftables.Conn) {
		built = errors.Join(
			edit(c, sealSets(s.table()), s.shut, wanted),
			edit(c, astraySets(astrayTable()), s.aside, s.known),
		)
	})
	if built != nil || err != nil {
		return false
	}
	s.note(keys)
	return true
}

// edit takes what is not wanted out of sets, and puts in what they have not got.
func edit(c *nftables.Conn, sets []*nftables.Set, have, want map[string]bool) error {
	var come, leave []string
	for k := range want {
		if !have[k] {
			come = append(come, k)
		}
	}
	for k := range have {
		if !want[k] {
			leave = append(leave, k)
		}
	}
	var errs []error
	for _, set := range sets {
		if e := elementsOf(come, int(set.KeyType.Bytes)); len(e) > 0 {
			errs = append(errs, c.SetAddElements(set, e))
		}
		if e := elementsOf(leave, int(set.KeyType.Bytes)); len(e) > 0 {
			errs = append(errs, c.SetDeleteElements(set, e))
		}
	}
	return errors.Join(errs...)
}

func elementsOf(keys []string, length int) []nftables.SetElement {
	var out []nftables.SetElement
	for _, k := range keys {
		if len(k) == length {
			out = append(out, nftables.SetElement{Key: []byte(k)})
		}
	}
	return out
}

// sealRules gives the matches of every frame that uses a sealed MAC or claims a sealed address.
func sealRules(sets []*nftables.Set) [][]exprAny {
	mac, ip4, ip6 := sets[0], sets[1], sets[2]
	return [][]exprAny{
		join(loadSourceMAC(), in(mac)),
		join(etherType(unix.ETH_P_IP), load(ip4Source, 4), in(ip4)),
		join(etherType(unix.ETH_P_ARP), load(arpSender, 4), in(ip4)),
		join(etherType(unix.ETH_P_IPV6), load(ip6Source, 16), in(ip6)),
		join(advertisements(), load(ndTarget, 16), in(ip6)),
	}
}

// in matches what was loaded if the set has it.
func in(set *nftables.Set) []exprAny {
	return []exprAny{&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID}}
}

// Retain ends the seal of all that is in none of the identities that the cluster has now, whichever life of the agent sealed
// it: services that were deleted, or have another address. From here on this host may use the address as any other.
func (h *Host) Retain(inUse []Spec) error {
	used := make(map[string]bool)
	for _, s := range inUse {
		for _, k := range s.keys() {
			used[k] = true
		}
	}
	return h.seal.forget(func(k string) bool { return !used[k] })
}

// Purge takes everything off this host, the seal too: for an uninstallation. No agent may run.
func (h *Host) Purge() error {
	if err := h.Sweep(); err != nil {
		return err
	}
	h.seal.mu.Lock()
	defer h.seal.mu.Unlock()
	clear(h.seal.known)
	return errors.Join(h.seal.write(), h.dropEmptyClsact())
}

// isSeal says whether a table is the seal, which is not part of any one identity.
func isSeal(t *nftables.Table) bool {
	return t.Name == sealTable
}

// elements lists the keys of a set.
func (f *filter) elements(set *nftables.Set) ([][]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all, err := f.conn.GetSetElements(set)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, e := range all {
		out = append(out, bytes.Clone(e.Key))
	}
	return out, nil
}
