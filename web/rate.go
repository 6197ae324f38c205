package web

import (
	"sync"
	"time"
)

// rate lets through so many in a second, and a burst of as many as in two. The zero time is long ago.
type rate struct {
	perSecond float64

	mu   sync.Mutex
	left float64
	at   time.Time
}

// take takes one at a time, or says how long it is until there is one.
func (r *rate) take(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.After(r.at) {
		r.left = min(r.left+now.Sub(r.at).Seconds()*r.perSecond, 2*r.perSecond)
		r.at = now
	}
	if r.left < 1 {
		return time.Duration((1 - r.left) / r.perSecond * float64(time.Second))
	}
	r.left--
	return 0
}
