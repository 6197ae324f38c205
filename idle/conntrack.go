package idle

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Track is a flow in the kernel's connection tracking, as the client sees it: before an address of this host was translated to that of
// a container.
type Track struct {
	Protocol       string // tcp or udp
	Client, Dest   netip.AddrPort
	Translated     bool   // it goes on to another address: this host's sockets know nothing of it
	Received, Sent uint64 // bytes of payload, estimated from those of the packets
	Packets        uint64 // of the client
}

// Key is its name as a Flow.
func (t Track) Key() string { return t.Protocol + " " + t.Client.String() + " " + t.Dest.String() }

// Where connection tracking says whether it has anything, and whether it counts.
const (
	trackCount      = "/proc/sys/net/netfilter/nf_conntrack_count"
	trackAccounting = "/proc/sys/net/netfilter/nf_conntrack_acct"
)

// Tracked lists the TCP and UDP flows of the kernel's connection tracking. Where it is not in use, the list is empty: nothing is loaded
// for this. counted is false where there are flows without counters (sysctl net.netfilter.nf_conntrack_acct is 0).
func Tracked() (all []Track, counted bool, err error) {
	if n, err := os.ReadFile(trackCount); err != nil || strings.TrimSpace(string(n)) == "0" {
		return nil, true, nil
	}
	acct, err := os.ReadFile(trackAccounting)
	counted = err == nil && strings.TrimSpace(string(acct)) != "0"
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
		if err != nil {
			return nil, counted, fmt.Errorf("asking the kernel for tracked connections (ctnetlink): %w", err)
		}
		for _, f := range flows {
			if t, ok := readTrack(f); ok {
				all = append(all, t)
			}
		}
	}
	return all, counted, nil
}

// barePackets is how many packets a client sends for a connection on which it says nothing: SYN, ACK, FIN, ACK.
const barePackets = 4

// Translated lists the TCP connections to this host that go on to another address, a container's for one. The kernel's count of their bytes is
// one of packets with their headers, which vary: where it tells of nothing said, but of more packets than that takes, or where the kernel does
// not count, Vague says so.
func Translated() (out []Conn, err error) {
	all, counted, err := Tracked()
	if err != nil {
		return nil, err
	}
	for _, t := range all {
		if t.Protocol == "tcp" && t.Translated {
			vague := !counted || t.Received == 0 && t.Packets > barePackets
			out = append(out, Conn{Local: t.Dest, Remote: t.Client, Received: t.Received, Sent: t.Sent, Vague: vague})
		}
	}
	return out, nil
}

// Bytes of the headers of a packet: IP, and TCP with its timestamps, or UDP.
var (
	header4 = map[uint8]uint64{unix.IPPROTO_TCP: 20 + 32, unix.IPPROTO_UDP: 20 + 8}
	header6 = map[uint8]uint64{unix.IPPROTO_TCP: 40 + 32, unix.IPPROTO_UDP: 40 + 8}
)

// handshake is by how much the SYN of a connection is longer than its other packets, and some.
const handshake = 32

func readTrack(f *netlink.ConntrackFlow) (t Track, ok bool) {
	switch f.Forward.Protocol {
	case unix.IPPROTO_TCP:
		t.Protocol = "tcp"
	case unix.IPPROTO_UDP:
		t.Protocol = "udp"
	default:
		return t, false
	}
	t.Client = endpoint(f.Forward.SrcIP, f.Forward.SrcPort)
	t.Dest = endpoint(f.Forward.DstIP, f.Forward.DstPort)
	t.Translated = t.Dest != endpoint(f.Reverse.SrcIP, f.Reverse.SrcPort)
	header := header4[f.Forward.Protocol]
	if t.Dest.Addr().Is6() {
		header = header6[f.Forward.Protocol]
	}
	payload := func(p netlink.IPTuple) uint64 {
		least := p.Packets * header
		if f.Forward.Protocol == unix.IPPROTO_TCP {
			least += handshake
		}
		return p.Bytes - min(least, p.Bytes)
	}
	t.Received, t.Sent, t.Packets = payload(f.Forward), payload(f.Reverse), f.Forward.Packets
	return t, true
}

func endpoint(ip net.IP, port uint16) netip.AddrPort {
	a, _ := netip.AddrFromSlice(ip) // none, and no flow of ours, where the kernel said none
	return netip.AddrPortFrom(a.Unmap(), port)
}
