package wake

import (
	"encoding/binary"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Owed is a connection on which a client waits for this host, and would not say anything more by itself.
type Owed struct {
	Client, Dest netip.AddrPort
	Why          string // for people
	Half         bool   // the connection is half made: nobody knows whether the client is there at all
}

// owedFor is for how long a client counts as waiting after it said something, or came. A program that takes longer for an answer is not seen to
// work at one, and a client that has died, or that never gets an answer, keeps nobody awake.
const owedFor = 5 * time.Second

// jiffy is the longest that the kernel's clock of connections stands still. What happened within one has no order.
const jiffy = 10 * time.Millisecond

// repetition is for how long after a client's word its acknowledgements may belong to that: its kernel repeats it while nobody has acknowledged it.
const repetition = 100 * time.Millisecond

// Why a client waits.
const (
	owedHandshake = "its handshake is not over"
	owedGreeting  = "it has just come"
	owedReading   = "what it said is not read yet"
	owedAnswer    = "what it said is not answered yet"
	owedSending   = "its answer has not left this host"
)

// Unanswered gives the TCP connections to one of the addresses on which a client waits. It is asked when nothing comes in or goes out any more
// (the fence is closed), and after Established: what the kernel still takes in between the two is then new to the front, or seen here, or both.
func Unanswered(addrs []netip.Addr) ([]Owed, error) {
	ours := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		ours[a] = true
	}
	var all []socket // that end at one of ours
	here := make(map[[2]netip.AddrPort]bool)
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		some, err := dump(family, unix.IPPROTO_TCP, 1<<(diagInfo-1),
			stateEstablished, stateSynReceived, stateFinWait1, stateFinWait2, stateCloseWait, stateLastAck, stateClosing)
		if err != nil {
			return nil, err
		}
		for _, s := range some {
			if ours[s.local.Addr()] {
				all = append(all, s)
			}
			if ours[s.remote.Addr()] {
				here[[2]netip.AddrPort{s.local, s.remote}] = true
			}
		}
	}
	var out, half []Owed
	for _, s := range all {
		if here[[2]netip.AddrPort{s.remote, s.local}] { // no fence is between two ends on this host, such as a check's
			continue
		}
		switch why := s.owes(); why {
		case "":
		case owedHandshake:
			half = append(half, Owed{Client: s.remote, Dest: s.local, Why: why, Half: true})
		default:
			out = append(out, Owed{Client: s.remote, Dest: s.local, Why: why})
		}
	}
	return append(out, half...), nil
}

// owes says why its client waits; "" = it does not, as far as can be told.
func (s socket) owes() string {
	i, ok := readTraffic(s.info)
	unread := s.unread
	if s.state == stateCloseWait && unread > 0 {
		unread-- // the client's FIN
	}
	switch {
	case !ok && s.state == stateSynReceived && s.repeated == 0:
		return owedHandshake
	case !ok || i.heard > owedFor:
		return ""
	case i.segmentsIn == 0: // some servers speak first
		if (s.state == stateEstablished || s.state == stateFinWait1) && i.acked == 0 {
			return owedGreeting
		}
		return ""
	case unread > 0:
		return owedReading
	case i.segmentsOut == 0 || i.sent > i.heard || i.sent == i.heard && i.heard < jiffy:
		return owedAnswer
	case i.unsent > 0 && (i.acknowledged+repetition > i.heard || i.unsent >= i.segment || s.state != stateEstablished): // a FIN acknowledges as well. Else it is the next word of a server that says something all the time
		return owedSending
	}
	return ""
}

// traffic is what a tcp_info says of a connection. The times are how long ago something was; they begin with the connection.
type traffic struct {
	heard, sent, acknowledged time.Duration // data that came, data that was sent, or was tried to; and an acknowledgement, by a segment with data or without
	segmentsIn, segmentsOut   uint32        // with data
	acked                     uint64        // bytes
	unsent                    uint32        // bytes. What a closed fence drops is among them
	segment                   uint32        // bytes, at most
}

// readTraffic reads it. Linux has all of it since 4.6.
func readTraffic(info []byte) (t traffic, ok bool) {
	var at unix.TCPInfo
	if len(info) < int(unsafe.Offsetof(at.Data_segs_out))+4 {
		return t, false // a connection that is over for its program, and carries nothing
	}
	word := func(offset uintptr) uint32 { return binary.NativeEndian.Uint32(info[offset:]) }
	ago := func(offset uintptr) time.Duration { return time.Duration(word(offset)) * time.Millisecond }
	t.heard, t.sent, t.acknowledged = ago(unsafe.Offsetof(at.Last_data_recv)), ago(unsafe.Offsetof(at.Last_data_sent)), ago(unsafe.Offsetof(at.Last_ack_recv))
	t.segmentsIn, t.segmentsOut = word(unsafe.Offsetof(at.Data_segs_in)), word(unsafe.Offsetof(at.Data_segs_out))
	t.acked = binary.NativeEndian.Uint64(info[unsafe.Offsetof(at.Bytes_acked):])
	t.unsent, t.segment = word(unsafe.Offsetof(at.Notsent_bytes)), word(unsafe.Offsetof(at.Snd_mss))
	return t, true
}
