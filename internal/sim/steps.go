package sim

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"nightporter/api"
	"nightporter/chaos/history"
	"nightporter/internal/simnet"
)

// who finds the machine that a step is for.
func (w *world) who(s Step) *machine {
	name := s.Host
	if name == "leader" {
		name = w.rec.leads()
	}
	if service, ok := strings.CutPrefix(s.Host, "holder:"); ok {
		for _, m := range w.machines {
			if slices.Contains(m.kernel.open(), service) {
				return m
			}
		}
		return nil
	}
	return w.machine(name)
}

// take carries out one step, from its beginning to its end.
func (w *world) take(s Step) {
	if commands[s.Verb] {
		w.command(s)
		return
	}
	m := w.who(s)
	if m == nil && s.Host != "" {
		return // nobody leads, or holds, at this moment
	}
	if process := s.Verb == "kill" || s.Verb == "stop"; process && !m.runs() {
		return // no process is there to be killed or stopped
	}
	begin, mute, dark := w.fault(s, m)
	var over <-chan struct{} // closed where the fault ends by itself
	if m != nil {
		if !m.claim(s.class()) {
			return // something else of the kind is being done to it
		}
		defer m.unclaim(s.class())
		if s.Verb == "bend" {
			// What nobody can see is a clock that is bent in the very lease in which its agent ends (docs/design.md).
			if !m.claim("stop") {
				return
			}
			time.AfterFunc(w.plan.LongestFailover(), func() { m.unclaim("stop") })
		}
	}
	w.rec.tell("%s %s%s for %s: %s %s", s.Verb, s.Host, s.Service, s.For, s.Arg, s.Others)
	kind := s.Verb
	if s.Verb == "lid" {
		kind = "freeze"
		if over = m.lid(); over == nil {
			return // it sleeps anyway
		}
	}
	f := history.Fault{Kind: history.Kind(kind), Service: s.Service, From: time.Now(), Mute: mute, Dark: dark, Detail: strings.Join(s.Others, " ") + s.Arg + s.Service}
	if m != nil {
		f.Host = m.name
	}
	if s.Verb == "freeze" {
		if over = m.sleep(); over == nil {
			return // it sleeps anyway
		}
	}
	undo := begin()
	f.Took = time.Now()
	ended := func() {} // a bend excuses nothing
	if s.Verb != "bend" {
		ended = w.befall(f)
	}
	select {
	case <-time.After(s.For):
	case <-over:
	case <-w.calm:
	}
	if mute || dark {
		ended()
	}
	w.rec.tell("%s %s%s ends", s.Verb, s.Host, s.Service)
	undo()
	ended()
}

// befall notes a fault; what it gives notes its end.
func (w *world) befall(f history.Fault) (ended func()) {
	i := 0
	w.rec.note(func(h *history.History) { i = len(h.Faults); h.Faults = append(h.Faults, f) })
	return func() { w.rec.note(func(h *history.History) { h.Faults[i].To = time.Now() }) }
}

// Kinds of faults that must not meet on one machine: the second one's end would end the first.
func classes(verb string) []string {
	switch verb {
	case "kill", "stop":
		return []string{"process"}
	case "power", "freeze", "lid":
		return []string{"process", "link"}
	case "isolate", "cable", "flap":
		return []string{"link"}
	}
	return []string{verb}
}

// class makes the faults of two services' programs different kinds.
func (s Step) class() string {
	if s.Verb == "program" {
		return s.Verb + " " + s.Service
	}
	return s.Verb
}

func (m *machine) claim(verb string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range classes(verb) {
		if m.claimed[c] {
			return false
		}
	}
	for _, c := range classes(verb) {
		m.claimed[c] = true
	}
	return true
}

func (m *machine) unclaim(verb string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range classes(verb) {
		delete(m.claimed, c)
	}
}

// fault gives how a fault begins, and whether it leaves the host's daemon no way to renew (mute) or lets no frame out (dark).
// Beginning it gives how it ends.
func (w *world) fault(s Step, m *machine) (begin func() func(), mute, dark bool) {
	switch s.Verb {
	case "kill":
		return func() func() { m.kill(false); return m.start }, true, false
	case "stop":
		return m.pause, true, false
	case "power":
		return func() func() { m.powerOff(); return m.powerOn }, true, true
	case "freeze", "lid":
		return func() func() { return func() { m.call("power button") } }, true, true
	case "isolate":
		return func() func() { m.isolate(true); return func() { m.isolate(false) } }, true, true
	case "cable":
		return func() func() { m.link(false); return func() { m.link(true) } }, true, true
	case "flap":
		return func() func() { return w.flap(m, s.For) }, false, false
	case "clock":
		return func() func() { m.clock.shift(s.By); return func() {} }, false, false
	case "bend":
		return func() func() { m.bend(s.Bend); return func() { m.bend(0) } }, false, false
	case "disk":
		return func() func() { return m.sicken(s) }, false, false
	case "program":
		return func() func() { return w.breaks(s, m.name) }, false, false
	case "foreign":
		return func() func() {
			w.lan.stranger(s.Service, true)
			return func() { w.lan.stranger(s.Service, false) }
		}, false, false
	}
	return func() func() { return w.disturb(s, m) }, false, false
}

// flap pulls the cable and plugs it in again, over and over.
func (w *world) flap(m *machine, d time.Duration) func() {
	for end := time.Now().Add(d); time.Now().Before(end) && !w.isCalm(); {
		m.link(false)
		w.pass(d / 9)
		m.link(true)
		w.pass(d / 7)
	}
	return func() { m.link(true) }
}

// pass lets time go by, until the calm at most.
func (w *world) pass(d time.Duration) {
	select {
	case <-time.After(d):
	case <-w.calm:
	}
}

func (m *machine) sicken(s Step) func() {
	if s.Arg == "full" {
		m.disease.set(0, errNoSpace)
	} else {
		m.disease.set(s.Delay, nil)
	}
	return func() { m.disease.set(0, nil) }
}

// disturb changes the paths between hosts: a partition, one direction, or noise everywhere.
func (w *world) disturb(s Step, m *machine) func() {
	key := new(int)
	change := weather(func(_, _ netip.Addr, p simnet.Path) simnet.Path { return p })
	in := func(a netip.Addr) bool {
		return slices.ContainsFunc(s.Others, func(n string) bool { return w.machine(n).addr == a })
	}
	switch s.Verb {
	case "partition":
		change = func(from, to netip.Addr, p simnet.Path) simnet.Path {
			p.Cut = p.Cut || in(from) != in(to)
			return p
		}
	case "one-way":
		change = func(from, to netip.Addr, p simnet.Path) simnet.Path {
			p.Cut = p.Cut || from == m.addr && in(to)
			return p
		}
	case "noise":
		change = func(_, _ netip.Addr, p simnet.Path) simnet.Path {
			p.Loss, p.Double, p.Jitter = max(p.Loss, s.Loss), max(p.Double, s.Double), max(p.Jitter, s.Delay)
			return p
		}
	}
	w.weather(key, change)
	return func() { w.weather(key, nil) }
}

// weather adds a change of all paths, or takes it away, and works all paths out anew.
func (w *world) weather(key *int, change weather) {
	w.mu.Lock()
	if change == nil {
		delete(w.changes, key)
	} else {
		w.changes[key] = change
	}
	changes := w.changes
	addrs := make([]netip.Addr, 0, len(w.machines)+len(w.clients))
	for _, m := range w.machines {
		addrs = append(addrs, m.addr)
	}
	for _, c := range w.clients { // in no group: a client sits where the others' part of the network is
		addrs = append(addrs, c.addr)
	}
	base := simnet.Path{Delay: w.plan.Delay, Jitter: w.plan.Jitter}
	for _, from := range addrs {
		for _, to := range addrs {
			p := base
			for _, c := range changes {
				p = c(from, to, p)
			}
			if from != to {
				w.sw.SetPath(from, to, p)
			}
		}
	}
	w.mu.Unlock()
}

// healed starts and wakes everybody. The faults are over.
func (w *world) healed() {
	for _, m := range w.machines {
		m.call("power button")
		m.powerOn()
	}
	for _, m := range w.machines {
		for m.state() != history.Up {
			time.Sleep(50 * time.Millisecond)
			m.call("power button")
		}
	}
}

func (w *world) isCalm() bool {
	select {
	case <-w.calm:
		return true
	default:
		return false
	}
}

// commandLimit is the patience of an operator.
const commandLimit = 8 * time.Second

// command is what an operator asks of one agent.
func (w *world) command(s Step) {
	m := w.machine(s.Host)
	if s.Verb == "upgrade" { // no command of the admin surface: the new program is put in the old one's place
		if m.state() == history.Up && m.claim("stop") {
			w.rec.tell("upgrade %s", s.Host)
			m.upgrade()
			w.pass(time.Second) // until the new program runs, nothing else is done to the process
			m.unclaim("stop")
		}
		return
	}
	if s.Verb == "restart" {
		w.restart(m, s.For)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	calmed := make(chan struct{})
	defer close(calmed)
	go func() { // in the calm nobody asks for anything
		select {
		case <-w.calm:
			cancel()
		case <-calmed:
		}
	}()
	c := history.Command{Verb: s.Verb, Host: s.Host, Service: s.Service, Arg: s.Arg, Began: time.Now()}
	err := w.carryOut(ctx, m.admin(), s, &c)
	c.Ended, c.Done = time.Now(), err == nil
	w.rec.tell("%s %s %s asked of %s: %v", s.Verb, s.Service, s.Arg, s.Host, err)
	if err != nil {
		c.Err = err.Error()
		code := api.CodeOf(err)
		c.Refused = code == api.CodeInvalid || code == api.CodeNotRunning
	}
	w.rec.note(func(h *history.History) { h.Commands = append(h.Commands, c) })
	if who := w.machine(s.Arg); s.Verb == "sleep" && who != nil {
		w.pass(s.For)
		who.call("power button")
	}
}

// restart ends a daemon in good order, and starts it again later.
func (w *world) restart(m *machine, after time.Duration) {
	if m.state() != history.Up || !m.claim("stop") {
		return
	}
	defer m.unclaim("stop")
	w.rec.tell("stop the daemon of %s in good order, for %s", m.name, after)
	over := w.befall(history.Fault{Kind: history.Restart, From: time.Now(), Host: m.name, Detail: after.String()})
	m.end()
	w.pass(after)
	m.start()
	if m.ends() { // it takes longer than that
		w.pass(time.Second)
		m.start()
	}
	over()
	w.pass(time.Second)
}

func (w *world) carryOut(ctx context.Context, a *api.Client, s Step, c *history.Command) error {
	switch s.Verb {
	case "move":
		moved, err := a.Move(ctx, s.Service, s.Arg)
		c.From, c.Epoch = moved.From, moved.Epoch
		return err
	case "sleep":
		_, err := a.SleepAnyway(ctx, s.Arg) // a host that was called in vain sleeps again all the same
		return err
	case "wake":
		_, err := a.Wake(ctx, s.Arg)
		return err
	case "set":
		c.Arg = s.By.String()
		return a.Set(ctx, api.Settings{Failover: api.Duration(s.By)})
	case "apply":
		return w.apply(ctx, a, s, c)
	case "delete":
		err := a.Delete(ctx, s.Service)
		if err == nil {
			c.Result = "deleted"
		}
		return err
	case "leave":
		return w.machine(s.Host).leave(ctx, a)
	}
	return errors.New("there is no command " + s.Verb)
}

func (w *world) apply(ctx context.Context, a *api.Client, s Step, c *history.Command) error {
	i := slices.IndexFunc(w.plan.Services, func(v PlanService) bool { return v.Name == s.Service })
	v := w.plan.Services[i]
	sv := api.Service{
		Name: v.Name, Addresses: []netip.Addr{v.Addr}, Mode: v.Mode, Ports: []api.Port{{Protocol: "tcp", Number: servicePort}}, Targets: v.Targets, Hold: "drop",
	}
	v.define(&sv)
	done, err := a.Apply(ctx, []api.Service{sv})
	if err != nil {
		return err
	}
	switch {
	case len(done.Created) > 0:
		c.Result = "created"
	case len(done.Changed) > 0:
		c.Result = "changed"
	default:
		c.Result = "unchanged"
	}
	return nil
}

// leave takes a host out of the cluster; its service manager starts the daemon again, which joins anew.
func (m *machine) leave(ctx context.Context, a *api.Client) error {
	m.mu.Lock()
	m.leaving = true // a command that ends with an error may still be carried out
	m.asking++
	m.mu.Unlock()
	err := a.Leave(ctx)
	m.mu.Lock()
	m.asking--
	m.mu.Unlock()
	return err
}
