package cluster

import (
	"errors"
	"io"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// restartedTransport has some connections to a former life of the peer.
type restartedTransport struct {
	raft.Transport
	stale atomic.Int64
	how   error
	sent  atomic.Int64
}

func (r *restartedTransport) AppendEntries(raft.ServerID, raft.ServerAddress, *raft.AppendEntriesRequest, *raft.AppendEntriesResponse) error {
	r.sent.Add(1)
	if r.stale.Add(-1) >= 0 {
		return r.how
	}
	return nil
}

// TestConnectionsToAFormerLife: a peer that was started again is no silent one, and gets the first entries at once. One that refuses is
// not asked again and again.
func TestConnectionsToAFormerLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, how := range []error{io.EOF, syscall.ECONNRESET, syscall.EPIPE} {
			under := &restartedTransport{how: how}
			p := newPaced(under, 250*time.Millisecond, make(chan struct{}), new(atomic.Bool))
			for _, req := range []*raft.AppendEntriesRequest{{Term: 3}, {Term: 3, PrevLogEntry: 7, PrevLogTerm: 2}} {
				under.stale.Store(3)
				if err := p.AppendEntries("b", "b", req, nil); err != nil {
					t.Errorf("%v: %v", how, err)
				}
			}
			if p.silent("b") {
				t.Errorf("%v: it counts as silent", how)
			}
		}
		under := &restartedTransport{how: syscall.ECONNREFUSED}
		under.stale.Store(1 << 20)
		p := newPaced(under, 250*time.Millisecond, make(chan struct{}), new(atomic.Bool))
		if err := p.AppendEntries("b", "b", &raft.AppendEntriesRequest{Term: 3}, nil); !errors.Is(err, syscall.ECONNREFUSED) || under.sent.Load() != 1 {
			t.Errorf("a peer that refuses was asked %d times: %v", under.sent.Load(), err)
		}
		under.how = io.EOF
		if err := p.AppendEntries("c", "c", &raft.AppendEntriesRequest{Term: 3}, nil); !errors.Is(err, io.EOF) || under.sent.Load() != 1+staleMost {
			t.Errorf("a peer that hangs up each time was asked %d times: %v", under.sent.Load()-1, err)
		}
	})
}

// TestAPeerThatWasMet: entries that wait for a silent peer leave as soon as something else was heard of it and it answers, not with the
// next heartbeat. One that still does not answer is asked seldom, and stays silent.
func TestAPeerThatWasMet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		under := &mutedTransport{}
		p := newPaced(under, 10*time.Second, make(chan struct{}), new(atomic.Bool))
		defer p.end()
		p.met("b") // nothing is known of it
		under.muted.Store(true)
		_ = p.AppendEntries("b", "b", &raft.AppendEntriesRequest{Term: 3}, nil)
		done := make(chan error, 1)
		go func() {
			done <- p.AppendEntries("b", "b", &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 7, PrevLogTerm: 2}, nil)
		}()
		before := under.beats.Load()
		for range 10 {
			p.met("b")
			synctest.Wait()
		}
		if n := under.beats.Load() - before; n != 1 || !p.silent("b") {
			t.Fatalf("it was asked %d times, silent: %v", n, p.silent("b"))
		}
		under.muted.Store(false)
		time.Sleep(knockEvery)
		began := time.Now()
		p.met("b")
		if err := <-done; err != nil || time.Since(began) != 0 {
			t.Errorf("the entries left after %v: %v", time.Since(began), err)
		}
		if p.silent("b") {
			t.Error("it still counts as silent")
		}
	})
}
