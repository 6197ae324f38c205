package wake

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Flow is an established TCP connection of a service, as its target reported it before it slept.
type Flow struct {
	Client netip.AddrPort `json:"c"`
	Dest   netip.AddrPort `json:"d"`
	Next   uint32         `json:"n,omitempty"` // the sequence number that the target expects
	Window uint16         `json:"w,omitempty"` // as its segments announce it
	Known  bool           `json:"k,omitempty"` // Next and Window were found out
}

// Parked is what a front knows of the connections of a target that sleeps. It tells data, which is demand, from keepalives, which it
// answers as the target would, and keeps the data for a replay. It is pure: time is passed in. The zero value knows no flow. Not
// safe for concurrent use.
type Parked struct {
	flows map[flow]*parked
}

// ParkedMost bounds the flows of one service. What is beyond it is as if it had not been reported.
const ParkedMost = 2048

type parked struct {
	Flow
	frame   []byte // the client's first unanswered segment, or its reset
	segment segment
	heard   readings
	local   bool
}

// Learn takes a report in. What is known of a flow already, and fits the report, is kept.
func (p *Parked) Learn(flows []Flow) {
	if p.flows == nil {
		p.flows = make(map[flow]*parked)
	}
	for _, one := range flows {
		f := flow{"tcp", one.Client, one.Dest}
		if old := p.flows[f]; old != nil {
			old.Flow = one
		} else if len(p.flows) < ParkedMost {
			p.flows[f] = &parked{Flow: one}
		}
	}
}

// Flows gives them all, for the next front.
func (p *Parked) Flows() []Flow {
	out := make([]Flow, 0, len(p.flows))
	for _, one := range p.flows {
		out = append(out, one.Flow)
	}
	slices.SortFunc(out, func(a, b Flow) int { return a.Client.Compare(b.Client) })
	return out
}

// Len is how many are known.
func (p *Parked) Len() int { return len(p.flows) }

// Forget ends all: their target is awake, or will not come back.
func (p *Parked) Forget() { p.flows = nil }

// far is how far from what the target expects a sequence number may be: the largest window that TCP can announce is 1 GiB, those
// that are seen are some megabytes. A stray segment with a number of its own is farther away 31 times of 32.
const far = 64 << 20

// near is how far behind what is expected a segment may be that is answered. Lost acknowledgements are of the last window.
const near = 1 << 20

// Hear judges a later segment. demand: the target has to wake for it. answer is a frame to send in the target's name, or nil.
func (p *Parked) Hear(d Demand) (demand bool, answer []byte) {
	s, ok := parseSegment(d.Frame)
	one := p.flows[d.flow()]
	if !ok || one == nil || s.protocol != protoTCP {
		return false, nil
	}
	next := int32(s.next() - one.Next) // > 0: there is something that the target does not have
	switch {
	case one.Known && (next > far || next < -far):
		return false, nil
	case s.flags&tcpRST != 0:
		one.keep(d, s) // nobody is to wake for it, but the target should hear of it
		return false, nil
	case !one.Known:
		probe := s.data == 0 || s.data == 1 && s.end > s.at && d.Frame[s.end-1] == 0
		if probe && s.flags&tcpFIN == 0 {
			return false, nil
		}
	case next > 0:
	case next == 0 && s.data == 0:
		return false, nil // an acknowledgement of what the target has sent
	case one.Window == 0:
		return true, nil // a probe for room, from a client that has more to say
	case next < -near: // what an answer says, nobody may find out by trying numbers
		return s.data > 0, nil
	default: // a keepalive, or data that the target has and whose acknowledgement was lost
		return false, acknowledge(d.Frame, s, one.Flow)
	}
	one.keep(d, s)
	return true, nil
}

// keep remembers the first segment that the target does not have.
func (k *parked) keep(d Demand, s segment) {
	reset := s.flags&tcpRST != 0
	newer := k.frame == nil || reset || int32(s.seq-k.segment.seq) <= 0
	if !newer || k.segment.flags&tcpRST != 0 {
		return
	}
	if k.frame != nil && s.seq != k.segment.seq {
		k.heard = readings{}
	}
	frame := whole(d.Frame, s)
	if frame == nil {
		return
	}
	s.end = len(frame)
	k.frame, k.segment, k.local = frame, s, d.Local
	k.heard.add(d.At, frame, s)
}

// Take gives the kept segments as frames at the time now, addressed from one MAC to another, at most most, and forgets these.
// noLocal leaves those of clients on this host for later.
func (p *Parked) Take(noLocal bool, most int, now time.Duration, from, to net.HardwareAddr) (frames [][]byte, more bool) {
	for _, one := range p.flows {
		if one.frame == nil || noLocal && one.local {
			continue
		}
		if len(frames) >= most {
			return frames, true
		}
		frames = append(frames, ready(one.frame, one.segment, one.heard, now, from, to))
		one.frame, one.heard = nil, readings{}
	}
	return frames, false
}

// Waiting says whether any client has said something; local, whether one on this host has.
func (p *Parked) Waiting() (waiting, local bool) {
	for _, one := range p.flows {
		if one.frame != nil {
			waiting, local = true, local || one.local
		}
	}
	return waiting, local
}

// acknowledge is the answer of a target to a keepalive (RFC 9293 section 3.8.4): a segment without data that says what it
// expects. What the client expects, and the timestamps that it will take, its probe says.
func acknowledge(probe []byte, s segment, f Flow) []byte {
	opt := timestamp(probe, s)
	size := 20
	if opt != nil {
		size = 32
	}
	v6 := f.Dest.Addr().Is6()
	head := 20
	if v6 {
		head = 40
	}
	b := make([]byte, offNetwork+head+size)
	copy(b, probe[6:12])
	copy(b[6:], probe[:6])
	copy(b[offEtherType:], probe[offEtherType:offNetwork])
	ip := b[offNetwork:]
	if v6 {
		ip[0], ip[6], ip[7] = 6<<4, protoTCP, 64
		binary.BigEndian.PutUint16(ip[4:], uint16(size))
		copy(ip[8:], f.Dest.Addr().AsSlice())
		copy(ip[24:], f.Client.Addr().AsSlice())
	} else {
		ip[0], ip[6], ip[8], ip[9] = 4<<4|5, 0x40, 64, protoTCP // not to be fragmented
		binary.BigEndian.PutUint16(ip[2:], uint16(head+size))
		copy(ip[12:], f.Dest.Addr().AsSlice())
		copy(ip[16:], f.Client.Addr().AsSlice())
		binary.BigEndian.PutUint16(ip[10:], fold(sum(0, ip[:head])))
	}
	t := ip[head:]
	binary.BigEndian.PutUint16(t, f.Dest.Port())
	binary.BigEndian.PutUint16(t[2:], f.Client.Port())
	binary.BigEndian.PutUint32(t[4:], s.ack)
	binary.BigEndian.PutUint32(t[8:], f.Next)
	t[12], t[tcpFlagsOffset] = byte(size/4)<<4, tcpACK
	binary.BigEndian.PutUint16(t[14:], f.Window)
	if opt != nil {
		t[20], t[21], t[22], t[23] = 1, 1, 8, 10
		copy(t[24:28], opt[6:10]) // the target's newest, which the client has seen: it is never ahead
		copy(t[28:32], opt[2:6])
	}
	checksum(b, segment{protocol: protoTCP, client: f.Dest, dest: f.Client, at: offNetwork + head, end: len(b)})
	return b
}
