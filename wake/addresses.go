package wake

import (
	"bytes"
	"fmt"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
)

// Addresses gives the hardware addresses where magic packets for this host should go: those of the physical cards beneath
// the interface (a bridge, bond, team, VLAN or macvlan has an address of its own that no sleeping card knows). A card that
// bears another address than its permanent one gives both: some fall back to it in sleep. An interface with no card
// beneath, as in a virtual network, gives its own address.
func Addresses(iface string) ([]net.HardwareAddr, error) {
	nics, err := cardsBeneath(iface)
	if err != nil {
		return nil, err
	}
	macs := wakeMACs(nics)
	if len(macs) == 0 {
		return nil, fmt.Errorf("the network interface %q has no Ethernet address that a magic packet could name", iface)
	}
	return macs, nil
}

// wakeMACs gives each usable address once, in the order of the cards.
func wakeMACs(nics []*netlink.LinkAttrs) []net.HardwareAddr {
	var macs []net.HardwareAddr
	for _, nic := range nics {
		for _, mac := range []net.HardwareAddr{nic.HardwareAddr, nic.PermHWAddr} {
			known := func(m net.HardwareAddr) bool { return bytes.Equal(m, mac) }
			if usable(mac) && !slices.ContainsFunc(macs, known) {
				macs = append(macs, mac)
			}
		}
	}
	return macs
}

// usable reports whether mac is a unicast address of 48 bits that is not zero.
func usable(mac net.HardwareAddr) bool {
	return len(mac) == 6 && mac[0]&1 == 0 && !bytes.Equal(mac, make([]byte, 6))
}

// cardsBeneath reads all links and gives the cards beneath the named one.
func cardsBeneath(iface string) ([]*netlink.LinkAttrs, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list the network interfaces to find the card beneath %q: %w", iface, err)
	}
	found := cards(links, iface)
	if len(found) == 0 {
		return nil, fmt.Errorf("find the network interface %q (see `ip link`): no such interface", iface)
	}
	return found, nil
}

// cards walks down from the named link to the physical cards, in the order of their indexes; without any it gives the
// link itself, and nil if there is none of that name. It asks the kernel's link table and not sysfs, which shows
// the network namespace in which it was mounted instead of the one that is asked about.
func cards(links []netlink.Link, name string) []*netlink.LinkAttrs {
	top := named(links, name)
	if top == nil {
		return nil
	}
	var found []*netlink.LinkAttrs
	for _, l := range beneath(links, top) {
		if physical(l) {
			found = append(found, l.Attrs())
		}
	}
	if len(found) == 0 {
		return []*netlink.LinkAttrs{top.Attrs()}
	}
	slices.SortFunc(found, func(a, b *netlink.LinkAttrs) int { return a.Index - b.Index })
	return found
}

func named(links []netlink.Link, name string) netlink.Link {
	for _, l := range links {
		if l.Attrs().Name == name {
			return l
		}
	}
	return nil
}

// beneath gives a link and all that carry its frames, from the top down.
func beneath(links []netlink.Link, top netlink.Link) []netlink.Link {
	seen := map[int]bool{top.Attrs().Index: true}
	all := []netlink.Link{top}
	for i := 0; i < len(all); i++ {
		for _, below := range links {
			if n := below.Attrs().Index; !seen[n] && lies(below, all[i]) {
				seen[n] = true
				all = append(all, below)
			}
		}
	}
	return all
}

// physical: only links of real hardware have no kind.
func physical(l netlink.Link) bool {
	return l.Type() == "device" && l.Attrs().Flags&net.FlagLoopback == 0
}

// lies reports whether below carries the frames of l: it is a port of the bridge, bond or team l, or l was made on top of
// it. A veth's "parent" is its peer, and a parent in another namespace has an index that means nothing here.
func lies(below, l netlink.Link) bool {
	a, b := l.Attrs(), below.Attrs()
	if b.MasterIndex == a.Index {
		return true
	}
	return a.ParentIndex == b.Index && l.Type() != "veth" && a.NetNsID < 0
}
