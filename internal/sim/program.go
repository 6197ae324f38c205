package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"nightporter/api"
	"nightporter/chaos/history"
	"nightporter/fsm"
)

// The programs that the services are: each target runs them whenever it is up, but where the agent starts and stops their unit. A program
// can fail: it refuses connections, or takes them and does not answer.

// program names one service on one host.
type program struct{ host, service string }

// How a program fails.
const (
	refuses = "refuse"
	hangs   = "hang"
)

// Checks in a simulated cluster: some of the services have one, of these some a unit that the agents manage.
const (
	checkEvery = 400 * time.Millisecond
	checkTime  = 200 * time.Millisecond
	checkFall  = 2
)

// drawChecks gives services checks and has their programs fail. It draws from a source of its own: what else a seed means stays.
func (p *Plan) drawChecks(r *rand.Rand) {
	for i := range p.Services {
		s := &p.Services[i]
		s.Checked = r.IntN(3) > 0
		s.Managed = s.Checked && r.IntN(3) == 0
		if !s.Checked {
			continue
		}
		for at := 2 * time.Second; at < p.Length-2*time.Second; at += time.Duration(r.Int64N(int64(12*time.Second))) + 50*time.Millisecond {
			length := time.Duration(50+r.IntN(6000)) * time.Millisecond
			p.Steps = append(p.Steps, Step{
				At: at, Verb: "program", Host: pick(r, s.Targets...), Service: s.Name, Arg: pick(r, refuses, hangs), For: min(length, p.Length-at),
			})
		}
	}
}

// checks is the definition's part, as the configuration file has it.
func (s PlanService) checks() string {
	if !s.Checked {
		return ""
	}
	text := fmt.Sprintf(", checks: [{tcp: %d, interval: %s, timeout: %s, fall: %d}]", servicePort, checkEvery, checkTime, checkFall)
	if s.Managed {
		text += ", unit: " + s.Name + ".service, manage: true"
	}
	return text
}

// breaks has a program fail until undo.
func (w *world) breaks(s Step, host string) (undo func()) {
	p := program{host, s.Service}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken[p] = s.Arg
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.broken, p)
	}
}

// answers says how a program takes a connection: "" = it answers it.
func (w *world) answers(host, service string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := program{host, service}
	if !slices.Contains(w.targets[service], host) || (w.managed[service] && !w.units[p]) {
		return refuses
	}
	return w.broken[p]
}

// rebooted ends the units of a host: nothing starts them at boot.
func (w *world) rebooted(host string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.units {
		if p.host == host {
			delete(w.units, p)
		}
	}
}

// lifeChecks is agent.Checks: connections of a host to itself, and its service manager.
type lifeChecks struct{ life *life }

// Ask implements agent.Checks. A local connection is delivered where the address is there and no guard is in the way.
func (c lifeChecks) Ask(_ context.Context, sv fsm.Service, a fsm.Check) string {
	m := c.life.machine
	how := refuses
	switch a.Kind {
	case fsm.CheckUnit:
		m.w.mu.Lock()
		if m.w.units[program{m.name, sv.Name}] {
			how = ""
		}
		m.w.mu.Unlock()
	default:
		m.kernel.mu.Lock()
		r := m.kernel.rooms[sv.Name]
		local := r != nil && !r.guard
		m.kernel.mu.Unlock()
		if how = hangs; local {
			how = m.w.answers(m.name, sv.Name)
		}
	}
	took := 200 * time.Microsecond
	if how == hangs {
		took = a.Timeout
	}
	if err := c.life.wait(took); err != nil {
		return a.String() + ": " + err.Error()
	}
	if how != "" {
		return a.String() + ": " + how
	}
	return ""
}

var errUnit = errors.New("systemd was to start it, and the job ended as \"failed\"")

// StartUnit implements agent.Checks. One start in twenty fails.
func (c lifeChecks) StartUnit(ctx context.Context, unit string) error { return c.job(ctx, unit, true) }

// StopUnit implements agent.Checks.
func (c lifeChecks) StopUnit(ctx context.Context, unit string) error { return c.job(ctx, unit, false) }

func (c lifeChecks) job(ctx context.Context, unit string, runs bool) error {
	m := c.life.machine
	m.w.mu.Lock()
	took, fails := time.Duration(m.w.rng.IntN(300))*time.Millisecond, runs && m.w.rng.IntN(20) == 0
	m.w.mu.Unlock()
	if err := c.life.wait(took); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if fails {
		return errUnit
	}
	service := unit[:len(unit)-len(".service")]
	if !runs && m.kernel.serves(service) {
		m.w.rec.note(func(h *history.History) { // the fence is closed first, or the guard is on: whoever connects now would be refused
			h.Refusals = append(h.Refusals, history.Refusal{
				At: time.Now(), Service: service, Host: m.name, What: "that its unit is stopped behind an open fence", Fresh: true,
			})
		})
	}
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.w.units[program{m.name, service}] = runs
	return nil
}

// serves says whether clients reach a service's program.
func (k *kernel) serves(service string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.rooms[service]
	return r != nil && k.passes(r) && !r.guard
}

// define adds the definition's part to what `apply` sends.
func (s PlanService) define(sv *api.Service) {
	if !s.Checked {
		return
	}
	sv.Checks = []api.Check{{
		Kind: "tcp", Port: servicePort, Interval: api.Duration(checkEvery), Timeout: api.Duration(checkTime), Rise: 1, Fall: checkFall,
	}}
	if s.Managed {
		sv.Unit, sv.Manage = s.Name+".service", true
	}
}
