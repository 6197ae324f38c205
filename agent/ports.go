package agent

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/lease"
	"nightporter/wake"
)

// endpoints are addresses and ports, by protocol.
type endpoints struct{ TCP, UDP []netip.AddrPort }

// endpointsOf gives what a service guards.
func endpointsOf(s fsm.Service) endpoints {
	var e endpoints
	for _, a := range s.Addresses {
		for _, p := range s.Ports {
			at := netip.AddrPortFrom(a, p.Number)
			if p.Protocol == fsm.UDP {
				e.UDP = append(e.UDP, at)
			} else {
				e.TCP = append(e.TCP, at)
			}
		}
	}
	return e
}

func (e endpoints) empty() bool { return len(e.TCP)+len(e.UDP) == 0 }

// without gives what of e is not in other.
func (e endpoints) without(other endpoints) endpoints {
	less := func(a, b []netip.AddrPort) []netip.AddrPort {
		return slices.DeleteFunc(slices.Clone(a), func(x netip.AddrPort) bool { return slices.Contains(b, x) })
	}
	return endpoints{less(e.TCP, other.TCP), less(e.UDP, other.UDP)}
}

// words names them to people.
func (e endpoints) words() []string {
	out := []string{}
	for _, a := range e.TCP {
		out = append(out, "tcp "+a.String())
	}
	for _, a := range e.UDP {
		out = append(out, "udp "+a.String())
	}
	return out
}

func (e endpoints) count() int { return len(e.TCP) + len(e.UDP) }

// doors are the guarded ports of a service on the target that holds it. One at which nobody listens yet is shut: its clients'
// first segments are dropped there and not refused (I5). A door that was open once stays open for the tenure: when a program
// stops listening later, clients are refused as on any host, and the health checks say what is to become of that.
type doors struct {
	epoch    uint64 // the tenure that they are for
	all      endpoints
	shut     endpoints
	began    lease.Boot
	nextLook lease.Boot
	said     bool
	blind    bool // nobody can tell who listens
	unset    bool // the kernel did not take the first ones
}

// Pauses between two looks at the doors that are shut: a look costs about 0.1 ms for each family and protocol. The first one lasts for
// longer than most services take to start.
const (
	lookSoon   = 4 * time.Millisecond
	lookLater  = 50 * time.Millisecond
	lookSeldom = time.Second
	soonFor    = 20 * time.Second
	laterFor   = 2 * time.Minute
	sayShut    = 10 * time.Second // after which the log says what nobody listens at
)

func (d *doors) open() endpoints { return d.all.without(d.shut) }

func (d *doors) pause(now lease.Boot) time.Duration {
	switch open := now.Sub(d.began); {
	case open < soonFor:
		return lookSoon
	case open < laterFor:
		return lookLater
	}
	return lookSeldom
}

// keepDoors looks which doors can be opened. Until the fence opens all of them are shut at first, so that none is open for nobody.
func (t *tenant) keepDoors(now lease.Boot) {
	d := &t.doors
	if all := endpointsOf(t.wish.Service); d.epoch != t.epoch || d.all.count() != all.count() || !d.all.without(all).empty() {
		shut := all
		if d.epoch == t.epoch { // the definition has other ports now
			shut = all.without(d.open())
		}
		*d = doors{epoch: t.epoch, all: all, shut: shut, began: now}
		t.wayIn(now, true)
		return
	}
	if now >= d.nextLook && !d.shut.empty() {
		t.wayIn(now, false)
	}
	if !d.said && !d.shut.empty() && t.opened && now.Sub(d.began) > sayShut {
		d.said = true
		t.log.Info("nobody listens at some of the service's ports on this host: who asks there waits", "service", t.service, "tcp", d.shut.TCP, "udp", d.shut.UDP)
	}
}

// wayIn opens the doors behind which somebody listens.
func (t *tenant) wayIn(now lease.Boot, fresh bool) {
	d := &t.doors
	d.nextLook = now.Add(d.pause(now))
	var shut endpoints
	if t.wish.Service.Replay != fsm.ReplayNone {
		listens, bound, err := t.reach.Listening(t.hold.Link(), d.shut.TCP, d.shut.UDP)
		if d.blind = err != nil; d.blind {
			t.fail(doLook, err) // nobody knows: what cannot be known must not shut a service out
		} else {
			t.well(doLook)
			shut = d.shut.without(endpoints{listens, bound})
		}
	}
	if !fresh && !d.unset && shut.count() == d.shut.count() {
		return
	}
	if err := t.hold.GuardPorts(shut.TCP, shut.UDP); err != nil {
		t.fail(doGuard, err)
		d.unset = d.unset || fresh // tried again with the next look
		return
	}
	d.unset = false
	t.well(doGuard)
	open := d.shut.without(shut)
	d.shut = shut
	if t.opened {
		t.giveMyself(open, now)
		t.sayListening()
	}
}

// giveMyself lets those in who asked while a door was shut, as many as the queue of a listening socket can take; the others repeat
// themselves.
func (t *tenant) giveMyself(open endpoints, now lease.Boot) {
	var frames [][]byte
	none := make(net.HardwareAddr, 6)
	t.kept.take(func(k *kept) {
		frames, _ = k.attempts.Take(wake.Pick{TCP: open.TCP, UDP: open.UDP, Most: burst}, time.Duration(now), none, none)
	})
	if len(frames) == 0 {
		return
	}
	own, err := t.reach.Own()
	if err != nil {
		t.fail(doReplay, err)
		return
	}
	defer own.Close()
	for _, f := range frames {
		if err := own.Send(f); err != nil {
			t.log.Warn("an attempt was not replayed: its client repeats it", "service", t.service, "err", err)
		}
	}
	t.log.Info("let in who waited here", "service", t.service, "epoch", t.epoch, "frames", len(frames))
}

// leaveDoors opens them at the end of a tenure: the fence is closed, and who on this host wants to know whether somebody listens gets
// the truth.
func (t *tenant) leaveDoors() {
	if t.hold != nil && !t.doors.shut.empty() {
		if err := t.hold.GuardPorts(nil, nil); err != nil {
			t.fail(doGuard, err)
		}
	}
	t.doors = doors{}
}

// listening is this host's word about its doors, for those who keep attempts.
func (t *tenant) listening() []cluster.Listening {
	if t.wish.Service.Replay == fsm.ReplayNone || !t.wish.Serving || t.guarded || t.doors.epoch != t.epoch || t.doors.blind {
		return nil
	}
	open := t.doors.open()
	return []cluster.Listening{{Service: t.service, Epoch: t.epoch, TCP: open.TCP, UDP: open.UDP}}
}

// sayListening tells everybody; nobody here knows who was front while clients knocked.
func (t *tenant) sayListening() {
	if l := t.listening(); l != nil {
		t.out.all(cluster.Message{Listening: l})
	}
	open := t.doors.open()
	t.log.Info("ports served", "service", t.service, "epoch", t.epoch, "tcp", open.TCP, "udp", open.UDP, "boottime_ns", int64(t.clock.Boot()))
}
