package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/fsm"
)

// backend carries out what the admin surface asks. Whatever needs the leader is forwarded to it, once.
type backend struct{ *parts }

var _ api.Backend = (*backend)(nil)

// Version tells the version of this agent.
func (b *backend) Version(context.Context) (api.Version, error) {
	return api.Version{Version: b.deps.Version, Go: runtime.Version(), Node: b.cfg.Node}, nil
}

// Services gives the definitions.
func (b *backend) Services(context.Context) ([]api.Service, error) {
	state := b.machine.View().State
	if err := b.founded(state, "list the services"); err != nil {
		return nil, err
	}
	out := []api.Service{}
	for _, name := range slices.Sorted(maps.Keys(state.Services)) {
		out = append(out, toAPI(state.Services[name]))
	}
	return out, nil
}

// History gives what happened to a service, also to one that was deleted.
func (b *backend) History(_ context.Context, service string) (api.History, error) {
	state := b.machine.View().State
	if err := b.founded(state, "tell the history of "+service); err != nil {
		return api.History{}, err
	}
	if _, known := state.Ownerships[service]; !known {
		return api.History{}, api.UnknownService(service, slices.Sorted(maps.Keys(state.Services)))
	}
	h := historyOf(state, service, "", 0, b.deps.Clock.Wall())
	h.Events = []api.Event{} // HistoryOf has them
	return h, nil
}

// Propose is a peer's command for the leader.
func (b *backend) Propose(ctx context.Context, command []byte) ([]byte, error) {
	b.raft.Met(api.CallerOf(ctx).Peer)
	out, err := b.proposer.forwarded(ctx, command)
	if errors.Is(err, errNoLeader) {
		return nil, api.NoLeader("commit a peer's command", "this node does not lead any more")
	}
	return out, err
}

// Move gives a service to a node and waits until it is open there.
func (b *backend) Move(ctx context.Context, service, node string) (api.Moved, error) {
	tried := "move " + service + " to " + node
	if c, err := b.forward(ctx, tried); err != nil || c != nil {
		return forwarded(err, func() (api.Moved, error) { return c.Move(ctx, service, node) })
	}
	v := b.scene.view()
	if _, known := v.State.Services[service]; !known {
		return api.Moved{}, api.UnknownService(service, slices.Sorted(maps.Keys(v.State.Services)))
	}
	if _, known := v.State.Nodes[node]; !known {
		return api.Moved{}, api.UnknownNode(node, slices.Sorted(maps.Keys(v.State.Nodes)))
	}
	own := v.State.Ownerships[service]
	if own.Owner == node {
		return api.Moved{Service: service, From: node, To: node, Epoch: own.Epoch}, nil
	}
	if why := v.CannotTake(v.State.Services[service], node); why != "" {
		return api.Moved{}, api.Refused("cannot "+tried+": "+why, "see `nightporter members`")
	}
	res, err := b.proposer.commit(ctx, fsm.Assign{
		Service: service, Owner: node, Planned: own.Epoch, Reason: fsm.OperatorMoved, At: v.Wall, By: b.cfg.Node,
	})
	if err := outcome(tried, res, err); err != nil {
		return api.Moved{}, err
	}
	at, err := b.post.opens.await(ctx, service, res.Epoch)
	if err != nil {
		err = api.Timeout(tried)
	} else if why := undone(b.machine.View().State.Ownerships[service], node, res.Epoch, at); why != "" {
		err = api.Unavailable(tried, why)
	}
	return api.Moved{Service: service, From: own.Owner, To: node, Epoch: res.Epoch}, err
}

// undone says what became of a move under an epoch, where the next that was reported open is a later one; "" = the host has the service.
func undone(now fsm.Ownership, node string, epoch, at uint64) string {
	switch {
	case at == epoch || now.Owner == node && now.Epoch == at:
		return ""
	case now.Epoch < at: // this host leads no more, and has yet to hear of it
		return fmt.Sprintf("it was given to %s under epoch %d; it is open under epoch %d since, and this host does not know yet where", node, epoch, at)
	}
	return fmt.Sprintf("it was given to %s under epoch %d; since then %s has it under epoch %d: %s", node, epoch, cmp.Or(now.Owner, "nobody"), now.Epoch, now.Reason)
}

func (b *backend) openHere(service string, epoch uint64) bool {
	s := b.tenants.shown(service)
	return s.Opened && s.Epoch >= epoch
}

// Set changes a setting of the cluster.
func (b *backend) Set(ctx context.Context, s api.Settings) error {
	if s.Inrush != 0 {
		if err := b.setInrush(ctx, s.Inrush); err != nil || s.Failover == 0 {
			return err
		}
	}
	const tried = "change failover"
	d := time.Duration(s.Failover)
	if d < fsm.FailoverMin || d > fsm.FailoverMax {
		return api.Invalid(fmt.Sprintf("failover %s is out of range", d), fmt.Sprintf("give a value from %s to %s", fsm.FailoverMin, fsm.FailoverMax))
	}
	if err := b.founded(b.machine.View().State, tried); err != nil {
		return err
	}
	res, err := b.proposer.propose(ctx, fsm.SetFailover{Failover: d, At: b.scene.timingStamp(), By: b.cfg.Node})
	return outcome(tried, res, err)
}

// Sleep runs the sleep protocol for a node and returns when its record says "asleep".
func (b *backend) Sleep(ctx context.Context, node string) (api.PowerChange, error) {
	return b.sleep(ctx, node, (*api.Client).Sleep, b.mayBePut)
}

// SleepAnyway does so without asking whether the node can be woken.
func (b *backend) SleepAnyway(ctx context.Context, node string) (api.PowerChange, error) {
	return b.sleep(ctx, node, (*api.Client).SleepAnyway, func(context.Context, string, string) error { return nil })
}

func (b *backend) sleep(ctx context.Context, node string, forward func(*api.Client, context.Context, string) (api.PowerChange, error),
	may func(ctx context.Context, tried, node string) error,
) (api.PowerChange, error) {
	tried := "put " + node + " to sleep"
	if c, err := b.forward(ctx, tried); err != nil || c != nil {
		return forwarded(err, func() (api.PowerChange, error) { return forward(c, ctx, node) })
	}
	v := b.scene.view()
	n, known := v.State.Nodes[node]
	switch {
	case !known:
		return api.PowerChange{}, api.UnknownNode(node, slices.Sorted(maps.Keys(v.State.Nodes)))
	case n.Power == fsm.Asleep:
		return api.PowerChange{Node: node, Power: string(n.Power)}, nil
	case n.Policy != fsm.Sleeps:
		return api.PowerChange{}, api.Refused("cannot "+tried+": it is always on", "set power: sleeps for it in the configuration, and restart its agent")
	case n.Power != fsm.Awake || !v.Present[node].Alive:
		return api.PowerChange{}, api.Refused(fmt.Sprintf("cannot %s: it is %s", tried, condition(n, v.Present[node])), "see `nightporter members`")
	}
	if err := may(ctx, tried, node); err != nil {
		return api.PowerChange{}, err
	}
	held := owned(v.State, node)
	res, err := b.proposer.commit(ctx, fsm.SetPower{
		Node: node, From: fsm.Awake, To: fsm.Suspending, Sleeps: n.Sleeps, Reason: fsm.OperatorSleep, At: v.Wall, By: b.cfg.Node,
	})
	if err := outcome(tried, res, err); err != nil {
		return api.PowerChange{}, err
	}
	b.leader.bell.ring()
	return b.asleep(ctx, tried, node, n.Sleeps+1, held)
}

// asleep waits for the end of the hand-over. The leadership may move meanwhile: the record tells everywhere.
func (b *backend) asleep(ctx context.Context, tried, node string, sleeps uint64, held map[string]fsm.Ownership) (api.PowerChange, error) {
	var last fsm.Node
	err := b.await(ctx, tried, func() bool {
		last = b.machine.View().State.Nodes[node]
		return last.Sleeps >= sleeps && last.Power != fsm.Suspending
	})
	change := api.PowerChange{Node: node, Power: string(last.Power)}
	if err != nil {
		return change, err
	}
	state := b.machine.View().State
	for _, name := range slices.Sorted(maps.Keys(held)) {
		now := state.Ownerships[name]
		change.Moved = append(change.Moved, api.Moved{Service: name, From: node, To: now.Owner, Epoch: now.Epoch})
	}
	// A suspend command that cannot even be started fails at once. A peer that asks this very host gets its answer before
	// the host is gone; a caller on this host sleeps with it and hears of it afterwards.
	if last.Power == fsm.Asleep && (node != b.cfg.Node || api.CallerOf(ctx).Peer == "") {
		soon, cancel := context.WithTimeout(ctx, suspendFails)
		defer cancel()
		_ = b.await(soon, tried, func() bool { // in the usual case nothing happens and the time passes
			last = b.machine.View().State.Nodes[node]
			return last.Power != fsm.Asleep || last.Sleeps != sleeps || !b.scene.view().Present[node].Alive
		})
	}
	change.Power = string(last.Power)
	back := last.PowerReason == fsm.WokeUp || last.PowerReason.ByItself()
	if last.Power != fsm.Asleep && last.Power != fsm.Waking && !back { // called back so soon, it did go
		return change, api.Refused(fmt.Sprintf("%s did not go to sleep: %s", node, last.PowerReason), "its log says more; `nightporter status` there shows the problem")
	}
	return change, nil
}

// suspendFails is how long the answer to `nightporter sleep` waits for a suspend command that fails.
const suspendFails = 250 * time.Millisecond

func owned(state *fsm.State, node string) map[string]fsm.Ownership {
	out := make(map[string]fsm.Ownership)
	for name, o := range state.Ownerships {
		if o.Owner == node {
			out[name] = o
		}
	}
	return out
}

// Wake calls a node from here, leader or no leader, and waits until it is back.
func (b *backend) Wake(ctx context.Context, node string) (api.PowerChange, error) {
	tried := "wake " + node
	state := b.machine.View().State
	if err := b.founded(state, tried); err != nil {
		return api.PowerChange{}, err
	}
	n, known := state.Nodes[node]
	if !known {
		return api.PowerChange{}, api.UnknownNode(node, slices.Sorted(maps.Keys(state.Nodes)))
	}
	if b.isBack(ctx, node) {
		return api.PowerChange{Node: node, Power: string(n.Power)}, nil
	}
	if len(n.Wake) == 0 {
		return api.PowerChange{}, api.Refused("cannot "+tried+": no wake address of it is known", "set wake: [MAC] for it in the configuration")
	}
	b.waking.operator(node, n.Sleeps)
	change := api.PowerChange{Node: node}
	for _, m := range n.Wake {
		change.Called = append(change.Called, m.String())
	}
	err := b.await(ctx, tried, func() bool {
		change.Power = string(b.machine.View().State.Nodes[node].Power)
		return b.isBack(ctx, node)
	})
	return change, err
}

// confirm is how long a node that should be awake may take to say so.
const confirm = 500 * time.Millisecond

// isBack says whether a node is awake on the record, in touch, and answers. Gossip takes seconds to miss a host whose lid was
// closed: one that does not answer is called on suspicion.
func (b *backend) isBack(ctx context.Context, node string) bool {
	v := b.scene.view()
	if v.State.Nodes[node].Power != fsm.Awake || !v.Present[node].Alive {
		return false
	}
	if node == b.cfg.Node {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, confirm)
	defer cancel()
	if _, err := b.peer(node).Version(ctx); err != nil {
		b.waking.nudge(node)
		return false
	}
	return true
}

// Join meets other agents at their gossip addresses.
func (b *backend) Join(_ context.Context, addrs []string) (api.Joined, error) {
	if len(addrs) == 0 {
		return api.Joined{}, api.Invalid("no address was given", "name at least one agent, like 192.0.2.11 or 192.0.2.11:7373")
	}
	n, err := b.gossip.Join(addrs)
	if err != nil && n == 0 {
		return api.Joined{}, api.Refused("cannot join: "+err.Error(), "check that an agent runs there with the same cluster name and secret, and that the port is open for TCP and UDP")
	}
	return api.Joined{Reached: n}, nil
}

// Forget removes a dead member.
func (b *backend) Forget(ctx context.Context, node string) error {
	tried := "forget " + node
	v := b.scene.view()
	if err := b.founded(v.State, tried); err != nil {
		return err
	}
	n, known := v.State.Nodes[node]
	switch {
	case !known && slices.Contains(cluster.Voters(b.machine.View().Servers), node): // an earlier attempt did not wait for its end
		return b.remove(ctx, tried, node, fsm.OwnerLeft)
	case !known && isMissing(v.State, node):
		return b.forgetLost(ctx, tried, node)
	case !known:
		return api.UnknownNode(node, slices.Sorted(maps.Keys(v.State.Nodes)))
	}
	if n.Power == fsm.Asleep && n.PowerReason != fsm.GaveUp {
		return api.Refused("cannot "+tried+": it is asleep, not gone", "wake it first (`nightporter wake "+node+"`) and run `nightporter leave` there; a host that answers no call can be forgotten when the call has given up")
	}
	if v.Present[node].Alive {
		return api.Refused("cannot "+tried+": it is alive", "run `nightporter leave` there; forget is for hosts that are gone for good")
	}
	if b.raft.Leader() == "" { // to be said at once; a lead that moves while the steps are taken is waited for
		return api.NoLeader(tried, "")
	}
	return b.remove(ctx, tried, node, fsm.OwnerLeft)
}

// remove takes a node's services away, then its record, and waits until the leader has taken its vote away (proposer.voteless).
// All of that may have been done by an earlier attempt.
func (b *backend) remove(ctx context.Context, tried, node string, reason fsm.Reason) error {
	v := b.scene.view()
	plan := cluster.Relieve(v, node)
	for name, o := range owned(v.State, node) {
		if !slices.ContainsFunc(plan, func(a fsm.Assign) bool { return a.Service == name }) {
			plan = append(plan, fsm.Assign{Service: name, Planned: o.Epoch, Reason: fsm.OwnerLeft, At: v.Wall, By: b.cfg.Node})
		}
	}
	for _, c := range plan {
		c.Reason = fsm.OwnerLeft
		if res, err := b.insist(ctx, c); err != nil {
			return outcome(tried, res, err)
		}
	}
	res, err := b.insist(ctx, fsm.RemoveNode{Name: node, Reason: reason, At: v.Wall})
	if node != b.cfg.Node {
		b.touch.bell.ring() // what is remembered of it goes with the record
	}
	if err == nil && res.Refused == fsm.UnknownNode {
		return nil
	}
	return outcome(tried, res, err)
}

// insist proposes until somebody leads: a leader that leaves has just given the lead away.
func (b *backend) insist(ctx context.Context, c fsm.Command) (fsm.Result, error) {
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		res, err := b.proposer.propose(ctx, c)
		var e *api.Error
		moving := errors.Is(err, errNoLeader) || errors.Is(err, cluster.ErrNotLeader) || (errors.As(err, &e) && e.Code == api.CodeNoLeader)
		if !moving {
			return res, err
		}
		select {
		case <-ctx.Done():
			return res, err
		case <-look.C:
		}
	}
}
