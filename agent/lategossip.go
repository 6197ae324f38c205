package agent

import (
	"errors"
	"sync/atomic"
	"time"

	"nightporter/cluster"
)

// lateGossip is gossip before it runs: messages arrive from the moment at which it listens, so whoever handles them needs
// something to answer with before that.
type lateGossip struct{ real atomic.Pointer[gossip] }

var errNoGossip = errors.New("gossip does not run yet")

func (g *lateGossip) set(real gossip) { g.real.Store(&real) }

// Members gives nobody before gossip runs.
func (g *lateGossip) Members() []cluster.Member {
	if r := g.real.Load(); r != nil {
		return (*r).Members()
	}
	return nil
}

// Send sends nothing before gossip runs: every message is repeated.
func (g *lateGossip) Send(node string, m cluster.Message) error {
	if r := g.real.Load(); r != nil {
		return (*r).Send(node, m)
	}
	return errNoGossip
}

// SetMeta is not needed before gossip runs: it starts with the newest.
func (g *lateGossip) SetMeta(m cluster.Meta) error {
	if r := g.real.Load(); r != nil {
		return (*r).SetMeta(m)
	}
	return nil
}

// Join meets nobody before gossip runs.
func (g *lateGossip) Join(addrs []string) (int, error) {
	if r := g.real.Load(); r != nil {
		return (*r).Join(addrs)
	}
	return 0, errNoGossip
}

// Leave has nobody to tell before gossip runs.
func (g *lateGossip) Leave(wait time.Duration) error {
	if r := g.real.Load(); r != nil {
		return (*r).Leave(wait)
	}
	return nil
}

// Shutdown has nothing to end before gossip runs.
func (g *lateGossip) Shutdown() error {
	if r := g.real.Load(); r != nil {
		return (*r).Shutdown()
	}
	return nil
}
