package wake

import (
	"fmt"
	"net"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Wire puts frames on one interface as they are. It is safe for concurrent use.
type Wire struct {
	fd    int
	index int
	MAC   net.HardwareAddr // of the interface
}

// OpenWire opens a packet socket that only sends. It needs CAP_NET_RAW. What is sent by the macvlan of an identity passes its fence.
func OpenWire(iface string) (*Wire, error) {
	ifi, err := ethernetInterface(iface)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0) // protocol 0 receives nothing
	if err != nil {
		return nil, fmt.Errorf("open a packet socket for %s%s: %w", iface, rightsHint(err), err)
	}
	return &Wire{fd: fd, index: ifi.Index, MAC: ifi.HardwareAddr}, nil
}

// Send sends one frame.
func (w *Wire) Send(frame []byte) error {
	to := unix.SockaddrLinklayer{Ifindex: w.index, Halen: 6}
	copy(to.Addr[:], frame)
	if err := unix.Sendto(w.fd, frame, 0, &to); err != nil {
		return fmt.Errorf("send a frame: %w", err)
	}
	return nil
}

// Address is the interface's hardware address.
func (w *Wire) Address() net.HardwareAddr { return w.MAC }

// Close closes the socket.
func (w *Wire) Close() error { return unix.Close(w.fd) }

// Sight tells, once, that a frame with a source address was seen on an interface: the switches between here and its sender know by
// then where that address is.
type Sight struct {
	fd   int
	seen bool
}

// Watch begins to look for frames from a MAC that come to this host by the interface. It needs CAP_NET_RAW.
func Watch(iface string, mac net.HardwareAddr) (*Sight, error) {
	ifi, err := ethernetInterface(iface)
	if err != nil {
		return nil, err
	}
	filter, err := bpf.Assemble(sightFilter(mac))
	if err != nil {
		return nil, fmt.Errorf("assemble the filter for frames of %s: %w", mac, err)
	}
	fd, err := openFiltered(ifi.Index, filter)
	if err != nil {
		return nil, fmt.Errorf("watch for %s on %s%s: %w", mac, iface, rightsHint(err), err)
	}
	return &Sight{fd: fd}, nil
}

// sightFilter passes a few bytes of what has the source address and does not leave this host.
func sightFilter(mac net.HardwareAddr) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OUTGOING, SkipFalse: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: 6, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(mac[0])<<24 | uint32(mac[1])<<16 | uint32(mac[2])<<8 | uint32(mac[3]), SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: 10, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(mac[4])<<8 | uint32(mac[5]), SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: offNetwork},
	}
}

// Seen says whether there was such a frame since Watch, or since Again.
func (s *Sight) Seen() bool {
	for buf := make([]byte, offNetwork); ; {
		if _, _, err := unix.Recvfrom(s.fd, buf, 0); err != nil {
			return s.seen // EAGAIN, or the interface is down
		}
		s.seen = true
	}
}

// Again forgets what was seen.
func (s *Sight) Again() {
	s.Seen()
	s.seen = false
}

// Close closes the socket. The kernel takes 6 to 16 ms for that.
func (s *Sight) Close() error { return unix.Close(s.fd) }
