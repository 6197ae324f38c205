package wake

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
	"github.com/mdlayher/wol"
	"golang.org/x/sys/unix"
)

// WakePort is the UDP port of magic packets: discard. A sleeping card looks for the pattern anywhere in a frame, so the
// number matters only to what lies between.
const WakePort = 9

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
}

// NewCaller opens the sockets on the interface with that name. It needs CAP_NET_RAW.
func NewCaller(iface string) (*Caller, error) {
	out, err := openOutlet(iface)
	if err != nil {
		return nil, err
	}
	return &Caller{name: iface, out: out}, nil
}

// Call sends one magic packet for each address, in two forms: first for all of them as a raw broadcast frame of EtherType
// 0x0842, then as UDP broadcast to 255.255.255.255 and to the broadcast address of each IPv4 subnet of the interface. (The
// raw form passes hosts without IPv4, the UDP form passes equipment that drops unknown EtherTypes.) Broadcast, because
// a switch has forgotten a sleeper's port by then. password is the SecureOn password of 4 or 6 bytes, nil for none.
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
		err := c.out.send(payloads)
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
	return out.send(payloads)
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
	return &outlet{ifi: ifi, raw: raw, udp: udp}, nil
}

func (o *outlet) close() error { return errors.Join(o.raw.Close(), o.udp.Close()) }

func (o *outlet) send(payloads [][]byte) error {
	var errs []error
	for _, p := range payloads {
		f := ethernet.Frame{Destination: ethernet.Broadcast, Source: o.ifi.HardwareAddr, EtherType: wol.EtherType, Payload: p}
		b, err := f.MarshalBinary()
		if err == nil {
			_, err = o.raw.WriteTo(b, &packet.Addr{HardwareAddr: ethernet.Broadcast})
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("send a raw magic packet on %s: %w", o.ifi.Name, err))
			break // the same would happen to the others
		}
	}
	to, err := o.broadcasts()
	if err != nil {
		errs = append(errs, err)
	}
	for _, addr := range to {
		for _, p := range payloads {
			if _, err := o.udp.WriteTo(p, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, WakePort))); err != nil {
				errs = append(errs, fmt.Errorf("send a magic packet by UDP broadcast to %s on %s: %w", addr, o.ifi.Name, err))
				break
			}
		}
	}
	return errors.Join(errs...)
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
