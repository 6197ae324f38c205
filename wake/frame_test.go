package wake

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/net/bpf"
)

var (
	guard4 = netip.MustParseAddr("10.77.0.200")
	guard6 = netip.MustParseAddr("fd77::200")
)

func testGuard() Guard {
	return Guard{
		Service: "web",
		Addrs:   []netip.Addr{guard4, netip.MustParseAddr("fd77::2:200"), guard6},
		TCP:     []uint16{22, 8080, 8081, 8082, 9000},
		UDP:     []uint16{53},
	}
}

// sample is one frame and whether it is demand for testGuard.
type sample struct {
	name   string
	frame  []byte
	demand bool
}

func mac(t testing.TB, s string) net.HardwareAddr {
	t.Helper()
	m, err := net.ParseMAC(s)
	must(t, err)
	return m
}

// build makes a frame from the client to the service's MAC.
func build(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: mac(t, clientMAC), DstMAC: mac(t, serviceMAC)}
	switch ls[0].LayerType() {
	case layers.LayerTypeIPv4:
		eth.EthernetType = layers.EthernetTypeIPv4
	case layers.LayerTypeIPv6:
		eth.EthernetType = layers.EthernetTypeIPv6
	case layers.LayerTypeARP:
		eth.EthernetType, eth.DstMAC = layers.EthernetTypeARP, mac(t, "ff:ff:ff:ff:ff:ff")
	case layers.LayerTypeDot1Q:
		eth.EthernetType = layers.EthernetTypeDot1Q
	}
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	must(t, gopacket.SerializeLayers(buf, opts, append([]gopacket.SerializableLayer{eth}, ls...)...))
	return slices.Clone(buf.Bytes())
}

func ip4(proto layers.IPProtocol, dst string, opt ...func(*layers.IPv4)) *layers.IPv4 {
	l := &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: net.ParseIP("10.77.0.100"), DstIP: net.ParseIP(dst)}
	for _, o := range opt {
		o(l)
	}
	return l
}

func ip6(proto layers.IPProtocol, dst string) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: net.ParseIP("fd77::100"), DstIP: net.ParseIP(dst)}
}

func tcp(ip gopacket.NetworkLayer, port int, flags string) *layers.TCP {
	l := &layers.TCP{SrcPort: 40000, DstPort: layers.TCPPort(port), Seq: 1, Window: 64240}
	for _, f := range strings.Split(flags, ",") {
		switch f {
		case "syn":
			l.SYN = true
		case "ack":
			l.ACK = true
		case "rst":
			l.RST = true
		case "fin":
			l.FIN = true
		case "psh":
			l.PSH = true
		case "ecn":
			l.ECE, l.CWR = true, true
		}
	}
	l.SetNetworkLayerForChecksum(ip)
	return l
}

func udp(ip gopacket.NetworkLayer, port int) *layers.UDP {
	l := &layers.UDP{SrcPort: 40000, DstPort: layers.UDPPort(port)}
	l.SetNetworkLayerForChecksum(ip)
	return l
}

func samples(t testing.TB) []sample {
	t.Helper()
	const v4, v6 = "10.77.0.200", "fd77::200"
	var all []sample
	add := func(name string, demand bool, ls ...gopacket.SerializableLayer) {
		all = append(all, sample{name, build(t, ls...), demand})
	}
	tcp4 := func(name, dst string, port int, flags string, demand bool, opt ...func(*layers.IPv4)) {
		ip := ip4(layers.IPProtocolTCP, dst, opt...)
		add(name+" v4", demand, ip, tcp(ip, port, flags))
	}
	tcp6 := func(name, dst string, port int, flags string, demand bool) {
		ip := ip6(layers.IPProtocolTCP, dst)
		add(name+" v6", demand, ip, tcp(ip, port, flags))
	}
	for _, k := range []struct {
		flags  string
		demand bool
	}{
		{"syn", true},
		{"syn,ecn", true},
		{"syn,psh", true},
		{"syn,ack", false},
		{"syn,rst", false},
		{"syn,fin", false},
		{"ack", false},
		{"rst", false},
		{"rst,ack", false},
		{"fin", false},
		{"fin,ack", false},
		{"psh,ack", false},
		{"", false},
	} {
		tcp4("tcp "+k.flags, v4, 8080, k.flags, k.demand)
		tcp6("tcp "+k.flags, v6, 8080, k.flags, k.demand)
	}
	for port, demand := range map[int]bool{21: false, 22: true, 23: false, 53: false, 8079: false, 8080: true, 8081: true, 8082: true, 8083: false, 9000: true, 65535: false, 0: false} {
		tcp4(fmt.Sprintf("port %d", port), v4, port, "syn", demand)
		tcp6(fmt.Sprintf("port %d", port), v6, port, "syn", demand)
	}
	for _, dst := range []string{"10.77.0.201", "10.77.0.11", "10.78.0.200"} {
		tcp4("to "+dst, dst, 8080, "syn", false)
	}
	tcp6("to another address", "fd77::201", 8080, "syn", false)
	tcp6("to an address with the same end", "fd78::200", 8080, "syn", false)
	tcp6("second address", "fd77::2:200", 8080, "syn", true)

	options := func(l *layers.IPv4) {
		l.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
	}
	tcp4("IP options", v4, 8080, "syn", true, options)
	tcp4("IP options, ack", v4, 8080, "ack", false, options)
	tcp4("first fragment", v4, 8080, "syn", true, func(l *layers.IPv4) { l.Flags = layers.IPv4MoreFragments })
	tcp4("later fragment", v4, 8080, "syn", false, func(l *layers.IPv4) { l.FragOffset = 1 })
	tcp4("last fragment", v4, 8080, "syn", false, func(l *layers.IPv4) { l.FragOffset = 185 })
	tcp4("don't fragment", v4, 8080, "syn", true, func(l *layers.IPv4) { l.Flags = layers.IPv4DontFragment })

	u := ip4(layers.IPProtocolUDP, v4)
	add("udp declared v4", true, u, udp(u, 53), gopacket.Payload("question"))
	add("udp empty v4", true, u, udp(u, 53))
	add("udp other port v4", false, u, udp(u, 8080))
	first := ip4(layers.IPProtocolUDP, v4, func(l *layers.IPv4) { l.Flags = layers.IPv4MoreFragments })
	add("udp first fragment v4", true, first, udp(first, 53))
	later := ip4(layers.IPProtocolUDP, v4, func(l *layers.IPv4) { l.FragOffset = 10 })
	add("udp later fragment v4", false, later, udp(later, 53))
	u6 := ip6(layers.IPProtocolUDP, v6)
	add("udp declared v6", true, u6, udp(u6, 53))
	add("udp other port v6", false, u6, udp(u6, 54))

	add("ping v4", false, ip4(layers.IPProtocolICMPv4, v4), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)})
	inner := ip4(layers.IPProtocolTCP, v4)
	add("unreachable with a SYN inside", false, ip4(layers.IPProtocolICMPv4, v4), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 1)}, inner, tcp(inner, 8080, "syn"))
	p6 := ip6(layers.IPProtocolICMPv6, v6)
	ping6 := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)}
	must(t, ping6.SetNetworkLayerForChecksum(p6))
	add("ping v6", false, p6, ping6)
	add("arp request", false, &layers.ARP{
		AddrType: 1, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
		SourceHwAddress: mac(t, clientMAC), SourceProtAddress: net.IP{10, 77, 0, 100}, DstHwAddress: make([]byte, 6), DstProtAddress: guard4.AsSlice(),
	})
	return append(all, extensionSamples(t)...)
}

// extensionSamples are IPv6 packets with headers before TCP, which the kernel's filter leaves to demands.
func extensionSamples(t testing.TB) []sample {
	t.Helper()
	ip := ip6(layers.IPProtocolTCP, "fd77::200")
	whole := build(t, ip, tcp(ip, 8080, "syn"))
	segment := whole[offNetwork+40:]
	with := func(headers ...[]byte) []byte {
		f := slices.Clone(whole[:offNetwork+40])
		f[offNetwork+6] = headers[0][8] // what this chain begins with
		for i, h := range headers {
			next := byte(protoTCP)
			if i+1 < len(headers) {
				next = headers[i+1][8]
			}
			f = append(f, append([]byte{next}, h[1:8]...)...)
		}
		return append(f, segment...)
	}
	// Eight bytes of header and the number by which the one before announces it.
	hop := []byte{0, 0, 1, 4, 0, 0, 0, 0, extHopByHop}
	dst := []byte{0, 0, 1, 4, 0, 0, 0, 0, extDestination}
	atomic := []byte{0, 0, 0, 0, 0, 0, 0, 9, extFragment}
	later := []byte{0, 0, 0x05, 0xa8, 0, 0, 0, 9, extFragment}
	long := []byte{0, 200, 1, 4, 0, 0, 0, 0, extHopByHop}
	chain := slices.Repeat([][]byte{dst}, 100)
	return []sample{
		{"hop-by-hop", with(hop), true},
		{"hop-by-hop and destination", with(hop, dst), true},
		{"atomic fragment", with(atomic), true},
		{"later fragment v6", with(later), false},
		{"header longer than the packet", with(long), false},
		{"chain without end", with(chain...), false},
		{"extension and ack", func() []byte { f := with(hop); f[offNetwork+48+tcpFlagsOffset] = 0x10; return f }(), false},
		{"cut after the extension", with(hop)[:offNetwork+48], false},
	}
}

func contentVM(t testing.TB, g Guard) *bpf.VM {
	t.Helper()
	vm, err := bpf.NewVM(g.contentFilter())
	must(t, err)
	return vm
}

func filtered(t testing.TB, vm *bpf.VM, frame []byte) bool {
	t.Helper()
	n, err := vm.Run(frame)
	must(t, err)
	return n > 0
}

func TestDemandOfFrames(t *testing.T) {
	g := testGuard()
	vm := contentVM(t, g)
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			if _, got := g.demands(s.frame); got != s.demand {
				t.Errorf("demands: %v, want %v", got, s.demand)
			}
			passed := filtered(t, vm, s.frame)
			extension := strings.Contains("0 43 44 60", fmt.Sprint(s.frame[offNetwork+6])) && s.frame[offEtherType] == 0x86
			if passed != s.demand && !(passed && extension) {
				t.Errorf("the kernel's filter: %v, want %v", passed, s.demand)
			}
			for n := range len(s.frame) { // every truncation: no panic, and the filter never knows better
				if _, got := g.demands(s.frame[:n]); got && !filtered(t, vm, s.frame[:n]) {
					t.Fatalf("the first %d bytes are demand, and the filter drops them", n)
				}
			}
		})
	}
}

func TestSegmentEnds(t *testing.T) {
	ip := ip6(layers.IPProtocolTCP, "fd77::200")
	s, ok := testGuard().demands(build(t, ip, tcp(ip, 8080, "syn")))
	if want := netip.MustParseAddrPort("[fd77::100]:40000"); !ok || s.client != want {
		t.Errorf("client %v, want %v", s.client, want)
	}
	if want := netip.AddrPortFrom(guard6, 8080); s.dest != want {
		t.Errorf("destination %v, want %v", s.dest, want)
	}
}

// FuzzDemand: no bytes crash the parser (I10), and whatever it accepts passes the kernel's filter: a demand that the
// filter dropped would be lost in silence.
func FuzzDemand(f *testing.F) {
	for _, s := range samples(f) {
		f.Add(s.frame)
	}
	g := testGuard()
	vm := contentVM(f, g)
	f.Fuzz(func(t *testing.T, frame []byte) {
		if _, ok := g.demands(frame); ok && !filtered(t, vm, frame) {
			t.Fatalf("the filter drops a demand: %x", frame)
		}
	})
}
