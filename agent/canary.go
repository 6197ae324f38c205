package agent

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/lease"
	"nightporter/wake"
)

// canaries is what the leader does about nodes that have to show that they can be woken: it takes the canary that is under way from one
// step to the next, and notes which nodes were called in vain.
type canaries struct {
	self     string
	clock    Clock
	machine  *fsm.Machine
	raft     raftNode
	proposer *proposer
	waking   *waking
	answers  func(ctx context.Context, node string) bool
	members  func() []cluster.Member
	log      *slog.Logger

	id     string     // of the canary that the following is about
	began  lease.Boot // when this process first saw it
	silent lease.Boot // since when its node has not answered; 0 = it did, or was not asked
	awake  lease.Boot // since when it is seen to be back
	slept  bool       // its record said that it is asleep; a leader that came later has not seen it, and calls off what another would call failed
	life   uint64     // the incarnation of its agent before the sleep; 0 = it was not seen
}

// Pauses between two looks: while a canary is under way, and without one, when only a change of the state has anything new.
const (
	canaryLook = 250 * time.Millisecond
	canaryIdle = time.Minute
)

func (c *canaries) run(ctx context.Context) {
	changed, cancel := c.machine.Watch()
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-timer.C:
		}
		timer.Reset(c.look(ctx))
	}
}

// look does what is due, and says when to look again.
func (c *canaries) look(ctx context.Context) time.Duration {
	state := c.machine.View().State
	node, canary, running := canaryRunning(state)
	switch {
	case !c.raft.IsLeader() && running: // who becomes the leader gets no word of that by the state
		c.id = ""
		return canaryLook
	case !c.raft.IsLeader():
		return canaryIdle
	}
	c.inVain(ctx, state)
	if !running {
		return canaryIdle
	}
	now := c.clock.Boot()
	if c.id != canary.ID {
		c.id, c.began, c.silent, c.awake, c.slept, c.life = canary.ID, now, 0, 0, false, 0
	}
	s := c.sight(state, node, canary, now)
	act, result, detail := canaryNext(s)
	switch act {
	case canaryPut:
		c.put(ctx, s.node)
	case canaryAsk:
		c.ask(ctx, node)
	case canaryCall:
		c.call(s)
	case canaryClose:
		c.close(ctx, node, canary, result, detail, s.phases)
	}
	return canaryLook
}

// sight gathers what is seen.
func (c *canaries) sight(state *fsm.State, node string, canary fsm.Canary, now lease.Boot) canaryScene {
	s := canaryScene{canary: canary, node: state.Nodes[node], age: now.Sub(c.began)}
	s.called, s.phases = canaryWake(state, node, canary.ID)
	life := c.incarnation(node)
	switch n := s.node; {
	case n.Sleeps == canary.Sleeps || n.Power == fsm.Suspending:
		c.life = life
	case n.Power == fsm.Awake:
		c.awake = cmp.Or(c.awake, now)
		s.awake, s.reborn = now.Sub(c.awake), c.life != 0 && life != c.life
	}
	c.slept = c.slept || s.node.Power == fsm.Asleep && s.node.Sleeps == canary.Sleeps+1
	s.slept = c.slept
	if c.silent != 0 {
		s.silent = now.Sub(c.silent)
	}
	return s
}

func (c *canaries) incarnation(node string) uint64 {
	for _, m := range c.members() {
		if m.Name == node {
			return m.Meta.Incarnation
		}
	}
	return 0
}

// put commits that the node is to sleep. The quorum guard judges it as it does any sleep.
func (c *canaries) put(ctx context.Context, n fsm.Node) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	res, err := c.proposer.commit(ctx, fsm.SetPower{
		Node: n.Name, From: fsm.Awake, To: fsm.Suspending, Sleeps: n.Sleeps, Reason: fsm.CanarySleep, At: c.clock.Wall(), By: c.self,
	})
	switch {
	case err != nil:
		c.log.Debug("the canary has not begun to sleep yet", "node", n.Name, "err", err)
	case res.Refused == quorumLost:
		_, canary, running := canaryRunning(c.machine.View().State)
		if running && canary.ID == c.id {
			c.close(ctx, n.Name, canary, fsm.CanaryCalledOff, "the others cannot do without it: "+res.Message, fsm.Phases{})
		}
	}
}

// call sends the magic packets, and has it recorded that the node was asleep before. The campaign may be another one, for a client who
// knocks as well, and so may have another record.
func (c *canaries) call(s canaryScene) {
	id, node := s.canary.ID, s.node.Name
	if !s.called {
		c.waking.record(fsm.BeginWake{Wake: fsm.Wake{ID: id, Node: node, Cause: fsm.CanarySleep, By: c.self, Started: c.clock.Wall()}})
	}
	if !c.waking.calling(node) {
		c.log.Info("the canary sleeps: it is called", "node", node, "silent", s.silent.Round(time.Millisecond).String())
		c.waking.begin(wake.Wake{ID: id, Node: node, Sleeps: s.node.Sleeps, Cause: string(fsm.CanarySleep)})
	}
}

// ask finds out whether the node still answers.
func (c *canaries) ask(ctx context.Context, node string) {
	ctx, cancel := context.WithTimeout(ctx, confirm)
	defer cancel()
	asked := c.clock.Boot()
	if c.answers(ctx, node) {
		c.silent = 0
	} else if c.silent == 0 && ctx.Err() != context.Canceled {
		c.silent = asked
	}
}

func (c *canaries) close(ctx context.Context, node string, canary fsm.Canary, result fsm.Reason, detail string, phases fsm.Phases) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if result == fsm.CanaryFailed {
		detail += "; " + lookAt
	}
	res, err := c.proposer.commit(ctx, fsm.EndCanary{Node: node, ID: canary.ID, Result: result, Detail: detail, Phases: phases, At: c.clock.Wall()})
	if err = cmp.Or(err, res.Err()); err != nil {
		c.log.Warn("the end of the canary is not recorded yet", "node", node, "err", err)
		return
	}
	came := fsm.GaveUp
	if result == fsm.CanaryPassed {
		came = fsm.WokeUp
	}
	c.waking.record(fsm.EndWake{ID: canary.ID, Result: came, At: c.clock.Wall()}) // where nothing else did
	if result == fsm.CanaryFailed {
		c.log.Error("the canary has failed: this host is not put to sleep", "node", node, "reason", detail)
		return
	}
	c.log.Info("the canary is over", "node", node, "reason", result, "detail", detail)
}

// inVain notes the nodes that were called in vain: they are not put to sleep again until somebody has looked after them.
func (c *canaries) inVain(ctx context.Context, state *fsm.State) {
	for name, n := range state.Nodes {
		f := state.Fitness[name]
		if n.Policy != fsm.Sleeps || n.Power != fsm.Asleep || n.PowerReason != fsm.GaveUp || f.Canary.Running() || cannotBeWoken(f) && f.Revoked.Sleeps == n.Sleeps {
			continue
		}
		v := fsm.JudgeFitness{
			Node: name, Reason: fsm.WakeFailed, Sleeps: n.Sleeps, Detail: "its calls were given up at " + n.PowerSince.UTC().Format(time.DateTime) + " UTC", At: c.clock.Wall(), By: c.self,
		}
		if len(belated(state, v)) > 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		if _, err := c.proposer.commit(ctx, v); err != nil {
			c.log.Debug("a wake in vain is not held against its node yet", "node", name, "err", err)
		}
		cancel()
	}
}
