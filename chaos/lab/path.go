package lab

import (
	"container/heap"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// holdBack is how long a reordered frame waits at most for one that passes it.
const holdBack = 10 * time.Millisecond

// route is the way from one place to another through the user-space switch.
type route struct{ from, to string }

// flight is a frame on its way through the switch.
type flight struct {
	route
	frame []byte
	due   time.Duration // by the switch's clock
	seq   uint64        // of two that are due at the same time the lower one goes first
	at    int           // in the queue; -1: it has left
}

// path is the treatment of one route. Chances are drawn for each frame, whether they are needed or not, so that the nth
// frame meets the same fate whatever the shares are.
type path struct {
	route
	shape  Shape
	chance *rand.Rand
	last   time.Duration // when the newest frame that kept its place is due
	held   *flight       // the frame that the next one will pass
}

func newPath(r route, s Shape) *path {
	h := fnv.New64a()
	_, _ = h.Write([]byte(r.from + ">" + r.to)) // a hash takes everything
	return &path{route: r, shape: s, chance: rand.New(rand.NewPCG(s.Seed, h.Sum64()))}
}

// fate is what happens to one frame.
type fate struct {
	copies  int // 0: lost
	delay   time.Duration
	reorder bool
}

func (p *path) draw() fate {
	loss, double, order, jitter := p.chance.Float64(), p.chance.Float64(), p.chance.Float64(), p.chance.Float64()
	f := fate{copies: 1, delay: p.shape.Delay + time.Duration(jitter*float64(p.shape.Jitter)), reorder: order < p.shape.Reorder}
	switch {
	case loss < p.shape.Loss:
		f.copies = 0
	case double < p.shape.Duplicate:
		f.copies = 2
	}
	return f
}

// pass decides about a frame that comes now and queues it.
func (p *path) pass(q *queue, frame []byte, now time.Duration) {
	f := p.draw()
	if f.copies == 0 {
		return
	}
	if p.held != nil && p.held.due <= now {
		p.held = nil // nobody came in time
	}
	due := max(now+f.delay, p.last)
	if f.reorder && p.held == nil {
		p.held = q.add(p.route, frame, due+holdBack)
		if f.copies == 2 {
			q.add(p.route, frame, due)
		}
		return
	}
	p.last = due
	for range f.copies {
		q.add(p.route, frame, due)
	}
	if p.held != nil && p.held.due > due {
		q.move(p.held, due)
	}
	p.held = nil
}

// queue holds the frames in flight, the next one first.
type queue struct {
	all []*flight
	seq uint64
}

// add queues a copy of the frame.
func (q *queue) add(r route, frame []byte, due time.Duration) *flight {
	f := &flight{route: r, frame: append([]byte(nil), frame...), due: due, seq: q.seq}
	q.seq++
	heap.Push((*flights)(q), f)
	return f
}

// move lets a frame go at another time, behind all that are due then.
func (q *queue) move(f *flight, due time.Duration) {
	f.due, f.seq = due, q.seq
	q.seq++
	heap.Fix((*flights)(q), f.at)
}

// pop gives the next frame if it is due.
func (q *queue) pop(now time.Duration) *flight {
	if len(q.all) == 0 || q.all[0].due > now {
		return nil
	}
	return heap.Pop((*flights)(q)).(*flight)
}

// flights is the queue as container/heap wants it.
type flights queue

func (h *flights) Len() int { return len(h.all) }

func (h *flights) Less(i, j int) bool {
	a, b := h.all[i], h.all[j]
	return a.due < b.due || a.due == b.due && a.seq < b.seq
}

func (h *flights) Swap(i, j int) {
	h.all[i], h.all[j] = h.all[j], h.all[i]
	h.all[i].at, h.all[j].at = i, j
}

func (h *flights) Push(x any) {
	f := x.(*flight)
	f.at = len(h.all)
	h.all = append(h.all, f)
}

func (h *flights) Pop() any {
	last := len(h.all) - 1
	f := h.all[last]
	h.all[last] = nil
	h.all = h.all[:last]
	f.at = -1
	return f
}
