package identity

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// What a gate's map has for its identity, as 64-bit words. Times are nanoseconds.
const (
	wordDeadline = 8 * iota // CLOCK_BOOTTIME; 0 = closed
	wordOffset              // CLOCK_BOOTTIME minus CLOCK_MONOTONIC at the last renewal
	wordArmed               // the count of suspends that the acquisition began with
	gateSize
)

// offsetSlack is how far the two clocks may wander from each other without a suspend. Reading them one after the other takes
// microseconds; a preempted processor costs a packet.
const offsetSlack = 100 * time.Millisecond

// Verdicts of a classifier in direct action (linux/pkt_cls.h).
const (
	actPass = -1 // TC_ACT_UNSPEC: later filters, and those of others, still see the packet
	actDrop = 2  // TC_ACT_SHOT
)

// gateProgram passes and drops by the gate alone.
func gateProgram(end asm.Instructions) (*ebpf.Program, error) {
	return classifier("np_gate", append(asm.Instructions{asm.Mov.Reg(asm.R9, asm.R1)}, end...))
}

// keyedProgram does so for what claims an identity, and lets everything else through.
func keyedProgram(s Spec, end asm.Instructions) (*ebpf.Program, error) {
	ins := append(selected(s), end...)
	return classifier("np_keyed", append(ins, asm.Mov.Imm(asm.R0, actPass).WithSymbol("foreign"), asm.Return()))
}

// arrivalProgram does so for what comes in for an identity's addresses.
func arrivalProgram(s Spec, end asm.Instructions) (*ebpf.Program, error) {
	ins := append(arriving(s), end...)
	return classifier("np_arrival", append(ins, asm.Mov.Imm(asm.R0, actPass).WithSymbol("foreign"), asm.Return()))
}

func classifier(name string, ins asm.Instructions) (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.SchedCLS, License: "MIT", Instructions: ins})
}

// living is an end that leaves the judgement to the program in an array, and drops if there is none: the kernel empties an array
// of programs when the last process that has it open, and the last pin, are gone. Register 9 has the packet.
func living(alive *ebpf.Map) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.R9).WithSymbol("judge"),
		asm.LoadMapPtr(asm.R2, alive.FD()),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, actDrop),
		asm.Return(),
	}
}

// judge is the end of every program, at "judge": it drops past the deadline, after a suspend by the clocks, and after a suspend
// by the count.
func judge(gate, count *ebpf.Map) asm.Instructions {
	const slack = int32(offsetSlack)
	return asm.Instructions{
		asm.LoadMapValue(asm.R6, gate.FD(), 0).WithSymbol("judge"),
		asm.LoadMapValue(asm.R7, count.FD(), 0),
		asm.FnKtimeGetBootNs.Call(),
		asm.Mov.Reg(asm.R8, asm.R0),
		asm.LoadMem(asm.R1, asm.R6, wordDeadline, asm.DWord),
		asm.JGE.Reg(asm.R8, asm.R1, "drop"),
		asm.FnKtimeGetNs.Call(),
		asm.Sub.Reg(asm.R8, asm.R0),
		asm.LoadMem(asm.R1, asm.R6, wordOffset, asm.DWord),
		asm.Sub.Reg(asm.R8, asm.R1),
		asm.Add.Imm(asm.R8, slack),
		asm.JGT.Imm(asm.R8, 2*slack, "drop"), // unsigned: below -slack is huge
		asm.LoadMem(asm.R1, asm.R6, wordArmed, asm.DWord),
		asm.LoadMem(asm.R2, asm.R7, 0, asm.DWord),
		asm.JNE.Reg(asm.R1, asm.R2, "drop"),
		asm.Mov.Imm(asm.R0, actPass),
		asm.Return(),
		asm.Mov.Imm(asm.R0, actDrop).WithSymbol("drop"),
		asm.Return(),
	}
}

// Offsets in a frame: behind an Ethernet header of 14 bytes. A VLAN tag is not in the data (it is metadata of the packet).
const (
	etherSourceAt = 6
	etherTypeAt   = 12
	etherHeader   = 14
)

// Where a program keeps what it has read of the packet.
const (
	stackFrame = -16 // the Ethernet header
	stackField = -40 // a field of up to 16 bytes
)

// selected goes to "judge" for frames with the identity's MAC as source, IP packets from one of its addresses, ARP packets whose
// sender it is, and neighbour advertisements about it; to "foreign" with all others.
func selected(s Spec) asm.Instructions {
	ins := asm.Instructions{asm.Mov.Reg(asm.R9, asm.R1)}
	ins = append(ins, read(0, stackFrame, etherHeader, "foreign")...)
	if s.Mode != HostMAC {
		ins = append(ins, equals(stackFrame+etherSourceAt, s.MAC, "other")...)
		ins = append(ins, asm.Ja.Label("judge"))
	}
	ins = append(ins, asm.LoadMem(asm.R8, asm.RFP, stackFrame+etherTypeAt, asm.Half).WithSymbol("other"))
	for i, a := range s.Addrs {
		next := "next" + string(rune('a'+i))
		if a.Is4() {
			ins = append(ins, field(unix.ETH_P_IP, ip4Source, a, next+"1")...)
			ins = append(ins, mark(next+"1"))
			ins = append(ins, field(unix.ETH_P_ARP, arpSender, a, next)...)
		} else {
			ins = append(ins, field(unix.ETH_P_IPV6, ip6Source, a, next+"1")...)
			ins = append(ins, mark(next+"1"))
			ins = append(ins, advertised(a, next)...)
		}
		ins = append(ins, mark(next))
	}
	return append(ins, asm.Ja.Label("foreign"))
}

// arriving goes to "judge" for IP packets to one of the identity's addresses, and for what somebody else advertises of it, which this
// host's kernel would only complain about; to "foreign" with all others. Questions pass: answers do not leave.
func arriving(s Spec) asm.Instructions {
	ins := asm.Instructions{asm.Mov.Reg(asm.R9, asm.R1)}
	ins = append(ins, read(0, stackFrame, etherHeader, "foreign")...)
	ins = append(ins, asm.LoadMem(asm.R8, asm.RFP, stackFrame+etherTypeAt, asm.Half))
	for i, a := range s.Addrs {
		next := "next" + string(rune('a'+i))
		if a.Is4() {
			ins = append(ins, field(unix.ETH_P_IP, ip4Dest, a, next)...)
		} else {
			ins = append(ins, field(unix.ETH_P_IPV6, ip6Dest, a, next+"1")...)
			ins = append(ins, mark(next+"1"))
			ins = append(ins, advertised(a, next)...)
		}
		ins = append(ins, mark(next))
	}
	return append(ins, asm.Ja.Label("foreign"))
}

// mark is a place to go to.
func mark(symbol string) asm.Instruction { return asm.Mov.Reg(asm.R8, asm.R8).WithSymbol(symbol) }

// read copies bytes of the packet to the stack; a packet that is too short goes elsewhere.
func read(at int32, to int16, n int32, short string) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.R9),
		asm.Mov.Imm(asm.R2, at),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, int32(to)),
		asm.Mov.Imm(asm.R4, n),
		asm.FnSkbLoadBytes.Call(),
		asm.JSLT.Imm(asm.R0, 0, short),
	}
}

// equals compares bytes on the stack with what they should be; others go elsewhere. The length is even.
func equals(at int16, want []byte, other string) asm.Instructions {
	var ins asm.Instructions
	for len(want) > 0 {
		if len(want) >= 4 && at%4 == 0 {
			ins = append(ins, asm.LoadMem(asm.R1, asm.RFP, at, asm.Word), asm.LoadImm(asm.R2, int64(binary.NativeEndian.Uint32(want)), asm.DWord), asm.JNE.Reg(asm.R1, asm.R2, other))
			at, want = at+4, want[4:]
			continue
		}
		ins = append(ins, asm.LoadMem(asm.R1, asm.RFP, at, asm.Half), asm.JNE.Imm(asm.R1, int32(binary.NativeEndian.Uint16(want)), other))
		at, want = at+2, want[2:]
	}
	return ins
}

func isType(t uint16, other string) asm.Instruction {
	return asm.JNE.Imm(asm.R8, int32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, t))), other)
}

// field goes to "judge" when a packet of an EtherType has the address at an offset of its header.
func field(t uint16, at int32, a netip.Addr, other string) asm.Instructions {
	ins := asm.Instructions{isType(t, other)}
	ins = append(ins, read(etherHeader+at, stackField, int32(a.BitLen()/8), other)...)
	ins = append(ins, equals(stackField, a.AsSlice(), other)...)
	return append(ins, asm.Ja.Label("judge"))
}

// advertised goes to "judge" for a neighbour advertisement (RFC 4861 section 4.4) whose target is the address.
func advertised(a netip.Addr, other string) asm.Instructions {
	ins := asm.Instructions{isType(unix.ETH_P_IPV6, other)}
	ins = append(ins, read(etherHeader+ip6Next, stackField, 2, other)...)
	ins = append(ins, asm.LoadMem(asm.R1, asm.RFP, stackField, asm.Byte), asm.JNE.Imm(asm.R1, unix.IPPROTO_ICMPV6, other))
	ins = append(ins, read(etherHeader+icmp6Type, stackField, 2, other)...)
	ins = append(ins, asm.LoadMem(asm.R1, asm.RFP, stackField, asm.Byte), asm.JNE.Imm(asm.R1, 136, other))
	ins = append(ins, read(etherHeader+ndTarget, stackField, 16, other)...)
	ins = append(ins, equals(stackField, a.AsSlice(), other)...)
	return append(ins, asm.Ja.Label("judge"))
}

// countProgram counts the suspends that begin: it runs at the raw tracepoint suspend_resume (action, value, start), in the task
// that suspends. Every beginning of a step counts; one is enough.
func countProgram(count *ebpf.Map) (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "np_count", Type: ebpf.RawTracepoint, License: "GPL",
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, 16, asm.DWord), // bool start
			asm.And.Imm(asm.R2, 0xff),
			asm.JEq.Imm(asm.R2, 0, "out"),
			asm.LoadMapValue(asm.R1, count.FD(), 0),
			asm.Mov.Imm(asm.R2, 1),
			asm.StoreXAdd(asm.R1, asm.R2, asm.DWord),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
			asm.Return(),
		},
	})
}
