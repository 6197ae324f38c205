package cluster

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// paced makes Raft's heartbeats leave together, four times in a timeout, instead of one by one at random instants, seven
// times: most of what an idle leader costs is waking up. hashicorp/raft sends the next heartbeat to a peer a while after the
// last one was answered; here each is kept until the next common instant. Nothing is answered in a peer's place.
//
// Entries for a peer that did not answer its last heartbeat wait for one that it answers. hashicorp/raft itself would try
// them again and again, after pauses that grow to ten seconds and that nothing ends when the peer is back: a host that slept
// for a minute would get the log only seconds after it woke.
type paced struct {
	raft.Transport
	every time.Duration
	began time.Time // the common instants are counted from here
	quit  <-chan struct{}

	mu   sync.Mutex
	gone map[raft.ServerID]chan struct{} // peers that did not answer the last heartbeat; closed when they do
}

// pacedOver gives a transport that paces over one that may know pre-votes and may want to be closed.
func pacedOver(t raft.Transport, every time.Duration, quit <-chan struct{}) raft.Transport {
	p := &paced{Transport: t, every: every, began: time.Now(), quit: quit}
	if v, ok := t.(raft.WithPreVote); ok {
		return pacedPreVote{p, v}
	}
	return p
}

// pacedPreVote is paced where the transport knows pre-votes: Raft looks for the method.
type pacedPreVote struct {
	*paced
	raft.WithPreVote
}

// AppendEntries implements raft.Transport.
func (p *paced) AppendEntries(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if isHeartbeat(req) {
		now := time.Since(p.began)
		timer := time.NewTimer(now.Truncate(p.every) + p.every - now)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.quit:
			return raft.ErrTransportShutdown
		}
		err := p.Transport.AppendEntries(id, to, req, resp)
		p.heard(id, err == nil)
		return err
	}
	if err := p.await(id); err != nil {
		return err
	}
	return p.Transport.AppendEntries(id, to, req, resp)
}

// heard notes whether a peer answered a heartbeat.
func (p *paced) heard(id raft.ServerID, answered bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	back, gone := p.gone[id]
	switch {
	case answered && gone:
		close(back)
		delete(p.gone, id)
	case !answered && !gone:
		if p.gone == nil {
			p.gone = make(map[raft.ServerID]chan struct{})
		}
		p.gone[id] = make(chan struct{})
	}
}

// awaitMost bounds the wait for a peer: a leader that is none any more must get to know it.
const awaitMost = 10 * time.Minute

// await waits until a peer that did not answer its last heartbeat answers one.
func (p *paced) await(id raft.ServerID) error {
	p.mu.Lock()
	back, gone := p.gone[id]
	p.mu.Unlock()
	if !gone {
		return nil
	}
	limit := time.NewTimer(awaitMost)
	defer limit.Stop()
	select {
	case <-back:
		return nil
	case <-limit.C:
		return raft.ErrTransportShutdown
	case <-p.quit:
		return raft.ErrTransportShutdown
	}
}

// isHeartbeat knows a heartbeat as hashicorp/raft itself does, in NetworkTransport.handleCommand.
func isHeartbeat(req *raft.AppendEntriesRequest) bool {
	return req.Term != 0 && req.PrevLogEntry == 0 && req.PrevLogTerm == 0 && len(req.Entries) == 0 && req.LeaderCommitIndex == 0
}
