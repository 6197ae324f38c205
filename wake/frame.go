package wake

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Offsets and values of the headers, as far as demand is concerned.
const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd

	offEtherType = 12 // in the frame
	offNetwork   = 14 // length of the Ethernet header; the kernel takes a VLAN tag out before packet sockets see the frame

	protoTCP = 6
	protoUDP = 17

	// IPv6 headers that may stand before the transport header.
	extHopByHop    = 0
	extRouting     = 43
	extFragment    = 44
	extDestination = 60
	maxExtensions  = 8 // more are not followed

	tcpFlagsOffset = 13
	tcpSYN         = 0x02
	// A first segment has of these only SYN. ECN bits, PSH and data (TCP Fast Open) may be there.
	tcpHandshake = 0x17 // FIN, SYN, RST, ACK
)

// segment is what a frame says about itself.
type segment struct {
	protocol     uint8
	client, dest netip.AddrPort
	flags        byte // of TCP
}

// demands decides whether the frame is demand for g: a TCP segment with SYN and without ACK, RST and FIN to a guarded
// TCP port, or a UDP datagram (its first fragment) to a declared UDP port, to one of the guarded addresses.
func (g Guard) demands(frame []byte) (segment, bool) {
	s, ok := parseSegment(frame)
	if !ok || !g.guards(s.dest.Addr()) {
		return segment{}, false
	}
	switch s.protocol {
	case protoTCP:
		return s, s.flags&tcpHandshake == tcpSYN && slices.Contains(g.TCP, s.dest.Port())
	case protoUDP:
		return s, slices.Contains(g.UDP, s.dest.Port())
	}
	return segment{}, false
}

// parseSegment reads an Ethernet frame with IPv4 or IPv6 and TCP or UDP. Nothing is believed: every length is checked.
func parseSegment(frame []byte) (segment, bool) {
	if len(frame) < offNetwork {
		return segment{}, false
	}
	packet := frame[offNetwork:]
	var s segment
	var src, dst netip.Addr
	var transport []byte
	var ok bool
	switch binary.BigEndian.Uint16(frame[offEtherType:]) {
	case etherIPv4:
		src, dst, s.protocol, transport, ok = parseIPv4(packet)
	case etherIPv6:
		src, dst, s.protocol, transport, ok = parseIPv6(packet)
	}
	if !ok || len(transport) < 8 { // a UDP header; TCP is longer still
		return segment{}, false
	}
	if s.protocol == protoTCP {
		if len(transport) < 20 {
			return segment{}, false
		}
		s.flags = transport[tcpFlagsOffset]
	}
	s.client = netip.AddrPortFrom(src, binary.BigEndian.Uint16(transport))
	s.dest = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(transport[2:]))
	return s, true
}

func parseIPv4(p []byte) (src, dst netip.Addr, protocol uint8, transport []byte, ok bool) {
	if len(p) < 20 || p[0]>>4 != 4 {
		return
	}
	header := int(p[0]&0x0f) * 4
	fragment := binary.BigEndian.Uint16(p[6:]) & 0x1fff
	if header < 20 || len(p) < header || fragment != 0 { // a later fragment has no ports
		return
	}
	return netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20])), p[9], p[header:], true
}

func parseIPv6(p []byte) (src, dst netip.Addr, protocol uint8, transport []byte, ok bool) {
	if len(p) < 40 || p[0]>>4 != 6 {
		return
	}
	src, dst = netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40]))
	next, rest := p[6], p[40:]
	for range maxExtensions {
		if next == protoTCP || next == protoUDP {
			return src, dst, next, rest, true
		}
		if len(rest) < 8 {
			return
		}
		size := 8
		switch next {
		case extHopByHop, extRouting, extDestination:
			size = 8 + int(rest[1])*8
		case extFragment:
			if binary.BigEndian.Uint16(rest[2:])&0xfff8 != 0 {
				return
			}
		default:
			return
		}
		if len(rest) < size {
			return
		}
		next, rest = rest[0], rest[size:]
	}
	return
}
