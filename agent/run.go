package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/config"
	"nightporter/fsm"
	"nightporter/internal/mutant"
)

// Run is the life of an agent. It returns nil after a shutdown that ctx asked for (everything handed over first) or after
// `nightporter leave`, and otherwise the one sentence that says why it could not go on.
//
// The order of the start is the order of what each piece needs:
//
//  1. the lock       two daemons on one host would break I1
//  2. the sweep      whatever a former life left open is closed before anything else can happen
//  3. the secret     keys for gossip and for mutual TLS; this host's own key
//  4. the incarnation  raised and on disk before the first lease request can leave
//  5. Raft           the log; its journal is what the ballot judges by
//  6. the ballot     votes only with its table, or after a wait
//  7. gossip         from here on messages arrive, so all that handles them exists already
//  8. the loops      tenants, leader, sleeper, waking, touch
//  9. the admin surface, last: whoever can ask gets a true answer
//
// Where this process was replaced by a newer program, step 2 spares what was left open on purpose (upgrade.go).
//
// The end is the reverse: hand over while everything still runs, close the fences and release, and only then let
// gossip and Raft go.
func Run(ctx context.Context, cfg *config.Config, deps Deps) error {
	deps.alive()
	lock, err := deps.Disk.Lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	adopted := adopt(deps)
	if !mutant.On(mutant.Uncleaned) { // breaks I1
		if err := deps.Kernel.Sweep(); err != nil {
			return fmt.Errorf("closing what a former run left on %s: %w", cfg.Interface, err)
		}
	}
	a, err := assemble(cfg, deps)
	if err != nil {
		return err
	}
	defer a.closeAll()
	a.inherit(adopted)
	return a.live(ctx)
}

// parts are the pieces of one agent, wired. It has no behaviour of its own but their start and their end.
type parts struct {
	cfg   *config.Config
	deps  Deps
	known chan struct{} // closed when all of this is put together, or will not be

	machine  *fsm.Machine
	raft     raftNode
	gossip   *lateGossip
	peers    Peers
	scene    *scene
	post     *post
	tenants  *tenants
	leader   *leader
	founding *founding
	sleeper  *sleeper
	delay    *inhibitor
	ability  ability
	idler    *idler
	unasked  *unasked
	alarm    *alarm
	reporter *reporter
	canaries *canaries
	waking   *waking
	verdicts *verdicts
	touch    *touch
	lineage  *lineage
	ticks    *ticks
	unseal   *unseal
	watchdog *watchdog
	meta     *metaKeeper
	proposer *proposer
	usher    *usher
	applied  *applied
	figures  *figures
	web      *webLoop
	checkups *checkups
	hooks    *hooks
	notifier *notifier
	asked    asked
	stays    bool        // gossip says no goodbye: the next life of this process goes on
	closers  []io.Closer // in order of opening
	left     bell        // rung when this node has left

	departure departure
}

func (a *parts) closeAll() {
	for i := len(a.closers) - 1; i >= 0; i-- {
		if err := a.closers[i].Close(); err != nil {
			a.deps.Log.Debug("closing", "err", err)
		}
	}
}

type closeFunc func() error

func (f closeFunc) Close() error { return f() }

// live runs the loops until ctx ends, one of them fails, or the node leaves.
func (a *parts) live(ctx context.Context) error {
	local, err := a.deps.Net.Local(a.cfg.Socket, a.cfg.SocketGroup) // before anybody is told that this agent is ready
	if err != nil {
		return err
	}
	// The loops outlive ctx by the hand-over: they end when it is done.
	loops, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, loops := errgroup.WithContext(loops)
	tenancies, evict := context.WithCancel(context.WithoutCancel(ctx))
	defer evict()

	a.tenants.resume(tenancies)
	changed, cancel := a.machine.Watch()
	defer cancel()
	g.Go(func() error { a.leader.run(loops); return nil })
	g.Go(func() error { a.sleeper.run(loops); return nil })
	g.Go(func() error { a.delay.run(loops); return nil })
	idling, rest := context.WithCancel(loops) // who stops does not go to sleep meanwhile
	defer context.AfterFunc(ctx, rest)()
	defer rest()
	g.Go(func() error { a.idler.run(idling); return nil })
	g.Go(func() error { a.reporter.run(loops); return nil })
	g.Go(func() error { a.canaries.run(loops); return nil })
	g.Go(func() error { a.waking.run(loops); return nil })
	g.Go(func() error { a.waking.ledger(loops); return nil })
	g.Go(func() error { a.unasked.run(loops); return nil })
	g.Go(func() error { a.verdicts.run(loops); return nil })
	g.Go(func() error { a.touch.run(loops); return nil })
	g.Go(func() error { a.descend(loops); return nil })
	g.Go(func() error { a.ticks.run(loops); return nil })
	g.Go(func() error { a.unseal.run(loops); return nil })
	g.Go(func() error { a.watchdog.run(loops); return nil })
	g.Go(func() error { a.applied.run(loops); return nil })
	g.Go(func() error { a.web.run(loops); return nil })
	g.Go(func() error { a.checkups.run(loops); return nil })
	g.Go(func() error { a.hooks.run(loops); return nil })
	g.Go(func() error { a.notifier.run(loops); return nil })
	g.Go(func() error { a.reconcile(loops, tenancies, changed); return nil })
	g.Go(func() error { return a.found(loops) })
	g.Go(func() error { a.depart(loops); return nil })
	g.Go(func() error { return a.serve(loops, local) })
	a.ticks.fitness()
	a.deps.Ready("READY=1\nSTATUS=")

	select {
	case <-ctx.Done():
		if makesWay(ctx) {
			return a.bequeath(ctx, stop, evict, g.Wait)
		}
		a.deps.Ready("STOPPING=1")
		a.handOver()
	case <-a.left:
		a.deps.Ready("STOPPING=1")
	case <-loops.Done():
	}
	evict()
	a.tenants.wait()
	stop()
	if werr := g.Wait(); werr != nil && !errors.Is(werr, context.Canceled) {
		err = werr
	}
	a.finish()
	return err
}

// quiet says whether a suspend need not wait for programs: units of identities that have gone, and hooks, but for a suspend by others, which
// leaves no time for these.
func (a *parts) quiet() bool {
	if !a.checkups.quiet() {
		return false
	}
	_, pressed := a.sleeper.pressed()
	return pressed || a.hooks.quiet()
}

// finish has the programs of this host follow what the end of the agent has closed: its units, and beside them its hooks.
func (a *parts) finish() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.hooks.finish()
	}()
	a.checkups.finish()
	<-done
}

// reconcile tells the tenants what is wanted whenever the committed state, the members or the timing changed.
func (a *parts) reconcile(ctx, tenancies context.Context, changed <-chan struct{}) {
	bell, remove := a.post.members.add()
	defer remove()
	var timing time.Duration
	alive := make(map[string]bool)
	for {
		view := a.machine.View()
		if a.heard(alive) {
			a.tenants.each(func(t *tenant) { t.announceAgain() })
		}
		a.tenants.bar(!a.lineage.mayHold())
		a.tenants.reconcile(tenancies, a.scene.view(), view)
		a.meta.setCluster(a.lineage.cluster(view.State), former(view.State))
		if f := view.State.Timing.Failover; f != 0 && f != timing {
			if err := a.raft.Retime(cluster.Derive(f)); err != nil {
				a.deps.Log.Warn("Raft keeps its former timing until the next restart of this agent", "err", err)
			}
			timing = f
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-bell:
		}
	}
}

// heard brings the set of members that are alive up to date and says whether one is new in it: a partition may have healed,
// behind which switches still lead to a former holder.
func (a *parts) heard(alive map[string]bool) bool {
	news := false
	for _, m := range a.gossip.Members() {
		is := m.Status == cluster.Alive
		news = news || (is && !alive[m.Name])
		alive[m.Name] = is
	}
	return news
}

// descend watches over what a recovery has separated.
func (a *parts) descend(ctx context.Context) {
	bell, remove := a.post.members.add()
	defer remove()
	a.lineage.run(ctx, bell)
}

// found makes or joins a cluster.
func (a *parts) found(ctx context.Context) error {
	bell, remove := a.post.members.add()
	defer remove()
	err := a.founding.run(ctx, bell, func() bool { return a.machine.View().State.Cluster.ID != "" })
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// serve answers on the unix socket and to the other nodes.
func (a *parts) serve(ctx context.Context, local net.Listener) error {
	backend := patient{&backend{parts: a}}
	server := api.NewServer(backend, a.deps.Log)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return server.Serve(local) })
	g.Go(func() error { return server.ServePeers(a.peers.APIListener(), cluster.PeerName) })
	g.Go(func() error {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		return server.Close(end)
	})
	return g.Wait()
}

// handOver gives every service to somebody else before the agent stops, if somebody can take it.
func (a *parts) handOver() {
	v := a.scene.view()
	if v.State.Cluster.ID == "" {
		return
	}
	a.meta.setUnfit(cluster.Stopping)
	a.checkups.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 2*v.Timing.TTL+time.Second+callLimit) // as long as an heir that is at work may take
	defer cancel()
	opened, remove := a.post.opens.bells.add()
	defer remove()
	plan := cluster.Relieve(v, a.cfg.Node)
	var g errgroup.Group
	for _, c := range plan {
		g.Go(func() error {
			if _, err := a.proposer.propose(ctx, c); err != nil {
				a.deps.Log.Warn("not handed over; the lease is released when the agent ends", "service", c.Service, "err", err)
			}
			return nil
		})
	}
	_ = g.Wait() // each reports for itself
	for !a.relieved(plan) {
		select {
		case <-ctx.Done():
			return
		case <-opened:
		case <-time.After(20 * time.Millisecond):
		}
	}
	if a.raft.IsLeader() {
		a.sleeper.yieldLead(ctx)
	}
}

// relieved says whether every service of a hand-over is open at its heir or given up here. One that nobody else can take is not waited for: it
// is closed when the agent ends.
func (a *parts) relieved(plan []fsm.Assign) bool {
	state := a.machine.View().State
	for name := range state.Services {
		t := a.tenants.shown(name)
		goes := state.Ownerships[name].Owner != a.cfg.Node || slices.ContainsFunc(plan, func(c fsm.Assign) bool { return c.Service == name })
		if goes && (t.Opened || t.Epoch != 0) {
			return false
		}
	}
	for _, c := range plan {
		own := state.Ownerships[c.Service]
		if own.Owner == a.cfg.Node || (own.Owner != "" && a.post.opens.at(c.Service) < own.Epoch) {
			return false
		}
	}
	return a.checkups.quiet()
}

// gossipAddr is where this host's gossip is reached.
func gossipAddr(cfg *config.Config) netip.AddrPort {
	return netip.AddrPortFrom(cfg.Address, cfg.GossipPort)
}
