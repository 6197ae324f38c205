package cluster

import (
	"time"

	"github.com/hashicorp/raft"
)

// paced makes Raft's heartbeats leave together, four times in a timeout, instead of one by one at random instants, seven
// times: most of what an idle leader costs is waking up. hashicorp/raft sends the next heartbeat to a peer a while after the
// last one was answered; here each is kept until the next common instant. Nothing else is kept, and nothing is answered in
// a peer's place.
type paced struct {
	raft.Transport
	every time.Duration
	began time.Time // the common instants are counted from here
	quit  <-chan struct{}
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
	}
	return p.Transport.AppendEntries(id, to, req, resp)
}

// isHeartbeat knows a heartbeat as hashicorp/raft itself does, in NetworkTransport.handleCommand.
func isHeartbeat(req *raft.AppendEntriesRequest) bool {
	return req.Term != 0 && req.PrevLogEntry == 0 && req.PrevLogTerm == 0 && len(req.Entries) == 0 && req.LeaderCommitIndex == 0
}
