package agent

import (
	"sync"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/lease"
)

// scene gathers what is known at a moment into one value for the pure functions to decide on.
type scene struct {
	self    string
	clock   Clock
	machine *fsm.Machine
	ballot  *ballot
	members func() []cluster.Member
	leader  func() string
	deaf    func() map[string]bool            // the nodes that this leader's log does not reach
	is      func(n fsm.Node, key string) bool // whether a host with that key is the node

	mu     sync.Mutex
	learnt map[string]tenureSeen // by service: when this host first saw the present epoch
	freed  lease.Boot            // when this host last learnt that a service was deleted or redefined (ruler.mark)
	timing time.Time             // fsm.Timing.Changed as last seen, and when it was first seen
	timed  lease.Boot
	force  lease.Boot            // the same as timed (ruler.mark)
	health cluster.HealthTable   // what targets say of their services
	looked lease.Boot            // when the last view was taken
	busy   map[string]tenureSeen // by service: when its owner last said that it passes connections on
	news   func()                // called when a target says something else than before; nil = nobody cares
}

// deafGap is the time without any view after which this host may have missed what was said: it was suspended, or stood still.
const deafGap = 3 * time.Second

// hear takes in what a target says of its services.
func (s *scene) hear(from string, r cluster.HealthReport) {
	now := s.clock.Boot()
	s.mu.Lock()
	s.expect(now, s.machine.View().State)
	news := s.health.Hear(now, from, r)
	s.mu.Unlock()
	if news && s.news != nil {
		s.news()
	}
}

// engage takes in that a service's owner passes connections on.
func (s *scene) engage(list []cluster.Tenure) {
	now := s.clock.Boot()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range list {
		if s.busy == nil {
			s.busy = make(map[string]tenureSeen)
		}
		s.busy[t.Service] = tenureSeen{t.Epoch, now}
	}
}

// engaged are the services whose owner said so under the present epoch within the last rounds of its lease. The caller holds mu.
func (s *scene) engaged(now lease.Boot, state *fsm.State, t cluster.Timing) map[string]bool {
	var out map[string]bool
	for name, b := range s.busy {
		if own := state.Ownerships[name]; own.Epoch != b.epoch || now.Sub(b.at) > 2*t.TTL {
			continue
		}
		if out == nil {
			out = make(map[string]bool)
		}
		out[name] = true
	}
	return out
}

// expect brings the table of health in line with the state. The caller holds mu.
func (s *scene) expect(now lease.Boot, state *fsm.State) {
	if s.health == nil {
		s.health = make(cluster.HealthTable)
	}
	s.health.Expect(now, state.Services, now.Sub(s.looked) > deafGap)
	s.looked = now
}

type tenureSeen struct {
	epoch uint64
	at    lease.Boot
}

// view gathers.
func (s *scene) view() cluster.View {
	now := s.clock.Boot()
	state := s.machine.View().State
	v := cluster.View{
		Now: now, Wall: s.clock.Wall(), Self: s.self, Leader: s.leader(), State: state,
		Timing:   cluster.Derive(state.Timing.Failover),
		Present:  make(map[string]cluster.Presence),
		Tenures:  make(map[string]cluster.Sign),
		TableAge: s.ballot.age(),
	}
	deaf := s.deaf()
	for _, m := range s.members() {
		v.Present[m.Name] = cluster.Presence{
			Alive: m.Status == cluster.Alive && s.is(state.Nodes[m.Name], m.Meta.Pin), Unfit: m.Meta.Unfit, Deaf: deaf[m.Name], Power: m.Meta.Power, Sleeps: m.Meta.Sleeps,
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expect(now, state)
	v.Health = s.health.Clone()
	v.Engaged = s.engaged(now, state, v.Timing)
	if s.timed == 0 || !s.timing.Equal(state.Timing.Changed) {
		s.timing, s.timed, s.force = state.Timing.Changed, now, s.ballot.ruler.mark()
	}
	for name, own := range state.Ownerships {
		seen := s.learnt[name]
		if seen.epoch != own.Epoch {
			seen = tenureSeen{own.Epoch, now}
			s.learnt[name] = seen
			if own.Reason == fsm.ServiceDeleted || own.Reason == fsm.ServiceChanged {
				s.freed = s.ballot.ruler.mark()
			}
		}
		if _, defined := state.Services[name]; !defined {
			continue
		}
		sign := cluster.Sign{Epoch: own.Epoch, Seen: seen.at}
		if a, ok := s.ballot.lastAsked(name, own.Owner); ok && a.at > sign.Seen && isSign(a, seen, v.Timing.TTL, deaf[own.Owner]) {
			sign.Seen = a.at
		}
		sign.Seen = max(sign.Seen, s.timed) // nobody is late by a shorter ttl that he has not heard of
		v.Tenures[name] = sign
	}
	return v
}

// isSign says whether a request shows that the owner is on its way to hold, or holds: it asks under the present epoch, or may
// not have heard of it yet. What the log does not reach will never hear of it, nor of a new set of voters.
func isSign(a asking, seen tenureSeen, ttl time.Duration, deaf bool) bool {
	if a.epoch < seen.epoch {
		return !deaf && a.at < seen.at.Add(2*ttl)
	}
	return a.granted || !deaf
}

// learntAt is when this host first saw the present epoch of a service.
func (s *scene) learntAt(service string) lease.Boot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.learnt[service].at
}

// timingStamp is the stamp for the next change of failover: the last one's, plus the time for which this host has seen that
// in force on its boot clock, less what that gained by being bent. The wall clock must not decide when a longer lease has run out.
func (s *scene) timingStamp() time.Time {
	s.view()
	now := s.ballot.ruler.steady()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.timing.Add(now.Sub(s.force))
}

// sinceFreed is how long ago, at least, this host last learnt that an identity was taken out of use.
func (s *scene) sinceFreed() time.Duration {
	s.view()
	now := s.ballot.ruler.steady()
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Sub(s.freed)
}

// nextSilence is the time until the first owner would count as silent: when the leader has to look again. The view is
// taken again then: a sign of life meanwhile only makes it look in vain.
func nextSilence(v cluster.View) time.Duration {
	next := time.Second
	for name, sign := range v.Tenures {
		if v.State.Ownerships[name].Owner == "" {
			continue
		}
		if d := v.Timing.TTL - v.Now.Sub(sign.Seen); d > 0 && d < next {
			next = d
		}
	}
	if warm := 2*v.Timing.TTL - v.TableAge; warm > 0 && warm < next {
		next = warm
	}
	return max(next, time.Millisecond)
}
