package wake

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Swallowed keeps the attempts that a front swallowed, for the target: the newest SYN of each flow and, where UDP is wanted, the
// newest datagrams. It is pure: time is passed in. The zero value keeps TCP. Not safe for concurrent use.
type Swallowed struct {
	UDP bool // keep datagrams too: only for protocols to which a question asked twice does no harm

	kept    map[flow]*kept
	sources map[netip.Addr]int // flows by client
}

// Bounds of what is kept. A SYN takes about 300 bytes with all that is around it.
const (
	swallowedMost = 1024
	sourceMost    = 128 // of one client: a browser opens six for each name, a balancer in front of many clients more
	datagramsMost = 4   // of one flow: a resolver asks for A and AAAA from one port
	// synAge is the age at which a SYN is forgotten: Linux clients give up after 127 s (tcp_syn_retries=6).
	synAge = 130 * time.Second
	// datagramAge is that of a datagram: resolvers give up after 5 s, and ask again.
	datagramAge = 10 * time.Second
)

type kept struct {
	segment segment
	frames  [][]byte
	heard   readings
	local   bool
}

// Put takes an attempt in. One whose frame is missing, or a fragment, is not kept: its client repeats it.
func (w *Swallowed) Put(d Demand) {
	s, ok := parseSegment(d.Frame)
	if !ok || d.Stage != Attempt || s.protocol == protoUDP && !w.UDP {
		return
	}
	frame := whole(d.Frame, s)
	if frame == nil {
		return
	}
	s.end = min(s.end, len(frame)) // a long one was cut
	f := d.flow()
	k := w.kept[f]
	if k == nil {
		if k = w.room(f, d.At); k == nil {
			return
		}
	}
	if s.protocol == protoUDP {
		k.frames = append(slices.DeleteFunc(k.frames, func(old []byte) bool { return bytes.Equal(old, frame) }), frame)
		k.frames = k.frames[max(0, len(k.frames)-datagramsMost):]
		k.heard.newest.at = d.At
		if len(k.frames) == 1 {
			k.heard.first = k.heard.newest
		}
	} else {
		if k.frames != nil && k.segment.seq != s.seq {
			k.heard = readings{} // the client has begun anew
		}
		k.frames = [][]byte{frame}
		k.heard.add(d.At, frame, s)
	}
	k.segment, k.local = s, d.Local
}

// room makes a place for a flow. nil: its client has too many.
func (w *Swallowed) room(f flow, now time.Duration) *kept {
	if w.kept == nil {
		w.kept, w.sources = make(map[flow]*kept), make(map[netip.Addr]int)
	}
	if w.sources[f.client.Addr()] >= sourceMost || len(w.kept) >= swallowedMost {
		w.Age(now)
	}
	if w.sources[f.client.Addr()] >= sourceMost {
		return nil
	}
	if len(w.kept) >= swallowedMost {
		w.drop(w.least())
	}
	k := &kept{}
	w.kept[f] = k
	w.sources[f.client.Addr()]++
	return k
}

// least is the flow that can best be spared: one that was heard once only, as those of a flood are; of these, or if there is none
// of all, the oldest.
func (w *Swallowed) least() flow {
	var worst flow
	var of *kept
	for f, k := range w.kept {
		once, worstOnce := k.heard.first == k.heard.newest, of != nil && of.heard.first == of.heard.newest
		if of == nil || once && !worstOnce || once == worstOnce && k.heard.newest.at < of.heard.newest.at {
			worst, of = f, k
		}
	}
	return worst
}

func (w *Swallowed) drop(f flow) {
	if _, is := w.kept[f]; !is {
		return
	}
	delete(w.kept, f)
	if w.sources[f.client.Addr()]--; w.sources[f.client.Addr()] == 0 {
		delete(w.sources, f.client.Addr())
	}
}

// Hear takes in a later segment: a client that resets its attempt wants no answer any more.
func (w *Swallowed) Hear(d Demand) {
	if s, ok := parseSegment(d.Frame); ok && s.protocol == protoTCP && s.flags&tcpRST != 0 {
		w.drop(d.flow())
	}
}

// Forget drops the attempts of a flow: somebody has answered them.
func (w *Swallowed) Forget(d Demand) { w.drop(d.flow()) }

// Age forgets what is too old.
func (w *Swallowed) Age(now time.Duration) {
	for f, k := range w.kept {
		most := synAge
		if f.protocol == "udp" {
			most = datagramAge
		}
		if now-k.heard.newest.at > most {
			w.drop(f)
		}
	}
}

// Len is how many flows wait.
func (w *Swallowed) Len() int { return len(w.kept) }

// Wants lists the endpoints that flows wait for, each once.
func (w *Swallowed) Wants() (tcp, udp []netip.AddrPort) {
	for f := range w.kept {
		if f.protocol == "udp" {
			udp = append(udp, f.dest)
		} else {
			tcp = append(tcp, f.dest)
		}
	}
	distinct := func(a []netip.AddrPort) []netip.AddrPort {
		slices.SortFunc(a, netip.AddrPort.Compare)
		return slices.Compact(a)
	}
	return distinct(tcp), distinct(udp)
}

// Pick says which flows a replay is for.
type Pick struct {
	TCP, UDP []netip.AddrPort // the endpoints where something listens
	NoLocal  bool             // leave those of clients on this host for later
	Most     int              // frames
}

func (p Pick) takes(f flow, local bool) bool {
	ports := p.TCP
	if f.protocol == "udp" {
		ports = p.UDP
	}
	return !(local && p.NoLocal) && slices.Contains(ports, f.dest)
}

// Take gives the frames of a replay at the time now, the oldest flow first, addressed from one MAC to another, and forgets them.
// more says that there are others, which Most kept back.
func (w *Swallowed) Take(p Pick, now time.Duration, from, to net.HardwareAddr) (frames [][]byte, more bool) {
	w.Age(now)
	var picked []flow
	for f, k := range w.kept {
		if p.takes(f, k.local) {
			picked = append(picked, f)
		}
	}
	slices.SortFunc(picked, func(a, b flow) int { return int(w.kept[a].heard.first.at - w.kept[b].heard.first.at) })
	for _, f := range picked {
		if len(frames) >= p.Most {
			return frames, true
		}
		k := w.kept[f]
		for _, one := range k.frames {
			s := k.segment
			if s.protocol == protoUDP {
				s, _ = parseSegment(one)
			}
			frames = append(frames, ready(one, s, k.heard, now, from, to))
		}
		w.drop(f)
	}
	return frames, false
}

// Local says whether any flow is of a client on this host.
func (w *Swallowed) Local() bool {
	for _, k := range w.kept {
		if k.local {
			return true
		}
	}
	return false
}
