package agent

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/lease"
)

// outbox is what a tenant needs of the post: messages to others, and this host's own vote.
type outbox interface {
	send(node string, m cluster.Message)
	all(m cluster.Message)
	engage([]cluster.Tenure) // for this host itself, which may lead
	stands(cluster.Tenure)   // the same
	vote(r lease.Request) (lease.Answer, bool)
	free(r lease.Release) (lease.Ack, bool)
}

// post carries the messages between agents. What it receives is handled on gossip's own receive path, so nothing here
// may wait.
type post struct {
	self    string
	log     *slog.Logger
	clock   Clock
	machine *fsm.Machine
	ballot  *ballot

	// Set once before gossip starts.
	gossip  gossip
	tenants *tenants
	raft    raftNode
	waking  *waking
	scene   *scene
	opens   *opens
	checks  *voteChecks
	usher   *usher
	lineage *lineage

	jumped    bell                     // rung when the clocks changed
	members   bells                    // rung when gossip's members changed
	conflicts atomic.Pointer[conflict] // the newest complaint about a node's name
	unread    unread                   // whose messages cannot be read

	mu     sync.Mutex
	offset time.Duration // boot minus mono: messages that were queued over a suspend are dropped
	deaf   lease.Boot
}

// gossip is what the agent uses of cluster.Gossip.
type gossip interface {
	Members() []cluster.Member
	Send(node string, m cluster.Message) error
	SetMeta(cluster.Meta) error
	Join(addrs []string) (int, error)
	Leave(time.Duration) error
	Shutdown() error
}

// deafFor is how long messages are dropped after a clock jump: what was queued in the sockets is read within it, and
// everything is repeated by its sender.
const deafFor = 50 * time.Millisecond

func (p *post) send(node string, m cluster.Message) {
	m.From, m.Cluster = p.self, p.clusterID()
	if err := p.gossip.Send(node, m); err != nil {
		p.log.Debug("message not sent", "node", node, "err", err)
	}
}

// all sends to every member that gossip has alive. What is open here this host itself takes note of.
func (p *post) all(m cluster.Message) {
	for _, o := range m.Open {
		p.opens.note(o.Service, o.Epoch)
	}
	for _, member := range p.gossip.Members() {
		if member.Name != p.self && member.Status == cluster.Alive {
			p.send(member.Name, m)
		}
	}
}

// conflict takes gossip's word that two hosts use one name.
func (p *post) conflict(sentence string) {
	p.conflicts.Store(&conflict{sentence, p.clock.Boot()})
	p.log.Error(sentence)
}

// conflict is a complaint, with the instant of the last one.
type conflict struct {
	sentence string
	at       lease.Boot
}

// conflictLasts is for how long a complaint stands: gossip repeats it more often while the cause lasts.
const conflictLasts = 2 * cluster.ComplainEvery

// conflicting is the complaint that stands, or "".
func (p *post) conflicting() string {
	if c := p.conflicts.Load(); c != nil && p.clock.Boot().Sub(c.at) < conflictLasts {
		return c.sentence
	}
	return ""
}

func (p *post) engage(list []cluster.Tenure) { p.scene.engage(list) }
func (p *post) stands(what cluster.Tenure)   { p.usher.stands(p.self, what) }

func (p *post) vote(r lease.Request) (lease.Answer, bool) {
	return p.ballot.request(r)
}

func (p *post) free(r lease.Release) (lease.Ack, bool) { return p.ballot.release(r) }

func (p *post) clusterID() string { return p.lineage.cluster(p.machine.View().State) }

// receive handles one message.
func (p *post) receive(m cluster.Message) {
	if p.dropped() || p.lineage.isSilent() {
		return
	}
	if id := p.clusterID(); m.Cluster != id && m.Cluster != "" && id != "" {
		return // status says so: its description names the cluster as well
	}
	p.raft.Met(m.From)
	for _, r := range m.Requests {
		if r.Node != m.From {
			continue
		}
		if a, ok := p.ballot.request(r); ok {
			p.send(r.Node, cluster.Message{Answers: []lease.Answer{a}})
		}
	}
	for _, r := range m.Releases {
		if r.Node != m.From {
			continue
		}
		if a, ok := p.ballot.release(r); ok {
			p.send(r.Node, cluster.Message{Acks: []lease.Ack{a}})
		}
	}
	p.forTenants(m)
	if m.Committed != nil {
		p.raft.Committed(*m.Committed)
	}
	for _, o := range m.Open {
		p.opens.note(o.Service, o.Epoch)
	}
	for _, w := range m.Wake {
		p.waking.help(w)
	}
	p.scene.engage(m.Engaged)
	for _, s := range m.Stands {
		p.usher.stands(m.From, s)
	}
	if m.Health != nil {
		p.scene.hear(m.From, *m.Health)
	}
	if m.VoteCheck != nil {
		p.send(m.From, cluster.Message{VoteState: p.checks.mine()})
	}
	if m.VoteState != nil {
		p.checks.heard(m.From, *m.VoteState)
	}
}

// forTenants hands over what concerns one service's tenant here.
func (p *post) forTenants(m cluster.Message) {
	for _, a := range m.Answers {
		if a.Voter == m.From {
			p.tenants.with(a.Service, func(t *tenant) { t.answer(a) })
		}
	}
	for _, a := range m.Acks {
		if a.Voter == m.From {
			p.tenants.with(a.Service, func(t *tenant) { t.ack(a) })
		}
	}
	for _, r := range m.Handed {
		if r.Node == m.From {
			p.tenants.with(r.Service, func(t *tenant) { t.handed(r) })
		}
	}
	for _, l := range m.Listening {
		p.tenants.with(l.Service, func(t *tenant) { t.targetListens(m.From, l) })
	}
	for _, f := range m.Flows {
		p.tenants.with(f.Service, func(t *tenant) { t.learnFlows(m.From, f) })
	}
	for _, x := range m.FlowsKnown {
		p.tenants.with(x.Service, func(t *tenant) { t.reported(m.From, x) })
	}
	for _, s := range m.Stand {
		p.tenants.with(s.Service, func(t *tenant) { t.called(m.From, s.Epoch) })
	}
	for _, r := range m.Prepared {
		p.tenants.with(r.Service, func(t *tenant) { t.ready(r.Epoch) })
	}
}

// dropped says whether a message must be dropped because it may have waited in a queue while this host slept.
func (p *post) dropped() bool {
	boot, mono := p.clock.Both()
	offset := time.Duration(boot) - mono
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.offset != 0 && (offset-p.offset).Abs() > wakeJitter {
		p.deaf = boot.Add(deafFor)
		p.jumped.ring()
	}
	p.offset = offset
	return boot < p.deaf
}

// voteChecks remembers which nodes said lately that they would vote.
type voteChecks struct {
	clock Clock
	mine  func() *cluster.VoteState

	mu    sync.Mutex
	state map[string]voteHeard
}

type voteHeard struct {
	state cluster.VoteState
	at    lease.Boot
}

// voteFresh is how old a node's word may be.
const voteFresh = 3 * time.Second

func (c *voteChecks) heard(node string, s cluster.VoteState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == nil {
		c.state = make(map[string]voteHeard)
	}
	c.state[node] = voteHeard{s, c.clock.Boot()}
}

// fresh gives the states that are young enough to act on.
func (c *voteChecks) fresh() map[string]cluster.VoteState {
	now := c.clock.Boot()
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]cluster.VoteState)
	for n, h := range c.state {
		if now.Sub(h.at) < voteFresh {
			out[n] = h.state
		}
	}
	return out
}
