package failures

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// wire reads the capture at the switch and remembers which hosts used the identity of web, in order.
type wire struct {
	capture *lab.Capture
	mac     net.HardwareAddr
	done    chan struct{}

	mu   sync.Mutex
	runs []use          // the first frame of each run of frames from one host
	last map[string]use // of each host
}

// use is one frame that claims the identity, on its way from a host.
type use struct {
	at   time.Time
	host string
	data []byte
}

func tap(w *world, mac net.HardwareAddr) *wire {
	w.Helper()
	c, err := w.lab.Capture(w.limit(), nil, false)
	w.must(err)
	x := &wire{capture: c, mac: mac, done: make(chan struct{}), last: map[string]use{}}
	go func() {
		defer close(x.done)
		for f := range c.Frames() {
			if !f.ToHost && strings.HasPrefix(f.Port, "h") && x.claims(f.Data) {
				x.note(use{f.Time, f.Port, f.Data})
			}
		}
	}()
	return x
}

// claims says whether the sender of a frame uses mac0, or ip0 in ARP or IPv4.
func (x *wire) claims(frame []byte) bool {
	const payload, typeIPv4, typeARP = 14, 0x0800, 0x0806
	if len(frame) < payload+20 {
		return false
	}
	ip := lab.ServiceAddr().As4()
	if bytes.Equal(frame[6:12], x.mac) {
		return true
	}
	switch binary.BigEndian.Uint16(frame[12:]) {
	case typeARP:
		return bytes.Equal(frame[payload+8:payload+14], x.mac) || bytes.Equal(frame[payload+14:payload+18], ip[:])
	case typeIPv4:
		return bytes.Equal(frame[payload+12:payload+16], ip[:])
	}
	return false
}

func (x *wire) note(u use) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if n := len(x.runs); n == 0 || x.runs[n-1].host != u.host {
		x.runs = append(x.runs, u)
	}
	x.last[u.host] = u
}

// lastOf is the newest use by a host; zero if there was none.
func (x *wire) lastOf(host string) use {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.last[host]
}

// judge ends the capture and compares what it saw with the log: the hosts that used the identity, in the order of their
// frames, must be owners in the order of the epochs. A host that used it before its time, after it, or never having been
// given it, breaks that order.
func (x *wire) judge(w *world, owners []api.Change) {
	w.Helper()
	dropped, err := x.capture.Stop()
	<-x.done
	if err != nil || dropped != 0 {
		w.Errorf("the capture lost %d frames (%v): it proves nothing", dropped, err)
	}
	if len(x.runs) == 0 {
		w.Error("nobody ever used the identity: the capture proves nothing")
	}
	var seen []string
	for _, r := range x.runs {
		seen = append(seen, fmt.Sprintf("%s %s", r.host, r.at.Format("15:04:05.000000")))
	}
	if i := outOfTurn(x.runs, owners); i >= 0 {
		w.Errorf("%s used the identity out of turn at %v, frame %x\nseen: %v\nhistory: %s", x.runs[i].host, x.runs[i].at, x.runs[i].data, seen[:i+1], tell(owners))
	}
}

// outOfTurn gives the first run that no order of the owners explains, or -1.
func outOfTurn(runs []use, owners []api.Change) int {
	at := 0
	for i, r := range runs {
		for at < len(owners) && owners[at].To != r.host {
			at++
		}
		if at == len(owners) {
			return i
		}
	}
	return -1
}

func tell(owners []api.Change) string {
	var words []string
	for _, c := range owners {
		words = append(words, fmt.Sprintf("%d: %s->%s (%s) %s", c.Epoch, c.From, c.To, c.Reason, c.At.Format("15:04:05.000000")))
	}
	return strings.Join(words, ", ")
}
