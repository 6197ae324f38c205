package wake

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
	"github.com/mdlayher/wol"
	"golang.org/x/sys/unix"
)

// WakePort is the UDP port of magic packets: discard. A sleeping card looks for the pattern anywhere in a frame, so the
// number matters only to what lies between, and to the cards that know but one: EchoPort is the other one in use.
const (
	WakePort = 9
	EchoPort = 7
)

// Caller sends magic packets by one interface. Its sockets are opened once, so that a call costs two system calls until
// the first frame has left. It is safe for concurrent use.
type Caller struct {
	name string

	mu     sync.Mutex // guards the fields below and keeps the packets of a call together
	out    *outlet    // nil after Close, or when reopening failed
	closed bool
}

// outlet is what is bound to one incarnation of the interface.
type outlet struct {
	ifi *net.Interface
	raw *packet.Conn
	udp net.PacketConn
	six net.PacketConn // nil where the host has no IPv6
}

// NewCaller opens the sockets on the interface with that name. It needs CAP_NET_RAW.
func NewCaller(iface string) (*Caller, error) {
	out, err := openOutlet(iface)
	if err != nil {
		return nil, err
	}
	return &Caller{name: iface, out: out}, nil
}

// Call sends a magic packet for each address in several forms, since each of them is dropped somewhere:
//
//   - for all of them as a raw broadcast frame of EtherType 0x0842, first: it passes hosts without IP;
//   - as UDP to 255.255.255.255 and to the broadcast address of each IPv4 subnet of the interface, ports 9 and 7: it passes equipment
//     that drops unknown EtherTypes. Broadcast, because a switch has forgotten a sleeper's port by then;
//   - as UDP to ff02::1, all nodes of the link, where the interface has an IPv6 address;
//   - as a raw frame to the address itself: it passes equipment that limits broadcasts, and floods what it does not know.
//
// password is the SecureOn password of 4 or 6 bytes, nil for none.
//
// An error lists what could not be sent; the rest has been sent all the same. An interface that was deleted and made
// again under the same name is found again.
func (c *Caller) Call(macs []net.HardwareAddr, password []byte) error {
	payloads := make([][]byte, 0, len(macs))
	for _, mac := range macs {
		p := wol.MagicPacket{Target: mac, Password: password}
		b, err := p.MarshalBinary()
		if err != nil {
			return fmt.Errorf("make a magic packet for %q with a password of %d bytes (0, 4 or 6 are possible): %w", mac, len(password), err)
		}
		payloads = append(payloads, b)
	}
	if len(payloads) == 0 {
		return errors.New("no magic packet was sent: no hardware address is known for the host")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return fmt.Errorf("send magic packets on %s: %w", c.name, net.ErrClosed)
	}
	if c.out != nil {
		err := c.out.send(macs, payloads)
		if !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ENXIO) {
			return err
		}
		c.out.close() // the interface is gone: perhaps there is a new one of that name
		c.out = nil
	}
	out, err := openOutlet(c.name)
	if err != nil {
		return err
	}
	c.out = out
	return out.send(macs, payloads)
}

// Close closes the sockets. A second Close does nothing.
func (c *Caller) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.out == nil {
		return nil
	}
	err := c.out.close()
	c.out = nil
	return err
}

func openOutlet(name string) (*outlet, error) {
	ifi, err := ethernetInterface(name)
	if err != nil {
		return nil, err
	}
	// Protocol 0: the socket receives nothing, so nothing piles up in it.
	raw, err := packet.Listen(ifi, packet.Raw, 0, nil)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket on %s for magic packets%s: %w", name, rightsHint(err), err)
	}
	// Bound to the device: a limited broadcast would otherwise follow the default route, or fail without one.
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		var err error
		if cerr := rc.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), name) }); cerr != nil {
			return cerr
		}
		return err
	}}
	udp, err := lc.ListenPacket(context.Background(), "udp4", ":0")
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("open a UDP socket on %s for magic packets%s: %w", name, rightsHint(err), err)
	}
	six, err := lc.ListenPacket(context.Background(), "udp6", ":0")
	if err != nil {
		six = nil // no IPv6 on this host
	}
	return &outlet{ifi: ifi, raw: raw, udp: udp, six: six}, nil
}

func (o *outlet) close() error {
	err := errors.Join(o.raw.Close(), o.udp.Close())
	if o.six != nil {
		err = errors.Join(err, o.six.Close())
	}
	return err
}

func (o *outlet) send(macs []net.HardwareAddr, payloads [][]byte) error {
	var errs []error
	broadcast := slices.Repeat([]net.HardwareAddr{ethernet.Broadcast}, len(payloads))
	raw := o.frames(broadcast, payloads)
	if raw != nil {
		errs = append(errs, raw)
	}
	to, err := o.broadcasts()
	if err != nil {
		errs = append(errs, err)
	}
	for _, addr := range to {
		if err := o.datagrams(o.udp, addr, payloads, WakePort, EchoPort); err != nil {
			errs = append(errs, fmt.Errorf("send a magic packet by UDP broadcast to %s on %s: %w", addr, o.ifi.Name, err))
		}
	}
	if o.six != nil {
		// An error says that the interface has no IPv6 address: there is nothing to do about it, and it is one way of several.
		_ = o.datagrams(o.six, netip.IPv6LinkLocalAllNodes().WithZone(o.ifi.Name), payloads, WakePort)
	}
	if raw == nil { // else the same would happen to these
		if err := o.frames(macs, payloads); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// frames sends each payload in a raw frame to its address.
func (o *outlet) frames(to []net.HardwareAddr, payloads [][]byte) error {
	for i, p := range payloads {
		f := ethernet.Frame{Destination: to[i], Source: o.ifi.HardwareAddr, EtherType: wol.EtherType, Payload: p}
		b, err := f.MarshalBinary()
		if err == nil {
			_, err = o.raw.WriteTo(b, &packet.Addr{HardwareAddr: to[i]})
		}
		if err != nil {
			return fmt.Errorf("send a raw magic packet on %s: %w", o.ifi.Name, err)
		}
	}
	return nil
}

// datagrams sends all payloads to each port of an address.
func (o *outlet) datagrams(by net.PacketConn, addr netip.Addr, payloads [][]byte, ports ...uint16) error {
	for _, port := range ports {
		for _, p := range payloads {
			if _, err := by.WriteTo(p, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port))); err != nil {
				return err
			}
		}
	}
	return nil
}

// broadcasts gives the addresses for the UDP form, none if the interface has no IPv4. They are read at each call, after
// the raw frames have left: addresses come and go.
func (o *outlet) broadcasts() ([]netip.Addr, error) {
	addrs, err := o.ifi.Addrs()
	if err != nil {
		return nil, fmt.Errorf("read the addresses of %s for the UDP form of the magic packet: %w", o.ifi.Name, err)
	}
	var prefixes []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			prefixes = append(prefixes, p)
		}
	}
	return subnetBroadcasts(prefixes), nil
}

// subnetBroadcasts gives 255.255.255.255 and the directed broadcast address of each prefix that has one. A /31 or a /32
// has none; two addresses in one subnet give one.
func subnetBroadcasts(prefixes []netip.Prefix) []netip.Addr {
	if len(prefixes) == 0 {
		return nil
	}
	all := []netip.Addr{netip.AddrFrom4([4]byte{255, 255, 255, 255})}
	seen := map[netip.Addr]bool{all[0]: true}
	for _, p := range prefixes {
		if !p.Addr().Is4() || p.Bits() > 30 {
			continue
		}
		b := p.Addr().As4()
		for bit := p.Bits(); bit < 32; bit++ {
			b[bit/8] |= 0x80 >> (bit % 8)
		}
		if a := netip.AddrFrom4(b); !seen[a] {
			seen[a] = true
			all = append(all, a)
		}
	}
	return all
}

// ethernetInterface finds an interface that carries Ethernet frames.
func ethernetInterface(name string) (*net.Interface, error) {
	ifi, err := linkNamed(name)
	if err != nil {
		return nil, err
	}
	if len(ifi.HardwareAddr) != 6 && ifi.Flags&net.FlagLoopback == 0 {
		return nil, fmt.Errorf("the network interface %q is no Ethernet interface (it has no 48-bit hardware address)", name)
	}
	return ifi, nil
}

// rightsHint says what is missing when the kernel refused for lack of rights.
func rightsHint(err error) string {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return " (it needs the capability CAP_NET_RAW)"
	}
	return ""
}
