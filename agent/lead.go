package agent

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/internal/mutant"
	"nightporter/lease"
)

// leader does what only the Raft leader does: it keeps the node records true, assigns the services by the plan, and
// brings the set of voters to what the records want.
type leader struct {
	scene    *scene
	machine  *fsm.Machine
	raft     raftNode
	proposer *proposer
	post     *post
	checks   *voteChecks
	usher    *usher
	lineage  *lineage
	members  func() []cluster.Member
	founding *founding
	log      *slog.Logger
	bell     bell

	// Of the present term. first: the instant of the leader's first commit in its term; config: when the newest
	// configuration was seen to be committed. Voter changes are spaced from the later one.
	first    lease.Boot
	movedOn  lease.Boot // when the lead was last offered to another voter
	config   uint64
	configAt lease.Boot            // or the term's first commit, if that is later (ruler.mark)
	silent   map[string]lease.Boot // by node: since when gossip does not have it alive
	known    map[string]string     // the nodes that had a record at the last look, with their keys
	left     map[string]uint64     // by node: the incarnation that left while it was still in touch
	due      lease.Boot            // when the loop's timer was to go off
	blind    lease.Boot            // until then this host may not have read what the owners sent while it stalled
	sulking  map[string]lease.Boot // by subject of a proposal that the state machine refused: until when it is not repeated
	follow   follow                // since when the single vote of two hosts is to follow the services
	frozen   frozen                // services that the plan leaves alone
	pins     *pins
	unseated map[string]bool // nodes whose records went while this node led, and that may still have a vote
	rounds   atomic.Uint64
}

// offAfter is how long a silent node is only failed, not yet off: a reboot takes about as long.
const offAfter = 30 * time.Second

// run waits to become the leader and leads until it no longer is, again and again.
func (l *leader) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case is := <-l.raft.Leadership():
			for is {
				is = l.lead(ctx)
			}
		}
	}
}

// barrierRetry is the pause after a barrier that did not come about although this node leads: a slow disk.
const barrierRetry = 100 * time.Millisecond

// barrier waits until everything that was committed before is applied here; false: this node does not lead any more.
func (l *leader) barrier(ctx context.Context) bool {
	for {
		l.rounds.Add(1)
		err := l.raft.Barrier(ctx)
		if err == nil {
			return true
		}
		if !l.raft.IsLeader() {
			l.log.Info("leadership ended before it began", "err", err)
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(barrierRetry):
		}
	}
}

// lead is one term. It is true when another one began right after it: Raft tells only the newest of its changes.
func (l *leader) lead(ctx context.Context) bool {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if !l.barrier(ctx) {
		return false
	}
	l.first = l.scene.clock.Boot()
	l.configAt, l.config = l.scene.ballot.ruler.mark(), 0
	l.silent, l.left, l.known = make(map[string]lease.Boot), make(map[string]uint64), nil
	l.unseated = make(map[string]bool)
	l.sulking, l.due, l.blind = make(map[string]lease.Boot), l.first.Add(time.Hour), 0
	l.follow = follow{}
	l.log.Info("this node leads the cluster now")
	changed, cancel := l.machine.Watch()
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case is := <-l.raft.Leadership():
			l.log.Info("the term of this leader is over", "again", is)
			return is
		case <-changed:
		case <-l.bell:
		case <-timer.C:
		}
		l.rounds.Add(1)
		if !l.raft.IsLeader() {
			continue
		}
		l.noticeStall(cluster.Derive(l.machine.View().State.Timing.Failover).TTL)
		next := l.turn(ctx)
		l.due = l.scene.clock.Boot().Add(next)
		timer.Reset(next)
	}
}

// A timer that goes off later than stallLate says that this process, or the whole machine, stood still. What the owners
// sent meanwhile waits in the sockets: for stallGrace nobody is judged to be silent. On a machine that is late all the time
// that is done once in a ttl, so that a dead owner is found out there too.
const (
	stallLate  = 5 * time.Millisecond
	stallGrace = 100 * time.Millisecond
)

// noticeStall looks whether this loop comes later than its timer was set.
func (l *leader) noticeStall(ttl time.Duration) {
	now := l.scene.clock.Boot()
	late := now.Sub(l.due)
	if late > ttl/2 || (late > stallLate && now > l.blind.Add(ttl)) {
		l.blind = now.Add(stallGrace)
	}
}

// turn looks once and does all that is due. It returns how long nothing will be due by itself.
func (l *leader) turn(ctx context.Context) time.Duration {
	if l.lineage.isSilent() {
		return time.Second // whom it leads goes on without it, or is as silent
	}
	if l.machine.View().State.Cluster.ID == "" {
		if c := l.founding.command(); !l.sulks("found") && !l.do(ctx, c) {
			l.sulk("found")
		}
		return time.Second
	}
	v := l.scene.view()
	if v.Now < l.blind {
		v.TableAge = 0
	}
	heirs := l.assign(ctx, v)
	for about, c := range l.records(v) {
		if !l.sulks(about) && !l.do(ctx, c) {
			l.sulk(about)
		}
	}
	l.voters(ctx, v)
	l.moveOn(ctx, v)
	now := l.scene.view()
	next := nextSilence(now)
	for _, soon := range []time.Duration{l.blind.Sub(now.Now), l.proposer.hintAgain(), heirs} {
		if soon > 0 {
			next = min(next, soon)
		}
	}
	return next
}

// sulkFor is how long a proposal that the state machine refused is not repeated: each repetition is written to every disk.
const sulkFor = 5 * time.Second

func (l *leader) sulk(about string)       { l.sulking[about] = l.scene.clock.Boot().Add(sulkFor) }
func (l *leader) sulks(about string) bool { return l.scene.clock.Boot() < l.sulking[about] }

// moveOnEvery is the least time between two attempts to lead elsewhere.
const moveOnEvery = 10 * time.Second

// moveOn hands the lead to a voter that holds nothing when this node holds something.
func (l *leader) moveOn(ctx context.Context, v cluster.View) {
	if v.Now.Sub(max(l.first, l.movedOn)) < moveOnEvery {
		return
	}
	to := cluster.LeadElsewhere(v, cluster.Voters(l.machine.View().Servers))
	if to == "" {
		return
	}
	l.movedOn = v.Now
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := l.raft.Transfer(ctx, to); err != nil {
		l.log.Info("the lead stays here for now", "node", to, "err", err)
	}
}

// passOn hands the lead to the voter that is to take this node's vote away; "" = none can take it.
func (l *leader) passOn(ctx context.Context, to string) {
	if to == "" {
		return // looked at again with the next turn
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := l.raft.Transfer(ctx, to); err != nil {
		l.log.Warn("the lead was not passed on before this node loses its vote; it is tried again", "node", to, "err", err)
	}
}

// assign proposes the plan, all services at once but those whose heirs are not prepared yet. It returns when to look again at these;
// 0 = there are none.
func (l *leader) assign(ctx context.Context, v cluster.View) time.Duration {
	v.Heirs = l.usher.heirs(v.State)
	plan := slices.DeleteFunc(cluster.Plan(v), func(a fsm.Assign) bool { return l.frozen.has(a.Service) || l.sulks(a.Service) })
	plan, next := l.usher.sift(v, plan)
	refused := make([]bool, len(plan))
	var g errgroup.Group
	g.SetLimit(64)
	for i, a := range plan {
		g.Go(func() error {
			l.log.Info("assigning", "service", a.Service, "node", a.Owner, "epoch", a.Planned+1, "reason", a.Reason)
			refused[i] = !l.do(ctx, a)
			return nil
		})
	}
	_ = g.Wait() // each reports for itself
	for i, a := range plan {
		if refused[i] {
			l.sulk(a.Service)
		}
	}
	return next
}

// do commits one command and reports what came of it. It is false when the state machine refused it for a reason that will
// not pass by looking again.
func (l *leader) do(ctx context.Context, c fsm.Command) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	done, err := l.proposer.commitMarked(ctx, c)
	res := done.Result
	switch {
	case err != nil:
		l.log.Warn("the leader's proposal was not committed; it looks again", "err", err)
	case res.Err() != nil && res.Refused != fsm.StaleEpoch && res.Refused != fsm.WrongPower:
		l.log.Warn("the leader's proposal was refused", "err", res.Err())
		return false
	}
	return true
}

// records gives the commands that bring the node records in line with gossip, by node.
func (l *leader) records(v cluster.View) map[string]fsm.Command {
	out := make(map[string]fsm.Command)
	members := l.members()
	l.noteLeft(v, members)
	for _, m := range members {
		if m.Status != cluster.Alive || m.Meta.Unfit == cluster.Stopping || l.left[m.Name] == m.Meta.Incarnation {
			continue
		}
		if otherCluster(v.State, m) != "" {
			continue // status says so
		}
		rec, known := v.State.Nodes[m.Name]
		fresh := readable(v.State, members, rec, nodeRecord(m, rec))
		if known && rec.Key != fresh.Key {
			l.pins.impostor(m.Name, fresh.Key)
			continue
		}
		if l.unseated[m.Name] {
			continue // a new machine of that name has nothing of what the old one voted for
		}
		if !known {
			fresh.Power, fresh.PowerReason, fresh.PowerSince, fresh.Joined = fsm.Awake, fsm.NodeJoined, v.Wall, v.Wall
		}
		if !known || !sameRecord(rec, fresh) {
			out["node "+m.Name] = fsm.PutNode{Node: fresh, At: v.Wall}
		}
	}
	for _, w := range v.State.Wakes {
		if c := orphaned(v, w); c != nil {
			out["wake "+w.ID] = c
		}
	}
	for name, n := range v.State.Nodes {
		if c := l.gone(v, n); c != nil {
			out["node "+name] = c
		}
		if v.Present[name].Alive || n.Power == fsm.Asleep || n.Power == fsm.Off {
			delete(l.silent, name)
		}
	}
	return out
}

// orphaned ends a wake in the records whose own host does not: it died, or its entry was lost.
func orphaned(v cluster.View, w fsm.Wake) fsm.Command {
	n, known := v.State.Nodes[w.Node]
	if !w.Ended.IsZero() || (v.Present[w.By].Alive && v.Wall.Sub(w.Started) < orphanAfter) {
		return nil
	}
	switch {
	case known && n.Power == fsm.Awake && v.Present[w.Node].Alive:
		return fsm.EndWake{ID: w.ID, Result: fsm.WokeUp, At: v.Wall}
	case !known || n.PowerReason == fsm.GaveUp || n.Power == fsm.Off:
		return fsm.EndWake{ID: w.ID, Result: fsm.GaveUp, At: v.Wall}
	}
	return nil
}

// orphanAfter is the age from which on a wake of a living host is looked at: it should have recorded its end.
const orphanAfter = time.Minute

// noteLeft notices records that are gone while their nodes are still in touch: these have left and are only on their way
// out. They are not admitted again before their agent was started anew.
func (l *leader) noteLeft(v cluster.View, members []cluster.Member) {
	for _, m := range members {
		if _, has := v.State.Nodes[m.Name]; !has && l.known[m.Name] != "" && l.known[m.Name] == m.Meta.Pin && m.Status == cluster.Alive {
			l.left[m.Name] = m.Meta.Incarnation
		}
	}
	for name := range l.known {
		if _, has := v.State.Nodes[name]; !has {
			l.unseated[name] = true
		}
	}
	servers := l.machine.View().Servers
	maps.DeleteFunc(l.unseated, func(name string, _ bool) bool {
		return !slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.ID) == name })
	})
	l.known = make(map[string]string)
	for name, n := range v.State.Nodes {
		l.known[name] = n.Key
	}
}

// gone notices a node that went silent without sleeping, or that was called in vain.
func (l *leader) gone(v cluster.View, n fsm.Node) fsm.Command {
	if v.Present[n.Name].Alive || n.Power == fsm.Asleep || n.Power == fsm.Off {
		return nil
	}
	since, seen := l.silent[n.Name]
	if !seen {
		l.silent[n.Name] = v.Now
		return nil
	}
	after, to, reason := offAfter, fsm.Off, fsm.NodeFailed
	if n.Power == fsm.Waking {
		if isCalled(v, n.Name) {
			delete(l.silent, n.Name)
			return nil // who calls it gives up, and would call it again on the record at once
		}
		after, to, reason = 2*time.Minute, fsm.Asleep, fsm.GaveUp
	}
	if v.Now.Sub(since) < after {
		return nil
	}
	return fsm.SetPower{Node: n.Name, From: n.Power, To: to, Sleeps: n.Sleeps, Reason: reason, At: v.Wall, By: v.Self}
}

// isCalled says whether a host that is in touch is calling a node.
func isCalled(v cluster.View, node string) bool {
	return slices.ContainsFunc(v.State.Wakes, func(w fsm.Wake) bool {
		return w.Node == node && w.Ended.IsZero() && v.Wall.Sub(w.Started) < calledMost && (w.By == v.Self || v.Present[w.By].Alive)
	})
}

// calledMost is the age from which on a wake is taken for one that its host has forgotten.
const calledMost = 30 * time.Minute

// nodeRecord is what gossip says of a node, as a record; what gossip does not say stays as the old record has it.
func nodeRecord(m cluster.Member, old fsm.Node) fsm.Node {
	n := old
	n.Name, n.Key, n.Addr, n.Policy, n.Version = m.Name, m.Meta.Pin, m.Meta.Raft, m.Meta.Policy, m.Meta.Version
	n.Gossip = m.Addr
	n.Wake, n.Format, n.Role = m.Meta.Wake, m.Meta.Format, m.Meta.Role
	return n
}

func sameRecord(a, b fsm.Node) bool {
	return a.Addr == b.Addr && a.Gossip == b.Gossip && a.Policy == b.Policy && a.Version == b.Version && a.Format == b.Format && a.Role == b.Role &&
		slices.Equal(a.Wake, b.Wake)
}

// voters makes at most one change of the configuration, and leaves ttl plus margin before each: counted from the later
// of this leader's first commit in its term and the last commit of any configuration (I1: two majorities of
// successive configurations share a voter only then).
func (l *leader) voters(ctx context.Context, v cluster.View) {
	committed := l.machine.View()
	steady := l.scene.ballot.ruler.steady() // after both views were taken
	if committed.ConfigIndex != l.config {
		l.config, l.configAt = committed.ConfigIndex, l.scene.ballot.ruler.mark()
	}
	alive := make(map[string]bool)
	for name := range v.Present {
		alive[name] = v.Casts(name)
	}
	if _, any := cluster.NextStep(v.State, committed.Servers, alive); !any || l.follow.early(v, committed.Servers) {
		return
	}
	longest := cluster.Derive(v.State.Timing.Largest)
	l.post.all(cluster.Message{VoteCheck: &cluster.VoteCheck{}})
	if steady.Sub(l.configAt) < longest.TTL+longest.Margin && !mutant.On(mutant.NoSpacing) { // breaks I1
		return
	}
	answers := map[string]bool{v.Self: alive[v.Self]}
	for name, s := range l.checks.fresh() {
		answers[name] = alive[name] && s.Warm && s.Index+caughtUp >= committed.Index
	}
	step, ok := cluster.NextStep(v.State, committed.Servers, answers)
	if !ok {
		return
	}
	if to, first := step.LeadFirst(v.Self, v.State, cluster.Voters(committed.Servers), answers); first {
		l.passOn(ctx, to)
		return
	}
	mark, err := l.change(ctx, step, committed.ConfigIndex)
	if err != nil {
		l.log.Warn("the set of voters was not changed; it is tried again", "node", step.Node, "step", step.Verb, "err", err)
		return
	}
	// The voters refuse whoever renews in the former configuration, from the moment at which they store the new one: the
	// holders must hear of it within their lease.
	l.proposer.hint(mark)
	l.log.Info("the set of voters was changed", "node", step.Node, "step", step.Verb)
}

// caughtUp is how many entries a voter-to-be may be behind.
const caughtUp = 16

func (l *leader) change(ctx context.Context, s cluster.Step, prev uint64) (cluster.Mark, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	switch s.Verb {
	case cluster.AddVoter:
		return l.raft.AddVoter(ctx, s.Node, prev)
	case cluster.AddNonvoter:
		return l.raft.AddNonvoter(ctx, s.Node, prev)
	case cluster.DemoteVoter:
		return l.raft.Demote(ctx, s.Node, prev)
	default:
		return l.raft.Remove(ctx, s.Node, prev)
	}
}
