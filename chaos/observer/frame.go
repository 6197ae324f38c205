package observer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"nightporter/chaos/lab"
)

// Where things stand in a frame (IEEE 802.3, RFC 826, 791, 8200, 4861, 9293, 792, 4443).
const (
	etherHeader = 14

	typeIPv4 = 0x0800
	typeARP  = 0x0806
	typeIPv6 = 0x86dd

	protoICMP   = 1
	protoTCP    = 6
	protoICMPv6 = 58

	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10

	neighbourAdvertisement = 136
)

// packet is what the observer reads in a frame.
type packet struct {
	kind     string     // "ARP", "IPv4", "IPv6", "NA", "frame"
	src, dst netip.Addr // ARP: the sender's and the target's address; NA: src is the target that is advertised
	sha      net.HardwareAddr
	proto    byte
	body     []byte // of IP
}

// parse reads as much of a frame as the observer needs; what is cut off or strange is a plain frame.
func parse(f lab.Frame) packet {
	if len(f.Data) < etherHeader {
		return packet{kind: "frame"}
	}
	d := f.Data[etherHeader:]
	switch f.EtherType() {
	case typeARP:
		if len(d) >= 28 {
			return packet{kind: "ARP", sha: d[8:14], src: netip.AddrFrom4([4]byte(d[14:18])), dst: netip.AddrFrom4([4]byte(d[24:28]))}
		}
	case typeIPv4:
		if len(d) >= 20 {
			header := int(d[0]&15) * 4
			return packet{kind: "IPv4", src: netip.AddrFrom4([4]byte(d[12:16])), dst: netip.AddrFrom4([4]byte(d[16:20])), proto: d[9], body: d[min(header, len(d)):]}
		}
	case typeIPv6:
		if len(d) >= 40 {
			return parse6(d)
		}
	}
	return packet{kind: "frame"}
}

func parse6(d []byte) packet {
	p := packet{kind: "IPv6", src: netip.AddrFrom16([16]byte(d[8:24])), dst: netip.AddrFrom16([16]byte(d[24:40])), proto: d[6], body: d[40:]}
	if p.proto == protoICMPv6 && len(p.body) >= 24 && p.body[0] == neighbourAdvertisement {
		p.kind, p.src = "NA", netip.AddrFrom16([16]byte(p.body[8:24]))
	}
	return p
}

// Identity is what the observer looks for.
type Identity struct {
	Service string
	MAC     net.HardwareAddr
	Addrs   []netip.Addr
	Port    uint16 // guarded, TCP
}

func (id Identity) has(a netip.Addr) bool {
	for _, own := range id.Addrs {
		if own == a {
			return true
		}
	}
	return false
}

// claimed says whether the sender of a frame claims the identity: its MAC as the frame's source or in ARP, one of its
// addresses as the sender in ARP or IP, or as what a neighbour advertisement is about.
func (id Identity) claimed(f lab.Frame, p packet) bool {
	if len(f.Data) < etherHeader {
		return false
	}
	return bytes.Equal(f.Src(), id.MAC) || p.kind == "ARP" && bytes.Equal(p.sha, id.MAC) || p.kind != "frame" && id.has(p.src)
}

// words describes a frame for a person.
func words(f lab.Frame, p packet) string {
	s := fmt.Sprintf("%s from %s", p.kind, f.Src())
	if p.src.IsValid() {
		s += fmt.Sprintf(", %s to %s", p.src, p.dst)
	}
	if p.proto == protoTCP && len(p.body) >= 14 {
		s += fmt.Sprintf(", TCP %d to %d flags %#02x", binary.BigEndian.Uint16(p.body), binary.BigEndian.Uint16(p.body[2:]), p.body[13])
	}
	return s
}

// knocks says whether a packet begins a connection to the identity's guarded port.
func (id Identity) knocks(p packet) bool {
	return p.proto == protoTCP && len(p.body) >= 14 && id.has(p.dst) && p.body[13]&(flagSYN|flagACK) == flagSYN &&
		binary.BigEndian.Uint16(p.body[2:]) == id.Port
}

// refuses says whether a packet tells a client that nobody is at the guarded port, how, and whether it answers a new
// connection: a RST to a SYN acknowledges it and has the sequence number 0 (RFC 9293, section 3.5.2).
func (id Identity) refuses(p packet) (what string, fresh bool) {
	switch {
	case p.proto == protoTCP && len(p.body) >= 14 && id.has(p.src) && p.body[13]&flagRST != 0 && binary.BigEndian.Uint16(p.body) == id.Port:
		return "RST", p.body[13]&flagACK != 0 && binary.BigEndian.Uint32(p.body[4:]) == 0
	case p.kind == "IPv4" && p.proto == protoICMP && len(p.body) >= 8+24 && (p.body[0] == 3 || p.body[0] == 11):
		quoted := p.body[8:]
		header := int(quoted[0]&15) * 4
		if id.about(netip.AddrFrom4([4]byte(quoted[16:20])), quoted[9], quoted[min(header, len(quoted)):]) {
			return fmt.Sprintf("ICMP %d/%d", p.body[0], p.body[1]), true
		}
	case p.kind == "IPv6" && p.proto == protoICMPv6 && len(p.body) >= 8+44 && (p.body[0] == 1 || p.body[0] == 3):
		quoted := p.body[8:]
		if id.about(netip.AddrFrom16([16]byte(quoted[24:40])), quoted[6], quoted[40:]) {
			return fmt.Sprintf("ICMPv6 %d/%d", p.body[0], p.body[1]), true
		}
	}
	return "", false
}

// about says whether a quoted packet went to the guarded port.
func (id Identity) about(dst netip.Addr, proto byte, body []byte) bool {
	return proto == protoTCP && id.has(dst) && len(body) >= 4 && binary.BigEndian.Uint16(body[2:]) == id.Port
}
