package scenarios

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// raw writes frames to the card of a client.
type raw struct {
	w     *world
	from  *lab.Host
	sock  *os.File
	index int
	to    api.Service
}

func (w *world) raw(from *lab.Host, to api.Service) *raw {
	w.Helper()
	sock, err := from.Socket(w.limit(), unix.AF_PACKET, unix.SOCK_RAW, 0)
	w.must(err)
	w.Cleanup(func() { sock.Close() })
	req, err := unix.NewIfreq("eth0")
	w.must(err)
	w.must(unix.IoctlIfreq(int(sock.Fd()), unix.SIOCGIFINDEX, req))
	return &raw{w: w, from: from, sock: sock, index: int(req.Uint32()), to: to}
}

func (r *raw) send(dst net.HardwareAddr, kind layers.EthernetType, parts ...gopacket.SerializableLayer) {
	r.w.Helper()
	buf := gopacket.NewSerializeBuffer()
	all := append([]gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: r.from.MAC(), DstMAC: dst, EthernetType: kind}}, parts...)
	r.w.must(gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...))
	r.w.must(unix.Sendto(int(r.sock.Fd()), buf.Bytes(), 0, &unix.SockaddrLinklayer{Ifindex: r.index}))
}

func (r *raw) ip(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: r.from.Addr().AsSlice(), DstIP: r.to.Addresses[0].AsSlice()}
}

// tcp sends one segment with the flags that set puts in.
func (r *raw) tcp(port uint16, set func(*layers.TCP)) {
	r.w.Helper()
	ip := r.ip(layers.IPProtocolTCP)
	seg := &layers.TCP{SrcPort: 40000, DstPort: layers.TCPPort(port), Seq: 1, Window: 1000}
	set(seg)
	r.w.must(seg.SetNetworkLayerForChecksum(ip))
	r.send(net.HardwareAddr(r.to.MAC), layers.EthernetTypeIPv4, ip, seg)
}

func (r *raw) udp(port uint16) {
	r.w.Helper()
	ip := r.ip(layers.IPProtocolUDP)
	seg := &layers.UDP{SrcPort: 40000, DstPort: layers.UDPPort(port)}
	r.w.must(seg.SetNetworkLayerForChecksum(ip))
	r.send(net.HardwareAddr(r.to.MAC), layers.EthernetTypeIPv4, ip, seg, gopacket.Payload("is anybody there?"))
}

// noise sends everything that is no demand for "web".
func (r *raw) noise() {
	mac := net.HardwareAddr(r.to.MAC)
	for _, dst := range []net.HardwareAddr{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac} {
		r.send(dst, layers.EthernetTypeARP, &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: layers.ARPRequest, SourceHwAddress: r.from.MAC(), SourceProtAddress: r.from.Addr().AsSlice(),
			DstHwAddress: make([]byte, 6), DstProtAddress: r.to.Addresses[0].AsSlice(),
		})
	}
	r.send(mac, layers.EthernetTypeIPv4, r.ip(layers.IPProtocolICMPv4),
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 7, Seq: 1}, gopacket.Payload("ping"))
	r.tcp(lab.ServerPort, func(s *layers.TCP) { s.RST = true })
	r.tcp(lab.ServerPort, func(s *layers.TCP) { s.RST, s.ACK = true, true })
	r.tcp(lab.ServerPort, func(s *layers.TCP) { s.FIN, s.ACK = true, true })
	r.tcp(lab.ServerPort, func(s *layers.TCP) { s.ACK = true })
	r.tcp(lab.ServerPort, func(s *layers.TCP) { s.SYN, s.ACK = true, true })
	r.tcp(lab.ServerPort, func(s *layers.TCP) {}) // a null scan
	r.tcp(22, func(s *layers.TCP) { s.SYN = true })
	r.udp(lab.ServerPort) // not declared by web
	r.udp(53)
}

// Only a SYN to a guarded port wakes. The noise comes from one client and then the demand from another: the front hears
// frames in their order, so that a wake of the first client would be on record before that of the second.
func TestNoiseWakesNobody(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4, Clients: 2})
	_, s := w.settled(nil, 3)
	w.sleep("h4")
	before := time.Now()
	r := w.raw(w.lab.Client(2), s.Service)
	for range 5 {
		r.noise()
	}
	demand := time.Now()
	w.connect("c1", "h4")
	w.awaitServing("h4")
	if n := w.wire.magicBetween(before, demand); n != 0 {
		t.Errorf("noise drew %d magic packets", n)
	}
	h, err := w.api("h1").History(w.limit(), web)
	w.must(err)
	if len(h.Wakes) != 1 {
		t.Fatalf("the wakes are %+v, want one", h.Wakes)
	}
	client, err := netip.ParseAddrPort(h.Wakes[0].Client)
	if err != nil || client.Addr() != w.lab.Client(1).Addr() || h.Wakes[0].Port != "tcp/8080" {
		t.Errorf("the wake is of %s at %s (%v), want the demand of %s", h.Wakes[0].Client, h.Wakes[0].Port, err, w.lab.Client(1).Addr())
	}
}

// Where a service declares UDP, one datagram wakes; the datagram itself is lost, the client's next one is answered.
func TestADeclaredDatagramWakes(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4})
	w.settled(nil, 3)
	dns := api.Service{
		Name: "dns", Addresses: []netip.Addr{netip.MustParseAddr("10.77.0.201")}, Ports: []api.Port{{Protocol: "udp", Number: lab.ServerPort}},
		Targets: []string{"h4"}, Hold: "drop",
	}
	_, err := w.api("h2").Apply(w.limit(), []api.Service{dns})
	w.must(err)
	_, s := w.awaitHolder("dns", "serving")
	w.wire.follow(s.Service)
	w.sleep("h4")
	front, _ := w.awaitHolder("dns", "holding")
	// TCP is not declared here: a SYN is swallowed and wakes nobody; the datagram after it does.
	r := w.raw(w.lab.Client(1), s.Service)
	r.tcp(lab.ServerPort, func(s *layers.TCP) { s.SYN = true })
	c, err := w.lab.Client(1).Dial(w.limit(), "udp", netip.AddrPortFrom(dns.Addresses[0], lab.ServerPort))
	w.must(err)
	defer c.Close()
	var answer string
	number := uint64(0)
	w.await("an answer over UDP", func() string {
		number++
		_, err := c.Write(binary.BigEndian.AppendUint64(nil, number))
		w.must(err)
		w.must(c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)))
		buf := make([]byte, 100)
		n, err := c.Read(buf)
		if err != nil {
			return err.Error()
		}
		answer = string(buf[:n])
		return ""
	})
	if answer[:3] != "h4 " {
		t.Errorf("the answer is %q, want one of h4", answer)
	}
	w.awaitServing("h4")
	w.await("the wake is on record", func() string {
		h, err := w.api("h1").History(w.limit(), "dns")
		w.must(err)
		if len(h.Wakes) == 1 && h.Wakes[0].Port == "udp/8080" && h.Wakes[0].By == front {
			return ""
		}
		return fmt.Sprintf("front %s, wakes %+v", front, h.Wakes)
	})
}
