package agent

import "sync"

// frozen are the services whose definition is being changed: the leader's plan gives them to nobody meanwhile.
type frozen struct {
	mu    sync.Mutex
	count map[string]int
}

// freeze takes a service out of the plan until the function that it gives is called.
func (f *frozen) freeze(service string) (thaw func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count == nil {
		f.count = make(map[string]int)
	}
	f.count[service]++
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.count[service]--
	})
}

func (f *frozen) has(service string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count[service] > 0
}
