package agent

import (
	"sync"
	"time"

	"nightporter/cluster"
	"nightporter/lease"
)

// A hint that an entry is committed is a datagram, which can be lost. It is sent again for a while, so that nobody has to
// wait for Raft's next AppendEntries (half a failover to a whole one later, while nothing happens).
const (
	hintAgain = 100 * time.Millisecond
	hintFor   = 350 * time.Millisecond
)

// hinted is the newest hint of this leader.
type hinted struct {
	mu   sync.Mutex
	mark cluster.Mark
	at   lease.Boot
	sent lease.Boot
}

// hint tells everybody that an entry is committed.
func (p *proposer) hint(m cluster.Mark) {
	now := p.clock.Boot()
	p.hinted.mu.Lock()
	if m.Index >= p.hinted.mark.Index {
		p.hinted.mark, p.hinted.at, p.hinted.sent = m, now, now
	}
	p.hinted.mu.Unlock()
	p.out.all(cluster.Message{Committed: &m})
}

// hintAgain repeats the newest hint when it is time to, and says when the next time comes; 0 = not any more. A node that has
// the newest entry has all before it.
func (p *proposer) hintAgain() time.Duration {
	now := p.clock.Boot()
	p.hinted.mu.Lock()
	h := &p.hinted
	m, old := h.mark, h.at == 0 || now.Sub(h.at) > hintFor
	wait := hintAgain - now.Sub(h.sent)
	if !old && wait <= 0 {
		h.sent = now
	}
	p.hinted.mu.Unlock()
	switch {
	case old:
		return 0
	case wait > 0:
		return wait
	}
	p.out.all(cluster.Message{Committed: &m})
	return hintAgain
}
