package cluster

import (
	"errors"
	"sync"
	"sync/atomic"
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
	mute  *atomic.Bool  // no heartbeat may leave: Raft waits for the disk
	calls chan raft.RPC // from the others, as far as Raft is to judge them

	knocks sync.WaitGroup

	mu    sync.Mutex
	ended bool
	gone  map[raft.ServerID]*absence  // peers that did not answer the last heartbeat
	sent  map[raft.ServerID]time.Time // when the heartbeat left that a peer has neither answered nor missed yet
	beats map[raft.ServerID]beat
}

// absence is a peer's silence.
type absence struct {
	back        chan struct{} // closed when it answers
	since, last time.Time     // when the first heartbeat left that it did not answer, and when the last one was given up
	knocking    bool          // it is asked once more out of turn
	knocked     time.Time     // when it last was
}

func newPaced(t raft.Transport, every time.Duration, quit <-chan struct{}, mute *atomic.Bool) *paced {
	return &paced{
		Transport: t, every: every, began: time.Now(), quit: quit, mute: mute, calls: make(chan raft.RPC),
		gone: make(map[raft.ServerID]*absence), sent: make(map[raft.ServerID]time.Time), beats: make(map[raft.ServerID]beat),
	}
}

// Consumer implements raft.Transport.
func (p *paced) Consumer() <-chan raft.RPC { return p.calls }

// transport gives what Raft uses: it looks for the method of pre-votes.
func (p *paced) transport() raft.Transport {
	if v, ok := p.Transport.(raft.WithPreVote); ok {
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
		if p.mute.Load() {
			return errMute
		}
		p.mu.Lock()
		again := *req
		p.sent[id], p.beats[id] = time.Now(), beat{to, &again}
		p.mu.Unlock()
		err := p.ask(id, to, req, resp)
		p.heard(id, err == nil)
		return err
	}
	if err := p.await(id); err != nil {
		return err
	}
	if p.mute.Load() {
		return errMute // the empty ones that only carry the commit index would keep the followers content as well
	}
	return p.ask(id, to, req, resp)
}

// errMute is what becomes of the heartbeats of a leader whose disk takes nothing.
var errMute = errors.New("the disk takes nothing: another node should lead")

// heard notes whether a peer answered a heartbeat.
func (p *paced) heard(id raft.ServerID, answered bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, sent := time.Now(), p.sent[id]
	delete(p.sent, id)
	switch a := p.gone[id]; {
	case answered && a != nil:
		close(a.back)
		delete(p.gone, id)
	case answered:
	case a == nil:
		p.gone[id] = &absence{back: make(chan struct{}), since: sent, last: now}
	case now.Sub(a.last) > absenceEnds:
		a.since, a.last = sent, now // this node did not lead in between
	default:
		a.last = now
	}
}

// absenceEnds is the pause between heartbeats after which a silence is a new one. While a node leads they come at least as
// often as their own timeouts and Raft's pauses allow.
const absenceEnds = 2 * time.Minute

// deaf are the peers that have answered no heartbeat for longer than limit. One that is still on its way counts as well: to a
// host that fell silent in the middle of everything it takes a whole timeout of the transport to fail.
func (p *paced) deaf(limit time.Duration) map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[string]bool)
	for id, a := range p.gone {
		if a.last.Sub(a.since) >= limit {
			out[string(id)] = true
		}
	}
	now := time.Now()
	for id, sent := range p.sent {
		since := sent
		if a := p.gone[id]; a != nil && now.Sub(a.last) <= absenceEnds {
			since = a.since
		}
		if now.Sub(since) >= limit {
			out[string(id)] = true
		}
	}
	return out
}

// silent says whether a peer did not answer its last heartbeat.
func (p *paced) silent(node string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone[raft.ServerID(node)] != nil
}

// awaitMost bounds the wait for a peer: a leader that is none any more must get to know it.
const awaitMost = 10 * time.Minute

// await waits until a peer that did not answer its last heartbeat answers one.
func (p *paced) await(id raft.ServerID) error {
	p.mu.Lock()
	a := p.gone[id]
	p.mu.Unlock()
	if a == nil {
		return nil
	}
	limit := time.NewTimer(awaitMost)
	defer limit.Stop()
	select {
	case <-a.back:
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
