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
	tcpFIN       = 0x01
	tcpRST       = 0x04
	tcpPSH       = 0x08
	tcpACK       = 0x10
	tcpLater     = tcpRST | tcpACK // every segment but the first one has one of these
)

// segment is what a frame says about itself.
type segment struct {
	protocol     uint8
	client, dest netip.AddrPort
	at, end      int  // the transport header and the end of the packet, in the frame
	part         bool // the packet is a fragment
	flags        byte // this and what follows only of TCP
	seq, ack     uint32
	data         int // bytes of payload, however much of it is in the frame
}

// next is the sequence number behind the segment: FIN takes one as well.
func (s segment) next() uint32 {
	n := s.seq + uint32(s.data)
	if s.flags&tcpFIN != 0 {
		n++
	}
	return n
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

// hears decides what the frame is for g: an attempt, or, where g wants them, another TCP segment to one of the addresses.
func (g Guard) hears(frame []byte) (segment, Stage, bool) {
	if s, ok := g.demands(frame); ok {
		return s, Attempt, true
	}
	s, ok := parseSegment(frame)
	ok = ok && g.Later && s.protocol == protoTCP && s.flags&tcpLater != 0 && g.guards(s.dest.Addr())
	return s, Later, ok
}

// parseSegment reads an Ethernet frame with IPv4 or IPv6 and TCP or UDP. Nothing is believed: every length is checked.
func parseSegment(frame []byte) (segment, bool) {
	if len(frame) < offNetwork {
		return segment{}, false
	}
	var p headers
	var ok bool
	switch binary.BigEndian.Uint16(frame[offEtherType:]) {
	case etherIPv4:
		p, ok = parseIPv4(frame[offNetwork:])
	case etherIPv6:
		p, ok = parseIPv6(frame[offNetwork:])
	}
	if !ok || len(p.transport) < 8 { // a UDP header; TCP is longer still
		return segment{}, false
	}
	at := len(frame) - len(p.transport)
	s := segment{
		protocol: p.protocol, part: p.part, at: at, end: min(len(frame), at+p.length),
		client: netip.AddrPortFrom(p.src, binary.BigEndian.Uint16(p.transport)),
		dest:   netip.AddrPortFrom(p.dst, binary.BigEndian.Uint16(p.transport[2:])),
	}
	if s.protocol != protoTCP {
		return s, true
	}
	if len(p.transport) < 20 {
		return segment{}, false
	}
	s.flags = p.transport[tcpFlagsOffset]
	s.seq, s.ack = binary.BigEndian.Uint32(p.transport[4:]), binary.BigEndian.Uint32(p.transport[8:])
	s.data = max(p.length-int(p.transport[12]>>4)*4, 0)
	return s, true
}

// headers is what the headers below the transport say.
type headers struct {
	src, dst  netip.Addr
	protocol  uint8
	transport []byte // from its header to the end of the frame
	length    int    // of the transport's header and data, as the packet says it; may be more than there is
	part      bool   // a fragment
}

func parseIPv4(b []byte) (p headers, ok bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return p, false
	}
	header, fragment := int(b[0]&0x0f)*4, binary.BigEndian.Uint16(b[6:])
	if header < 20 || len(b) < header || fragment&0x1fff != 0 { // a later fragment has no ports
		return p, false
	}
	total := int(binary.BigEndian.Uint16(b[2:]))
	if total == 0 {
		total = len(b) // larger than the field can say (the kernel's own big packets)
	}
	return headers{
		src: netip.AddrFrom4([4]byte(b[12:16])), dst: netip.AddrFrom4([4]byte(b[16:20])), protocol: b[9],
		transport: b[header:], length: max(total-header, 0), part: fragment&0x2000 != 0,
	}, true
}

func parseIPv6(b []byte) (p headers, ok bool) {
	if len(b) < 40 || b[0]>>4 != 6 {
		return p, false
	}
	p.src, p.dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length == 0 {
		length = len(b) - 40 // a jumbogram
	}
	next, rest := b[6], b[40:]
	for range maxExtensions {
		if next == protoTCP || next == protoUDP {
			p.protocol, p.transport, p.length = next, rest, max(length-(len(b)-40-len(rest)), 0)
			return p, true
		}
		if len(rest) < 8 {
			return p, false
		}
		size := 8
		switch next {
		case extHopByHop, extRouting, extDestination:
			size = 8 + int(rest[1])*8
		case extFragment:
			if binary.BigEndian.Uint16(rest[2:])&0xfff8 != 0 {
				return p, false
			}
			p.part = true
		default:
			return p, false
		}
		if len(rest) < size {
			return p, false
		}
		next, rest = rest[0], rest[size:]
	}
	return p, false
}
