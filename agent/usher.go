package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/lease"
)

// usher has the heir of a planned hand-over prepare the identity before the record changes: the owner serves on meanwhile under a lease
// that is renewed, and what the new record still takes are the messages of the hand-over. It belongs to the leader. Nothing of the
// promise rests on it: an heir of which nothing is heard gets the service after a while all the same, as after a crash.
type usher struct {
	self  string
	clock Clock
	out   outbox
	with  func(service string, f func(*tenant))
	log   *slog.Logger
	news  func() // the leader looks again

	mu    sync.Mutex
	calls map[callFor]*calling
}

// callFor is who is called for which service.
type callFor struct{ service, heir string }

// calling is one call.
type calling struct {
	epoch       uint64 // that the heir is to get
	began, next lease.Boot
	since       lease.Boot // when it began, or the heir last said that it is prepared for another one
	looked      lease.Boot // when somebody last wanted to know
	pause       time.Duration
	limit       patience
	done        chan struct{} // closed when the heir has it prepared
	ready, late bool
}

// Timing of a call. It is repeated with growing pauses: messages get lost.
const (
	callFirst = 50 * time.Millisecond
	callMost  = time.Second
	callLimit = 5 * time.Second // without a word of it, after which the heir gets the service all the same
	callWhole = time.Minute     // the same, where it prepares others meanwhile
	callKept  = 3 * time.Second // after which a call that nobody asked about says nothing any more: that hand-over was given up
)

// patience is how long an heir is waited for: as long as nothing is heard of it, and in all where it is busy with others.
type patience struct{ silent, whole time.Duration }

// patienceOf is less where the owner stops: who ends it has not much.
func patienceOf(v cluster.View, a fsm.Assign) patience {
	if a.Reason == fsm.OwnerDrained || a.Reason == fsm.OwnerLeft {
		return patience{min(v.Timing.TTL, callLimit), callLimit}
	}
	return patience{callLimit, callWhole}
}

// left is what remains of it.
func (c *calling) left(now lease.Boot) time.Duration {
	return min(c.since.Add(c.limit.silent).Sub(now), c.began.Add(c.limit.whole).Sub(now))
}

// ready says whether an assignment may be committed now. If not, the heir is called, and it is to be asked again after a while, or when
// done is closed.
func (u *usher) ready(v cluster.View, a fsm.Assign) (ok bool, done <-chan struct{}, again time.Duration) {
	if u == nil || !v.Planned(a) {
		return true, nil, 0
	}
	ok, done, again, call := u.look(v, a)
	if call { // not under the lock, which the heirs' words wait for
		u.call(a.Owner, cluster.Tenure{Service: a.Service, Epoch: a.Planned + 1})
	}
	return ok, done, again
}

// look is ready without the message; call says that it is due.
func (u *usher) look(v cluster.View, a fsm.Assign) (ok bool, done <-chan struct{}, again time.Duration, call bool) {
	now := u.clock.Boot()
	who, epoch := callFor{a.Service, a.Owner}, a.Planned+1
	u.mu.Lock()
	defer u.mu.Unlock()
	c := u.calls[who]
	if c == nil || c.epoch != epoch || now.Sub(c.looked) > callKept {
		if u.calls == nil {
			u.calls = make(map[callFor]*calling)
		}
		c = &calling{epoch: epoch, began: now, since: now, next: now, pause: callFirst, limit: patienceOf(v, a), done: make(chan struct{})}
		u.calls[who] = c
	}
	c.looked = now
	p := patienceOf(v, a) // somebody else may be in more of a hurry
	c.limit = patience{min(c.limit.silent, p.silent), min(c.limit.whole, p.whole)}
	if c.ready {
		return true, nil, 0, false
	}
	left := c.left(now)
	if left <= 0 {
		if !c.late {
			c.late = true
			u.log.Warn("a host has not prepared an identity in time; it gets the service all the same", "service", a.Service, "node", a.Owner, "epoch", epoch)
		}
		return true, nil, 0, false
	}
	if call = now >= c.next; call {
		c.next = now.Add(c.pause)
		c.pause = min(2*c.pause, callMost)
	}
	return false, c.done, min(left, c.next.Sub(now)), call
}

func (u *usher) call(heir string, what cluster.Tenure) {
	if heir == u.self {
		u.with(what.Service, func(t *tenant) { t.called(u.self, what.Epoch) })
		return
	}
	u.out.send(heir, cluster.Message{Stand: []cluster.Tenure{what}})
}

// stands takes an heir's word that it is prepared.
func (u *usher) stands(heir string, what cluster.Tenure) {
	u.mu.Lock()
	c := u.calls[callFor{what.Service, heir}]
	news := c != nil && c.epoch == what.Epoch && !c.ready
	if news {
		c.ready = true
		close(c.done)
		now := u.clock.Boot()
		for who, other := range u.calls {
			if who.heir == heir {
				other.since = now // it is at work
			}
		}
	}
	u.mu.Unlock()
	if news {
		u.news()
	}
}

// await waits until an assignment may be committed. What it was decided on is looked at again after each wait: an heir that can no longer
// take the service does not get it. Where the record has changed meanwhile the state machine refuses this one.
func (u *usher) await(ctx context.Context, view func() cluster.View, a fsm.Assign) error {
	for waited := false; ; waited = true {
		v := view()
		if v.State.Ownerships[a.Service].Epoch != a.Planned {
			return nil
		}
		if waited {
			if why := v.CannotTake(v.State.Services[a.Service], a.Owner); why != "" {
				return errors.New(why)
			}
		}
		ok, done, again := u.ready(v, a)
		if ok {
			return nil
		}
		timer := time.NewTimer(again)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-done:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// sift gives what of a plan may be committed now, and when to look again at the rest; 0 = there is none. Calls of records that are past
// are forgotten.
func (u *usher) sift(v cluster.View, plan []fsm.Assign) (now []fsm.Assign, next time.Duration) {
	u.forget(v.State)
	for _, a := range plan {
		ok, _, again := u.ready(v, a)
		switch {
		case ok:
			now = append(now, a)
		case next == 0 || again < next:
			next = again
		}
	}
	return now, next
}

func (u *usher) forget(s *fsm.State) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.clock.Boot()
	for who, c := range u.calls {
		if s.Ownerships[who.service].Epoch >= c.epoch || now.Sub(c.looked) > callKept {
			delete(u.calls, who)
		}
	}
}

// heirs are the hosts that were called, by service. The plan stays with them.
func (u *usher) heirs(s *fsm.State) map[string]string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out map[string]string
	for who, c := range u.calls {
		if s.Ownerships[who.service].Epoch+1 != c.epoch || c.late {
			continue
		}
		if out == nil {
			out = make(map[string]string)
		}
		if old, more := out[who.service]; !more || who.heir < old {
			out[who.service] = who.heir
		}
	}
	return out
}
