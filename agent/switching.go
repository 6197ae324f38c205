package agent

import (
	"slices"
	"sync"
	"time"

	"nightporter/lease"
)

// switching lets this host take over a few identities at one time. An heir that is prepared tells the former owner so, who closes then;
// with hundreds at one moment each would stay closed until all the messages before its own are dealt with. The former owner serves on
// meanwhile.
type switching struct {
	mu      sync.Mutex
	under   map[*tenant]bool
	waiting []*tenant
}

const (
	switchesMost  = 2
	switchesLimit = 250 * time.Millisecond // after which one whose former owner does not answer makes room for others
)

// enter says whether a tenant may take over now. If not, it is told when it may.
func (s *switching) enter(t *tenant) bool {
	if s == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.under[t] {
		return true
	}
	if len(s.under) < switchesMost {
		s.admit(t)
		return true
	}
	if !slices.Contains(s.waiting, t) {
		s.waiting = append(s.waiting, t)
	}
	return false
}

func (s *switching) admit(t *tenant) {
	if s.under == nil {
		s.under = make(map[*tenant]bool)
	}
	s.under[t] = true
}

// leave is told when a tenant has taken over, or will not.
func (s *switching) leave(t *tenant) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = slices.DeleteFunc(s.waiting, func(w *tenant) bool { return w == t })
	if !s.under[t] {
		return
	}
	delete(s.under, t)
	for len(s.under) < switchesMost && len(s.waiting) > 0 {
		next := s.waiting[0]
		s.waiting = s.waiting[1:]
		if next.do(next.admitted) { // else its inbox is full, and it asks again with its next round
			s.admit(next)
		}
	}
}

// maySwitch says whether the former owner may be told that everything is prepared here. The limit is counted from then.
func (t *tenant) maySwitch(now lease.Boot) bool {
	if t.passedBy || t.switches.enter(t) {
		if !t.passedBy && t.switchUntil == 0 {
			t.switchUntil = now.Add(switchesLimit)
		}
		return true
	}
	return false
}

// admitted is told when it is this tenant's turn.
func (t *tenant) admitted() {
	t.switchUntil = t.clock.Boot().Add(switchesLimit)
	t.sayReady()
	t.keepSwitch(t.clock.Boot())
}

// keepSwitch makes room for others when this tenant does not need it any more.
func (t *tenant) keepSwitch(now lease.Boot) {
	switch {
	case t.epoch == 0 || t.opened:
		t.switches.leave(t)
		t.switchUntil, t.passedBy = 0, false
	case t.switchUntil != 0 && now >= t.switchUntil:
		t.switches.leave(t)
		t.switchUntil, t.passedBy = 0, true
	}
}
