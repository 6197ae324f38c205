package identity

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Hold is one prepared identity. Open, Extend, Close and Guard are one nftables batch each. It is safe for concurrent
// use, but a caller that closes and extends at once must order the two itself.
type Hold struct {
	host  *Host
	spec  Spec
	log   *slog.Logger
	link  string
	table int
	fence Fence
	guard *nftables.Table

	unsealed bool // its MAC and addresses are left to the fence
	gave     bool // the LAN interface was given its addresses

	mu       sync.Mutex
	card     net.HardwareAddr // in mode address: of the LAN interface
	index    int              // of the link that carries it
	guarded  bool
	answers  []Answer // nil = never any
	starting ports    // at which nobody listens yet
	opened   bool
	deadline time.Duration
	out      *packet.Conn // for announcements; nil until the first one
}

// linkName gives a service's macvlan its name: interface names have at most 15 bytes.
func linkName(service string) string {
	sum := sha256.Sum256([]byte(service))
	return linkPrefix + hex.EncodeToString(sum[:5])
}

// Prepare builds everything behind a closed fence and an active guard: link, fence, guard, addresses, up, rules and routes.
// Nothing of the identity can leave this host before Open. What stood under the same name before is replaced.
func (h *Host) Prepare(s Spec) (*Hold, error) {
	defer h.turn()()
	lower, err := h.lowerLink()
	if err != nil {
		return nil, err
	}
	if err := h.foreignTo(s); err != nil {
		return nil, err
	}
	table, err := h.takeTable()
	if err != nil {
		return nil, err
	}
	p := &Hold{host: h, spec: s, log: h.log, link: linkName(s.Service), table: table}
	h.notes(p.link, s, table)
	err = p.build(lower)
	if err == nil {
		_, err = p.mouth() // now: to open it takes a question by rtnetlink, and what is taken over is announced at once
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing %s on %s: %w", s.Service, h.lower, err), p.Remove())
	}
	return p, nil
}

// foreignTo refuses an identity that has the LAN interface's own MAC or address: its fence would cut this host off.
func (h *Host) foreignTo(s Spec) error {
	lan, err := h.LAN()
	if err != nil {
		return err
	}
	if s.Mode != HostMAC && lan.OneMAC != "" {
		return fmt.Errorf("service %s: %s", s.Service, lan.OneMAC)
	}
	if s.Mode != HostMAC && bytes.Equal(lan.MAC, s.MAC) {
		return fmt.Errorf("service %s has the MAC %s, which is that of %s itself: give the service another one", s.Service, s.MAC, h.lower)
	}
	for _, p := range lan.Prefixes {
		if slices.Contains(s.Addrs, p.Addr()) {
			return fmt.Errorf("service %s has the address %s, which %s has itself: take it off %s, or give the service another one", s.Service, p.Addr(), h.lower, h.lower)
		}
	}
	return nil
}

func (p *Hold) build(lower netlink.Link) error {
	if err := p.clear(); err != nil {
		return err
	}
	// Somebody else may bring the link up as soon as it is there: the seal has the identity until the fence stands.
	if err := p.host.seal.put(p.spec, false); err != nil {
		return err
	}
	if p.spec.Mode == HostMAC {
		return p.buildShared(lower)
	}
	link := &netlink.Macvlan{
		LinkAttrs: netlink.LinkAttrs{Name: p.link, ParentIndex: lower.Attrs().Index, HardwareAddr: p.spec.MAC, TxQLen: -1},
		Mode:      netlink.MACVLAN_MODE_BRIDGE,
	}
	if err := p.host.nl.LinkAdd(link); err != nil {
		return fmt.Errorf("making the macvlan %s: %w", p.link, macvlanHint(err))
	}
	made, err := p.host.nl.LinkByName(p.link)
	if err != nil {
		return fmt.Errorf("finding the macvlan %s: %w", p.link, err)
	}
	p.index = made.Attrs().Index
	if p.fence, err = p.host.newFence(p.spec, p.link, priorityOf(p.table)); err != nil {
		return err
	}
	if err := p.host.seal.lift(p.spec); err != nil {
		return err
	}
	p.unsealed = true
	if err := p.silence(); err != nil {
		return err
	}
	if err := p.makeGuard(true); err != nil {
		return err
	}
	if err := p.address(made); err != nil {
		return err
	}
	if err := p.host.nl.LinkSetUp(made); err != nil {
		return fmt.Errorf("bringing %s up (is %s up?): %w", p.link, p.host.lower, err)
	}
	return p.route()
}

// clear removes what may stand under the identity's name. A former agent's fence may be open, and a link that goes down says goodbye to
// its multicast groups. After a sweep there is nothing unless a removal failed.
func (p *Hold) clear() error {
	if p.host.swept.Load() {
		return nil
	}
	if err := p.host.shutLeftover(p.link, p.spec); err != nil {
		return err
	}
	return p.host.dropLink(p.link)
}

func macvlanHint(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: root, or CAP_NET_ADMIN in this network namespace, is needed", err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: the interface is used by a bridge or a bond; name that one instead", err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: the kernel's macvlan module is missing", err)
	}
	return err
}

// silence keeps the link from speaking by itself: no link-local address, no router solicitations, no duplicate address
// detection; and none of IPv6 at all where ip0 is IPv4 only.
func (p *Hold) silence() error {
	v6 := false
	for _, a := range p.spec.Addrs {
		v6 = v6 || a.Is6()
	}
	if _, err := os.Stat("/proc/sys/net/ipv6"); errors.Is(err, os.ErrNotExist) && !v6 {
		return nil
	}
	values := map[string]string{"addr_gen_mode": "1", "accept_ra": "0", "autoconf": "0", "router_solicitations": "0", "accept_dad": "0", "dad_transmits": "0"}
	if !v6 {
		values = map[string]string{"addr_gen_mode": "1", "disable_ipv6": "1"}
	}
	for key, value := range values {
		if err := sysctl("ipv6", p.link, key, value); err != nil {
			return err
		}
	}
	return nil
}

// address gives the link ip0.
func (p *Hold) address(link netlink.Link) error {
	for _, a := range p.spec.Addrs {
		if err := p.putAddress(link, a); err != nil {
			return fmt.Errorf("giving %s the address %s: %w", link.Attrs().Name, a, addressHint(a, err))
		}
	}
	return nil
}

func addressHint(a netip.Addr, err error) error {
	if a.Is6() && errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w: IPv6 is switched off on this host (net.ipv6.conf.default.disable_ipv6); switch it on, or give the service an IPv4 address only", err)
	}
	return err
}

func single(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

// Link is the name of the interface that carries the identity, for packet sockets: its macvlan, or the LAN interface.
func (p *Hold) Link() string {
	if p.spec.Mode == HostMAC {
		return p.host.lower
	}
	return p.link
}

// Fence is the fence that is in force.
func (p *Hold) Fence() Fence { return p.fence }

// Generation is to be read before the lease is asked for, and handed to Open.
func (p *Hold) Generation() (uint64, error) { return p.fence.Generation() }

// Open lets the identity pass until deadline (CLOCK_BOOTTIME since boot), unless a suspend has begun since generation was read.
func (p *Hold) Open(deadline time.Duration, generation uint64) error {
	return p.moved(deadline, p.fence.Open(deadline, generation))
}

// Extend moves the deadline.
func (p *Hold) Extend(deadline time.Duration) error {
	return p.moved(deadline, p.fence.Extend(deadline))
}

func (p *Hold) moved(deadline time.Duration, err error) error {
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opened, p.deadline = true, deadline
	return nil
}

// Close stops the identity now.
func (p *Hold) Close() error {
	p.mu.Lock()
	p.opened = false
	p.mu.Unlock()
	return p.fence.Close()
}

// Remove takes everything off this host but a seal: the fence closes first and goes last, when the seal has taken over what
// sockets that outlive it may still say. It takes tens of milliseconds, and hardly more for many identities at one time.
func (p *Hold) Remove() error {
	defer p.host.waits()()
	err := p.remove()
	if err != nil {
		p.host.swept.Store(false) // whatever is left stands in the next one's way
	}
	return err
}

func (p *Hold) remove() error {
	var errs []error
	if p.fence != nil {
		errs = append(errs, p.Close())
	}
	p.mu.Lock()
	if p.out != nil {
		p.host.shed(p.out)
		p.out = nil
	}
	p.mu.Unlock()
	sealed := p.host.seal.put(p.spec, p.unsealed)
	p.unsealed = false
	errs = append(errs, sealed)
	if err := p.host.dropLink(p.link); err != nil {
		return errors.Join(append(errs, err)...) // the link is still there: so the fence stays, closed
	}
	if err := p.takeBack(); err != nil {
		return errors.Join(append(errs, err)...) // as above
	}
	if p.gave {
		p.host.lends(p.spec, -1)
		p.gave = false
	}
	errs = append(errs, p.host.dropRules(p.table))
	if p.fence != nil && sealed == nil {
		errs = append(errs, p.fence.Remove())
	}
	if p.guard != nil {
		errs = append(errs, removeTable(p.host.nft, p.guard))
	}
	p.host.letGo(p.link)
	p.host.giveTable(p.table)
	return errors.Join(errs...)
}
