package identity

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// asker sends requests that the library has no words for, on a socket of its own.
type asker struct{ sockets map[int]*nl.SocketHandle }

func newAsker() (*asker, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE) // to nothing
	if err != nil {
		return nil, fmt.Errorf("opening rtnetlink: %w", err)
	}
	return &asker{map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}}, nil
}

func (a *asker) close() {
	for _, s := range a.sockets {
		s.Close()
	}
}

func (a *asker) request(kind, flags int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(kind, flags)
	req.Sockets = a.sockets
	return req
}

// deprecated gives a link an IPv6 address that is valid for ever and preferred for no time. The library has these two in an int each, into
// which "for ever" (32 bits) does not fit where an int has as many.
func (a *asker) deprecated(link int, addr netip.Addr, flags int) error {
	req := a.request(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	msg := nl.NewIfAddrmsg(unix.AF_INET6)
	msg.Index, msg.Prefixlen = uint32(link), uint8(addr.BitLen())
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, addr.AsSlice()))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, addr.AsSlice()))
	req.AddData(nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(uint32(flags))))
	times := nl.IfaCacheInfo{IfaCacheinfo: unix.IfaCacheinfo{Valid: math.MaxUint32}}
	req.AddData(nl.NewRtAttr(unix.IFA_CACHEINFO, times.Serialize()))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// Of a filter's options (linux/pkt_cls.h).
const (
	tcaBPFName    = 7
	tcaBPFFlags   = 8
	tcaBPFDirect  = 1
	filterOptions = 2 // TCA_OPTIONS
)

// filter says whether one of our filters is where it should be: a question about that one, however many there are beside it.
func (a *asker) filter(p place) (bool, error) {
	req := a.request(unix.RTM_GETTFILTER, unix.NLM_F_ACK)
	at := filterAt(p.on.Attrs().Index, p.parent, p.priority)
	req.AddData(&nl.TcMsg{
		Family: nl.FAMILY_ALL, Ifindex: int32(at.LinkIndex), Handle: at.Handle, Parent: at.Parent,
		Info: netlink.MakeHandle(at.Priority, nl.Swap16(at.Protocol)),
	})
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("bpf")))
	answers, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWTFILTER)
	for _, gone := range []error{unix.ENOENT, unix.EINVAL, unix.ENODEV} { // no such filter, no qdisc, no link
		if errors.Is(err, gone) {
			return false, nil
		}
	}
	if err != nil {
		return false, fmt.Errorf("looking for a filter of %s: %w", p.on.Attrs().Name, err)
	}
	for _, m := range answers {
		if ours, err := isFilter(m, p.name); ours || err != nil {
			return ours, err
		}
	}
	return false, nil
}

// isFilter says whether a filter has a name, and decides by itself.
func isFilter(m []byte, name string) (bool, error) {
	if len(m) < sizeofTcMsg {
		return false, nil
	}
	attrs, err := nl.ParseRouteAttr(m[sizeofTcMsg:])
	if err != nil {
		return false, fmt.Errorf("reading a filter: %w", err)
	}
	named, direct := false, false
	for _, a := range attrs {
		if a.Attr.Type != filterOptions {
			continue
		}
		options, err := nl.ParseRouteAttr(a.Value)
		if err != nil {
			return false, fmt.Errorf("reading a filter: %w", err)
		}
		for _, o := range options {
			switch {
			case o.Attr.Type == tcaBPFName:
				named = unix.ByteSliceToString(o.Value) == name
			case o.Attr.Type == tcaBPFFlags && len(o.Value) >= 4:
				direct = binary.NativeEndian.Uint32(o.Value)&tcaBPFDirect != 0
			}
		}
	}
	return named && direct, nil
}
