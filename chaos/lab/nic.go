package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Card is how the wake logic of a host's network card is set up.
type Card struct {
	// Password is the SecureOn password, 6 bytes: the card wakes on magic packets that carry it, and on no others. nil = on all.
	Password net.HardwareAddr `json:"password,omitempty"`
	Deaf     bool             `json:"deaf,omitempty"` // it wakes on nothing, as one that was not armed
}

// nic is the stand-in for the wake logic of a network card: it reads every frame that reaches the card and knows nothing
// but the card's address and password. It is there while the host sleeps.
type nic struct {
	mac    net.HardwareAddr
	card   Card
	passed func() // told of each magic packet for this card that does not wake it
	socket *os.File
	done   chan struct{}
}

// armNIC begins to look for a magic packet and calls woken at most once, from its own goroutine.
func armNIC(s *space, mac net.HardwareAddr, card Card, passed func(), woken func(by string)) (*nic, error) {
	n := &nic{mac: mac, card: card, passed: passed, done: make(chan struct{})}
	err := s.do(func() (err error) {
		n.socket, err = tap(hostIface)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("arm the wake logic of %s: %w", s.name, err)
	}
	go n.listen(woken)
	return n, nil
}

// tap opens a packet socket that sees every frame of the interface.
func tap(iface string) (*os.File, error) {
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", iface, err)
	}
	// Protocol 0 receives nothing until bind names the interface: no frame of another one comes in between.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: i.Index}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind a packet socket to %s: %w", iface, err)
	}
	return os.NewFile(uintptr(fd), "packet socket on "+iface), nil
}

func htons(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

func (n *nic) listen(woken func(by string)) {
	defer close(n.done)
	raw, err := n.socket.SyscallConn()
	if err != nil {
		return // closed
	}
	frame := make([]byte, 64<<10)
	for {
		var size int
		var from unix.Sockaddr
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			size, from, failed = unix.Recvfrom(int(fd), frame, 0)
			return !errors.Is(failed, unix.EAGAIN)
		})
		if err != nil {
			return // closed
		}
		if failed != nil {
			continue // the card's link went down; there is nothing to see then
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		by, ok := MagicPacket(frame[:size], n.mac)
		if ok && (n.card.Deaf || !carries(frame[:size], n.mac, n.card.Password)) {
			n.passed()
			continue
		}
		if ok {
			woken(by)
			return
		}
	}
}

// close disarms the card. It must not be called from woken.
func (n *nic) close() {
	n.socket.Close() // ends listen; a socket that is only read has nothing to lose
	<-n.done
}

// etherTypeWoL is the EtherType of magic packets that are not inside IP.
const etherTypeWoL = 0x0842

// MagicPacket tells whether a frame wakes a card with the address mac, and names the kind: sent to mac or to everybody,
// and with the synchronization stream (6 times ff, 16 times mac) somewhere in a frame of EtherType 0x0842 or in a UDP
// datagram. A real card looks at even less; see AMD publication 20213, "Magic Packet Technology".
func MagicPacket(frame []byte, mac net.HardwareAddr) (kind string, ok bool) {
	if len(frame) < 14 || len(mac) != 6 {
		return "", false
	}
	broadcast := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if to := frame[:6]; !bytes.Equal(to, mac) && !bytes.Equal(to, broadcast) {
		return "", false
	}
	payload := frame[14:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherTypeWoL:
		kind = "magic packet (0x0842)"
	case unix.ETH_P_IP:
		kind, payload = "magic packet (UDP)", udpOverIPv4(payload)
	case unix.ETH_P_IPV6:
		kind, payload = "magic packet (UDP)", udpOverIPv6(payload)
	default:
		return "", false
	}
	stream := append(broadcast, bytes.Repeat(mac, 16)...)
	if !bytes.Contains(payload, stream) {
		return "", false
	}
	return kind + " from " + net.HardwareAddr(frame[6:12]).String(), true
}

// carries says whether the password follows the synchronization stream of a magic packet, as SecureOn has it.
func carries(frame []byte, mac net.HardwareAddr, password []byte) bool {
	stream := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, bytes.Repeat(mac, 16)...)
	return bytes.Contains(frame, append(stream, password...))
}

// udpOverIPv4 gives the datagram inside an unfragmented IPv4 packet, or nothing.
func udpOverIPv4(p []byte) []byte {
	if len(p) < 20 || p[0]>>4 != 4 || p[9] != unix.IPPROTO_UDP || binary.BigEndian.Uint16(p[6:])&0x3fff != 0 {
		return nil
	}
	header, total := int(p[0]&0xf)*4, int(binary.BigEndian.Uint16(p[2:]))
	if header < 20 || total > len(p) || total < header {
		return nil
	}
	return udpPayload(p[header:total])
}

// udpOverIPv6 gives the datagram directly inside an IPv6 packet, or nothing.
func udpOverIPv6(p []byte) []byte {
	if len(p) < 40 || p[0]>>4 != 6 || p[6] != unix.IPPROTO_UDP {
		return nil
	}
	length := int(binary.BigEndian.Uint16(p[4:]))
	if 40+length > len(p) {
		return nil
	}
	return udpPayload(p[40 : 40+length])
}

func udpPayload(d []byte) []byte {
	if len(d) < 8 {
		return nil
	}
	length := int(binary.BigEndian.Uint16(d[4:]))
	if length < 8 || length > len(d) {
		return nil
	}
	return d[8:length]
}
