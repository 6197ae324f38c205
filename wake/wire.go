package wake

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

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

// Sight sees announcements of addresses: the switches between here and who made one know by then where he is.
type Sight struct {
	fd   int
	from net.HardwareAddr
}

// Watch begins to look for announcements of any of the addresses, by ARP or as neighbour advertisements, that come to this host by the
// interface. It needs CAP_NET_RAW.
func Watch(iface string, addrs []netip.Addr) (*Sight, error) {
	ifi, err := ethernetInterface(iface)
	if err != nil {
		return nil, err
	}
	filter, err := bpf.Assemble(sightFilter(addrs))
	if err != nil {
		return nil, fmt.Errorf("assemble the filter for announcements of %v: %w", addrs, err)
	}
	fd, err := openFiltered(ifi.Index, filter)
	if err != nil {
		return nil, fmt.Errorf("watch for announcements on %s%s: %w", iface, rightsHint(err), err)
	}
	return &Sight{fd: fd}, nil
}

// Where announcements have their words (RFC 826, 4861, with the Ethernet header).
const (
	etherARP       = 0x0806
	offARPSender   = offNetwork + 14
	offICMPType    = offNetwork + 40
	offNDTarget    = offNetwork + 48
	protoICMPv6    = 58
	advertisement6 = 136
)

// sightFilter passes the Ethernet header of an announcement that does not leave this host.
func sightFilter(addrs []netip.Addr) []bpf.Instruction {
	p := &program{jumps: map[int]label{}, at: map[label]int{}}
	p.add(bpf.LoadExtension{Num: bpf.ExtType})
	p.when(bpf.JumpEqual, unix.PACKET_OUTGOING, reject)
	p.add(bpf.LoadAbsolute{Off: offEtherType, Size: 2})
	p.when(bpf.JumpEqual, etherARP, ipv4)
	p.unless(bpf.JumpEqual, etherIPv6, reject)
	p.add(bpf.LoadAbsolute{Off: offNetwork + 6, Size: 1})
	p.unless(bpf.JumpEqual, protoICMPv6, reject)
	p.add(bpf.LoadAbsolute{Off: offICMPType, Size: 1})
	p.unless(bpf.JumpEqual, advertisement6, reject)
	for _, a := range addrs {
		if a.Is4() {
			continue
		}
		b := a.As16()
		for word := range 4 { // one that differs leads past the rest of this address
			p.add(bpf.LoadAbsolute{Off: offNDTarget + uint32(word)*4, Size: 4})
			p.add(bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(b[word*4:]), SkipFalse: uint8((3-word)*2 + 1)})
		}
		p.jump(accept)
	}
	p.jump(reject)
	p.place(ipv4)
	p.add(bpf.LoadAbsolute{Off: offARPSender, Size: 4})
	for _, a := range addrs {
		if a.Is4() {
			b := a.As4()
			p.when(bpf.JumpEqual, binary.BigEndian.Uint32(b[:]), accept)
		}
	}
	p.jump(reject)
	p.place(reject)
	p.add(bpf.RetConstant{Val: 0})
	p.place(accept)
	p.add(bpf.RetConstant{Val: offNetwork})
	return p.resolve()
}

// Seen gives the hardware address that the newest announcement since Watch, or since Again, came from; nil: there was none.
func (s *Sight) Seen() net.HardwareAddr {
	for buf := make([]byte, offNetwork); ; {
		n, _, err := unix.Recvfrom(s.fd, buf, 0)
		if err != nil {
			return s.from // EAGAIN, or the interface is down
		}
		if n == offNetwork {
			s.from = net.HardwareAddr(bytes.Clone(buf[6:12]))
		}
	}
}

// Again forgets what was seen.
func (s *Sight) Again() {
	s.Seen()
	s.from = nil
}

// Close closes the socket. The kernel takes 6 to 16 ms for that.
func (s *Sight) Close() error { return unix.Close(s.fd) }
