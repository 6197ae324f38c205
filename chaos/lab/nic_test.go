package lab_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"

	"nightporter/chaos/lab"
)

var card = net.HardwareAddr{0x02, 0x4e, 0x50, 0, 0, 4}

// ethernet puts a frame together byte by byte, so that lengths can lie.
func ethernet(dst net.HardwareAddr, kind uint16, payload []byte) []byte {
	f := append(bytes.Clone(dst), 2, 0, 0, 0, 0, 9)
	return append(binary.BigEndian.AppendUint16(f, kind), payload...)
}

func ipv4(protocol byte, fragment uint16, options int, payload []byte) []byte {
	h := make([]byte, 20+options)
	h[0], h[9] = 0x40|byte(len(h)/4), protocol
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(payload)))
	binary.BigEndian.PutUint16(h[6:], fragment)
	return append(h, payload...)
}

func ipv6(next byte, payload []byte) []byte {
	h := make([]byte, 40)
	h[0], h[6] = 0x60, next
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	return append(h, payload...)
}

func udp(payload []byte) []byte {
	h := []byte{0x10, 0, 0, 9, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(h[4:], uint16(8+len(payload)))
	return append(h, payload...)
}

func TestMagicPacket(t *testing.T) {
	good := stream(card)
	oneOff := func(i int) []byte { b := stream(card); b[i]++; return b }
	lying := udp(good)
	binary.BigEndian.PutUint16(lying[4:], 20) // the datagram ends before the stream
	for _, c := range []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"0x0842 to all", ethernet(broadcast, 0x0842, good), true},
		{"0x0842 to the card", ethernet(card, 0x0842, good), true},
		{"0x0842 in the middle", ethernet(card, 0x0842, append([]byte{0xff, 0xff, 0}, append(good, 1, 2, 3, 4, 5, 6)...)), true},
		{"after a longer run of ff", ethernet(card, 0x0842, append([]byte{0xff, 0xff}, good...)), true},
		{"UDP", ethernet(broadcast, 0x0800, ipv4(17, 0, 0, udp(good))), true},
		{"UDP, don't fragment, IP options", ethernet(broadcast, 0x0800, ipv4(17, 0x4000, 8, udp(good))), true},
		{"UDP and padding", ethernet(broadcast, 0x0800, append(ipv4(17, 0, 0, udp(good)), 0, 0)), true},
		{"UDP over IPv6", ethernet(card, 0x86dd, ipv6(17, udp(good))), true},

		{"nothing", nil, false},
		{"first byte wrong", ethernet(card, 0x0842, oneOff(0)), false},
		{"first address wrong", ethernet(card, 0x0842, oneOff(6)), false},
		{"last byte wrong", ethernet(card, 0x0842, oneOff(101)), false},
		{"15 times", ethernet(card, 0x0842, good[:96]), false},
		{"one byte short", ethernet(card, 0x0842, good[:101]), false},
		{"another card's", ethernet(broadcast, 0x0842, stream(net.HardwareAddr{0x02, 0x4e, 0x50, 0, 0, 5})), false},
		{"to another card", ethernet(net.HardwareAddr{0x02, 0x4e, 0x50, 0, 0, 5}, 0x0842, good), false},
		{"to a group", ethernet(net.HardwareAddr{1, 0, 0x5e, 0, 0, 1}, 0x0842, good), false},
		{"another EtherType", ethernet(card, 0x0843, good), false},
		{"ARP", ethernet(broadcast, 0x0806, good), false},
		{"TCP", ethernet(card, 0x0800, ipv4(6, 0, 0, append(make([]byte, 20), good...))), false},
		{"ICMP", ethernet(card, 0x0800, ipv4(1, 0, 0, append(make([]byte, 8), good...))), false},
		{"a fragment", ethernet(card, 0x0800, ipv4(17, 3, 0, udp(good))), false},
		{"a first fragment", ethernet(card, 0x0800, ipv4(17, 0x2000, 0, udp(good))), false},
		{"behind the datagram's end", ethernet(card, 0x0800, ipv4(17, 0, 0, lying)), false},
		{"in the padding", ethernet(card, 0x0800, append(ipv4(17, 0, 0, udp(nil)), good...)), false},
		{"TCP over IPv6", ethernet(card, 0x86dd, ipv6(6, append(make([]byte, 20), good...))), false},
	} {
		if kind, got := lab.MagicPacket(c.frame, card); got != c.want {
			t.Errorf("%s: %v (%q), want %v", c.name, got, kind, c.want)
		}
	}
}

// Whatever wakes the card has the whole stream in it, and nothing makes the reader fail.
func FuzzMagicPacket(f *testing.F) {
	f.Add(ethernet(broadcast, 0x0842, stream(card)))
	f.Add(ethernet(card, 0x0800, ipv4(17, 0, 4, udp(stream(card)))))
	f.Add(ethernet(card, 0x86dd, ipv6(17, udp(stream(card)))))
	f.Fuzz(func(t *testing.T, frame []byte) {
		if _, ok := lab.MagicPacket(frame, card); ok && !bytes.Contains(frame, stream(card)) {
			t.Errorf("woken by %x", frame)
		}
	})
}
