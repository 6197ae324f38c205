package workload

import "sync"

// Gate keeps people from doing anything for a while, so that a story of the nemesis is about what it means to be about. The zero
// value is open, and so is nil.
type Gate struct{ mu sync.RWMutex }

// Close waits for what is under way, a client's or an operator's patience at most, and keeps everything else waiting until it is opened.
func (g *Gate) Close() (open func()) {
	g.mu.Lock()
	return sync.OnceFunc(g.mu.Unlock)
}

// pass does something while the gate is open.
func (g *Gate) pass(do func()) {
	if g != nil {
		g.mu.RLock()
		defer g.mu.RUnlock()
	}
	do()
}
