package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/fsm"
	"nightporter/internal/mutant"
)

// RaftConfig is what the Raft node needs.
type RaftConfig struct {
	Node      string
	Timing    Timing
	Machine   *fsm.Machine
	Stores    Stores
	Stream    raft.StreamLayer // or Transport
	Transport raft.Transport
	Past      *Past // of a log that this node has put away; nil = none
	Log       *slog.Logger
}

// Raft is this host's Raft node.
type Raft struct {
	raft    *raft.Raft
	conf    RaftConfig
	journal *Journal
	trans   raft.Transport
	paced   *paced
	lease   time.Duration // LeaderLeaseTimeout, which cannot be changed while Raft runs
	disk    *disk
	quit    chan struct{}
	past    atomic.Pointer[Past]
	leaders atomic.Uint64 // changes of the leader
	running sync.WaitGroup
	once    sync.Once

	timing              sync.Mutex
	heartbeat, election time.Duration // while entries can be written (disk)

	mu        sync.Mutex
	hints     []Mark // entries that are said to be committed and that the log does not have yet
	ending    bool
	transfers sync.WaitGroup       // of the leadership
	failed    map[string]time.Time // by node: the last transfer to it that failed
}

// ErrNotLeader is what a proposal ends with on a node that does not lead.
var ErrNotLeader = errors.New("this node is not the leader")

const (
	snapshotEvery     = 2 * time.Minute
	snapshotThreshold = 1024 // entries
	trailingLogs      = 256  // kept after a snapshot, so that a follower that slept a little needs no snapshot
	logCache          = 512  // entries in memory
)

// StartRaft starts the node on what its disk remembers. It owns the stores from here on: they are closed by Shutdown, or
// right away when it fails.
func StartRaft(c RaftConfig) (*Raft, error) {
	r, err := newRaft(c)
	if err != nil {
		if c.Stores.Close != nil {
			err = errors.Join(err, c.Stores.Close())
		}
		return nil, err
	}
	r.running.Go(r.followHints)
	r.running.Go(r.screen)
	return r, nil
}

func newRaft(c RaftConfig) (*Raft, error) {
	quit := make(chan struct{})
	watch := &disk{quit: quit}
	cache, err := raft.NewLogCache(logCache, watchedLog{c.Stores.Log, watch})
	if err != nil {
		return nil, fmt.Errorf("making the log's cache: %w", err)
	}
	journal, err := NewJournal(cache)
	if err != nil {
		return nil, err
	}
	logger := bridge("raft", c.Log, seldom())
	conf := raftOptions(c)
	conf.Logger = logger
	if err := raft.ValidateConfig(conf); err != nil {
		return nil, fmt.Errorf("starting Raft: %w", err)
	}
	r := &Raft{conf: c, journal: journal, trans: c.Transport, lease: conf.LeaderLeaseTimeout, disk: watch, quit: quit, failed: make(map[string]time.Time)}
	r.past.Store(c.Past)
	c.Machine.Appended(func(index uint64) time.Time {
		var l raft.Log
		if journal.GetLog(index, &l) != nil {
			return time.Time{} // compacted already
		}
		return l.AppendedAt
	})
	if r.trans == nil {
		r.trans = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: c.Stream, MaxPool: 3, Timeout: rpcTimeout(c.Timing), Logger: logger,
			// No pipelines: in hashicorp/raft the sender of one waits for ever, and Shutdown for it, when a follower of a newer
			// term answers while the next entries are on their way. They would also pass by what paced does.
			MaxRPCsInFlight: 1,
		})
	}
	r.paced = newPaced(r.trans, c.Timing.RaftPace, quit, &watch.stuck)
	r.heartbeat, r.election = conf.HeartbeatTimeout, conf.ElectionTimeout
	watch.turned = func() {
		if err := r.retime(); err != nil {
			c.Log.Warn("elections keep their timing", "err", err)
		}
	}
	r.timing.Lock() // whatever turns waits until there is a Raft to tell
	r.raft, err = r.open(conf)
	r.timing.Unlock()
	if err != nil {
		return nil, errors.Join(err, closeTransport(r.trans))
	}
	r.countLeaders()
	return r, nil
}

func raftOptions(c RaftConfig) *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(c.Node)
	conf.HeartbeatTimeout, conf.ElectionTimeout = c.Timing.RaftHeartbeat, c.Timing.RaftElection
	conf.LeaderLeaseTimeout, conf.CommitTimeout = c.Timing.RaftLeaderLease, c.Timing.RaftCommit
	conf.ShutdownOnRemove = false // a leader that takes its own vote away follows from then on; its Raft would end, and the agent not
	conf.SnapshotInterval, conf.SnapshotThreshold, conf.TrailingLogs = snapshotEvery, snapshotThreshold, trailingLogs
	if mutant.Built { // short runs must come to restores
		conf.SnapshotInterval, conf.SnapshotThreshold = 2*time.Second, 8
	}
	return conf
}

// open starts hashicorp/raft, which panics when the log has a hole that no snapshot covers.
func (r *Raft) open(conf *raft.Config) (node *raft.Raft, err error) {
	// Raft would go on with an older snapshot, or say that there is none. Nothing is damaged: the newer version reads it.
	if _, _, err := newestSnapshot(r.conf.Stores.Snapshots, fsm.NewMachine(slog.New(slog.DiscardHandler))); errors.Is(err, fsm.ErrNewerFormat) {
		return nil, fmt.Errorf("the newest snapshot of the log cannot be read, and nothing of it was changed: %w", err)
	}
	defer func() {
		if p := recover(); p != nil {
			node, err = nil, fmt.Errorf("%v", p)
		}
		if err != nil {
			err = fmt.Errorf("the Raft state does not fit together (%w): a snapshot or a part of the log is missing or damaged; "+
				"put the data directory away, run `nightporter forget` for this node on another one, and start it again with an empty one", err)
		}
	}()
	snaps := &snapshots{SnapshotStore: r.conf.Stores.Snapshots, machine: r.conf.Machine, journal: r.journal}
	return raft.NewRaft(conf, r.conf.Machine, r.journal, watchedStable{r.conf.Stores.Stable, r.disk}, snaps, r.paced.transport())
}

func closeTransport(t raft.Transport) error {
	if c, ok := t.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Journal is the log with its uncommitted end.
func (r *Raft) Journal() *Journal { return r.journal }

// HasState says whether this node has ever been part of a cluster.
func (r *Raft) HasState() (bool, error) {
	has, err := raft.HasExistingState(r.journal, r.conf.Stores.Stable, r.conf.Stores.Snapshots)
	if err != nil {
		return false, fmt.Errorf("looking for Raft state: %w", err)
	}
	return has, nil
}

// Bootstrap writes the first configuration of a new cluster. Only the founder calls it; the others get it from the log.
func (r *Raft) Bootstrap(servers []raft.Server) error {
	if err := r.raft.BootstrapCluster(raft.Configuration{Servers: servers}).Error(); err != nil {
		return fmt.Errorf("writing the first configuration: %w", err)
	}
	return nil
}

// Propose commits a command and gives what the state machine made of it, and the entry's mark for the others. An error says
// that the command is not known to be committed; it may be.
func (r *Raft) Propose(ctx context.Context, c fsm.Command) (fsm.Result, Mark, error) {
	raw, err := fsm.Encode(c)
	if err != nil {
		return fsm.Result{}, Mark{}, fmt.Errorf("encoding a command: %w", err)
	}
	f := r.raft.Apply(raw, timeLeft(ctx))
	if err := r.wait(ctx, f); err != nil {
		return fsm.Result{}, Mark{}, err
	}
	res, ok := f.Response().(fsm.Result)
	if !ok {
		return fsm.Result{}, Mark{}, fmt.Errorf("the state machine answered %T", f.Response())
	}
	mark := Mark{Index: f.Index()}
	mark.Term, _ = r.journal.Term(mark.Index)
	return res, mark, nil
}

// timeLeft is how long Raft may queue a request.
func timeLeft(ctx context.Context) time.Duration {
	if d, ok := ctx.Deadline(); ok {
		return max(time.Until(d), time.Millisecond)
	}
	return 10 * time.Second
}

// wait waits for a future, or for the end of ctx or of this node; the operation may go on then.
func (r *Raft) wait(ctx context.Context, f raft.Future) error {
	done := make(chan error, 1)
	endsWith(f, r.quit)
	go func() { done <- f.Error() }()
	return r.outcome(ctx, done)
}

func (r *Raft) outcome(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return r.because(err)
	case <-r.quit:
		return raft.ErrRaftShutdown
	case <-ctx.Done():
		return ctx.Err()
	}
}

// because gives ErrNotLeader the name of the node to ask instead.
func (r *Raft) because(err error) error {
	if !errors.Is(err, raft.ErrNotLeader) && !errors.Is(err, raft.ErrLeadershipLost) && !errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		return err
	}
	if name := r.Leader(); name != "" && name != r.conf.Node {
		return fmt.Errorf("%w, %s is: %w", ErrNotLeader, name, err)
	}
	return fmt.Errorf("%w: %w", ErrNotLeader, err)
}

// Leader is the leader's name, "" when none is known.
func (r *Raft) Leader() string {
	_, id := r.raft.LeaderWithID()
	return string(id)
}

// LastHeard is when this node last heard of the leader, by the wall clock; zero = never, or it leads.
func (r *Raft) LastHeard() time.Time {
	if r.IsLeader() {
		return time.Time{}
	}
	return r.raft.LastContact().Round(0) // a monotonic clock does not count the time asleep
}

// IsLeader says whether this node believes that it leads. It may be wrong; what it proposes then is not committed.
func (r *Raft) IsLeader() bool { return r.raft.State() == raft.Leader }

// Deaf gives the nodes that this leader's log has not reached for a while, though it tried; nil on any other node.
func (r *Raft) Deaf() map[string]bool {
	if !r.IsLeader() {
		return nil
	}
	return r.paced.deaf(2 * r.conf.Timing.RaftHeartbeat)
}

// Met is told that a node lives: something came from it. Where this node leads, its log may reach that one again.
func (r *Raft) Met(node string) {
	if r.IsLeader() { // a heartbeat of one that stepped down would be taken for as long as nobody else leads
		r.paced.met(node)
	}
}

// Leadership tells of every change; only the newest is kept for a slow reader.
func (r *Raft) Leadership() <-chan bool { return r.raft.LeaderCh() }

// Barrier returns when everything committed before is applied here.
func (r *Raft) Barrier(ctx context.Context) error { return r.wait(ctx, r.raft.Barrier(timeLeft(ctx))) }

// AddVoter gives a node a vote; prevIndex is the configuration that the change was planned from. The mark of this and the
// other changes is for the other nodes: voters count no request of a holder that has not heard of the new configuration.
func (r *Raft) AddVoter(ctx context.Context, node string, prevIndex uint64) (Mark, error) {
	return r.reconfigured(ctx, r.raft.AddVoter(raft.ServerID(node), raft.ServerAddress(node), prevIndex, timeLeft(ctx)))
}

// AddNonvoter lets a node follow the log without a vote.
func (r *Raft) AddNonvoter(ctx context.Context, node string, prevIndex uint64) (Mark, error) {
	return r.reconfigured(ctx, r.raft.AddNonvoter(raft.ServerID(node), raft.ServerAddress(node), prevIndex, timeLeft(ctx)))
}

// Demote takes a node's vote away.
func (r *Raft) Demote(ctx context.Context, node string, prevIndex uint64) (Mark, error) {
	return r.reconfigured(ctx, r.raft.DemoteVoter(raft.ServerID(node), prevIndex, timeLeft(ctx)))
}

// Remove takes a node out of the configuration.
func (r *Raft) Remove(ctx context.Context, node string, prevIndex uint64) (Mark, error) {
	return r.reconfigured(ctx, r.raft.RemoveServer(raft.ServerID(node), prevIndex, timeLeft(ctx)))
}

func (r *Raft) reconfigured(ctx context.Context, f raft.IndexFuture) (Mark, error) {
	if err := r.wait(ctx, f); err != nil {
		return Mark{}, err
	}
	mark := Mark{Index: f.Index()}
	mark.Term, _ = r.journal.Term(mark.Index)
	return mark, nil
}

// Transfer hands the leadership to a node that answers. The second attempt to one that does not read what the first one left
// for it would never end in hashicorp/raft, and this node would refuse every proposal whenever it led, until it is started
// again; so there is none before what the first one may wait for is over.
func (r *Raft) Transfer(ctx context.Context, to string) error {
	r.mu.Lock()
	if r.ending || r.disk.stuck.Load() { // Raft would not answer
		r.mu.Unlock()
		return raft.ErrRaftShutdown
	}
	if r.paced.silent(to) || time.Since(r.failed[to]) < 2*rpcTimeout(r.conf.Timing) {
		r.mu.Unlock()
		return fmt.Errorf("%s does not answer", to)
	}
	done := make(chan error, 1)
	f := r.raft.LeadershipTransferToServer(raft.ServerID(to), raft.ServerAddress(to))
	endsWith(f, r.quit)
	r.transfers.Go(func() {
		err := f.Error()
		if err != nil {
			r.mu.Lock()
			r.failed[to] = time.Now()
			r.mu.Unlock()
		}
		done <- err
	})
	r.mu.Unlock()
	return r.outcome(ctx, done)
}

// rpcTimeout is how long Raft waits for an answer.
func rpcTimeout(t Timing) time.Duration { return max(2*t.RaftHeartbeat, time.Second) }

// endsWith lets a future end with this node: hashicorp/raft answers nothing that is still queued when it ends, or when its own
// goroutine waits for the disk, and whoever waits for that would wait for ever. Every future has such a channel, and most leave it empty.
func endsWith(f raft.Future, quit chan struct{}) {
	v := reflect.ValueOf(f)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return // the answer is there already
	}
	if c := v.Elem().FieldByName("ShutdownCh"); c.CanSet() && c.IsNil() && c.Type() == reflect.TypeOf(quit) {
		c.Set(reflect.ValueOf(quit))
	}
}

// endTransfers takes no transfer any more, and ends those that wait.
func (r *Raft) endTransfers() {
	r.mu.Lock()
	r.ending = true
	r.mu.Unlock()
	r.transfers.Wait()
}

// Retime changes the election timing while Raft runs. The leader's lease and the commit timeout cannot be changed then, so
// the heartbeat stays between one and two and a half of that lease; the error says so.
func (r *Raft) Retime(t Timing) error {
	beat := min(max(t.RaftHeartbeat, r.lease), r.lease*5/2)
	r.timing.Lock()
	r.heartbeat, r.election = beat, beat
	r.timing.Unlock()
	if err := r.retime(); err != nil {
		return err
	}
	if beat != t.RaftHeartbeat {
		return fmt.Errorf("the heartbeat is %s until then, not %s", beat, t.RaftHeartbeat)
	}
	return nil
}

// Shutdown ends Raft and closes its stores.
func (r *Raft) Shutdown() error {
	var err error
	r.once.Do(func() {
		close(r.quit)
		r.endTransfers()
		ended := r.raft.Shutdown()
		if s, ok := r.conf.Stream.(interface{ HangUp() }); ok {
			s.HangUp() // Raft waits for each answer that is on its way, and a host that sleeps gives none
		}
		r.paced.end()
		err = ended.Error()
		r.running.Wait()
		err = errors.Join(err, closeTransport(r.trans))
		if r.conf.Stores.Close != nil {
			err = errors.Join(err, r.conf.Stores.Close())
		}
	})
	return err
}
