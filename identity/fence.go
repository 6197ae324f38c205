package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"nightporter/internal/mutant"
)

// Fence stops everything of one identity at a deadline, whether the daemon lives or not. Deadlines are CLOCK_BOOTTIME since
// boot. Extend and Close are one kernel transaction and never wait.
type Fence interface {
	// Generation is read before an acquisition begins: a fence that is opened with it is shut by every suspend that began since.
	Generation() (uint64, error)
	Open(deadline time.Duration, generation uint64) error
	Extend(deadline time.Duration) error // moves the deadline of an open one
	Close() error                        // nothing passes from here on
	Present() (bool, error)              // false: somebody removed it
	Rebuild() error                      // puts back what was removed; it may be closed then
	// Restore gives an open one that was built again the deadline that it had. It is no renewal: where the clocks say that there was a
	// suspend since the last one, it opens nothing (I3).
	Restore(deadline time.Duration) error
	Remove() error
	Kind() string
	Limits() []string // what this kind does not cover, a sentence each
}

// lateChain has one rule: drop, or drop after the deadline. Every other chain jumps to it.
const lateChain = "late"

// nftFence is the fence as an nftables netdev table: everything in and out of the macvlan, and on the way out of the LAN
// interface whatever claims the identity, passes only until a point of the wall clock.
type nftFence struct {
	nft   *filter
	table *nftables.Table
	late  *late
	spec  Spec
	link  string
	lower string
	apart atomic.Int64 // CLOCK_BOOTTIME minus CLOCK_MONOTONIC at the last renewal
}

var _ Fence = (*nftFence)(nil)

// newFence builds the best fence that this host can have, closed. The link must exist and be down.
func (h *Host) newFence(s Spec, link string, priority uint16) (Fence, error) {
	if err := h.refused(); err != nil {
		return nil, err
	}
	if h.suspends != nil {
		f, err := newExactFence(h, s, link, priority)
		if err == nil {
			return f, nil
		}
		if err = errors.Join(err, h.dropExact(link)); h.form == Exact { // what there is of it is closed, and would stay so
			return nil, err
		}
		h.log.Warn("the fence is nftables' for this service", "service", s.Service, "err", err)
	}
	f, err := newNFTFence(h.nft, s, link, h.lower)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// fenceTableOf is the table of the fence of a link.
func fenceTableOf(link string) *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyNetdev, Name: tablePrefix + link[len(linkPrefix):]}
}

// newNFTFence builds the fence, closed. The link must exist.
func newNFTFence(nft *filter, spec Spec, link, lower string) (*nftFence, error) {
	t := fenceTableOf(link)
	chain := &nftables.Chain{Name: lateChain, Table: t}
	f := &nftFence{nft: nft, table: t, spec: spec, link: link, lower: lower}
	var err error
	if f.late, err = newLate(nft, chain); err != nil {
		return nil, err
	}
	err = nft.batch(func(c *nftables.Conn) {
		c.AddTable(t)
		c.DelTable(t) // whatever a former life left in it
		c.AddTable(t)
		c.AddChain(chain)
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []exprAny{drop()}})
		if spec.Mode == HostMAC {
			f.addArrivals(c)
		} else {
			f.addMacvlan(c)
		}
		f.addLower(c)
	})
	if err != nil {
		return nil, fmt.Errorf("building the fence of %s (Linux 5.16 or later and CAP_NET_ADMIN are needed): %w", spec.Service, err)
	}
	return f, nil
}

func (f *nftFence) base(c *nftables.Conn, name string, hook *nftables.ChainHook, device string) *nftables.Chain {
	return c.AddChain(&nftables.Chain{
		Name: name, Table: f.table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityRef(-500), Device: device,
	})
}

// addMacvlan judges all that goes in and out by the macvlan.
func (f *nftFence) addMacvlan(c *nftables.Conn) {
	for name, hook := range map[string]*nftables.ChainHook{"in": nftables.ChainHookIngress, "out": nftables.ChainHookEgress} {
		chain := f.base(c, name, hook, f.link)
		c.AddRule(&nftables.Rule{Table: f.table, Chain: chain, Exprs: []exprAny{jump(lateChain)}})
	}
}

// addArrivals judges what comes in by the LAN interface for the addresses.
func (f *nftFence) addArrivals(c *nftables.Conn) {
	chain := f.base(c, "in", nftables.ChainHookIngress, f.lower)
	for _, a := range f.spec.Addrs {
		match := join(etherType(unix.ETH_P_IP), network(ip4Dest, a.AsSlice()))
		if a.Is6() {
			match = join(etherType(unix.ETH_P_IPV6), network(ip6Dest, a.AsSlice()))
			c.AddRule(&nftables.Rule{Table: f.table, Chain: chain, Exprs: join(advertisements(), network(ndTarget, a.AsSlice()), []exprAny{jump(lateChain)})})
		}
		c.AddRule(&nftables.Rule{Table: f.table, Chain: chain, Exprs: append(match, jump(lateChain))})
	}
}

// chains are those that the fence has.
func (f *nftFence) chains() []string {
	if f.spec.Mode == HostMAC {
		return []string{lateChain, "in", "lower"}
	}
	return []string{lateChain, "in", "out", "lower"}
}

// device is the link that all of the fence goes with.
func (f *nftFence) device() string {
	if f.spec.Mode == HostMAC {
		return f.lower
	}
	return f.link
}

// addLower keeps the identity from leaving by the LAN interface itself, with whatever MAC.
func (f *nftFence) addLower(c *nftables.Conn) {
	chain := f.base(c, "lower", nftables.ChainHookEgress, f.lower)
	var matches [][]exprAny
	if f.spec.Mode != HostMAC {
		matches = append(matches, etherSource(f.spec.MAC))
	}
	for _, a := range f.spec.Addrs {
		matches = append(matches, claims(a)...)
	}
	if mutant.On(mutant.MacvlanOnly) { // as in the exact form: only the MAC is left
		matches = matches[:1]
	}
	for _, m := range matches {
		c.AddRule(&nftables.Rule{Table: f.table, Chain: chain, Exprs: append(m, jump(lateChain))})
	}
}

// Generation implements Fence. This form knows nothing of suspends.
func (*nftFence) Generation() (uint64, error) { return 0, nil }

// Open implements Fence.
func (f *nftFence) Open(deadline time.Duration, _ uint64) error { return f.Extend(deadline) }

// Extend implements Fence. The deadline is carried over to the wall clock as that stands now.
func (f *nftFence) Extend(deadline time.Duration) error {
	boot, mono, err := clocks()
	if err != nil {
		return err
	}
	f.apart.Store(int64(boot - mono))
	return f.move(deadline)
}

// Restore implements Fence.
func (f *nftFence) Restore(deadline time.Duration) error {
	boot, mono, err := clocks()
	if err != nil || (boot-mono-time.Duration(f.apart.Load())).Abs() > offsetSlack {
		return err
	}
	return f.move(deadline)
}

func (f *nftFence) move(deadline time.Duration) error {
	wall, err := wallOf(deadline)
	if err != nil {
		return err
	}
	if err := f.late.until(wall); err != nil {
		return fmt.Errorf("moving the fence's deadline of %s: %w", f.spec.Service, err)
	}
	return nil
}

// Close implements Fence. A table that is gone with its device is closed as well; one that somebody flushed is built anew,
// closed.
func (f *nftFence) Close() error {
	err := f.late.never()
	if errors.Is(err, fs.ErrNotExist) {
		if _, lerr := net.InterfaceByName(f.device()); lerr != nil {
			return nil
		}
		err = f.Rebuild()
	}
	if err != nil {
		return fmt.Errorf("closing the fence of %s: %w", f.spec.Service, err)
	}
	return nil
}

// Present implements Fence.
func (f *nftFence) Present() (bool, error) {
	have, err := f.nft.chains(f.table)
	if err != nil {
		return false, fmt.Errorf("reading the fence of %s: %w", f.spec.Service, err)
	}
	for _, name := range f.chains() {
		if !have[name] {
			return false, nil
		}
		n, err := f.nft.rules(f.table, name)
		if err != nil {
			return false, fmt.Errorf("reading the fence of %s: %w", f.spec.Service, err)
		}
		if n == 0 {
			return false, nil
		}
	}
	return true, nil
}

// Rebuild implements Fence. It is closed then.
func (f *nftFence) Rebuild() error {
	_, err := newNFTFence(f.nft, f.spec, f.link, f.lower)
	return err
}

// Remove implements Fence. The link must be gone already, or the identity would be open for a moment.
func (f *nftFence) Remove() error { return removeTable(f.nft, f.table) }

func removeTable(nft *filter, t *nftables.Table) error {
	err := nft.batch(func(c *nftables.Conn) {
		c.AddTable(t) // so that removing what is gone is no error
		c.DelTable(t)
	})
	if err != nil {
		return fmt.Errorf("removing the nftables table %s: %w", t.Name, err)
	}
	return nil
}

// Kind implements Fence.
func (*nftFence) Kind() string { return "nftables" }

// Limits implements Fence.
func (f *nftFence) Limits() []string {
	limits := []string{
		"bound to the wall clock: if that is set back while this daemon does not run, the identity stays open for as much longer",
		"a suspend that is shorter than what is left of the lease does not close it; this daemon does, within half a second of running again",
		"somebody with root who flushes all nftables rules opens it until this daemon finds out",
		"frames sent with PACKET_QDISC_BYPASS or AF_XDP are not seen",
	}
	return append(limits, f.spec.limits()...)
}

// limits are those of the mode.
func (s Spec) limits() []string {
	if s.Mode != HostMAC || !slices.ContainsFunc(s.Addrs, netip.Addr.Is6) {
		return nil
	}
	return []string{"in mode address this host's own multicast listener reports (MLD) name the group of the address, holder or not: they claim nothing"}
}

// wallOf carries a point of CLOCK_BOOTTIME over to CLOCK_REALTIME.
func wallOf(boot time.Duration) (int64, error) {
	var real, now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &real); err != nil {
		return 0, fmt.Errorf("reading the wall clock: %w", err)
	}
	// Read second: a pause between the two readings makes the deadline earlier, never later.
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0, fmt.Errorf("reading CLOCK_BOOTTIME: %w", err)
	}
	return real.Nano() + int64(boot) - now.Nano(), nil
}

// has says whether an address is one of ip0.
func (s Spec) has(a netip.Addr) bool {
	for _, one := range s.Addrs {
		if one == a {
			return true
		}
	}
	return false
}
