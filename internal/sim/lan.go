package sim

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"nightporter/identity"
	"nightporter/wake"
)

// lan carries the frames of the identities and the magic packets. Each client has a switch port of its own, behind which the
// way to a MAC is where frames from it came from last.
type lan struct {
	w *world

	mu      sync.Mutex
	learned map[way]*machine
	asked   map[asked]attempt           // the newest of each
	foreign map[string]net.HardwareAddr // by service: a host outside the cluster that answers for the address
}

// way is a service's MAC as one client's switch has it.
type way struct{ client, service string }

func newLAN(w *world) *lan {
	return &lan{w: w, learned: make(map[way]*machine), foreign: make(map[string]net.HardwareAddr), asked: make(map[asked]attempt)}
}

// announce is a gratuitous ARP: all clients' switches learn from it.
func (l *lan) announce(from *machine, service string, spec identity.Spec) {
	from.use(service, "gratuitous ARP")
	for _, c := range l.w.clients {
		l.w.sw.Frame(from.addr, c.addr, func() { l.learn(c, service, from) })
	}
	for _, m := range l.w.machines {
		if m != from {
			l.w.sw.Frame(from.addr, m.addr, func() { m.kernel.saw(spec, from) })
		}
	}
}

func (l *lan) learn(c *client, service string, from *machine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.learned[way{c.name, service}] = from
}

// strangers is who answers a probe for the address of an identity, and is no holder of it.
func (l *lan) strangers(from *machine, s identity.Spec) []identity.Foreign {
	if !from.nic.IsUp() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	mac, is := l.foreign[s.Service]
	if !is {
		return nil
	}
	return []identity.Foreign{{IP: s.Addrs[0], MAC: mac}}
}

func (l *lan) stranger(service string, there bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if there {
		l.foreign[service] = net.HardwareAddr{2, 0xee, 0, 0, 0, 1}
	} else {
		delete(l.foreign, service)
	}
}

// magic broadcasts a magic packet for each MAC.
func (l *lan) magic(from *machine, macs []net.HardwareAddr) {
	if !from.nic.IsUp() {
		return
	}
	for _, to := range l.w.machines {
		for _, mac := range macs {
			if bytes.Equal(mac, to.mac) {
				l.w.rec.magic(from.name, to.name)
				l.w.magicFrame(from, to)
			}
		}
	}
}

// magicFrame reaches the network card of a machine that sleeps, too.
func (w *world) magicFrame(from, to *machine) {
	p := w.sw.Path(from.addr, to.addr)
	w.mu.Lock()
	lost := p.Cut || w.rng.Float64() < p.Loss
	w.mu.Unlock()
	to.mu.Lock()
	lost = lost || !to.linked || to.alone
	to.mu.Unlock()
	if !lost {
		time.AfterFunc(p.Delay, func() { to.call("magic packet from " + from.name) })
	}
}

// syn is a client's connection attempt. answered is called when something comes back, with the server's name, or "" and a
// reset.
func (l *lan) syn(c *client, service string, port uint16, answered func(server string)) {
	l.mu.Lock()
	to := l.learned[way{c.name, service}]
	l.mu.Unlock()
	for _, m := range l.w.machines {
		if to == nil || m == to { // where the way is not known the frame goes everywhere
			l.w.sw.Frame(c.addr, m.addr, func() { m.kernel.syn(c, service, port, answered) })
		}
	}
}

// syn arrives at a machine.
func (k *kernel) syn(c *client, service string, port uint16, answered func(string)) {
	k.m.w.rec.demand(service, k.m.name, c.name)
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.rooms[service]
	if r == nil {
		return
	}
	for e := range r.ears { // before any filter
		e.hear(c, service, port, r)
	}
	k.m.w.lan.ask(c, service, r.spec.Addrs[0], port, answered)
	if !k.passes(r) || r.guard {
		return
	}
	if slices.Contains(r.shut, netip.AddrPortFrom(r.spec.Addrs[0], port)) {
		return
	}
	server, words := k.m.name, "SYN-ACK"
	switch k.m.w.answers(k.m.name, service) {
	case refuses:
		server, words = "", "RST"
		k.m.w.rec.refusal(service, k.m.name, c.name)
	case hangs: // the connection is there, and nothing comes
		k.m.use(service, words)
		return
	}
	k.m.use(service, words)
	k.served[service]++
	k.m.w.sw.Frame(k.m.addr, c.addr, func() {
		k.m.w.lan.learn(c, service, k.m)
		answered(server)
	})
}

// ask remembers an attempt, in case that the machine which heard it gives it to another one.
func (l *lan) ask(c *client, service string, dest netip.Addr, port uint16, answered func(string)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked[asked{c.addr, dest, port}] = attempt{c, service, answered}
}

// hear hands a demand to the daemon, on the packet socket's own goroutine.
func (e *ear) hear(c *client, service string, port uint16, r *room) {
	boot, _ := e.life.machine.clock.read()
	d := wake.Demand{
		Service: service, Client: netip.AddrPortFrom(c.addr, clientPort), Dest: netip.AddrPortFrom(r.spec.Addrs[0], port),
		Protocol: "tcp", At: boot, Frame: synFrame(c, r.spec.MAC, netip.AddrPortFrom(r.spec.Addrs[0], port)),
	}
	go e.life.proc.When(func() { e.on(d) })
}

// listen is agent.Deps.Listen.
func (l *life) listen(link string, g wake.Guard, on func(wake.Demand)) (io.Closer, error) {
	if link == "lo" { // no client runs on a host of the cluster
		return closer(func() error { return nil }), nil
	}
	k, e := l.machine.kernel, &ear{life: l, on: on}
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.rooms[g.Service]
	if r == nil {
		return nil, errGone
	}
	r.ears[e] = struct{}{}
	return closer(func() error {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(r.ears, e)
		return nil
	}), nil
}

// deafen closes the packet sockets of a life that was killed.
func (k *kernel) deafen(l *life) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.rooms {
		for e := range r.ears {
			if e.life == l {
				delete(r.ears, e)
			}
		}
	}
}
