package identity

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"
)

// Switches that snoop on multicast listeners lead solicitations for an address only to the ports where its group was reported. The
// kernel reported it when the address was given to the macvlan, into a closed fence. So the new holder reports it again with each
// announcement, as the kernel would if the address were taken away and given back, which would disturb those who use it.

// Of multicast listener discovery (RFC 3810, RFC 2710).
const (
	mldReport2     = 143
	mldReport1     = 131
	changeToExcept = 4 // a record: from here on everything that is sent to the group is wanted
)

// allMLD is where switches and routers hear reports of the second version.
var allMLD = netip.MustParseAddr("ff02::16")

// membership builds the reports of an IPv6 address's group, for switches of either version. The source is the unspecified address, as
// the macvlan has no link-local one: routers pass such reports over, switches that snoop do not (RFC 3590 section 4).
func membership(mac net.HardwareAddr, a netip.Addr) ([][]byte, error) {
	group, err := ndp.SolicitedNodeMulticast(a)
	if err != nil {
		return nil, fmt.Errorf("building a listener report: %w", err)
	}
	second := append([]byte{mldReport2, 0, 0, 0, 0, 0, 0, 1, changeToExcept, 0, 0, 0}, group.AsSlice()...)
	first := append([]byte{mldReport1, 0, 0, 0, 0, 0, 0, 0}, group.AsSlice()...)
	var out [][]byte
	for _, r := range []struct {
		to   netip.Addr
		body []byte
	}{{allMLD, second}, {group, first}} {
		f, err := listenerFrame(mac, r.to, r.body)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// listenerFrame wraps a report: hop limit 1, and a router alert in front (RFC 2711).
func listenerFrame(mac net.HardwareAddr, to netip.Addr, icmp []byte) ([]byte, error) {
	head := make([]byte, 40, 48+len(icmp))
	head[0] = 6 << 4
	binary.BigEndian.PutUint16(head[4:], uint16(8+len(icmp)))
	head[ip6Next], head[7] = 0, 1 // hop-by-hop options
	copy(head[ip6Dest:], to.AsSlice())
	binary.BigEndian.PutUint16(icmp[2:], checksum6(netip.IPv6Unspecified(), to, icmp))
	head = append(head, unix.IPPROTO_ICMPV6, 0, 5, 2, 0, 0, 1, 0)
	f := ethernet.Frame{Destination: multicastMAC(to), Source: mac, EtherType: ethernet.EtherTypeIPv6, Payload: append(head, icmp...)}
	out, err := f.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("building a listener report: %w", err)
	}
	return out, nil
}

// checksum6 is that of an ICMPv6 message whose own field is zero (RFC 4443 section 2.3). The length is even.
func checksum6(src, dst netip.Addr, icmp []byte) uint16 {
	sum := uint32(len(icmp)) + unix.IPPROTO_ICMPV6
	for _, part := range [][]byte{src.AsSlice(), dst.AsSlice(), icmp} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
