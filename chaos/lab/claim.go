package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// claimPrefix begins the names of the macvlans of claims. An agent in the host does not take them for its own.
const claimPrefix = "claim"

// announcements is how often a claim is announced: one frame could meet a lossy path.
const announcements = 3

// claim makes the node use an address that is not its own. A claim that exists already is only announced again.
func (n *node) claim(c Claim) error {
	switch {
	case n.power != PowerUp:
		return fmt.Errorf("%s is %s and cannot claim an address", n.name, n.power)
	case !c.Addr.IsValid() || c.MAC != nil && len(c.MAC) != 6:
		return errors.New("a claim needs an address, and a MAC of six bytes or none")
	}
	old := slices.IndexFunc(n.claims, func(o Claim) bool { return o.Addr == c.Addr && slices.Equal(o.MAC, c.MAC) })
	err := n.space.do(func() error {
		link := hostIface
		if c.MAC != nil {
			link = claimLink(c.MAC)
		}
		if old < 0 {
			if err := takeAddress(link, c); err != nil {
				return err
			}
		}
		return announceClaim(link, c)
	})
	if err != nil {
		return fmt.Errorf("let %s claim %s: %w", n.name, c.Addr, err)
	}
	if old < 0 {
		n.claims = append(n.claims, c)
	}
	return nil
}

// claimLink names the macvlan for a MAC.
func claimLink(mac net.HardwareAddr) string { return fmt.Sprintf("%s%x", claimPrefix, []byte(mac)[2:]) }

// takeAddress puts the address on the card, or on a macvlan that it makes; several addresses may share that.
func takeAddress(name string, c Claim) error {
	link, err := netlink.LinkByName(name)
	if missingLink(err) && c.MAC != nil {
		link, err = addMacvlan(name, c.MAC)
	}
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if err := netlink.AddrAdd(link, claimAddr(c.Addr)); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add it to %s: %w", name, err)
	}
	return nil
}

func addMacvlan(name string, mac net.HardwareAddr) (netlink.Link, error) {
	eth, err := netlink.LinkByName(hostIface)
	if err != nil {
		return nil, err
	}
	// Without this the card would answer for the macvlan's address as well, from another MAC.
	if err := writeSysctl("net/ipv4/conf/"+hostIface+"/arp_ignore", "1"); err != nil {
		return nil, err
	}
	link := &netlink.Macvlan{
		LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: eth.Attrs().Index, HardwareAddr: mac}, Mode: netlink.MACVLAN_MODE_BRIDGE,
	}
	if err := netlink.LinkAdd(link); err != nil {
		return nil, fmt.Errorf("add it: %w", err)
	}
	return link, netlink.LinkSetUp(link)
}

// claimAddr is the address alone, without a subnet, and without the kernel's own look for others that use it.
func claimAddr(a netip.Addr) *netlink.Addr {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return addr
}

// announceClaim tells the LAN a few times that the address is here now.
func announceClaim(link string, c Claim) error {
	dev, err := net.InterfaceByName(link)
	if err != nil {
		return fmt.Errorf("announce it: %w", err)
	}
	frames, err := gratuitous(dev.HardwareAddr, c.Addr)
	if err != nil {
		return fmt.Errorf("announce it: %w", err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("announce it: %w", err)
	}
	defer unix.Close(fd)
	for range announcements {
		for _, f := range frames {
			if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: dev.Index}); err != nil {
				return fmt.Errorf("announce it: %w", err)
			}
		}
	}
	return nil
}

// gratuitous gives the frames that move an address to a MAC: both forms of ARP, since some hosts heed only one, or a
// neighbour advertisement with the override flag.
func gratuitous(mac net.HardwareAddr, a netip.Addr) ([][]byte, error) {
	if a.Is6() {
		f, err := advertisement(mac, a)
		return [][]byte{f}, err
	}
	var frames [][]byte
	for _, op := range []uint16{layers.ARPRequest, layers.ARPReply} {
		f, err := serialize(
			&layers.Ethernet{SrcMAC: mac, DstMAC: layers.EthernetBroadcast, EthernetType: layers.EthernetTypeARP},
			&layers.ARP{
				AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: op,
				SourceHwAddress: mac, SourceProtAddress: a.AsSlice(), DstHwAddress: layers.EthernetBroadcast, DstProtAddress: a.AsSlice(),
			})
		if err != nil {
			return nil, err
		}
		frames = append(frames, f)
	}
	return frames, nil
}

func advertisement(mac net.HardwareAddr, a netip.Addr) ([]byte, error) {
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: a.AsSlice(), DstIP: net.IPv6linklocalallnodes}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0)}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, err
	}
	const override = 0x20
	return serialize(
		&layers.Ethernet{SrcMAC: mac, DstMAC: net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, EthernetType: layers.EthernetTypeIPv6}, ip, icmp,
		&layers.ICMPv6NeighborAdvertisement{
			Flags: override, TargetAddress: a.AsSlice(),
			Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: mac}},
		})
}

func serialize(parts ...gopacket.SerializableLayer) ([]byte, error) {
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...)
	return buf.Bytes(), err
}

// unclaim takes everything away that was claimed.
func (n *node) unclaim() error {
	if n.space == nil || len(n.claims) == 0 {
		return nil // nothing outlives the host's namespace
	}
	err := n.space.do(func() error {
		var errs []error
		for _, c := range n.claims {
			errs = append(errs, dropClaim(c))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("take the claims of %s away: %w", n.name, err)
	}
	n.claims = nil
	return nil
}

func dropClaim(c Claim) error {
	name := hostIface
	if c.MAC != nil {
		name = claimLink(c.MAC)
	}
	link, err := netlink.LinkByName(name)
	switch {
	case missingLink(err):
		return nil
	case err != nil:
		return err
	case c.MAC != nil:
		err = netlink.LinkDel(link)
	default:
		err = netlink.AddrDel(link, claimAddr(c.Addr))
	}
	if err != nil && !missingLink(err) && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("%s: %w", c.Addr, err)
	}
	return nil
}
