package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/fsm"
)

// raftNode is what the agent uses of cluster.Raft.
type raftNode interface {
	Propose(ctx context.Context, c fsm.Command) (fsm.Result, cluster.Mark, error)
	Committed(cluster.Mark)
	Leader() string
	IsLeader() bool
	LastHeard() time.Time
	Deaf() map[string]bool
	Met(node string)
	Leadership() <-chan bool
	Barrier(ctx context.Context) error
	HasState() (bool, error)
	Bootstrap(servers []raft.Server) error
	AddVoter(ctx context.Context, node string, prevIndex uint64) (cluster.Mark, error)
	AddNonvoter(ctx context.Context, node string, prevIndex uint64) (cluster.Mark, error)
	Demote(ctx context.Context, node string, prevIndex uint64) (cluster.Mark, error)
	Remove(ctx context.Context, node string, prevIndex uint64) (cluster.Mark, error)
	Past(cluster string) (cluster.Past, error)
	StartAnew()
	Meets(cluster string)
	Transfer(ctx context.Context, to string) error
	Retime(cluster.Timing) error
	DiskTrouble() string
	Shutdown() error
}

// errNoLeader is what a proposal ends with when nobody can decide.
var errNoLeader = errors.New("the cluster has no leader")

// proposer brings commands into the log, from whichever node: the leader commits, everybody else hands them to it.
type proposer struct {
	self  string
	clock Clock
	raft  raftNode
	out   outbox
	peer  func(node string) *api.Client
	gate  *quorumGuard
	scene *scene
	usher *usher
	log   *slog.Logger

	hinted hinted
}

// proposal is the leader's answer to a forwarded command.
type proposal struct {
	Result fsm.Result   `json:"result"`
	Mark   cluster.Mark `json:"mark"`
}

// propose commits c. The result says whether the state machine refused it; an error, that it is not known to be
// committed.
func (p *proposer) propose(ctx context.Context, c fsm.Command) (fsm.Result, error) {
	if p.raft.IsLeader() {
		return p.commit(ctx, c)
	}
	leader := p.raft.Leader()
	if leader == "" || leader == p.self {
		return fsm.Result{}, errNoLeader
	}
	raw, err := fsm.Encode(c)
	if err != nil {
		return fsm.Result{}, err
	}
	answer, err := p.peer(leader).Propose(ctx, raw)
	if err != nil {
		return fsm.Result{}, fmt.Errorf("asking the leader %s: %w", leader, err)
	}
	var done proposal
	if err := json.Unmarshal(answer, &done); err != nil {
		return fsm.Result{}, fmt.Errorf("reading the answer of the leader %s: %w", leader, err)
	}
	if done.Mark.Index != 0 { // 0: refused before it was proposed
		p.raft.Committed(done.Mark)
	}
	return done.Result, nil
}

// commit proposes on the leader: an assignment once its heir is prepared.
func (p *proposer) commit(ctx context.Context, c fsm.Command) (fsm.Result, error) {
	done, err := p.commitPrepared(ctx, c)
	return done.Result, err
}

func (p *proposer) commitPrepared(ctx context.Context, c fsm.Command) (proposal, error) {
	if a, ok := c.(fsm.Assign); ok && p.usher != nil {
		if err := p.usher.await(ctx, p.scene.view, a); err != nil {
			return proposal{}, fmt.Errorf("waiting until %s has prepared %s: %w", a.Owner, a.Service, err)
		}
	}
	return p.commitMarked(ctx, c)
}

// commitMarked proposes on the leader and tells everybody at once that the entry is committed: a follower would otherwise learn
// it with the next AppendEntries, up to twice the commit timeout later.
func (p *proposer) commitMarked(ctx context.Context, c fsm.Command) (proposal, error) {
	leave, err := p.gate.enter(ctx, c)
	if err != nil {
		res, err := refusal(err)
		return proposal{Result: res}, err
	}
	res, mark, err := p.raft.Propose(ctx, c)
	leave()
	if err != nil {
		return proposal{}, err
	}
	p.hint(mark)
	if r, ok := c.(fsm.RemoveNode); ok && (res.Err() == nil || res.Refused == fsm.UnknownNode) {
		err = p.voteless(ctx, r.Name)
	}
	return proposal{res, mark}, err
}

// voteless waits until a node whose record is gone has lost its vote, too: this leader takes it away a lease's length later.
// Only then may that node forget its log. A voter that forgets what it has acknowledged, and comes back under the same name,
// helps a node that missed the newest entries to be elected: what was committed is lost then (I2, I6). What is applied here is
// no older than the end of the record, so a configuration without the vote is one that came after it.
func (p *proposer) voteless(ctx context.Context, node string) error {
	changed, cancel := p.gate.machine.Watch()
	defer cancel()
	look := time.NewTicker(200 * time.Millisecond)
	defer look.Stop()
	for slices.Contains(cluster.Voters(p.gate.machine.View().Servers), node) {
		if !p.raft.IsLeader() {
			return errNoLeader // the next one is asked again
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-look.C:
		}
	}
	return nil
}

// forwarded carries out a peer's command on the leader.
func (p *proposer) forwarded(ctx context.Context, raw []byte) ([]byte, error) {
	if !p.raft.IsLeader() {
		return nil, errNoLeader
	}
	c, err := fsm.Decode(raw)
	if err != nil {
		return nil, fmt.Errorf("reading a peer's command: %w", err)
	}
	done, err := p.commitPrepared(ctx, c)
	if err != nil {
		return nil, err
	}
	return json.Marshal(done)
}
