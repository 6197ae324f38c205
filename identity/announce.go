package identity

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// AnnounceSchedule is the pause before the next announcement of a tenure that has announced n times: at once, after 100
// ms (the first may have been lost), after 1 s (a switch port may still have been learning), after 2, 4, 8 and 16 s more (where
// frames were lost for longer, a switch still leads to the former holder, and nobody else tells it), and then often enough that no
// switch forgets the MAC (the usual ageing time is 300 s, IEEE 802.1Q; some devices age in 60 s).
func AnnounceSchedule(n int) time.Duration {
	switch {
	case n == 0:
		return 0
	case n == 1:
		return 100 * time.Millisecond
	case n <= 6:
		return time.Second << (n - 2)
	}
	return 45 * time.Second
}

// Announce tells the LAN once where the identity is: for IPv4 a gratuitous ARP in the request form and then in the reply
// form (RFC 5227 section 3, RFC 5944 section 4.6), for IPv6 an unsolicited neighbour advertisement with the override flag
// (RFC 4861 section 7.2.6), behind reports of the multicast group in which the address is asked for. The reply form goes last: a former holder's kernel may answer the request form, and what comes
// last stays in the switches' tables. stillMine is asked before each frame.
func (p *Hold) Announce(stillMine func() bool) error {
	conn, err := p.mouth()
	if err != nil {
		return err
	}
	mac := p.mac()
	for _, a := range p.spec.Addrs {
		frames, err := p.words(mac, a)
		if err != nil {
			return err
		}
		for _, f := range frames {
			if !stillMine() {
				return nil
			}
			if _, err := conn.WriteTo(f, &packet.Addr{HardwareAddr: net.HardwareAddr(f[:6])}); err != nil {
				p.shut(conn)
				return fmt.Errorf("announcing %s: %w", a, err)
			}
		}
	}
	return nil
}

// words are the frames of one round for one address.
func (p *Hold) words(mac net.HardwareAddr, a netip.Addr) ([][]byte, error) {
	frames, err := announcements(mac, a)
	if err != nil || a.Is4() || p.spec.Mode == HostMAC { // there the kernel has reported the group, from the host's own address
		return frames, err
	}
	reports, err := membership(mac, a)
	return append(reports, frames...), err // first the way to here, then the news
}

// mouth is the packet socket for announcements, opened once. Frames sent through it pass the fence.
func (p *Hold) mouth() (*packet.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out != nil {
		return p.out, nil
	}
	ifi, err := p.host.interfaceOf(p.Link())
	if err != nil {
		return nil, fmt.Errorf("announcing by %s: %w", p.Link(), err)
	}
	conn, err := packet.Listen(ifi, packet.Raw, 0, nil) // protocol 0: it receives nothing
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket on %s (CAP_NET_RAW is needed): %w", p.Link(), err)
	}
	p.out = conn
	return conn, nil
}

func (p *Hold) shut(conn *packet.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out == conn {
		_ = conn.Close() // it failed already
		p.out = nil
	}
}

// announcements builds the frames of one round for one address.
func announcements(mac net.HardwareAddr, a netip.Addr) ([][]byte, error) {
	if a.Is6() {
		f, err := advertisement(mac, a)
		return [][]byte{f}, err
	}
	var out [][]byte
	for _, form := range []struct {
		op     arp.Operation
		target net.HardwareAddr
	}{{arp.OperationRequest, make(net.HardwareAddr, 6)}, {arp.OperationReply, mac}} {
		f, err := arpFrame(form.op, mac, mac, a, form.target, a)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// arpFrame builds a broadcast ARP frame.
func arpFrame(op arp.Operation, from, sender net.HardwareAddr, senderIP netip.Addr, target net.HardwareAddr, targetIP netip.Addr) ([]byte, error) {
	body, err := arp.NewPacket(op, sender, senderIP, target, targetIP)
	if err != nil {
		return nil, fmt.Errorf("building an ARP packet: %w", err)
	}
	raw, err := body.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("building an ARP packet: %w", err)
	}
	f := ethernet.Frame{Destination: ethernet.Broadcast, Source: from, EtherType: ethernet.EtherTypeARP, Payload: raw}
	out, err := f.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("building an ARP frame: %w", err)
	}
	return out, nil
}

var allNodes = netip.MustParseAddr("ff02::1")

// advertisement builds an unsolicited neighbour advertisement.
func advertisement(mac net.HardwareAddr, a netip.Addr) ([]byte, error) {
	body, err := ndp.MarshalMessageChecksum(&ndp.NeighborAdvertisement{
		Override: true, TargetAddress: a,
		Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac}},
	}, a, allNodes)
	if err != nil {
		return nil, fmt.Errorf("building a neighbour advertisement: %w", err)
	}
	return ipv6Frame(mac, multicastMAC(allNodes), a, allNodes, body)
}

// multicastMAC is the Ethernet address of an IPv6 multicast group (RFC 2464 section 7).
func multicastMAC(group netip.Addr) net.HardwareAddr {
	b := group.As16()
	return net.HardwareAddr{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// ipv6Frame wraps an ICMPv6 message; its hop limit of 255 is what neighbour discovery demands.
func ipv6Frame(from, to net.HardwareAddr, src, dst netip.Addr, icmp []byte) ([]byte, error) {
	if len(icmp) > 1<<16-1 {
		return nil, errors.New("building a neighbour message: too long")
	}
	head := make([]byte, 40)
	head[0] = 6 << 4
	binary.BigEndian.PutUint16(head[4:], uint16(len(icmp)))
	head[ip6Next], head[7] = unix.IPPROTO_ICMPV6, 255
	copy(head[ip6Source:], src.AsSlice())
	copy(head[ip6Dest:], dst.AsSlice())
	f := ethernet.Frame{Destination: to, Source: from, EtherType: ethernet.EtherTypeIPv6, Payload: append(head, icmp...)}
	out, err := f.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("building a neighbour frame: %w", err)
	}
	return out, nil
}
