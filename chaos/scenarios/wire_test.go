package scenarios

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"nightporter/api"
	"nightporter/chaos/judge"
	"nightporter/chaos/lab"
)

// Where things stand in a frame (IEEE 802.3, RFC 791).
const (
	atPayload = 14
	atProto   = atPayload + 9 // of IPv4
	atSrc     = atPayload + 12

	typeIPv4 = 0x0800
	typeWake = 0x0842
)

// watched is an identity and who used it.
type watched struct {
	name    string
	id      judge.Identity
	history []api.Change // of all owners, as far as it was noted
	turns   judge.Turns
	last    judge.Use
}

// wire reads the capture of a lab from its beginning to its end.
type wire struct {
	capture *lab.Capture
	done    chan struct{}

	mu       sync.Mutex
	services []*watched
	parts    []*part     // that are traced by themselves
	magic    []magic     // packets, as a host sends them
	refusals []string    // what told a client that a service is not there: RST and ICMP errors
	acks     []time.Time // of the server of sessions to a client, without data
	passed   time.Time   // the newest frame of all
}

func tap(w *world) *wire {
	w.Helper()
	c, err := w.lab.Capture(w.limit(), nil, false)
	w.must(err)
	x := &wire{capture: c, done: make(chan struct{})}
	go func() {
		defer close(x.done)
		for f := range c.Frames() {
			x.see(f)
		}
	}()
	return x
}

// follow makes the wire look for the identity of a service.
func (x *wire) follow(s api.Service) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.services = append(x.services, &watched{name: s.Name, id: judge.Identity{MAC: net.HardwareAddr(s.MAC), Addrs: s.Addresses}})
}

func (x *wire) see(f lab.Frame) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.passed = f.Time
	if len(f.Data) < atPayload {
		return
	}
	if f.ToHost {
		if strings.HasPrefix(f.Port, "c") {
			x.seeRefusal(f)
			x.seePulse(f)
		}
		return
	}
	if form := magicForm(f); form != "" {
		x.magic = append(x.magic, magic{f.Time, f.Port, form})
	}
	for _, p := range x.parts {
		if p.Claimed(f) && !strings.HasPrefix(f.Port, "c") {
			if p.last = (judge.Use{At: f.Time, Host: f.Port, Frame: f.Data}); p.first.At.IsZero() {
				p.first = p.last
			}
		}
	}
	for _, s := range x.services {
		if s.id.Claimed(f) && !strings.HasPrefix(f.Port, "c") { // what strangers do is no matter of the members'
			s.last = judge.Use{At: f.Time, Host: f.Port, Frame: f.Data}
			s.turns.See(s.last)
		}
	}
}

// magic is a packet that is to wake somebody.
type magic struct {
	at         time.Time
	from, form string
}

// magicForm names the form of a magic packet, "" = it is none.
func magicForm(f lab.Frame) string {
	toAll := f.Data[0]&1 != 0
	switch ones := bytes.Repeat([]byte{0xff}, 6); {
	case f.EtherType() == typeWake && toAll:
		return "raw to all"
	case f.EtherType() == typeWake:
		return "raw to the card"
	case f.EtherType() == typeIPv4 && len(f.Data) >= atPayload+28+102 && f.Data[atProto] == 17 && bytes.Equal(f.Data[atPayload+28:atPayload+34], ones):
		return fmt.Sprint("UDP to port ", binary.BigEndian.Uint16(f.Data[atPayload+22:]))
	}
	return ""
}

// seeRefusal notes what would end a client's connection attempt.
func (x *wire) seeRefusal(f lab.Frame) {
	if f.EtherType() != typeIPv4 || len(f.Data) < atPayload+40 {
		return
	}
	header := int(f.Data[atPayload]&15) * 4
	body := f.Data[atPayload+header:]
	src, _ := netip.AddrFromSlice(f.Data[atSrc : atSrc+4])
	switch {
	case f.Data[atProto] == 6 && len(body) >= 20 && body[13]&4 != 0 && slices.Contains([]uint16{lab.ServerPort, echoPort, talkPort}, binary.BigEndian.Uint16(body)):
		x.refusals = append(x.refusals, fmt.Sprintf("RST from %s (%s) to %s at %v", src, f.Src(), f.Port, f.Time))
	case f.Data[atProto] == 1 && (body[0] == 3 || body[0] == 11):
		x.refusals = append(x.refusals, fmt.Sprintf("ICMP type %d code %d from %s to %s at %v", body[0], body[1], src, f.Port, f.Time))
	}
}

// refused gives what told clients that something is not there.
func (x *wire) refused() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.refusals)
}

// magicBetween counts the magic packets that left hosts in a time.
func (x *wire) magicBetween(from, to time.Time) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := 0
	for _, m := range x.magic {
		if !m.at.Before(from) && m.at.Before(to) {
			n++
		}
	}
	return n
}

// magicForms gives the forms in which each host has sent magic packets, sorted.
func (x *wire) magicForms() map[string][]string {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := make(map[string][]string)
	for _, m := range x.magic {
		if !slices.Contains(out[m.from], m.form) {
			out[m.from] = append(out[m.from], m.form)
			slices.Sort(out[m.from])
		}
	}
	return out
}

// firstAfter gives the first turn of a host with an identity that began after a moment.
func (x *wire) firstAfter(name, host string, after time.Time) (judge.Use, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, s := range x.services {
		for _, r := range s.turns {
			if s.name == name && r.Host == host && r.At.After(after) {
				return r, true
			}
		}
	}
	return judge.Use{}, false
}

// lastUse gives the newest frame of an identity.
func (x *wire) lastUse(name string) judge.Use {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, s := range x.services {
		if s.name == name {
			return s.last
		}
	}
	return judge.Use{}
}

// note takes over what a host says of the history of every service that is followed. The log never takes back a change
// and gives every epoch once (I2, I9): a host that says otherwise fails the test.
func (w *world) note() {
	w.Helper()
	w.wire.mu.Lock()
	services := slices.Clone(w.wire.services)
	w.wire.mu.Unlock()
	for _, s := range services {
		for _, host := range w.hosts {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			h, err := w.api(host).History(ctx, s.name)
			cancel()
			if err == nil {
				s.history = w.merge(s.name, host, s.history, h.Changes)
			}
		}
	}
}

// merge adds the changes that are new. A host whose log is behind knows fewer; none may know others.
func (w *world) merge(name, host string, known, said []api.Change) []api.Change {
	w.Helper()
	for i, c := range said {
		if i > 0 && c.Epoch <= said[i-1].Epoch {
			w.Errorf("%s says of %s that epoch %d was followed by %d", host, name, said[i-1].Epoch, c.Epoch)
		}
		at, found := slices.BinarySearchFunc(known, c.Epoch, func(k api.Change, e uint64) int { return cmp.Compare(k.Epoch, e) })
		switch {
		case found && (known[at].To != c.To || known[at].Index != c.Index):
			w.Errorf("epoch %d of %s belonged to %s (index %d), and %s says to %s (index %d)", c.Epoch, name, known[at].To, known[at].Index, host, c.To, c.Index)
		case !found:
			known = slices.Insert(known, at, c)
		}
	}
	return known
}

// judge checks I1 and I9 on all that was seen: the hosts that used an identity are the owners of the service's history, in
// the order of their epochs and not before them.
func (x *wire) judge(w *world) {
	w.Helper()
	w.note()
	dropped, err := x.capture.Stop()
	<-x.done
	if err != nil || dropped != 0 {
		w.Errorf("the capture lost %d frames (%v): it proves nothing", dropped, err)
	}
	for _, s := range x.services {
		if len(s.turns) == 0 {
			w.Errorf("nobody ever used the identity of %s: the capture proves nothing", s.name)
		}
		if said := s.turns.Complaint(s.history); said != "" {
			w.Errorf("%s: %s", s.name, said)
		}
	}
}
