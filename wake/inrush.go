package wake

import (
	"slices"
	"time"
)

// Line is where wakes stand that may not begin yet: as many hosts as may start at one time do, or the target has not slept for long enough.
// It is pure: time is passed in. The zero value is empty. Not safe for concurrent use.
type Line struct{ waiting []stander }

type stander struct {
	wake    Wake
	from    time.Duration // not before
	knocked time.Duration // when a client was heard last that wants it
}

// InrushHold is how long a wake counts as a start at most: by then its host draws what it draws. One that is back counts no longer.
const InrushHold = 10 * time.Second

// lineMost bounds the line; there is one place for a node.
const lineMost = 256

// Join puts a wake in the line, behind those that are there, and gives the one that stands there for the node: another one if it has a
// place already, which is kept (another client, or a repetition). False: there is no room; clients repeat themselves.
func (l *Line) Join(now time.Duration, w Wake, from time.Duration) (Wake, bool) {
	if i := slices.IndexFunc(l.waiting, func(s stander) bool { return s.wake.Node == w.Node }); i >= 0 {
		s := &l.waiting[i]
		s.knocked = now
		if w.Sleeps > s.wake.Sleeps { // it was awake meanwhile, and sleeps again
			s.wake.Sleeps, s.from = w.Sleeps, from
		}
		return s.wake, true
	}
	if len(l.waiting) >= lineMost {
		return w, false
	}
	l.waiting = append(l.waiting, stander{w, from, now})
	return w, true
}

// Due says whether somebody waits for nothing but a free place.
func (l *Line) Due(now time.Duration) bool {
	return slices.ContainsFunc(l.waiting, func(s stander) bool { return s.from <= now })
}

// Next takes the first out that may begin, if one may start. Those whose time has not come are passed by, and keep their place: so nobody
// starves, since each before it starts, or leaves. wait is until the time of the next one comes; Never: only somebody's return helps.
func (l *Line) Next(now time.Duration, free bool) (w Wake, ok bool, wait time.Duration) {
	wait = Never
	for i, s := range l.waiting {
		switch {
		case s.from > now:
			wait = min(wait, s.from-now)
		case free:
			l.waiting = slices.Delete(l.waiting, i, i+1)
			return s.wake, true, 0
		}
	}
	return Wake{}, false, wait
}

// Leave takes those out that need not be woken any more. silent is for how long nobody was heard that wants it.
func (l *Line) Leave(now time.Duration, gone func(w Wake, silent time.Duration) bool) (left []Wake) {
	l.waiting = slices.DeleteFunc(l.waiting, func(s stander) bool {
		if !gone(s.wake, now-s.knocked) {
			return false
		}
		left = append(left, s.wake)
		return true
	})
	return left
}

// Waiting lists them in their order.
func (l *Line) Waiting() []Wake {
	out := make([]Wake, len(l.waiting))
	for i, s := range l.waiting {
		out[i] = s.wake
	}
	return out
}

// Len is how many wait.
func (l *Line) Len() int { return len(l.waiting) }

// Starting counts the hosts that are on their way up now, whoever calls them, and how long until the first of them counts no longer.
func (b *Board) Starting(now time.Duration) (n int, wait time.Duration) {
	wait = Never
	for _, c := range b.running {
		if left := c.started + InrushHold - now; left > 0 {
			n, wait = n+1, min(wait, left)
		}
	}
	return n, wait
}

// Calls says whether a campaign for a node is under way, for this sleep of it or a later one.
func (b *Board) Calls(node string, sleeps uint64) bool {
	c := b.running[node]
	return c != nil && c.wake.Sleeps >= sleeps
}

// CallsFor says whether a node is being called for a service.
func (b *Board) CallsFor(service string) bool {
	for _, c := range b.running {
		if c.wake.Service == service {
			return true
		}
	}
	return false
}
