package lab

import (
	"fmt"
	"sync"
	"unsafe"
)

// backlogMost is how many bytes of frames may wait for their receiver: minutes of what hosts say, some tenths of a second of a flood.
const backlogMost = 64 << 20

// taken is a frame that was taken out of the ring, with the link that it was seen on.
type taken struct {
	frame Frame
	index int
}

// backlog keeps what was taken out of the ring until somebody receives it. Whoever looks at each frame is slower than the kernel where a
// machine is busy, and the ring would run over.
type backlog struct {
	mu         sync.Mutex
	waiting    []taken
	bytes      int
	over       error // nothing more will come, for this reason
	news, room chan struct{}
}

func newBacklog() *backlog {
	return &backlog{news: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// put adds one, as soon as there is room. False: stop was closed.
func (b *backlog) put(t taken, stop <-chan struct{}) bool {
	for {
		b.mu.Lock()
		fits := b.bytes < backlogMost
		if fits {
			b.waiting = append(b.waiting, t)
			b.bytes += len(t.frame.Data) + int(unsafe.Sizeof(t))
		}
		b.mu.Unlock()
		if fits {
			ring(b.news)
			return true
		}
		select {
		case <-b.room:
		case <-stop:
			return false
		}
	}
}

// end says that nothing more will come.
func (b *backlog) end(why error) {
	b.mu.Lock()
	b.over = fmt.Errorf("the watch has ended by itself: %w", why)
	b.mu.Unlock()
	ring(b.news)
}

// take gives all that wait, in their order, as soon as there are any; nil: stop was closed, or nothing more will come.
func (b *backlog) take(stop <-chan struct{}) ([]taken, error) {
	for {
		select {
		case <-stop:
			return nil, nil
		default:
		}
		b.mu.Lock()
		all, over := b.waiting, b.over
		b.waiting, b.bytes = nil, 0
		b.mu.Unlock()
		if len(all) > 0 {
			ring(b.room)
			return all, nil
		}
		if over != nil {
			return nil, over
		}
		select {
		case <-b.news:
		case <-stop:
			return nil, nil
		}
	}
}

// ring wakes whoever waits, or is about to.
func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}
