package wake

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"
)

const (
	// frameLimit is the largest frame that is handed on with a Demand: an Ethernet frame of the usual MTU. A larger
	// one counts as demand all the same.
	frameLimit = 2048
	// snapAll is what the filter returns for a frame that is to be queued: the whole of it.
	snapAll = 1 << 16
	// filterLimit keeps the filter below what the kernel lets one socket attach (net.core.optmem_max, 20 KiB on older
	// kernels, of which an instruction takes 8 bytes before and up to about 16 after translation).
	filterLimit = 1000
)

// The places that the program jumps to.
type label int

const (
	reject label = iota
	accept
	ipv4
	ipv6
	destination4 // the IPv4 destination is guarded
	destination6
	tcp4
	udp4
	tcp6
	tcpPorts
	udpPorts
)

// program is a BPF program under construction. Conditional jumps reach 255 instructions only, so each one skips at most
// one instruction: an unconditional jump, which reaches everywhere ahead (BPF knows no way back) and is resolved at the end.
type program struct {
	code  []bpf.Instruction
	jumps map[int]label // index in code of a bpf.Jump -> where it goes
	at    map[label]int
}

func (p *program) add(ins ...bpf.Instruction) { p.code = append(p.code, ins...) }
func (p *program) place(l label)              { p.at[l] = len(p.code) }

func (p *program) jump(l label) {
	p.jumps[len(p.code)] = l
	p.add(bpf.Jump{})
}

// when jumps to l if the comparison of A with val holds.
func (p *program) when(cond bpf.JumpTest, val uint32, l label) {
	p.add(bpf.JumpIf{Cond: cond, Val: val, SkipTrue: 0, SkipFalse: 1})
	p.jump(l)
}

// unless jumps to l if the comparison of A with val does not hold.
func (p *program) unless(cond bpf.JumpTest, val uint32, l label) {
	p.add(bpf.JumpIf{Cond: cond, Val: val, SkipTrue: 1, SkipFalse: 0})
	p.jump(l)
}

func (p *program) resolve() []bpf.Instruction {
	for i, l := range p.jumps {
		p.code[i] = bpf.Jump{Skip: uint32(p.at[l] - i - 1)}
	}
	return p.code
}

// kernelFilter builds the filter of the packet socket. The part before content looks at what only the kernel knows of a
// frame: it must be addressed to this host (own frames that leave by the interface are seen too, on the loopback each
// frame twice), and belong to no VLAN: this interface's stack ignores tagged frames. A tag of VLAN 0 bears only a priority.
func (g Guard) kernelFilter() ([]bpf.RawInstruction, error) {
	p := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0 /* PACKET_HOST */, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadExtension{Num: bpf.ExtVLANTag},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0x0fff},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
	p = append(p, g.contentFilter()...)
	if len(p) > filterLimit {
		return nil, fmt.Errorf("the ports and addresses of service %q need a packet filter of %d instructions, %d are possible: write neighbouring ports so that they form ranges, or guard fewer", g.Service, len(p), filterLimit)
	}
	raw, err := bpf.Assemble(p)
	if err != nil {
		return nil, fmt.Errorf("assemble the packet filter of service %q: %w", g.Service, err)
	}
	return raw, nil
}

// contentFilter looks at the bytes of the frame. It lets through all that demands accepts, and besides only IPv6 packets
// with extension headers to a guarded address: classic BPF cannot loop, so these are left to demands. A load beyond the
// end of the frame rejects it.
func (g Guard) contentFilter() []bpf.Instruction {
	p := &program{jumps: map[int]label{}, at: map[label]int{}}
	p.add(bpf.LoadAbsolute{Off: offEtherType, Size: 2})
	p.when(bpf.JumpEqual, etherIPv4, ipv4)
	p.when(bpf.JumpEqual, etherIPv6, ipv6)
	p.jump(reject)
	p.place(ipv4)
	g.filterIPv4(p)
	p.place(ipv6)
	g.filterIPv6(p)
	p.place(tcpPorts)
	filterPorts(p, g.TCP)
	p.place(udpPorts)
	filterPorts(p, g.UDP)
	p.place(reject)
	p.add(bpf.RetConstant{Val: 0})
	p.place(accept)
	p.add(bpf.RetConstant{Val: snapAll})
	return p.resolve()
}

func (g Guard) filterIPv4(p *program) {
	p.add(bpf.LoadAbsolute{Off: offNetwork + 16, Size: 4})
	for _, a := range g.Addrs {
		if a.Unmap().Is4() {
			b := a.Unmap().As4()
			p.when(bpf.JumpEqual, binary.BigEndian.Uint32(b[:]), destination4)
		}
	}
	p.jump(reject)
	p.place(destination4)
	p.add(bpf.LoadAbsolute{Off: offNetwork + 6, Size: 2})
	p.when(bpf.JumpBitsSet, 0x1fff, reject)  // a later fragment
	p.add(bpf.LoadMemShift{Off: offNetwork}) // X = length of the IPv4 header
	p.add(bpf.LoadAbsolute{Off: offNetwork + 9, Size: 1})
	p.when(bpf.JumpEqual, protoTCP, tcp4)
	p.when(bpf.JumpEqual, protoUDP, udp4)
	p.jump(reject)
	p.place(tcp4)
	p.add(bpf.LoadIndirect{Off: offNetwork + tcpFlagsOffset, Size: 1})
	if g.Later {
		p.when(bpf.JumpBitsSet, tcpLater, accept)
	}
	p.add(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: tcpHandshake})
	p.unless(bpf.JumpEqual, tcpSYN, reject)
	p.add(bpf.LoadIndirect{Off: offNetwork + 2, Size: 2})
	p.jump(tcpPorts)
	p.place(udp4)
	p.add(bpf.LoadIndirect{Off: offNetwork + 2, Size: 2})
	p.jump(udpPorts)
}

func (g Guard) filterIPv6(p *program) {
	for _, a := range g.Addrs {
		if a.Unmap().Is4() {
			continue
		}
		// A word that differs leads past the rest of this address: two instructions for each further word, and the jump.
		b := a.As16()
		for word := range 4 {
			p.add(bpf.LoadAbsolute{Off: offNetwork + 24 + uint32(word)*4, Size: 4})
			p.add(bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(b[word*4:]), SkipFalse: uint8((3-word)*2 + 1)})
		}
		p.jump(destination6)
	}
	p.jump(reject)
	p.place(destination6)
	p.add(bpf.LoadAbsolute{Off: offNetwork + 6, Size: 1})
	for _, ext := range []uint32{extHopByHop, extRouting, extFragment, extDestination} {
		p.when(bpf.JumpEqual, ext, accept)
	}
	p.when(bpf.JumpEqual, protoTCP, tcp6)
	p.unless(bpf.JumpEqual, protoUDP, reject)
	p.add(bpf.LoadAbsolute{Off: offNetwork + 40 + 2, Size: 2})
	p.jump(udpPorts)
	p.place(tcp6)
	p.add(bpf.LoadAbsolute{Off: offNetwork + 40 + tcpFlagsOffset, Size: 1})
	if g.Later {
		p.when(bpf.JumpBitsSet, tcpLater, accept)
	}
	p.add(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: tcpHandshake})
	p.unless(bpf.JumpEqual, tcpSYN, reject)
	p.add(bpf.LoadAbsolute{Off: offNetwork + 40 + 2, Size: 2})
	p.jump(tcpPorts)
}

// filterPorts accepts if A is one of ports. Neighbours are tested as one range.
func filterPorts(p *program, ports []uint16) {
	for _, r := range portRanges(ports) {
		if r.low == r.high {
			p.when(bpf.JumpEqual, uint32(r.low), accept)
			continue
		}
		p.add(bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: uint32(r.low), SkipFalse: 2})
		p.unless(bpf.JumpGreaterThan, uint32(r.high), accept)
	}
	p.jump(reject)
}

type portRange struct{ low, high uint16 }

func portRanges(ports []uint16) []portRange {
	sorted := slices.Compact(slices.Sorted(slices.Values(ports)))
	var ranges []portRange
	for _, port := range sorted {
		if n := len(ranges); n > 0 && ranges[n-1].high+1 == port {
			ranges[n-1].high = port
			continue
		}
		ranges = append(ranges, portRange{port, port})
	}
	return ranges
}

// check says what is wrong with g.
func (g Guard) check() error {
	if len(g.Addrs) == 0 || len(g.TCP)+len(g.UDP) == 0 {
		return fmt.Errorf("service %q has nothing to listen for: a guard needs an address and a port", g.Service)
	}
	if slices.ContainsFunc(g.Addrs, func(a netip.Addr) bool { return !a.IsValid() }) {
		return fmt.Errorf("service %q guards an address that is not valid", g.Service)
	}
	return nil
}

func (g Guard) guards(a netip.Addr) bool {
	return slices.ContainsFunc(g.Addrs, func(b netip.Addr) bool { return b.Unmap().WithZone("") == a })
}
