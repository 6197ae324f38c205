package workload

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"nightporter/chaos/lab"
)

// askEvery is how often everybody on the LAN is asked who has an address.
const askEvery = 50 * time.Millisecond

// Ask asks the whole LAN who has the addresses, again and again, by broadcast ARP (RFC 826) and by neighbour solicitations (RFC
// 4861) that no snooping switch keeps from anybody: a host whose kernel lets an identity through that is not its own any more answers, wherever the switch believes the
// identity to be.
func Ask(ctx context.Context, from *lab.Host, about []netip.Addr) error {
	wrap := func(err error) error { return fmt.Errorf("asking the LAN from %s: %w", from.Name(), err) }
	f, err := from.Socket(ctx, unix.AF_PACKET, unix.SOCK_RAW, 0) // it receives nothing
	if err != nil {
		return wrap(err)
	}
	defer f.Close()
	ifr, err := unix.NewIfreq("eth0")
	if err == nil {
		err = unix.IoctlIfreq(int(f.Fd()), unix.SIOCGIFINDEX, ifr)
	}
	if err != nil {
		return wrap(err)
	}
	to := &unix.SockaddrLinklayer{Ifindex: int(ifr.Uint32())}
	var frames [][]byte
	for _, a := range about {
		ask := question
		if a.Is6() {
			ask = question6
		}
		b, err := ask(from.MAC(), from.Addr(), a)
		if err != nil {
			return wrap(err)
		}
		frames = append(frames, b)
	}
	for pause(ctx, askEvery) {
		for _, b := range frames {
			_ = unix.Sendto(int(f.Fd()), b, 0, to) // a cable that is out: the next one comes through
		}
	}
	return nil
}

// question is one ARP request.
func question(mac net.HardwareAddr, own, about netip.Addr) ([]byte, error) {
	everybody := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{},
		&layers.Ethernet{SrcMAC: mac, DstMAC: everybody, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: layers.ARPRequest, SourceHwAddress: mac, SourceProtAddress: own.AsSlice(),
			DstHwAddress: make([]byte, 6), DstProtAddress: about.AsSlice(),
		})
	return b.Bytes(), err
}

// question6 is one neighbour solicitation, in a frame to all nodes. It comes from nowhere, as duplicate address detection does, so the
// answer goes to all nodes too.
func question6(mac net.HardwareAddr, _, about netip.Addr) ([]byte, error) {
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: net.IPv6unspecified, DstIP: solicitedNode(about)}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, err
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: mac, DstMAC: net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, EthernetType: layers.EthernetTypeIPv6}, ip, icmp,
		&layers.ICMPv6NeighborSolicitation{TargetAddress: about.AsSlice()})
	return b.Bytes(), err
}

// solicitedNode is the group in which the owner of an address listens (RFC 4291 section 2.7.1).
func solicitedNode(a netip.Addr) net.IP {
	b := a.As16()
	return append(net.IP{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff}, b[13:]...)
}
