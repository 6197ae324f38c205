package lab_test

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"nightporter/chaos/lab"
)

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// sender writes raw frames to the card of a host.
type sender struct {
	t     *testing.T
	from  *lab.Host
	sock  *os.File
	index int
}

func newSender(t *testing.T, from *lab.Host) *sender {
	t.Helper()
	ctx := limit(t)
	sock, err := from.Socket(ctx, unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sock.Close() })
	req, err := unix.NewIfreq("eth0")
	if err == nil {
		err = unix.IoctlIfreq(int(sock.Fd()), unix.SIOCGIFINDEX, req)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &sender{t: t, from: from, sock: sock, index: int(req.Uint32())}
}

func (s *sender) send(frame []byte) {
	s.t.Helper()
	if err := unix.Sendto(int(s.sock.Fd()), frame, 0, &unix.SockaddrLinklayer{Ifindex: s.index}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sender) build(parts ...gopacket.SerializableLayer) []byte {
	s.t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...); err != nil {
		s.t.Fatal(err)
	}
	return buf.Bytes()
}

// arp asks for the host's address.
func (s *sender) arp(to *lab.Host) []byte {
	return s.build(&layers.Ethernet{SrcMAC: s.from.MAC(), DstMAC: broadcast, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: layers.ARPRequest, SourceHwAddress: s.from.MAC(), SourceProtAddress: s.from.Addr().AsSlice(),
			DstHwAddress: make([]byte, 6), DstProtAddress: to.Addr().AsSlice(),
		})
}

// ping is an ICMP echo request for the host.
func (s *sender) ping(to *lab.Host) []byte {
	return s.build(&layers.Ethernet{SrcMAC: s.from.MAC(), DstMAC: to.MAC(), EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: s.from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 7, Seq: 1},
		gopacket.Payload("are you awake?"))
}

// stream is the synchronization stream of a magic packet.
func stream(mac net.HardwareAddr) []byte {
	return append(bytes.Clone(broadcast), bytes.Repeat(mac, 16)...)
}

// raw is a frame of EtherType 0x0842.
func (s *sender) raw(src, dst net.HardwareAddr, payload []byte) []byte {
	return s.build(&layers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: 0x0842}, gopacket.Payload(payload))
}

// udp is a datagram to the discard port.
func (s *sender) udp(src, dst net.HardwareAddr, to netip.Addr, payload []byte) []byte {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: s.from.Addr().AsSlice(), DstIP: to.AsSlice()}
	udp := &layers.UDP{SrcPort: 4000, DstPort: 9}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		s.t.Fatal(err)
	}
	return s.build(&layers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: layers.EthernetTypeIPv4}, ip, udp, gopacket.Payload(payload))
}

// watch reads a capture until want says stop and gives everything it saw from the given port.
func watch(ctx context.Context, t *testing.T, c *lab.Capture, port string, want func(lab.Frame) bool) []lab.Frame {
	t.Helper()
	var from []lab.Frame
	for {
		select {
		case f, ok := <-c.Frames():
			if !ok {
				t.Fatal("the capture ended")
			}
			if f.Port == port && !f.ToHost {
				from = append(from, f)
			}
			if want(f) {
				return from
			}
		case <-ctx.Done():
			t.Fatalf("the frame that was waited for did not come; from %s came %d frames", port, len(from))
		}
	}
}

// answers tells whether a frame is the answer of a host to the arp or ping of the sender.
func (s *sender) answers(f lab.Frame, to *lab.Host, kind uint16) bool {
	return f.Port == s.from.Name() && f.ToHost && f.EtherType() == kind &&
		bytes.Equal(f.Src(), to.MAC()) && bytes.Equal(f.Dst(), s.from.MAC())
}
