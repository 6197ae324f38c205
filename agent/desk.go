package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"nightporter/cluster"
	"nightporter/front"
	"nightporter/fsm"
	"nightporter/identity"
	"nightporter/lease"
	"nightporter/wake"
)

// desk knows what the clients of a service that is held here for a sleeping target get: what its ports' holds say. It answers
// the questions of the front (package front), which is opened when the first service needs it.
type desk struct {
	self    string
	clock   Clock
	machine viewer
	view    func() cluster.View
	gaveUp  func(node string) string          // why a node could not be woken, or ""
	open    func(d front.Desk) (Front, error) // nil: there is no front in this world
	ring    func(service string)              // its tenant looks again, and says so at once
	demand  func(wake.Demand)                 // somebody is to be woken

	mu      sync.Mutex
	door    Front
	failed  error
	tried   lease.Boot
	live    map[string]int        // connections that are passed on, or wait for that, by service
	refused map[string]lease.Boot // when a target that is up had refused connections for too long
}

// viewer is what the desk reads of the replicated state.
type viewer interface{ View() fsm.View }

// Front takes connections to services. It is a front.Door.
type Front interface {
	Ports() (four, six uint16)
	Leave(service string)
	Close() error
}

// doorRetry is the pause after a front that could not be opened.
const doorRetry = 10 * time.Second

// ports opens the front if need be, and says where it takes connections.
func (d *desk) ports() (four, six uint16, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.door == nil {
		now := d.clock.Boot()
		if d.open == nil || (d.failed != nil && now.Sub(d.tried) < doorRetry) {
			return 0, 0, d.failed
		}
		d.tried = now
		if d.door, d.failed = d.open(d); d.failed != nil {
			d.door = nil
			return 0, 0, d.failed
		}
	}
	four, six = d.door.Ports()
	return four, six, nil
}

// answers is what the guard of a service is to do with attempts to its ports, other than to swallow them. While connections are
// passed on and a target is up, all attempts to the service's ports are: the identity stays here for those, and nobody else serves.
func (d *desk) answers(sv fsm.Service) ([]identity.Answer, error) {
	all := d.passes(sv.Name)
	var out []identity.Answer
	var trouble error
	for _, p := range sv.Ports {
		a := identity.Answer{Port: p.Number, UDP: p.Protocol == fsm.UDP}
		switch hold := sv.HoldOf(p); {
		case a.UDP && hold == fsm.HoldReject:
			out = append(out, a)
		case a.UDP:
		case all || hold == fsm.HoldHTTP || hold == fsm.HoldProxy:
			four, six, err := d.ports()
			if err != nil {
				trouble = err // swallowed, until the front can be opened
				continue
			}
			if a.Divert4, a.Divert6 = four, six; four != 0 || six != 0 {
				out = append(out, a)
			}
		case hold == fsm.HoldReject:
			out = append(out, a)
		}
	}
	return out, trouble
}

// Refused implements front.Desk: the program listens at the service's address only. The leader gives the service to the target then, as
// if nobody waited here.
func (d *desk) Refused(service string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refused == nil {
		d.refused = make(map[string]lease.Boot)
	}
	d.refused[service] = d.clock.Boot()
}

// refusedFor is how long that counts.
const refusedFor = time.Minute

// busy says whether connections of a service are passed on here, or wait for that.
func (d *desk) busy(service string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at, told := d.refused[service]; told && d.clock.Boot().Sub(at) < refusedFor {
		return false
	}
	return d.live[service] > 0
}

// passes says whether connections are passed on, and there is somebody to pass more of them on to.
func (d *desk) passes(service string) bool {
	if !d.busy(service) {
		return false
	}
	_, up := d.up(service)
	return up
}

// up gives the target that is up, the preferred one first.
func (d *desk) up(service string) (netip.Addr, bool) {
	v := d.view()
	sv := v.State.Services[service]
	for _, t := range sv.Targets {
		if v.Ready(sv, t) && t != d.self {
			return v.State.Nodes[t].Addr.Addr(), true
		}
	}
	return netip.Addr{}, false
}

// leave is told when a service's identity is not here any more.
func (d *desk) leave(service string) {
	d.mu.Lock()
	door := d.door
	d.mu.Unlock()
	if door != nil {
		door.Leave(service)
	}
}

// close ends the front.
func (d *desk) Close() error {
	d.mu.Lock()
	door := d.door
	d.mu.Unlock()
	if door == nil {
		return nil
	}
	return door.Close()
}

// Route implements front.Desk.
func (d *desk) Route(dest netip.AddrPort) front.Route {
	for name, sv := range d.machine.View().State.Services {
		if !slices.Contains(sv.Addresses, dest.Addr()) {
			continue
		}
		i := slices.IndexFunc(sv.Ports, func(p fsm.Port) bool { return p.Protocol == fsm.TCP && p.Number == dest.Port() })
		switch {
		case i < 0:
			return front.Route{}
		case sv.HoldOf(sv.Ports[i]) == fsm.HoldProxy || d.passes(name):
			return front.Route{Service: name, Kind: front.Proxy}
		case sv.HoldOf(sv.Ports[i]) == fsm.HoldHTTP:
			return front.Route{Service: name, Kind: front.Page}
		}
		return front.Route{}
	}
	return front.Route{}
}

// Upstream implements front.Desk.
func (d *desk) Upstream(service string, port uint16) (netip.AddrPort, bool) {
	addr, up := d.up(service)
	return netip.AddrPortFrom(addr, port), up
}

// Knock implements front.Desk. A wake may have been given up since the client's connection was taken, or a pause be under way.
func (d *desk) Knock(service string, client, dest netip.AddrPort) {
	d.demand(wake.Demand{Service: service, Protocol: "tcp", Client: client, Dest: dest})
}

// Engaged implements front.Desk.
func (d *desk) Engaged(service string, n int) {
	d.mu.Lock()
	if d.live == nil {
		d.live = make(map[string]int)
	}
	before := d.live[service]
	d.live[service] = n
	d.mu.Unlock()
	if (before == 0) != (n == 0) { // who comes and goes meanwhile must not keep the lease busy
		d.ring(service)
	}
}

// Waiting implements front.Desk.
func (d *desk) Waiting(service string) front.Waiting {
	v := d.view()
	sv := v.State.Services[service]
	w := front.Waiting{Service: service}
	for _, t := range sv.Targets {
		n, known := v.State.Nodes[t]
		if !known {
			continue
		}
		w.Hosts = append(w.Hosts, front.Host{Name: t, State: hostState(n, v.Present[t].Alive)})
		if why := d.gaveUp(t); why != "" && w.Problem == "" {
			w.Problem = why
		}
		if since := calledFor(v.State.Wakes, t, v.Wall); since > 0 && w.Since == 0 {
			w.Since, w.Usual = since, cluster.SpreadOf(v.State.WakeTimes[t], cluster.PhaseReady).P50
		}
	}
	return w
}

// hostState is a word for people about a target.
func hostState(n fsm.Node, alive bool) string {
	switch {
	case n.Maintenance:
		return "in maintenance"
	case n.Power == fsm.Awake && alive:
		return "up, about to serve"
	case n.Power == fsm.Awake:
		return "out of touch"
	case n.Power == fsm.Off:
		return "off, called"
	}
	return string(n.Power)
}

// calledFor says for how long a node has been called in the wake that is under way; 0 = in none.
func calledFor(wakes []fsm.Wake, node string, now time.Time) (since time.Duration) {
	for _, w := range wakes {
		if w.Node == node && w.Ended.IsZero() {
			since = max(now.Sub(w.Started), time.Nanosecond)
		}
	}
	return since
}

// setAnswers has the guard answer what the holds of the ports say. A tenant that serves has no guard.
func (t *tenant) setAnswers() {
	if t.hold == nil || t.desk == nil {
		return
	}
	if !t.guarded {
		t.kept.take(func(k *kept) { k.answered = nil })
		return
	}
	var list []identity.Answer
	var err error
	if !t.wish.Serving && t.wish.Mine { // a target answers by itself, soon; and what is about to be given away takes nobody in any more
		list, err = t.desk.answers(t.wish.Service)
	}
	if aerr := t.hold.Answer(list); aerr != nil {
		err = aerr
	} else {
		t.kept.take(func(k *kept) {
			k.answered = k.answered[:0]
			for _, a := range list {
				if !a.UDP {
					k.answered = append(k.answered, a.Port)
				}
			}
		})
	}
	if err != nil {
		t.fail(doAnswer, fmt.Errorf("clients wait unanswered: %w", err))
		return
	}
	t.well(doAnswer)
}

// hurry has the next round begin soon. The running one may be on its way: a round that is cut short by the next one counts for nothing.
func (t *tenant) hurry() {
	t.nextAsk = min(t.nextAsk, max(t.asked.Add(roundTime), t.clock.Boot()))
}

// roundTime is more than a round takes where nothing is wrong.
const roundTime = 50 * time.Millisecond

// engaged says with each round that connections are passed on here: the leader leaves the identity where it is.
func (t *tenant) engaged() []cluster.Tenure {
	if t.desk == nil || !t.opened || !t.desk.busy(t.service) {
		return nil
	}
	return []cluster.Tenure{{Service: t.service, Epoch: t.epoch}}
}
