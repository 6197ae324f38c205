package wake

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"unsafe"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What sock_diag(7) is asked and answers: inet_diag_req_v2, inet_diag_msg and two of its attributes (linux/inet_diag.h).
const (
	diagByFamily  = 20
	diagRequest   = 56
	diagAnswer    = 72
	diagInfo      = 2  // INET_DIAG_INFO: a tcp_info
	diagOnlyIPv6  = 11 // INET_DIAG_SKV6ONLY: one byte
	atSourcePort  = 4
	atDestPort    = 6
	atSource      = 8
	atDestination = 24
	atInterface   = 40
	atState       = 1
	atRepeated    = 3
	atUnread      = 56
)

// The states of sockets (net/tcp_states.h). A UDP socket that is bound and not connected is closed.
const (
	stateEstablished = 1
	stateSynReceived = 3
	stateFinWait1    = 4
	stateFinWait2    = 5
	stateClosed      = 7
	stateCloseWait   = 8
	stateLastAck     = 9
	stateListen      = 10
	stateClosing     = 11
)

// socket is one of this network namespace.
type socket struct {
	local, remote netip.AddrPort
	any6          bool // bound to [::], for both families
	device        int  // that it is bound to; 0 = none
	state         uint8
	repeated      uint8  // how often what was sent last was sent again
	unread        uint32 // bytes that came and that the program has not read
	info          []byte
}

// dump lists the sockets of one family and protocol that are in one of the states.
func dump(family, protocol uint8, ext uint8, states ...int) ([]socket, error) {
	req := nl.NewNetlinkRequest(diagByFamily, unix.NLM_F_DUMP)
	body := make([]byte, diagRequest)
	body[0], body[1], body[2] = family, protocol, ext
	mask := uint32(0)
	for _, s := range states {
		mask |= 1 << s
	}
	binary.NativeEndian.PutUint32(body[4:], mask)
	req.AddRawData(body)
	answers, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
	if err != nil {
		return nil, fmt.Errorf("asking the kernel for its sockets (sock_diag, modules inet_diag, tcp_diag and udp_diag): %w", err)
	}
	out := make([]socket, 0, len(answers))
	for _, a := range answers {
		if s, ok := readSocket(a); ok {
			out = append(out, s)
		}
	}
	return out, nil
}

func readSocket(b []byte) (s socket, ok bool) {
	if len(b) < diagAnswer {
		return s, false
	}
	addr := func(at int) netip.Addr {
		if b[0] == unix.AF_INET {
			return netip.AddrFrom4([4]byte(b[at:]))
		}
		return netip.AddrFrom16([16]byte(b[at:])).Unmap()
	}
	s.local = netip.AddrPortFrom(addr(atSource), binary.BigEndian.Uint16(b[atSourcePort:]))
	s.remote = netip.AddrPortFrom(addr(atDestination), binary.BigEndian.Uint16(b[atDestPort:]))
	s.device = int(binary.NativeEndian.Uint32(b[atInterface:]))
	s.state, s.repeated, s.unread = b[atState], b[atRepeated], binary.NativeEndian.Uint32(b[atUnread:])
	s.any6 = b[0] == unix.AF_INET6 && s.local.Addr().IsUnspecified() && s.local.Addr().Is6()
	attrs, err := nl.ParseRouteAttr(b[diagAnswer:])
	if err != nil {
		return s, false
	}
	for _, a := range attrs {
		switch a.Attr.Type {
		case diagInfo:
			s.info = a.Value
		case diagOnlyIPv6:
			s.any6 = s.any6 && len(a.Value) > 0 && a.Value[0] == 0
		}
	}
	return s, true
}

// takes says whether a bound socket gets what comes for an endpoint by a link.
func (s socket) takes(to netip.AddrPort, link int) bool {
	if s.local.Port() != to.Port() || s.device != 0 && s.device != link {
		return false
	}
	a := s.local.Addr()
	return a == to.Addr() || s.any6 || a.IsUnspecified() && a.Is4() == to.Addr().Is4()
}

// Listening gives those of the endpoints that a program on this host serves: a TCP socket listens there, on the address or on all,
// or a UDP socket is bound. link is the interface that has the addresses: a socket that is bound to another one does not count.
func Listening(link string, tcp, udp []netip.AddrPort) (listens, bound []netip.AddrPort, err error) {
	index := 0
	if ifi, ierr := linkNamed(link); ierr == nil {
		index = ifi.Index
	}
	if listens, err = served(unix.IPPROTO_TCP, stateListen, index, tcp); err == nil {
		bound, err = served(unix.IPPROTO_UDP, stateClosed, index, udp)
	}
	return listens, bound, err
}

func served(protocol uint8, state, link int, want []netip.AddrPort) ([]netip.AddrPort, error) {
	if len(want) == 0 {
		return nil, nil
	}
	var have []socket
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} { // a socket of IPv6 may take IPv4 as well
		some, err := dump(family, protocol, 0, state)
		if err != nil {
			return nil, err
		}
		have = append(have, some...)
	}
	var out []netip.AddrPort
	for _, w := range want {
		if slices.ContainsFunc(have, func(s socket) bool { return s.takes(w, link) }) {
			out = append(out, w)
		}
	}
	return out, nil
}

// Established gives the TCP connections to one of the addresses. Where this kernel lets no BPF
// program look at sockets, nobody knows what they expect (Flow.Known).
func Established(addrs []netip.Addr) ([]Flow, error) {
	var out []Flow
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		all, err := dump(family, unix.IPPROTO_TCP, 1<<(diagInfo-1), stateEstablished, stateFinWait1, stateFinWait2, stateCloseWait)
		if err != nil {
			return nil, err
		}
		for _, s := range all {
			if slices.Contains(addrs, s.local.Addr()) && len(out) < ParkedMost {
				out = append(out, Flow{Client: s.remote, Dest: s.local, Window: window(s.info)})
			}
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	expected(out)
	return out, nil
}

// window is what a connection's segments announce, in its own scale.
func window(info []byte) uint16 {
	const scale = 6 // the two scales, four bits each: the one for what this side announces is the second in the byte
	room := int(unsafe.Offsetof(unix.TCPInfo{}.Rcv_wnd))
	if len(info) < room+4 {
		return usualWindow // Linux before 6.2
	}
	return uint16(min(binary.NativeEndian.Uint32(info[room:])>>(info[scale]>>4), 0xffff))
}

// usualWindow is 64 KiB at the scale that most connections have.
const usualWindow = 512
