package agent

import (
	"context"
	"sync"
)

// opens remembers which tenures were reported open by their holders.
type opens struct {
	mu      sync.Mutex
	epoch   map[string]uint64
	waiting map[string][]*openWaiter
	bells   bells
}

// openWaiter waits for one service. A bell for all would wake everybody for each of many services that move at one time.
type openWaiter struct {
	epoch uint64
	at    uint64 // what was reported, once done is closed
	done  chan struct{}
}

func (o *opens) note(service string, epoch uint64) {
	o.mu.Lock()
	news := epoch > o.epoch[service]
	if news {
		if o.epoch == nil {
			o.epoch = make(map[string]uint64)
		}
		o.epoch[service] = epoch
		o.keep(service, func(w *openWaiter) bool { w.at = epoch; return w.epoch > epoch })
	}
	o.mu.Unlock()
	if news {
		o.bells.ring()
	}
}

// keep lets go of those that wait no longer. The caller holds mu.
func (o *opens) keep(service string, waits func(*openWaiter) bool) {
	var left []*openWaiter
	for _, w := range o.waiting[service] {
		if waits(w) {
			left = append(left, w)
		} else {
			close(w.done)
		}
	}
	if len(left) > 0 {
		o.waiting[service] = left
	} else {
		delete(o.waiting, service)
	}
}

func (o *opens) at(service string) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.epoch[service]
}

// await waits until a service is reported open under an epoch, or a later one, and says under which: a later one may be another host's.
func (o *opens) await(ctx context.Context, service string, epoch uint64) (uint64, error) {
	w := &openWaiter{epoch: epoch, done: make(chan struct{})}
	o.mu.Lock()
	if at := o.epoch[service]; at >= epoch {
		o.mu.Unlock()
		return at, nil
	}
	if o.waiting == nil {
		o.waiting = make(map[string][]*openWaiter)
	}
	o.waiting[service] = append(o.waiting[service], w)
	o.mu.Unlock()
	select {
	case <-w.done:
		return w.at, nil
	case <-ctx.Done():
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keep(service, func(x *openWaiter) bool { return x != w })
	return 0, ctx.Err()
}
