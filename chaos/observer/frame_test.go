package observer

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"nightporter/chaos/lab"
)

var (
	mac0  = net.HardwareAddr{2, 0, 0, 0, 0, 9}
	card  = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	other = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	ip0   = netip.MustParseAddr("10.0.0.200")
	ip06  = netip.MustParseAddr("fd00::200")
	host  = netip.MustParseAddr("10.0.0.1")
	host6 = netip.MustParseAddr("fd00::1")
	web   = Identity{Service: "web", MAC: mac0, Addrs: []netip.Addr{ip0, ip06}, Port: 80}
)

func frame(t *testing.T, src net.HardwareAddr, rest ...gopacket.SerializableLayer) lab.Frame {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: src, DstMAC: other, EthernetType: layers.EthernetTypeIPv4}
	switch rest[0].(type) {
	case *layers.ARP:
		eth.EthernetType = layers.EthernetTypeARP
	case *layers.IPv6:
		eth.EthernetType = layers.EthernetTypeIPv6
	}
	b := gopacket.NewSerializeBuffer()
	all := append([]gopacket.SerializableLayer{eth}, rest...)
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, all...); err != nil {
		t.Fatal(err)
	}
	return lab.Frame{Data: b.Bytes()}
}

func arp(sha net.HardwareAddr, spa, tpa netip.Addr) *layers.ARP {
	return &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 2,
		SourceHwAddress: sha, SourceProtAddress: spa.AsSlice(), DstHwAddress: other, DstProtAddress: tpa.AsSlice(),
	}
}

func ip4(src, dst netip.Addr, p layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: p, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
}

func ip6(src, dst netip.Addr, p layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: p, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
}

func advertisement(about netip.Addr) []gopacket.SerializableLayer {
	return []gopacket.SerializableLayer{
		ip6(host6, netip.MustParseAddr("ff02::1"), layers.IPProtocolICMPv6),
		&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(neighbourAdvertisement, 0)},
		&layers.ICMPv6NeighborAdvertisement{TargetAddress: about.AsSlice()},
	}
}

func TestClaims(t *testing.T) {
	for _, c := range []struct {
		name  string
		f     lab.Frame
		claim bool
	}{
		{"the MAC as the frame's source", frame(t, mac0, ip4(host, host, layers.IPProtocolUDP), gopacket.Payload("x")), true},
		{"the MAC as sender in ARP", frame(t, card, arp(mac0, host, host)), true},
		{"the address as sender in ARP", frame(t, card, arp(card, ip0, ip0)), true},
		{"a question for the address", frame(t, card, arp(card, host, ip0)), false},
		{"a packet from the address", frame(t, card, ip4(ip0, host, layers.IPProtocolUDP), gopacket.Payload("x")), true},
		{"a packet to the address", frame(t, card, ip4(host, ip0, layers.IPProtocolUDP), gopacket.Payload("x")), false},
		{"IPv6 from the address", frame(t, card, ip6(ip06, host6, layers.IPProtocolUDP), gopacket.Payload("x")), true},
		{"an advertisement of the address", frame(t, card, advertisement(ip06)...), true},
		{"an advertisement of another one", frame(t, card, advertisement(host6)...), false},
		{"too short", lab.Frame{Data: []byte{1, 2, 3}}, false},
		{"nothing but a header", lab.Frame{Data: frame(t, card, arp(card, ip0, ip0)).Data[:14]}, false},
	} {
		p := parse(c.f)
		if got := web.claimed(c.f, p); got != c.claim {
			t.Errorf("%s: claimed %v (%s)", c.name, got, words(c.f, p))
		}
		shared := Identity{Service: "web", Addrs: web.Addrs} // in mode address the MAC is nobody's
		if got := shared.claimed(c.f, p); got != (c.claim && !strings.HasPrefix(c.name, "the MAC")) {
			t.Errorf("%s, in mode address: claimed %v (%s)", c.name, got, words(c.f, p))
		}
	}
}

func tcp(src, dst layers.TCPPort, seq uint32, set func(*layers.TCP)) *layers.TCP {
	h := &layers.TCP{SrcPort: src, DstPort: dst, Seq: seq, DataOffset: 5}
	set(h)
	return h
}

func TestKnocksAndRefusals(t *testing.T) {
	syn := func(h *layers.TCP) { h.SYN = true }
	rst := func(h *layers.TCP) { h.RST = true }
	rstAck := func(h *layers.TCP) { h.RST, h.ACK = true, true }
	quoted := frame(t, other, ip4(host, ip0, layers.IPProtocolTCP), tcp(999, 80, 1, syn)).Data[14:]
	quoted6 := frame(t, other, ip6(host6, ip06, layers.IPProtocolTCP), tcp(999, 80, 1, syn)).Data[14:]
	for _, c := range []struct {
		name  string
		f     lab.Frame
		knock bool
		what  string
		fresh bool
	}{
		{"SYN", frame(t, other, ip4(host, ip0, layers.IPProtocolTCP), tcp(999, 80, 1, syn)), true, "", false},
		{"SYN over IPv6", frame(t, other, ip6(host6, ip06, layers.IPProtocolTCP), tcp(999, 80, 1, syn)), true, "", false},
		{"SYN to another port", frame(t, other, ip4(host, ip0, layers.IPProtocolTCP), tcp(999, 81, 1, syn)), false, "", false},
		{"SYN and ACK", frame(t, other, ip4(host, ip0, layers.IPProtocolTCP), tcp(999, 80, 1, func(h *layers.TCP) { h.SYN, h.ACK = true, true })), false, "", false},
		{"RST to a SYN", frame(t, mac0, ip4(ip0, host, layers.IPProtocolTCP), tcp(80, 999, 0, rstAck)), false, "RST", true},
		{"RST of an old connection", frame(t, mac0, ip4(ip0, host, layers.IPProtocolTCP), tcp(80, 999, 77, rst)), false, "RST", false},
		{"RST of another port", frame(t, mac0, ip4(ip0, host, layers.IPProtocolTCP), tcp(81, 999, 0, rstAck)), false, "", false},
		{"port unreachable", frame(t, card, ip4(host, host, layers.IPProtocolICMPv4),
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 3)}, gopacket.Payload(quoted)), false, "ICMP 3/3", true},
		{"host unreachable over IPv6", frame(t, card, ip6(host6, host6, layers.IPProtocolICMPv6),
			&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(1, 3)}, gopacket.Payload(append(make([]byte, 4), quoted6...))), false, "ICMPv6 1/3", true},
		{"an echo", frame(t, card, ip4(host, host, layers.IPProtocolICMPv4),
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}, gopacket.Payload(quoted)), false, "", false},
	} {
		p := parse(c.f)
		if got := web.knocks(p); got != c.knock {
			t.Errorf("%s: knocks %v", c.name, got)
		}
		if what, fresh := web.refuses(p); what != c.what || fresh != c.fresh {
			t.Errorf("%s: refuses %q, fresh %v", c.name, what, fresh)
		}
	}
}

// FuzzFrame: whatever is on the wire, the observer does not fall over.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 60))
	f.Fuzz(func(_ *testing.T, data []byte) {
		frame := lab.Frame{Data: data}
		p := parse(frame)
		if len(data) < etherHeader {
			return
		}
		web.claimed(frame, p)
		web.knocks(p)
		web.refuses(p)
		_ = words(frame, p)
	})
}
