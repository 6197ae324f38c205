package identity

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Offsets in a frame.
const (
	offType      = 12
	offARPSender = 28             // sender protocol address (RFC 826)
	offIP6Next   = 14 + ip6Next   // next header
	offICMP6     = 14 + icmp6Type // type
	offNDTarget  = offICMP6 + 8   // of a neighbour advertisement (RFC 4861)

	icmp6Advertisement = 136
)

// claimsOf is a filter for packet sockets that lets pass who says that it has one of some addresses: where many identities are probed at
// one time, the kernel would hand every frame of the host to each of them.
func claimsOf(addrs []netip.Addr) ([]bpf.RawInstruction, error) {
	var prog []bpf.Instruction
	for _, a := range addrs {
		prog = append(prog, oneClaim(a)...)
	}
	raw, err := bpf.Assemble(append(prog, bpf.RetConstant{Val: 0}))
	if err != nil {
		return nil, fmt.Errorf("building the filter of a probe: %w", err)
	}
	return raw, nil
}

// oneClaim takes a frame that claims an address, and goes on behind its own end with any other.
func oneClaim(a netip.Addr) []bpf.Instruction {
	type test struct {
		off, size int
		is        uint32
	}
	var tests []test
	if a.Is4() {
		b := a.As4()
		tests = []test{{offType, 2, unix.ETH_P_ARP}, {offARPSender, 4, binary.BigEndian.Uint32(b[:])}}
	} else {
		b := a.As16()
		tests = []test{{offType, 2, unix.ETH_P_IPV6}, {offIP6Next, 1, unix.IPPROTO_ICMPV6}, {offICMP6, 1, icmp6Advertisement}}
		for i := 0; i < len(b); i += 4 {
			tests = append(tests, test{offNDTarget + i, 4, binary.BigEndian.Uint32(b[i:])})
		}
	}
	var out []bpf.Instruction
	for i, t := range tests {
		left := 2*(len(tests)-i-1) + 1 // the instructions between this jump and the next address: the further tests, and what takes it
		out = append(out, bpf.LoadAbsolute{Off: uint32(t.off), Size: t.size}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: t.is, SkipTrue: uint8(left)})
	}
	return append(out, bpf.RetConstant{Val: 1 << 16})
}
