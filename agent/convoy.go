package agent

import "sync"

// convoy lets services that this host hands to one other host at one time go together. Preparing an identity is a hundred times slower than
// switching it; were each switched as soon as it is prepared there, its messages would stand behind the preparation of all the others. Until
// the last one is prepared all of them are served here, as long as their leases allow.
type convoy struct {
	mu      sync.Mutex
	waiting map[string]traveller // by service
}

// traveller is a service that waits to be handed over.
type traveller struct {
	heir  string
	ready bool // it is prepared there
	kick  func()
}

func newConvoy() *convoy { return &convoy{waiting: make(map[string]traveller)} }

// join notes how far a service is, and says whether it should wait for others on the same way. Whoever waited for nobody but this one
// is told.
func (c *convoy) join(service, heir string, ready bool, kick func()) (wait bool) {
	if c == nil {
		return !ready
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.waiting[service]
	c.waiting[service] = traveller{heir, ready, kick}
	if c.missing(heir) {
		return true
	}
	if !before.ready || before.heir != heir {
		c.wake(heir)
	}
	return false
}

// leave takes a service out: it was handed over, or is not to be any more.
func (c *convoy) leave(service string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	was, there := c.waiting[service]
	delete(c.waiting, service)
	if there && !was.ready && !c.missing(was.heir) {
		c.wake(was.heir)
	}
}

// missing says whether some that go to a host are not prepared there. The caller holds mu.
func (c *convoy) missing(heir string) bool {
	for _, t := range c.waiting {
		if t.heir == heir && !t.ready {
			return true
		}
	}
	return false
}

// wake tells all that go to a host. The caller holds mu.
func (c *convoy) wake(heir string) {
	for _, t := range c.waiting {
		if t.heir == heir {
			t.kick()
		}
	}
}
