package identity

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"
)

// Foreign is a host outside the cluster that has one of our addresses.
type Foreign struct {
	IP  netip.Addr
	MAC net.HardwareAddr
}

// String prints both.
func (f Foreign) String() string { return f.IP.String() + " is at " + f.MAC.String() }

// Probe asks the LAN whether somebody has ip0 and listens for wait. It asks as RFC 5227 and RFC 4862 do, from the LAN
// interface with the host's own MAC and without an address, so it moves nobody's tables and can run while another member
// holds the identity: answers with mac0 are that member's. In mode address they have its card's MAC, so members gives those of all.
// It asks twice, since one frame may be lost.
func (p *Hold) Probe(ctx context.Context, wait time.Duration, members []net.HardwareAddr) ([]Foreign, error) {
	ifi, err := p.host.interfaceOf(p.host.lower)
	if err != nil {
		return nil, fmt.Errorf("probing by %s: %w", p.host.lower, err)
	}
	conn, err := earFor(ifi, p.spec.Addrs)
	if err != nil {
		return nil, err
	}
	defer p.host.shed(conn)
	known, found := p.known(ifi, members), make(map[string]Foreign)
	err = inquire(ctx, conn, ifi, p.spec.Addrs, wait, func(f Foreign) {
		if !slices.ContainsFunc(known, func(m net.HardwareAddr) bool { return bytes.Equal(m, f.MAC) }) {
			found[f.String()] = f
		}
	})
	if err != nil {
		return nil, err
	}
	var out []Foreign
	for _, f := range found {
		out = append(out, f)
	}
	return out, nil
}

// known are the MACs whose answers are no stranger's.
func (p *Hold) known(ifi *net.Interface, members []net.HardwareAddr) []net.HardwareAddr {
	if p.spec.Mode == HostMAC {
		return append([]net.HardwareAddr{ifi.HardwareAddr}, members...)
	}
	return []net.HardwareAddr{ifi.HardwareAddr, p.spec.MAC} // a member that has the address beside its macvlan is as bad as a stranger
}

// question builds the frame that asks for an address.
func question(from net.HardwareAddr, a netip.Addr) ([]byte, error) {
	if a.Is4() {
		return arpFrame(arp.OperationRequest, from, from, netip.IPv4Unspecified(), make(net.HardwareAddr, 6), a)
	}
	group, err := ndp.SolicitedNodeMulticast(a)
	if err != nil {
		return nil, fmt.Errorf("building a neighbour solicitation: %w", err)
	}
	body, err := ndp.MarshalMessageChecksum(&ndp.NeighborSolicitation{TargetAddress: a}, netip.IPv6Unspecified(), group)
	if err != nil {
		return nil, fmt.Errorf("building a neighbour solicitation: %w", err)
	}
	return ipv6Frame(from, multicastMAC(group), netip.IPv6Unspecified(), group, body)
}

// claim reads who says in a frame that it has an address: the sender of an ARP packet, the target of an advertisement.
func claim(b []byte) (Foreign, bool) {
	var f ethernet.Frame
	if err := f.UnmarshalBinary(b); err != nil {
		return Foreign{}, false
	}
	switch f.EtherType {
	case ethernet.EtherTypeARP:
		var a arp.Packet
		if err := a.UnmarshalBinary(f.Payload); err != nil {
			return Foreign{}, false
		}
		return Foreign{IP: a.SenderIP, MAC: a.SenderHardwareAddr}, !a.SenderIP.IsUnspecified()
	case ethernet.EtherTypeIPv6:
		if len(f.Payload) < icmp6Type || f.Payload[ip6Next] != unix.IPPROTO_ICMPV6 {
			return Foreign{}, false
		}
		m, err := ndp.ParseMessage(f.Payload[icmp6Type:])
		adv, ok := m.(*ndp.NeighborAdvertisement)
		if err != nil || !ok {
			return Foreign{}, false
		}
		return Foreign{IP: adv.TargetAddress, MAC: f.Source}, true
	}
	return Foreign{}, false
}
