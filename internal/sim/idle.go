package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"nightporter/agent"
	"nightporter/chaos/history"
	"nightporter/idle"
)

// drawIdle has the hosts that may sleep do so by themselves, and clients who come and go: whatever else happens, hosts fall asleep that nobody
// uses, and are woken by who comes back. Of the operators' commands only some are left: sleep and wake are what this is about.
func (p *Plan) drawIdle(r *rand.Rand) {
	p.Hosts[len(p.Hosts)-1].Sleeper = true
	p.Idle = pick(r, 2*time.Second, 3*time.Second, 5*time.Second)
	p.Pauses = pick(r, 4*time.Second, 8*time.Second, 12*time.Second)
}

// idles says whether a host goes to sleep by itself.
func (p Plan) idles(h PlanHost) time.Duration {
	if !h.Sleeper {
		return 0
	}
	return p.Idle
}

// idleLines are the file's where hosts go to sleep by themselves. A host that was woken stays awake for a moment only.
func (p Plan) idleLines() string {
	if p.Idle == 0 {
		return ""
	}
	return fmt.Sprintf("idle: %s\nstay_awake: {at_least: 1s}\n", p.Idle)
}

// lifeSenses tells the agent whether a client was served here since it looked last; nothing else counts.
type lifeSenses struct {
	life *life
	seen map[string]int
}

// senses gives those of a life; nil: the host does not go to sleep by itself.
func (l *life) senses() agent.Senses {
	for _, h := range l.machine.w.plan.Hosts {
		if h.Name == l.machine.name && l.machine.w.plan.idles(h) > 0 {
			return &lifeSenses{life: l, seen: make(map[string]int)}
		}
	}
	return nil
}

// Sense implements agent.Senses.
func (s *lifeSenses) Sense(_ context.Context, _ time.Duration, services []agent.Watched) (out []idle.Reason, notes []string) {
	if !s.life.machine.w.begun.Load() {
		return []idle.Reason{{Name: idle.Command, Kind: idle.Use, Sentence: "the run has not begun"}}, nil
	}
	served := make(map[string]int)
	if err := s.life.syscall(func() error {
		served = s.life.machine.kernel.servings()
		return nil
	}); err != nil {
		return []idle.Reason{{Name: idle.Unknown, Kind: idle.Use, Sentence: err.Error()}}, nil
	}
	for _, w := range services {
		if n := served[w.Service]; n != s.seen[w.Service] && len(w.Ports) > 0 {
			out = append(out, idle.Reason{Name: idle.Flows, Kind: idle.Use, Subject: w.Service, Sentence: "clients use " + w.Service})
		}
	}
	s.seen = served
	return out, nil
}

// Forget implements agent.Senses.
func (s *lifeSenses) Forget() { s.seen = s.life.machine.kernel.servings() }

// Close implements agent.Senses.
func (s *lifeSenses) Close() error { return nil }

// visits is a client who comes and goes: for a while it asks, and for a while it does not. From the calm on it stays.
func (c *client) visits(service string, port uint16, r *rand.Rand) {
	for !c.w.over() {
		for until := time.Now().Add(time.Second + time.Duration(r.Int64N(int64(3*time.Second)))); !c.w.over() && time.Now().Before(until); {
			c.next(service, port)
		}
		if c.w.isCalm() {
			continue
		}
		select {
		case <-time.After(time.Second + time.Duration(r.Int64N(int64(c.w.plan.Pauses)))):
		case <-c.w.calm:
		case <-c.w.ending:
		}
	}
}

// mayRest says whether a machine may be asleep in the end: it does so by itself, and nobody needs it.
func (w *world) mayRest(m *machine) bool {
	for _, h := range w.plan.Hosts {
		if h.Name == m.name {
			return w.plan.idles(h) > 0 && m.state() == history.Asleep
		}
	}
	return false
}
