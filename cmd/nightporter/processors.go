package main

import (
	"runtime"
	"sync"
	"time"
)

// Go gives the processor of a goroutine that waits in the kernel to others only after a while, some milliseconds with the timer slack of
// an idle agent. An idle agent has one processor; while something that may wait in the kernel for longer than a moment is under way (links that
// are made or removed, sockets that wait for an RCU grace period), it has more, and exact timers, so that the leases and the messages of a hand-over go on.
type processors struct {
	few, many int
	set       func(int)

	mu      sync.Mutex
	waiting int
	more    bool
	calm    *time.Timer
}

const (
	manyProcessors = 8
	calmAfter      = time.Second // after which one processor is enough again
)

func newProcessors(few int) *processors {
	return &processors{few: few, many: manyProcessors, set: func(n int) {
		runtime.GOMAXPROCS(n)
		slack := promptSlack
		if n == few {
			slack = quietSlack
		}
		_ = setSlack(slack) // at worst an agent is louder, or slower
	}}
}

// wait is called before, and what it returns after.
func (p *processors) wait() (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting++
	if p.calm != nil {
		p.calm.Stop()
		p.calm = nil
	}
	if !p.more {
		p.more = true
		p.set(p.many)
	}
	return p.end
}

func (p *processors) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting--; p.waiting == 0 {
		p.calm = time.AfterFunc(calmAfter, p.settle)
	}
}

func (p *processors) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting == 0 && p.more && p.calm != nil {
		p.more, p.calm = false, nil
		p.set(p.few)
	}
}
