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

	mu     sync.Mutex
	learnt map[string]tenureSeen // by service: when this host first saw the present epoch
	freed  lease.Boot            // when this host last learnt that a service was deleted or redefined
	timing time.Time             // fsm.Timing.Changed as last seen, and when it was first seen
	timed  lease.Boot
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
	for _, m := range s.members() {
		v.Present[m.Name] = cluster.Presence{
			Alive: m.Status == cluster.Alive, Unfit: m.Meta.Unfit,
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timed == 0 || !s.timing.Equal(state.Timing.Changed) {
		s.timing, s.timed = state.Timing.Changed, now
	}
	for name, own := range state.Ownerships {
		seen := s.learnt[name]
		if seen.epoch != own.Epoch {
			seen = tenureSeen{own.Epoch, now}
			s.learnt[name] = seen
			if own.Reason == fsm.ServiceDeleted || own.Reason == fsm.ServiceChanged {
				s.freed = now
			}
		}
		if _, defined := state.Services[name]; !defined {
			continue
		}
		sign := cluster.Sign{Epoch: own.Epoch, Seen: seen.at}
		if at, ok := s.ballot.lastSeen(name, own.Owner); ok && at > sign.Seen {
			sign.Seen = at
		}
		sign.Seen = max(sign.Seen, s.timed) // nobody is late by a shorter ttl that he has not heard of
		v.Tenures[name] = sign
	}
	return v
}

// timingStamp is the stamp for the next change of failover: the last one's, plus the time for which this host has seen that
// in force on its boot clock. The wall clock must not decide when a longer lease has run out.
func (s *scene) timingStamp() time.Time {
	now := s.view().Now
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.timing.Add(now.Sub(s.timed))
}

// lastFreed is when this host last learnt that an identity was taken out of use; 0 = never.
func (s *scene) lastFreed() lease.Boot {
	s.view()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.freed
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
