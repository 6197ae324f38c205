package cluster

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// staleMost bounds how many connections to a former life of a peer are passed by in one request. Raft keeps fewer.
const staleMost = 8

// ask sends a request. A peer whose agent was started again has closed the connections to its former life, which shows with the next
// request on each only: that says nothing of the peer, so the request goes out on another one at once. hashicorp/raft itself would count
// the peer as silent for a heartbeat, and not repeat an entry before the next one, or one to two commit timeouts later.
func (p *paced) ask(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	var err error
	for range staleMost {
		if err = p.Transport.AppendEntries(id, to, req, resp); !stale(err) {
			return err
		}
	}
	return err
}

// stale says whether a connection was found to be closed by the other side.
func stale(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// beat is the newest heartbeat to a peer.
type beat struct {
	to  raft.ServerAddress
	req *raft.AppendEntriesRequest
}

// knockEvery is the least time between two knocks at one peer.
const knockEvery = 20 * time.Millisecond

// met takes the news that a peer lives, by another way than Raft's. If it had not answered its last heartbeat, it gets that once more
// now: the next one may be a good part of the failover time away, and entries wait for an answer. Only a leader may: to say a heartbeat
// twice is harmless then, as Raft's messages may be doubled.
func (p *paced) met(node string) {
	id := raft.ServerID(node)
	p.mu.Lock()
	defer p.mu.Unlock()
	a, b := p.gone[id], p.beats[id]
	if p.ended || a == nil || b.req == nil || a.knocking || time.Since(a.knocked) < knockEvery || p.mute.Load() {
		return
	}
	a.knocking, a.knocked = true, time.Now()
	p.knocks.Go(func() {
		var resp raft.AppendEntriesResponse
		err := p.ask(id, b.to, b.req, &resp)
		p.mu.Lock()
		defer p.mu.Unlock()
		a.knocking = false
		if err == nil && p.gone[id] == a {
			close(a.back)
			delete(p.gone, id)
		}
	})
}

// end waits for the knocks, and lets no other begin. The connections are hung up by then.
func (p *paced) end() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.knocks.Wait()
}
