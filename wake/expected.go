package wake

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// The kernel tells what a connection expects next to nobody but a BPF program (and to a process that takes the socket over:
// TCP_REPAIR). So one is run on a packet that has the connection's addresses in it, and writes the answer into that packet.

// Where that is in the packet, behind a made-up Ethernet header, and what the program reads (struct bpf_sock, bpf_tcp_sock in
// linux/bpf.h).
const (
	tuple4, tuple6 = 12, 36
	offSockState   = 72
	offNextByte    = 16
	noProtocol     = 0x88b5 // local experimental (IEEE 802)
)

// expected fills in what the flows expect, as far as it can be found out.
func expected(flows []Flow) {
	var programs [2]*ebpf.Program
	for i := range flows {
		v6 := 0
		if flows[i].Dest.Addr().Is6() {
			v6 = 1
		}
		if programs[v6] == nil {
			p, err := lookupProgram([]int{tuple4, tuple6}[v6])
			if err != nil {
				return // no BPF here
			}
			defer p.Close()
			programs[v6] = p
		}
		if next, err := lookUp(programs[v6], flows[i].Client, flows[i].Dest); err == nil {
			flows[i].Next, flows[i].Known = next, true
		}
	}
}

func lookUp(p *ebpf.Program, from, to netip.AddrPort) (uint32, error) {
	in := make([]byte, offNetwork)
	binary.BigEndian.PutUint16(in[offEtherType:], noProtocol)
	in = append(append(in, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	in = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(in, from.Port()), to.Port())
	in = append(in, make([]byte, 64-min(len(in), 64))...)
	out := make([]byte, len(in)+64)
	state, err := p.Run(&ebpf.RunOptions{Data: in, DataOut: out})
	if err != nil {
		return 0, fmt.Errorf("looking for a connection: %w", err)
	}
	switch state {
	case stateEstablished, stateFinWait1, stateFinWait2, stateCloseWait:
		return binary.NativeEndian.Uint32(out[offNetwork:]), nil
	}
	return 0, fmt.Errorf("the connection of %s to %s is gone", from, to)
}

// lookupProgram answers with the state of the socket whose addresses the packet has, 0 if there is none, and puts the sequence
// number that it expects where the addresses were.
func lookupProgram(size int) (*ebpf.Program, error) {
	const tuple, next, state = -40, -48, -56 // on the stack
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "np_expected", Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1),
			asm.Mov.Imm(asm.R2, 0),
			asm.StoreMem(asm.RFP, next, asm.R2, asm.DWord),
			asm.StoreMem(asm.RFP, state, asm.R2, asm.DWord),
			asm.Mov.Imm(asm.R2, offNetwork),
			asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, tuple),
			asm.Mov.Imm(asm.R4, int32(size)),
			asm.FnSkbLoadBytes.Call(),
			asm.JNE.Imm(asm.R0, 0, "out"),
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, tuple),
			asm.Mov.Imm(asm.R3, int32(size)),
			asm.Mov.Imm(asm.R4, -1), // this network namespace
			asm.Mov.Imm(asm.R5, 0),
			asm.FnSkLookupTcp.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.Mov.Reg(asm.R7, asm.R0),
			asm.LoadMem(asm.R8, asm.R7, offSockState, asm.Word),
			asm.Mov.Reg(asm.R1, asm.R7),
			asm.FnTcpSock.Call(),
			asm.JEq.Imm(asm.R0, 0, "release"),
			asm.LoadMem(asm.R1, asm.R0, offNextByte, asm.Word),
			asm.StoreMem(asm.RFP, next, asm.R1, asm.Word),
			asm.StoreMem(asm.RFP, state, asm.R8, asm.DWord),
			asm.Mov.Reg(asm.R1, asm.R7).WithSymbol("release"),
			asm.FnSkRelease.Call(),
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Imm(asm.R2, offNetwork),
			asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, next),
			asm.Mov.Imm(asm.R4, 4),
			asm.Mov.Imm(asm.R5, 0),
			asm.FnSkbStoreBytes.Call(),
			asm.LoadMem(asm.R0, asm.RFP, state, asm.DWord).WithSymbol("out"),
			asm.Return(),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("loading the program that looks at connections: %w", err)
	}
	return p, nil
}
