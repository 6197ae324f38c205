package fsm

import "sync"

// Watch gives a channel that holds a token after every change of the View since the last receive: many changes give
// one token, so a slow reader blocks nobody and misses nothing but steps between. cancel ends it; the channel is
// never closed.
func (m *Machine) Watch() (ch <-chan struct{}, cancel func()) {
	c := make(chan struct{}, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watchers[c] = struct{}{}
	return c, sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, c)
	})
}

// tell is called with m.mu held.
func (m *Machine) tell() {
	for c := range m.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
