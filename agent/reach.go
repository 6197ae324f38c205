package agent

import (
	"net"
	"net/netip"

	"nightporter/wake"
)

// Reach is this host's way to clients and to the sockets that they want: what replays need.
type Reach interface {
	// Wire sends frames by an interface.
	Wire(link string) (Wire, error)
	// Own gives frames to this host's own stack.
	Own() (Wire, error)
	// Watch begins to look for announcements of addresses that come in by an interface.
	Watch(link string, addrs []netip.Addr) (Sight, error)
	// Listening gives those of the endpoints, on an interface of this host, that a program serves.
	Listening(link string, tcp, udp []netip.AddrPort) (listens, bound []netip.AddrPort, err error)
	// Established gives the TCP connections to addresses of this host.
	Established(addrs []netip.Addr) ([]wake.Flow, error)
	// Unanswered gives those of them on which a client waits for this host.
	Unanswered(addrs []netip.Addr) ([]wake.Owed, error)
}

// Wire sends frames as they are.
type Wire interface {
	Send(frame []byte) error
	Address() net.HardwareAddr
	Close() error
}

// Sight tells where the newest announcement came from since it was made, or since Again; nil = there was none.
type Sight interface {
	Seen() net.HardwareAddr
	Again()
	Close() error
}

// systemReach is the kernel's.
type systemReach struct{}

func (systemReach) Wire(link string) (Wire, error) {
	w, err := wake.OpenWire(link)
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (systemReach) Own() (Wire, error) {
	o, err := wake.OpenOwn()
	if err != nil {
		return nil, err
	}
	return o, nil
}

func (systemReach) Watch(link string, addrs []netip.Addr) (Sight, error) {
	s, err := wake.Watch(link, addrs)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (systemReach) Listening(link string, tcp, udp []netip.AddrPort) (listens, bound []netip.AddrPort, err error) {
	return wake.Listening(link, tcp, udp)
}

func (systemReach) Established(addrs []netip.Addr) ([]wake.Flow, error) {
	return wake.Established(addrs)
}

func (systemReach) Unanswered(addrs []netip.Addr) ([]wake.Owed, error) {
	return wake.Unanswered(addrs)
}
