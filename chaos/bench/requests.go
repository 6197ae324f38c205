package bench

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"nightporter/chaos/lab"
)

// requests asks a lab's server over TCP again and again, each time by a connection of its own, one after the other. A request that is
// cut off, or has no answer within a second, is made anew, as clients do: a connection that the former holder had begun does not
// outlive a hand-over between two servers, as the new one knows nothing of it.
type requests struct {
	stop chan struct{}
	busy sync.WaitGroup

	mu    sync.Mutex
	made  int
	again int           // needed another connection
	lost  int           // were not answered in time
	slow  time.Duration // the slowest since the last look
	since time.Time     // of the one that is under way; zero = none
}

// Pace and patience of the loop.
const (
	requestEvery = 10 * time.Millisecond
	attemptLimit = time.Second
	requestLimit = 5 * time.Second
)

func startRequests(ctx context.Context, from *lab.Host, to netip.AddrPort) *requests {
	r := &requests{stop: make(chan struct{})}
	r.busy.Go(func() {
		tick := time.NewTicker(requestEvery)
		defer tick.Stop()
		for {
			select {
			case <-r.stop:
				return
			case <-tick.C:
			}
			r.one(ctx, from, to)
		}
	})
	return r
}

// one makes a request until it is answered.
func (r *requests) one(ctx context.Context, from *lab.Host, to netip.AddrPort) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	began := time.Now()
	r.mu.Lock()
	r.since = began
	r.mu.Unlock()
	err := answered(ctx, from, to)
	cut := err != nil
	for err != nil && ctx.Err() == nil {
		err = answered(ctx, from, to)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.made++
	r.slow, r.since = max(r.slow, time.Since(began)), time.Time{}
	if cut {
		r.again++
	}
	if err != nil {
		r.lost++
	}
}

// answered is one request over one connection.
func answered(ctx context.Context, from *lab.Host, to netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	c, err := from.Dial(ctx, "tcp", to)
	if err != nil {
		return err
	}
	defer c.Close()
	if by, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(by); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(c, "request"); err != nil {
		return err
	}
	_, err = bufio.NewReader(c).ReadString('\n')
	return err
}

// counts gives what there was until now, and the slowest since the last call.
func (r *requests) counts() (again, lost int, slow time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	slow, r.slow = r.slow, 0
	if !r.since.IsZero() {
		slow = max(slow, time.Since(r.since))
	}
	return r.again, r.lost, slow
}

// whole waits until a request that began after the call is over: what a move did to requests is known then.
func (r *requests) whole(ctx context.Context) error {
	made := func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.made
	}
	tick := time.NewTicker(requestEvery)
	defer tick.Stop()
	for before := made(); made() < before+2; { // the next to end may have begun before
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}

// end stops the loop and waits for it.
func (r *requests) end() {
	close(r.stop)
	r.busy.Wait()
}
