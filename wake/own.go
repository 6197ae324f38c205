package wake

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Own gives frames to this host's own network stack, as if they had just come in: the way from its own card to its own macvlan is
// closed. It is safe for concurrent use.
type Own struct{ four, six int }

// OpenOwn opens two raw sockets that only send. It needs CAP_NET_RAW. Without IPv6 in this kernel there is one.
func OpenOwn() (*Own, error) {
	four, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("open a raw socket%s: %w", rightsHint(err), err)
	}
	six, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		six = -1
	}
	return &Own{four, six}, nil
}

// Send takes a frame to an address of this host. The packet in it goes by the loopback; the answer to it goes where the routes of that
// address lead.
func (o *Own) Send(frame []byte) error {
	s, ok := parseSegment(frame)
	if !ok {
		return errors.New("give a frame to this host: it has no TCP or UDP in it")
	}
	fd, to := o.four, rawAddress(s.dest.Addr())
	if binary.BigEndian.Uint16(frame[offEtherType:]) == etherIPv6 {
		fd = o.six
	}
	if err := unix.Sendto(fd, frame[offNetwork:s.end], 0, to); err != nil {
		return fmt.Errorf("give a frame to this host: %w", err)
	}
	return nil
}

func rawAddress(a netip.Addr) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Addr: a.As16()}
}

// Address is no hardware address: nothing of this is on a wire.
func (o *Own) Address() net.HardwareAddr { return make(net.HardwareAddr, 6) }

// Close closes the sockets.
func (o *Own) Close() error {
	err := unix.Close(o.four)
	if o.six >= 0 {
		err = errors.Join(err, unix.Close(o.six))
	}
	return err
}
