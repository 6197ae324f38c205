package wake

import (
	"bytes"
	"encoding/binary"
	"net"
	"time"
)

// frameMost is the largest frame that is kept: what does not fit an Ethernet of the usual MTU is cut.
const frameMost = offNetwork + 1500

// reading is what one copy of a segment said of its sender's timestamp clock (RFC 7323), and when it was heard.
type reading struct {
	at    time.Duration // since boot
	ticks uint32        // TSval
}

// readings are those of the first and the newest copy of one segment. A client repeats it with a new TSval.
type readings struct {
	first, newest reading
	stamped       bool // the segment has the option
}

func (r *readings) add(at time.Duration, frame []byte, s segment) {
	opt := timestamp(frame, s)
	if opt == nil {
		*r = readings{newest: reading{at: at}, first: reading{at: at}}
		return
	}
	now := reading{at, binary.BigEndian.Uint32(opt[2:])}
	if !r.stamped {
		*r = readings{first: now, stamped: true}
	}
	r.newest = now
}

const (
	// young is the age up to which the only copy of a segment keeps its TSval. A client that has not repeated a segment measures
	// the round trip by its own clock, and one that has repeated it is known by two copies.
	young = time.Second
	// apart is the least time between two copies that tell a clock's rate.
	apart = 500 * time.Millisecond
	// behind is how far a rewritten TSval stays behind the client's clock. One that lies ahead of it by a single tick makes the
	// client refuse the answer (PAWS), and the connection waits for its next repetition.
	behind = 2 * time.Millisecond
	// drift bounds what two clocks lose against each other: 500 ppm.
	drift = 2000
	// linuxTicks is the rate of a Linux client, and of most others.
	linuxTicks = 1000
)

// usual are the rates that timestamp clocks have, in ticks per second. A measured rate that is near one of them is that one.
var usual = []float64{linuxTicks, 250, 100, 10, 2}

// now is what the sender's clock shows at the time at, or a little earlier, as the answer to a segment of that age would
// echo it; false: nobody can tell, and the TSval stays as it is.
func (r readings) now(at time.Duration) (uint32, bool) {
	age := at - r.newest.at
	if !r.stamped || age <= behind {
		return 0, false
	}
	rate, gap := float64(linuxTicks), r.newest.at-r.first.at
	switch ticks := int32(r.newest.ticks - r.first.ticks); {
	case gap >= apart && ticks <= 0:
		return 0, false // a clock that stands still
	case gap >= apart:
		rate = nearest(float64(ticks) / gap.Seconds())
	case age < young && gap == 0:
		return 0, false
	}
	age -= behind + age/drift
	return r.newest.ticks + uint32(age.Seconds()*rate), true
}

// nearest is the usual rate that a measured one stands for; an unusual one is taken for slower than it was measured, since the
// way from the client may have been faster the second time.
func nearest(measured float64) float64 {
	for _, u := range usual {
		if measured > u*0.97 && measured < u*1.03 {
			return u
		}
	}
	return measured * 0.97
}

// timestamp finds the option in a TCP header: kind, length, TSval, TSecr. nil: there is none.
func timestamp(frame []byte, s segment) []byte {
	head := frame[s.at:s.end]
	if len(head) < 20 {
		return nil
	}
	size := int(head[12]>>4) * 4
	if size < 20 || size > len(head) {
		return nil
	}
	for opts := head[20:size]; len(opts) > 1; {
		switch {
		case opts[0] == 0:
			return nil
		case opts[0] == 1:
			opts = opts[1:]
			continue
		case opts[1] < 2 || int(opts[1]) > len(opts):
			return nil
		case opts[0] == 8 && opts[1] == 10:
			return opts[:10]
		}
		opts = opts[opts[1]:]
	}
	return nil
}

// whole gives the packet that is to be kept of a frame: without the padding behind it, and, of a TCP segment that is longer than a
// frame, the part that fits into one. nil: it cannot be replayed.
func whole(frame []byte, s segment) []byte {
	if s.part || s.end < s.at+8 || s.protocol == protoTCP && !wholeHeader(frame, s) {
		return nil
	}
	missing := s.protocol != protoTCP && s.end == len(frame) && udpLength(frame, s) > s.end-s.at
	if missing || s.end > frameMost && s.protocol != protoTCP {
		return nil
	}
	f := bytes.Clone(frame[:min(s.end, frameMost)])
	if s.protocol == protoTCP && s.at+int(frame[s.at+12]>>4)*4+s.data > len(f) {
		f[s.at+tcpFlagsOffset] &^= tcpFIN | tcpPSH // they belong to its end, which is missing
	}
	network := f[offNetwork:]
	if network[0]>>4 == 4 {
		binary.BigEndian.PutUint16(network[2:], uint16(len(network)))
		header := network[:int(network[0]&0xf)*4]
		header[10], header[11] = 0, 0
		binary.BigEndian.PutUint16(header[10:], fold(sum(0, header)))
	} else {
		binary.BigEndian.PutUint16(network[4:], uint16(len(network)-40))
	}
	return f
}

// wholeHeader says whether a TCP header with all its options is there.
func wholeHeader(frame []byte, s segment) bool {
	if s.end < s.at+20 {
		return false
	}
	size := int(frame[s.at+12]>>4) * 4
	return size >= 20 && s.at+size <= min(s.end, frameMost)
}

func udpLength(frame []byte, s segment) int { return int(binary.BigEndian.Uint16(frame[s.at+4:])) }

// ready makes a kept frame ready for the wire: addressed anew, with the TSval of now where that is known, and with a checksum,
// which a frame that never left its sender's machine does not have.
func ready(kept []byte, s segment, r readings, now time.Duration, from, to net.HardwareAddr) []byte {
	f := bytes.Clone(kept)
	copy(f, to)
	copy(f[6:], from)
	s.end = len(f)
	if s.protocol == protoTCP {
		if v, known := r.now(now); known {
			binary.BigEndian.PutUint32(timestamp(f, s)[2:], v)
		}
	}
	checksum(f, s)
	return f
}

// checksum writes the transport's checksum (RFC 9293, 768, 8200).
func checksum(f []byte, s segment) {
	body, at := f[s.at:s.end], 16
	if s.protocol == protoUDP {
		at = 6
	}
	body[at], body[at+1] = 0, 0
	src, dst := s.client.Addr().AsSlice(), s.dest.Addr().AsSlice()
	c := fold(sum(sum(sum(uint32(s.protocol)+uint32(len(body)), src), dst), body))
	if c == 0 && s.protocol == protoUDP {
		c = 0xffff // 0 stands for none
	}
	binary.BigEndian.PutUint16(body[at:], c)
}

// sum adds 16-bit words. It cannot overflow: a packet has 32768 of them at most.
func sum(n uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		n += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		n += uint32(b[0]) << 8
	}
	return n
}

func fold(n uint32) uint16 {
	for n > 0xffff {
		n = n>>16 + n&0xffff
	}
	return ^uint16(n)
}
