package idle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What sock_diag(7) is asked and answers: inet_diag_req_v2, inet_diag_msg and one of its attributes (linux/inet_diag.h).
const (
	diagByFamily   = 20
	diagRequest    = 56
	diagAnswer     = 72
	diagInfo       = 2 // INET_DIAG_INFO: a tcp_info
	atSourcePort   = 4
	atDestPort     = 6
	atSource       = 8
	atDestination  = 24
	atCookie       = 44
	destroyedInet  = 1 << 0 // SKNLGRP_INET_TCP_DESTROY, as a bit of a netlink address
	destroyedInet6 = 1 << 2 // SKNLGRP_INET6_TCP_DESTROY
)

// The states of connections that can carry something, or still owe it (net/tcp_states.h).
const connected = 1<<1 | 1<<4 | 1<<5 | 1<<8 | 1<<9 | 1<<11 // established, fin-wait-1 and -2, close-wait, last-ack, closing

// destroyedRoom is the room for what the kernel says of connections that ended between two looks, about 1 KiB for each.
const destroyedRoom = 4 << 20

// Sockets reads the TCP connections of this host with what they have carried. Between two looks it does nothing: the kernel keeps for it
// which connections have ended, so that the short ones are seen as well.
type Sockets struct{ ended int }

// OpenSockets begins to listen for the ends of connections in this network namespace. It needs CAP_NET_ADMIN.
func OpenSockets() (*Sockets, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return nil, fmt.Errorf("opening a sock_diag socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, destroyedRoom); err != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, destroyedRoom) // as much as this host allows
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: destroyedInet | destroyedInet6}); err != nil {
		return nil, errors.Join(fmt.Errorf("listening for the ends of connections (sock_diag, CAP_NET_ADMIN): %w", err), unix.Close(fd))
	}
	return &Sockets{ended: fd}, nil
}

// Close ends that.
func (s *Sockets) Close() error { return unix.Close(s.ended) }

// Conn is one TCP connection.
type Conn struct {
	Local, Remote  netip.AddrPort
	Cookie         uint64 // the kernel's name for the socket
	Received, Sent uint64 // bytes; what was sent counts when it was acknowledged
	Ended          bool
	Vague          bool          // what it carried is not known (Translated)
	Quiet          time.Duration // since something was received, or it began; 0 = just now, or not known
}

// Key is its name as a Flow.
func (c Conn) Key() string { return "tcp " + strconv.FormatUint(c.Cookie, 16) }

// Read lists the connections that there are, and those that have ended since the last Read. missed says that more have ended than there
// was room for.
func (s *Sockets) Read() (all []Conn, missed bool, err error) {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		req := nl.NewNetlinkRequest(diagByFamily, unix.NLM_F_DUMP)
		body := make([]byte, diagRequest)
		body[0], body[1], body[2] = family, unix.IPPROTO_TCP, 1<<(diagInfo-1)
		binary.NativeEndian.PutUint32(body[4:], connected)
		req.AddRawData(body)
		answers, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
		if err != nil {
			return nil, false, fmt.Errorf("asking the kernel for its connections (sock_diag, modules inet_diag and tcp_diag): %w", err)
		}
		for _, a := range answers {
			if c, ok := readConn(a); ok {
				all = append(all, c)
			}
		}
	}
	ended, missed, err := s.readEnded()
	return append(all, ended...), missed, err
}

func (s *Sockets) readEnded() (out []Conn, missed bool, err error) {
	buf := make([]byte, 32<<10)
	for {
		n, _, err := unix.Recvfrom(s.ended, buf, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return out, missed, nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS):
			missed = true
			continue
		case err != nil:
			return out, missed, fmt.Errorf("reading which connections have ended: %w", err)
		}
		messages, err := parseMessages(buf[:n])
		if err != nil {
			return out, missed, err
		}
		for _, m := range messages {
			if c, ok := readConn(m); ok {
				c.Ended = true
				out = append(out, c)
			}
		}
	}
}

// parseMessages gives the bodies of netlink messages.
func parseMessages(b []byte) (out [][]byte, err error) {
	for len(b) >= unix.NLMSG_HDRLEN {
		length := int(binary.NativeEndian.Uint32(b))
		if length < unix.NLMSG_HDRLEN || length > len(b) {
			return out, fmt.Errorf("the kernel's message of %d bytes is cut off", length)
		}
		out = append(out, b[unix.NLMSG_HDRLEN:length])
		b = b[min((length+3)&^3, len(b)):]
	}
	return out, nil
}

// Where the two counters are in a tcp_info; Linux has them since 4.2.
var (
	atAcked    = int(unsafe.Offsetof(unix.TCPInfo{}.Bytes_acked))
	atReceived = int(unsafe.Offsetof(unix.TCPInfo{}.Bytes_received))
	atQuiet    = int(unsafe.Offsetof(unix.TCPInfo{}.Last_data_recv))
)

func readConn(b []byte) (c Conn, ok bool) {
	if len(b) < diagAnswer {
		return c, false
	}
	addr := func(at int) netip.Addr {
		if b[0] == unix.AF_INET {
			return netip.AddrFrom4([4]byte(b[at:]))
		}
		return netip.AddrFrom16([16]byte(b[at:])).Unmap()
	}
	c.Local = netip.AddrPortFrom(addr(atSource), binary.BigEndian.Uint16(b[atSourcePort:]))
	c.Remote = netip.AddrPortFrom(addr(atDestination), binary.BigEndian.Uint16(b[atDestPort:]))
	if c.Remote.Port() == 0 {
		return c, false // it listened
	}
	c.Cookie = binary.NativeEndian.Uint64(b[atCookie:])
	attrs, err := nl.ParseRouteAttr(b[diagAnswer:])
	if err != nil {
		return c, false
	}
	for _, a := range attrs {
		if a.Attr.Type == diagInfo && len(a.Value) >= atReceived+8 {
			c.Sent = binary.NativeEndian.Uint64(a.Value[atAcked:])
			c.Quiet = time.Duration(binary.NativeEndian.Uint32(a.Value[atQuiet:])) * time.Millisecond
			c.Received = binary.NativeEndian.Uint64(a.Value[atReceived:])
			return c, true
		}
	}
	return c, false // a socket without a tcp_info carried nothing
}
