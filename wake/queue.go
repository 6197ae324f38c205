package wake

import "sync"

// flowLimit bounds the flows that wait for a slow callback. One of them is enough to wake the target: what is lost beyond
// the limit is only the frame that could be replayed, and Stats counts it.
const flowLimit = 1024

// flowQueue hands demands from the reader of the socket to the callback. It keeps the newest demand of each flow, in the
// order in which the flows first came: a client that repeats its SYN takes nobody's place, and a replay wants the newest.
type flowQueue struct {
	mu      sync.Mutex
	waiting map[place]Demand
	order   []place
	stats   Stats
	filled  chan struct{} // capacity 1: a token while there may be something to take
}

func newFlowQueue() *flowQueue {
	return &flowQueue{waiting: map[place]Demand{}, filled: make(chan struct{}, 1)}
}

// put never blocks.
func (q *flowQueue) put(d Demand, s segment) {
	f := place{flow: d.flow(), stage: d.Stage}
	if d.Stage == Later {
		f.seq = s.next()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stats.Seen++
	if _, known := q.waiting[f]; known {
		q.stats.Merged++
		q.waiting[f] = d
		return
	}
	if len(q.order) >= flowLimit {
		q.stats.Dropped++
		return
	}
	q.waiting[f] = d
	q.order = append(q.order, f)
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

// take gives the demand of the flow that has waited longest.
func (q *flowQueue) take() (Demand, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) == 0 {
		q.order = nil // gives the room of a burst back
		return Demand{}, false
	}
	f := q.order[0]
	q.order = q.order[1:]
	d := q.waiting[f]
	delete(q.waiting, f)
	return d, true
}

func (q *flowQueue) snapshot() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stats
}
