package identity

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Marks of what is ours on a host, by which Sweep finds what a killed agent left.
const (
	linkPrefix  = "np-"          // macvlans: np- and ten hex digits of the service's name
	tablePrefix = "nightporter-" // nftables tables, in the families netdev and inet
	rulePrio    = 7373           // priority of the `from ip0` policy rules: after local (0), before main (32766)
	firstTable  = 7373000        // routing tables: this number and up, one for each prepared identity
	tablesMost  = 1000
)

// LAN is the interface that carries the identities.
type LAN struct {
	Name     string
	Index    int
	MAC      net.HardwareAddr
	Prefixes []netip.Prefix // with the host's own address in each
	Up       bool
	OneMAC   string // why no MAC but the interface's own can live on it; "" = others can
}

// Spec says what to prepare.
type Spec struct {
	Service string
	Mode    Mode
	MAC     net.HardwareAddr // mac0; nil in mode address
	Addrs   []netip.Addr     // ip0: IPv4, IPv6, or one of each
}

// Host prepares identities on one LAN interface. It is safe for concurrent use.
type Host struct {
	// Waits is called before whatever may wait in the kernel for milliseconds (its lock of all links, an RCU grace period), and what
	// it returns after. nil = nobody cares. Set before the first use.
	Waits func() (end func())

	lower string
	log   *slog.Logger
	nl    *netlink.Handle
	nft   *filter
	seal  *seal

	reaper *reaper
	asks   *asker
	vigil  *vigil

	form     Form
	suspends *suspends // nil = no BPF here
	refusal  error     // why this host may hold nothing

	inherited bool // suspends is a former life's

	shedding sync.WaitGroup // sockets that are on their way
	turns    chan struct{}  // of what takes the kernel long

	swept atomic.Bool // nothing of a former life is here, nor of an identity whose removal failed

	mu       sync.Mutex
	tables   map[int]bool        // routing tables in use
	prepared map[string]prepared // by link: whose identities are here, or on their way
	adopted  map[string]int      // links that a former life of this process left open, and their routing tables
	lent     map[netip.Addr]int  // addresses of identities that the LAN interface has, and how many have them
	stray    map[netip.Addr]bool // those that a former life may have left
}

// Form says which fences may be used.
type Form int

// The forms.
const (
	Best     Form = iota // BPF, else nftables
	Exact                // BPF or nothing
	NFTables             // nftables
)

// NewHost opens the kernel's doors and sets the ARP behaviour that a floating address needs: an interface answers only for
// its own addresses, and speaks only with them (arp_ignore=1, arp_announce=2; kernel documentation ip-sysctl).
//
// former is what a former life of this process left, or nil.
func NewHost(lower string, form Form, former *Legacy, log *slog.Logger) (*Host, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening rtnetlink: %w", err)
	}
	h := &Host{turns: make(chan struct{}, turnsAtOnce), lower: lower, log: log, nl: nl, form: form, tables: make(map[int]bool), prepared: make(map[string]prepared), adopted: make(map[string]int), lent: make(map[netip.Addr]int)}
	if _, err := h.lowerLink(); err != nil {
		nl.Close()
		return nil, err
	}
	if err := suitable(lower); err != nil {
		nl.Close()
		return nil, err
	}
	if h.nft, err = newFilter(); err != nil {
		nl.Close()
		return nil, err
	}
	if h.reaper, err = newReaper(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	if h.asks, err = newAsker(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	if h.vigil, err = newVigil(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	if err := h.settle(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	h.chooseFence(former) // last: it pins a counter, which the next sweep ends
	return h, nil
}

// chooseFence finds out which fences this host can have.
func (h *Host) chooseFence(former *Legacy) {
	if h.form == NFTables {
		return
	}
	var err error
	if former != nil && former.Count != 0 {
		if h.suspends, err = inheritSuspends(*former); err != nil {
			h.log.Warn("what the former program left open is closed", "err", err)
		}
	}
	if h.inherited = h.suspends != nil; !h.inherited {
		h.suspends, err = openSuspends(pinRoot)
	}
	if err == nil && h.form == Exact && h.blocked() == nil {
		err = h.trial()
	}
	if err == nil && len(h.suspends.limits) > 0 {
		err = errors.New(strings.Join(h.suspends.limits, "; "))
	}
	switch {
	case err == nil:
	case h.form == Exact:
		h.refusal = fmt.Errorf("the exact fence is required (fence: required), and this host cannot have it: %w", err)
	case h.suspends == nil:
		h.log.Info("the fence is nftables' on this host", "reason", err)
	default:
		h.log.Info("the fence on this host has a limit more", "limit", err)
	}
}

// Refusal says why this host may hold nothing; "" if it may.
func (h *Host) Refusal() string {
	if err := h.refused(); err != nil {
		return err.Error()
	}
	return ""
}

// refused is what NewHost found, or what somebody has put in the fence's place since.
func (h *Host) refused() error {
	if h.refusal != nil || h.form != Exact {
		return h.refusal
	}
	if err := h.blocked(); err != nil {
		return fmt.Errorf("the exact fence is required (fence: required), and cannot be attached to %s: %w", h.lower, err)
	}
	return nil
}

// settle finds what earlier lives sealed, and sets the ARP behaviour.
func (h *Host) settle() (err error) {
	there := func() bool {
		_, err := h.lowerLink()
		return err == nil
	}
	if h.seal, err = newSeal(h.nft, h.lower, there); err != nil {
		return err
	}
	if err := h.findStrays(); err != nil {
		return err
	}
	lan, err := h.LAN()
	if err != nil {
		return err
	}
	own := Spec{MAC: lan.MAC} // an address that this host was given since it was sealed
	for _, p := range lan.Prefixes {
		own.Addrs = append(own.Addrs, p.Addr())
	}
	mine := own.keys()
	if err := h.seal.forget(func(k string) bool { return slices.Contains(mine, k) }); err != nil {
		return err
	}
	return RestoreSysctls(map[string]string{"arp_ignore": "1", "arp_announce": "2"})
}

// Sysctls gives what net.ipv4.conf.all has now for the keys that NewHost sets.
func Sysctls() (map[string]string, error) {
	out := make(map[string]string)
	for _, key := range []string{"arp_ignore", "arp_announce"} {
		raw, err := os.ReadFile(filepath.Join("/proc/sys/net/ipv4/conf/all", key))
		if err != nil {
			return nil, fmt.Errorf("reading the settings of this host: %w", err)
		}
		out[key] = strings.TrimSpace(string(raw))
	}
	return out, nil
}

// RestoreSysctls sets keys of net.ipv4.conf.all.
func RestoreSysctls(values map[string]string) error {
	for key, value := range values {
		if err := sysctl("ipv4", "all", key, value); err != nil {
			return err
		}
	}
	return nil
}

// turnsAtOnce is how many identities are prepared or looked at at one time. More would not be done sooner: the kernel lets one change its
// links at a time, and what hands an identity over meanwhile would stand behind all of them for a processor.
const turnsAtOnce = 2

// turn waits for a turn at what takes the kernel long, and gives the end of it.
func (h *Host) turn() (end func()) {
	h.turns <- struct{}{}
	waited := h.waits()
	return func() {
		waited()
		<-h.turns
	}
}

func (h *Host) waits() (end func()) {
	if h.Waits == nil {
		return func() {}
	}
	return h.Waits()
}

// shed closes a packet socket that nobody reads any more, beside whoever has better things to do: the kernel waits for an RCU grace
// period, 10 to 50 ms.
func (h *Host) shed(c io.Closer) {
	h.shedding.Go(func() {
		defer h.waits()()
		if err := c.Close(); err != nil {
			h.log.Debug("a socket did not close", "err", err)
		}
	})
}

// Close gives the sockets back. Prepared identities stay as they are.
func (h *Host) Close() error {
	h.shedding.Wait()
	h.nl.Close()
	if h.reaper != nil {
		h.reaper.close()
	}
	if h.asks != nil {
		h.asks.close()
	}
	err := h.nft.close()
	if h.vigil != nil {
		err = errors.Join(err, h.vigil.close())
	}
	if h.suspends != nil {
		err = errors.Join(err, h.suspends.close())
	}
	return err
}

// lowerLink finds the LAN interface; it may be gone, and back under another index.
func (h *Host) lowerLink() (netlink.Link, error) {
	l, err := h.nl.LinkByName(h.lower)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return nil, fmt.Errorf("the interface %s does not exist on this host: plug it in, or name another one (interface: in the configuration)", h.lower)
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the interface %s: %w", h.lower, err)
	}
	return l, nil
}

// interfaceOf is net.InterfaceByName, which would read all links of this host.
func (h *Host) interfaceOf(name string) (*net.Interface, error) {
	l, err := h.nl.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("looking for the interface %s: %w", name, err)
	}
	a := l.Attrs()
	return &net.Interface{Index: a.Index, MTU: a.MTU, Name: a.Name, HardwareAddr: a.HardwareAddr, Flags: a.Flags}, nil
}

// oneMAC says why a second MAC cannot live on an interface; "" where nothing is known against it.
func oneMAC(name string) string {
	isThere := func(sign string) bool {
		_, err := os.Stat(filepath.Join("/sys/class/net", name, sign))
		return err == nil
	}
	if isThere("phy80211") || isThere("wireless") { // the second is there only with the wireless extensions of old
		return fmt.Sprintf("%s is a Wi-Fi interface: an access point accepts one MAC for each station, so a service's own MAC cannot live there; use a cable, or give the service `mode: address`", name)
	}
	return ""
}

// suitable refuses interfaces on which no identity can live.
func suitable(name string) error {
	dir := filepath.Join("/sys/class/net", name)
	if master, err := os.Readlink(filepath.Join(dir, "brport", "bridge")); err == nil {
		return fmt.Errorf("%s is a port of the bridge %s: name the bridge instead (interface: %s)", name, filepath.Base(master), filepath.Base(master))
	}
	return nil
}

// LAN tells what the interface is like now.
func (h *Host) LAN() (LAN, error) {
	l, err := h.lowerLink()
	if err != nil {
		return LAN{Name: h.lower}, err
	}
	a := l.Attrs()
	lan := LAN{Name: h.lower, Index: a.Index, MAC: a.HardwareAddr, Up: a.Flags&net.FlagUp != 0, OneMAC: oneMAC(h.lower)}
	lan.Up = lan.Up && a.OperState != netlink.OperDown && a.OperState != netlink.OperLowerLayerDown
	addrs, err := h.ownAddrs(l, netlink.FAMILY_ALL)
	if err != nil {
		return lan, err
	}
	for _, one := range addrs {
		if p, ok := prefixOf(one.IPNet); ok && !p.Addr().IsLinkLocalUnicast() {
			lan.Prefixes = append(lan.Prefixes, p)
		}
	}
	return lan, nil
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(ip.Unmap(), bits), ok
}

// sysctl writes net.<family>.conf.<link>.<key>. /proc/sys/net shows the caller's own network namespace.
func sysctl(family, link, key, value string) error {
	path := filepath.Join("/proc/sys/net", family, "conf", link, key)
	old, err := os.ReadFile(path)
	if err == nil && strings.TrimSpace(string(old)) == value {
		return nil
	}
	if err == nil {
		err = os.WriteFile(path, []byte(value), 0o644)
	}
	if err != nil {
		return fmt.Errorf("setting %s to %s (root, or CAP_NET_ADMIN in this namespace, is needed): %w", path, value, err)
	}
	return nil
}

// takeTable gives a routing table that nobody uses.
func (h *Host) takeTable() (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for n := firstTable; n < firstTable+tablesMost; n++ {
		if !h.tables[n] {
			h.tables[n] = true
			return n, nil
		}
	}
	return 0, fmt.Errorf("all %d routing tables for identities are in use", tablesMost)
}

func (h *Host) letGo(link string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.adopted, link)
	if p, known := h.prepared[link]; known {
		p.left = time.Now()
		h.prepared[link] = p
	}
}

func (h *Host) giveTable(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.tables, n)
}
