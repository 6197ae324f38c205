package agent

import "sync"

// bell wakes one waiting loop. Rings that come before the loop looks count as one.
type bell chan struct{}

func newBell() bell { return make(bell, 1) }

func (b bell) ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// bells rings several loops at once.
type bells struct {
	mu  sync.Mutex
	all map[bell]bool
}

func (b *bells) add() (bell, func()) {
	one := newBell()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all == nil {
		b.all = make(map[bell]bool)
	}
	b.all[one] = true
	return one, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.all, one)
	}
}

func (b *bells) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for one := range b.all {
		one.ring()
	}
}
