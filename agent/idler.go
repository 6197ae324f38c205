package agent

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"nightporter/cluster"
	"nightporter/config"
	"nightporter/fsm"
	"nightporter/idle"
	"nightporter/wake"
)

// idler puts this host to sleep by itself when nobody has needed it for long enough: it looks for reasons to be awake every few seconds,
// lets the pure idle.Watch judge them, and asks for the same sleep as `nightporter sleep` does. It decides nothing else: the leader
// judges the wish as any other, and demand that comes meanwhile is met by the sleep protocol.
type idler struct {
	self     string
	clock    Clock
	machine  *fsm.Machine
	scene    *scene
	leader   func() string
	proposer *proposer
	senses   Senses // nil: this host does not go to sleep by itself
	rules    idle.Rules
	every    time.Duration // between two looks
	wakeAt   []idle.Moment
	leaving  func() bool
	waking   func() []wake.Wake              // this host's own, that are under way
	barred   func() string                   // why it cannot sleep while the cluster is as it is
	failure  func() string                   // what is said of its own last sleep; "" = nothing
	mayRest  func(ctx context.Context) error // says why this host is not to sleep now, as its programs want it
	log      *slog.Logger
	bell     bell
	away     atomic.Bool // the host was away since the last look

	watch   idle.Watch
	watches bool // watch has begun
	retry   retrial
	setback setbacks

	mu    sync.Mutex
	shown outlook
}

// outlook is what was found last, for `why`.
type outlook struct {
	at      time.Duration
	verdict idle.Verdict
	notes   []string
}

// retrial is the pause after a wish to sleep that was not granted.
type retrial struct {
	until time.Duration
	pause time.Duration
	why   string
}

// Pauses between two wishes to sleep, doubled each time.
const (
	retryFirst = 30 * time.Second
	retryMost  = 30 * time.Minute
)

// Bounds of the pause between two looks: a thirtieth of idle within them. A look costs 1 to 3 ms on a small host.
const (
	lookMost    = 10 * time.Second
	lookLeast   = 250 * time.Millisecond
	lookAwaited = time.Second
)

// lateAfter is how many looks may be missing until nobody knows what happened meanwhile.
const lateAfter = 5

func lookEvery(idle time.Duration) time.Duration {
	return min(max(idle/30, lookLeast), lookMost)
}

// idleRules are the configuration's.
func idleRules(cfg *config.Config) idle.Rules {
	r := idle.Rules{AtLeast: cfg.StayAwake.AtLeast}
	if cfg.Power == config.Sleeps {
		r.Idle = cfg.Idle
	}
	longest := senseLimit
	for _, b := range slices.Concat(cfg.StayAwake.Commands, cfg.StayAwake.WakeAsk) {
		longest = max(longest, b.Timeout)
	}
	r.Late = lateAfter*lookEvery(r.Idle) + longest
	for _, p := range cfg.StayAwake.Schedule {
		r.Awake = append(r.Awake, idle.Span{Days: idle.Days(p.Days), From: p.From, To: p.To})
	}
	return r
}

func wakeMoments(cfg *config.Config) (out []idle.Moment) {
	for _, m := range cfg.StayAwake.WakeAt {
		out = append(out, idle.Moment{Days: idle.Days(m.Days), At: m.At})
	}
	return out
}

// run looks until ctx ends. A host that does not go to sleep by itself costs nothing.
func (i *idler) run(ctx context.Context) {
	if i.senses == nil || i.rules.Idle == 0 {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-i.bell:
		case <-timer.C:
		}
		timer.Reset(i.pause(i.look(ctx)))
	}
}

// pause is how long it waits for the next look. A host that is not awake by its record is about to be, and who asks why it is awake is not to wait for long.
func (i *idler) pause(looked bool) time.Duration {
	if looked {
		return i.every
	}
	return min(i.every, lookAwaited)
}

// returned is told after a suspend, or a stall: nobody knows what happened meanwhile, so everything begins anew. What was found before says
// nothing of now.
func (i *idler) returned() {
	i.away.Store(true)
	i.mu.Lock()
	i.shown = outlook{}
	i.mu.Unlock()
	i.bell.ring()
}

// look gathers once, judges, and acts; false: it did not look, since the host is not awake by its record.
func (i *idler) look(ctx context.Context) bool {
	v := i.scene.view()
	me, known := v.State.Nodes[i.self]
	if !known || me.Power != fsm.Awake {
		i.watches = false
		return false
	}
	now := time.Duration(i.clock.Boot())
	i.setback.see(me, now, i.rules.Idle, i.failure())
	if i.away.Swap(false) || !i.watches {
		i.watch, i.watches = idle.Begin(i.rules, now), true
		i.senses.Forget()
	}
	reasons, notes := i.senses.Sense(ctx, now, watched(v.State, i.self))
	if ctx.Err() != nil {
		return true // what was asked last was cut off
	}
	now = time.Duration(i.clock.Boot())
	reasons = append(reasons, i.bonds(v, now)...)
	verdict := i.watch.Look(idle.Sample{Now: now, Wall: i.clock.Wall().Local(), Reasons: reasons, Maintenance: me.Maintenance})
	i.tell(outlook{now, verdict, notes})
	switch {
	case verdict.State == idle.Sleep:
		if i.unwanted(ctx) {
			i.ask(ctx, me, now, verdict)
		}
	case canaryDue(verdict, v.State.Fitness[i.self], v.Wall):
		if _, _, other := canaryRunning(v.State); !other && i.unwanted(ctx) {
			i.canary(ctx)
		}
	case verdict.State == idle.Busy:
		i.retry = retrial{}
	}
	return true
}

// unwanted asks the host's programs when they want it awake. That is done before it wishes to sleep: from the wish on its services move.
func (i *idler) unwanted(ctx context.Context) bool {
	err := i.mayRest(ctx)
	if err != nil && ctx.Err() == nil {
		i.later("it was to sleep, and stays awake", err)
		i.log.Info("this host was to go to sleep by itself, and does not", "node", i.self, "err", err, "again", i.retry.pause.String())
	}
	return err == nil
}

// later puts the next wish off.
func (i *idler) later(what string, err error) {
	i.retry.pause = min(max(2*i.retry.pause, retryFirst), retryMost)
	i.retry.until = time.Duration(i.clock.Boot()) + i.retry.pause
	i.retry.why = fmt.Sprintf("%s: %v; it tries again in %s", what, err, i.retry.pause)
}

// watched are the services with their addresses.
func watched(state *fsm.State, self string) (out []Watched) {
	for _, name := range slices.Sorted(maps.Keys(state.Services)) {
		sv := state.Services[name]
		w := Watched{Service: name, Addresses: sv.Addresses}
		if slices.Contains(sv.Targets, self) {
			w.Ports = sv.Ports
		}
		out = append(out, w)
	}
	return out
}

// bonds are the reasons that the cluster has, and that this agent has.
func (i *idler) bonds(v cluster.View, now time.Duration) (out []idle.Reason) {
	hold := func(name idle.Name, sentence string) {
		out = append(out, idle.Reason{Name: name, Kind: idle.Hold, Sentence: sentence})
	}
	if i.leader() == "" {
		hold(idle.Quorum, "the cluster has no leader: nobody could write down that it sleeps, and so nobody would wake it")
	} else if err := cluster.MayRest(v, i.machine.View().Servers, i.self); err != nil {
		hold(idle.Quorum, err.Error())
	}
	if why := cmp.Or(unfitToWake(v.State, i.self), i.barred()); why != "" {
		hold(idle.Unfit, why)
	}
	if i.leaving() {
		hold(idle.Maintenance, "it is about to leave the cluster")
	}
	for _, w := range i.waking() {
		hold(idle.Waking, "it is waking "+w.Node)
	}
	if now < i.retry.until {
		hold(idle.Retry, i.retry.why)
	} else if why := i.setback.sentence(now, i.clock.Wall().Local()); why != "" {
		hold(idle.Retry, why)
	}
	return out
}

// ask wishes to sleep. The record does the rest: the sleeper and the leader's plan follow it.
func (i *idler) ask(ctx context.Context, me fsm.Node, now time.Duration, verdict idle.Verdict) {
	ctx, cancel := context.WithTimeout(ctx, senseLimit)
	defer cancel()
	i.log.Info("nobody needs this host: it goes to sleep", "node", i.self, "reason", fsm.NodeIdle, "idle", (now - verdict.Since).Round(time.Second).String(), "last", verdict.Last.Sentence)
	res, err := i.proposer.propose(ctx, fsm.SetPower{
		Node: i.self, From: fsm.Awake, To: fsm.Suspending, Sleeps: me.Sleeps, Reason: fsm.NodeIdle, At: i.clock.Wall(), By: i.self,
	})
	if err == nil {
		err = res.Err()
	}
	if err == nil {
		i.retry = retrial{}
		return
	}
	i.later("it was to sleep, and that was not granted", err)
	i.log.Info("the wish to sleep was not granted", "node", i.self, "err", err, "again", i.retry.pause.String())
}

// canary has this host show that it can be woken: nobody needs it, and it has not done so yet.
func (i *idler) canary(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, senseLimit)
	defer cancel()
	i.log.Info("nobody needs this host: it is to show that it can be woken", "node", i.self, "reason", fsm.CanarySleep)
	res, err := i.proposer.propose(ctx, fsm.BeginCanary{Node: i.self, ID: newID(), Auto: true, At: i.clock.Wall(), By: i.self})
	if err == nil {
		err = res.Err()
	}
	if err != nil {
		i.log.Info("its canary has not begun", "node", i.self, "err", err) // another one is under way, or nobody leads
	}
}

// tell notes what was found, and writes changes of the state to the log.
func (i *idler) tell(o outlook) {
	i.mu.Lock()
	before := i.shown.verdict.State
	i.shown = o
	i.mu.Unlock()
	if before == o.verdict.State {
		return
	}
	var names []string
	for _, r := range o.verdict.Reasons {
		names = append(names, string(r.Name))
	}
	i.log.Debug("need for this host", "node", i.self, "state", o.verdict.State, "reasons", names)
}

// outlook is what was found last; false: nothing yet, or nothing is looked for.
func (i *idler) outlook() (outlook, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.shown, i.shown.verdict.State != ""
}

// problems are the sentences of what keeps this host awake and should not: what cannot be found out, and a sleep that is not granted.
func (i *idler) problems() (out []string) {
	look, _ := i.outlook()
	for _, r := range look.verdict.Reasons {
		if r.Name == idle.Unknown || r.Name == idle.Retry {
			out = append(out, i.self+" does not go to sleep by itself: "+r.Sentence)
		}
	}
	return out
}

// lastUse is what this host was last used for since some moment on CLOCK_BOOTTIME, "" = nothing. looks: somebody has looked since.
func (i *idler) lastUse(since time.Duration) (use string, looks bool) {
	look, any := i.outlook()
	if !any || look.at < since {
		return "", false
	}
	if v := look.verdict; v.Last.Name != "" {
		return v.Last.Sentence, true
	}
	return "", true
}
