package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/internal/mutant"
	"nightporter/lease"
	"nightporter/wake"
)

// waking calls sleeping hosts: for a client's demand, for an operator, for the quorum. The magic packets go first, at
// once and from here, whether there is a leader or not (I4); then the others are told, and the log.
type waking struct {
	self     string
	clock    Clock
	machine  *fsm.Machine
	scene    *scene
	raft     raftNode
	proposer *proposer
	out      outbox
	tenants  *tenants
	lineage  *lineage
	caller   Caller
	log      *slog.Logger
	bell     bell

	opens   *opens
	timeout time.Duration                                 // wake_timeout
	hook    func(ctx context.Context, env []string) error // the last resort; nil: there is none
	hooks   chan wake.Action                              // that are due
	hooked  map[string]hookRun                            // by node, until it is back
	economy economy

	mu      sync.Mutex
	watches map[string]*stopwatch     // by ID: the wakes of this host that are measured
	failing map[[2]string]seenFailing // by service and target
	nudged  map[string]lease.Boot     // by node: when it was called on suspicion
	board   *wake.Board
	line    wake.Line
	gaveUp  map[string]string // by node: the sentence for status, until it is back
	entries chan fsm.Command  // for the log, in order; the packets never wait for it

	phases func(node string, s fsm.WakeSample) // told of each wake that was measured here; nil = nobody wants to know

	looking func() bool // this host was woken by its alarm, and looks whether it is needed before it calls anybody

	lost map[string]uint64 // of the mutant LostWake

	former []wake.Wake // campaigns of a former life of this process
	since  uint64      // the index from which on the state knows whom they are for
}

func newWaking(timeout time.Duration) *waking {
	return &waking{
		board: wake.NewBoard(timeout, 0), bell: newBell(), opens: &opens{}, timeout: timeout, failing: make(map[[2]string]seenFailing), watches: make(map[string]*stopwatch),
		gaveUp: make(map[string]string), nudged: make(map[string]lease.Boot), entries: make(chan fsm.Command, 64), hooks: make(chan wake.Action, 64), hooked: make(map[string]hookRun),
		looking: func() bool { return false },
	}
}

// demand is called for each connection attempt that the front swallowed: on the packet socket's own goroutine, so that
// the first magic packet leaves before anything else is done.
func (w *waking) demand(d wake.Demand) {
	state := w.machine.View().State
	now := time.Duration(w.clock.Boot())
	w.mu.Lock()
	calling := w.board.CallsFor(d.Service)
	w.mu.Unlock()
	if !w.economy.lets(now, w.clock.Wall(), state, d, calling) {
		return
	}
	node, ok := w.target(state, d.Service)
	if d.Node != "" { // a connection belongs to one target
		n := state.Nodes[d.Node]
		node, ok = d.Node, n.Power != fsm.Awake && len(n.Wake) > 0 && !n.Maintenance
	}
	if !ok {
		for _, t := range state.Services[d.Service].Targets {
			w.nudge(t) // also one that has said that it fails: its word counts for seconds, and it may be asleep by now
		}
		return
	}
	want := wake.Wake{
		ID: newID(), Node: node, Sleeps: state.Nodes[node].Sleeps, Service: d.Service, Cause: string(fsm.Demand),
		Client: d.Client.String(), Port: portName(d),
	}
	got, verdict := w.begin(want)
	if got.ID == want.ID && verdict != wake.Kept {
		w.economy.began(now, got, state.Services[d.Service])
	}
	if verdict != wake.Started && verdict != wake.Queued {
		w.nudge(node) // a campaign rests up to five seconds between two calls, and the node may have gone to sleep since the last one
	}
}

func portName(d wake.Demand) string {
	return d.Protocol + "/" + strconv.Itoa(int(d.Dest.Port()))
}

// nudge calls a node that counts as awake and may not be: somebody closed its lid, and gossip takes seconds to miss it. The packet
// costs nothing where the node is awake. There is no campaign and no record; who asks again calls again.
func (w *waking) nudge(node string) {
	if mutant.On(mutant.LostWake) && w.loses(node) {
		return
	}
	now := w.clock.Boot()
	w.mu.Lock()
	last, called := w.nudged[node]
	due := !called || now.Sub(last) >= nudgeEvery
	if due {
		w.nudged[node] = now
	}
	w.mu.Unlock()
	macs := w.addresses(node)
	if !due || len(macs) == 0 || node == w.self {
		return
	}
	if err := w.caller.Call(macs, passwordOf(w.machine.View().State, node)); err != nil {
		w.log.Error("magic packets not sent", "node", node, "err", err)
		return
	}
	w.log.Debug("called, in case that it was suspended without a word", "node", node)
}

// loses is a mutant (breaks I4): who is called on its way into sleep counts as called for all of that sleep.
func (w *waking) loses(node string) bool {
	n := w.machine.View().State.Nodes[node]
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost == nil {
		w.lost = make(map[string]uint64)
	}
	if n.Power == fsm.Suspending {
		w.lost[node] = n.Sleeps
	}
	return n.Power != fsm.Awake && n.Sleeps > 0 && w.lost[node] == n.Sleeps
}

// nudgeEvery is the least time between two such calls.
const nudgeEvery = time.Second

// start is begin for whom it is the turn.
func (w *waking) start(want wake.Wake) (wake.Wake, wake.Verdict) {
	if mutant.On(mutant.LostWake) && w.loses(want.Node) {
		return want, wake.Kept
	}
	now := time.Duration(w.clock.Boot())
	state := w.machine.View().State
	want.Limit = cluster.WakeLimit(state.WakeTimes[want.Node], cluster.PhaseAwake, w.timeout)
	want.Hook = w.mayHook(fsm.Reason(want.Cause))
	want.Patient = want.Cause == string(fsm.Demand)
	if want.Power == "" {
		want.Power = string(state.Nodes[want.Node].Power)
	}
	w.mu.Lock()
	got, verdict := w.board.Begin(now, want)
	if verdict == wake.Started {
		w.watchIt(now, got)
	}
	w.mu.Unlock()
	if verdict == wake.Started {
		w.due()
		w.book(got)
	}
	if verdict != wake.Kept { // a resting campaign has nothing for the loop to do: it would only call itself
		w.bell.ring()
	}
	return got, verdict
}

// operator calls a node because a person asked.
func (w *waking) operator(node string, sleeps uint64) {
	w.begin(wake.Wake{ID: newID(), Node: node, Sleeps: sleeps, Cause: string(fsm.OperatorWake)})
}

// help takes in what another host says of its campaign.
func (w *waking) help(c cluster.WakeCall) {
	if c.Node == w.self || c.Sleeps < w.machine.View().State.Nodes[c.Node].Sleeps {
		return // not for us, or about a sleep that is over (gossip does not keep old messages from being replayed)
	}
	w.mu.Lock()
	news := w.board.Help(time.Duration(w.clock.Boot()), wake.Wake{
		ID: c.ID, Node: c.Node, Sleeps: c.Sleeps, Service: c.Service, Cause: string(c.Cause), Client: c.Client, Port: c.Port,
		Hook: w.mayHook(c.Cause), Power: string(w.machine.View().State.Nodes[c.Node].Power),
	})
	w.mu.Unlock()
	if news {
		w.bell.ring()
	}
}

// run repeats the calls, ends campaigns whose node is back, and looks after the quorum.
func (w *waking) run(ctx context.Context) {
	changed, cancel := w.machine.Watch()
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	opened, remove := w.opens.bells.add()
	defer remove()
	var leaderless lease.Boot
	var hooks sync.WaitGroup
	defer hooks.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-w.hooks:
			w.escalate(ctx, &hooks, a)
		case <-changed:
		case <-w.bell:
		case <-opened:
		case <-timer.C:
		}
		w.economy.learn(time.Duration(w.clock.Boot()), w.clock.Wall(), w.machine.View().State)
		w.goOn()
		leaderless = w.quorum(leaderless)
		w.settle()
		w.measure()
		timer.Reset(min(w.callLine(), w.due(), quorumLook))
	}
}

// own gives the campaigns of this host that are not over.
func (w *waking) own() []wake.Wake {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []wake.Wake
	for _, p := range w.board.Running() {
		if p.Own {
			out = append(out, p.Wake)
		}
	}
	return out
}

// goOn begins the former life's campaigns again, once the state is as that one knew it (I4). The log has them already, or gets them now.
func (w *waking) goOn() {
	if len(w.former) == 0 || w.machine.View().Index < w.since {
		return
	}
	former := w.former
	w.former = nil
	for _, one := range former {
		w.begin(one)
	}
}

// due does what the board says is due now and returns when to ask again.
func (w *waking) due() time.Duration {
	w.mu.Lock()
	actions, wait := w.board.Next(time.Duration(w.clock.Boot()))
	w.mu.Unlock()
	for _, a := range actions {
		switch a.Kind {
		case wake.Begun:
			w.begun(a.Wake)
		case wake.Call:
			w.call(a)
		case wake.Late:
			w.late(a)
		case wake.Escalate:
			select {
			case w.hooks <- a:
			default: // with so many hosts that do not wake, something else is wrong
			}
		case wake.GiveUp:
			w.giveUp(a)
		}
	}
	return wait
}

// call sends the packets, and tells the others after the first one.
func (w *waking) call(a wake.Action) {
	macs := w.addresses(a.Wake.Node)
	if len(macs) == 0 {
		w.log.Error("no wake address is known", "node", a.Wake.Node)
	} else if err := w.caller.Call(macs, passwordOf(w.machine.View().State, a.Wake.Node)); err != nil {
		w.log.Error("magic packets not sent", "node", a.Wake.Node, "err", err)
	} else {
		w.called(a.Wake.ID)
	}
	if a.Own {
		w.out.all(cluster.Message{Wake: []cluster.WakeCall{{
			ID: a.Wake.ID, Node: a.Wake.Node, Service: a.Wake.Service, Cause: fsm.Reason(a.Wake.Cause),
			Client: a.Wake.Client, Port: a.Wake.Port, Sleeps: a.Wake.Sleeps,
		}}})
	}
}

func (w *waking) addresses(node string) []net.HardwareAddr {
	var macs []net.HardwareAddr
	for _, m := range w.machine.View().State.Nodes[node].Wake {
		macs = append(macs, m.Hardware())
	}
	return macs
}

// giveUp says so loudly; the campaign's own host also records it.
func (w *waking) giveUp(a wake.Action) {
	sentence := a.Wake.Node + " did not wake after " + plural(a.Attempt, "call") + w.alsoHooked(a.Wake) + inARow(a) + ": check its power, its network card's Wake-on-LAN setting and its cable"
	w.mu.Lock()
	w.gaveUp[a.Wake.Node] = sentence
	w.mu.Unlock()
	if !a.Own {
		return
	}
	w.log.Error(sentence, "node", a.Wake.Node, "reason", a.Wake.Cause)
	w.record(fsm.EndWake{ID: a.Wake.ID, Result: fsm.GaveUp, At: w.clock.Wall()})
	if n := w.machine.View().State.Nodes[a.Wake.Node]; n.Power == fsm.Waking {
		w.record(w.power(n, fsm.Asleep, fsm.GaveUp))
	}
	w.failed(a.Wake.ID)
	w.fallBack(a.Wake)
}

// problem says why a node could not be woken, or "".
func (w *waking) problem(node string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gaveUp[node]
}

// settle moves the power state of those that are called, and ends the campaigns of those that are back. A node that
// only has not gone yet is called back; a node is back when its record says awake and gossip has it.
func (w *waking) settle() {
	v := w.scene.view()
	w.mu.Lock()
	running := w.board.Running()
	for name, n := range v.State.Nodes {
		if n.Power == fsm.Awake && v.Present[name].Alive {
			delete(w.gaveUp, name)
			delete(w.hooked, name)
			w.board.Back(name)
		}
	}
	w.mu.Unlock()
	for _, c := range running {
		n, known := v.State.Nodes[c.Wake.Node]
		switch {
		case !known || (n.Power == fsm.Awake && v.Present[n.Name].Alive):
			w.end(c.Wake.Node, fsm.WokeUp)
		case !c.Own && n.Sleeps > c.Wake.Sleeps:
			w.end(c.Wake.Node, fsm.WokeUp) // it was up meanwhile, and sleeps again: nobody asked for that to end
		case !c.Own:
		case n.Power == fsm.Suspending:
			w.record(w.power(n, fsm.Awake, fsm.SleepCancelled))
		case n.Power == fsm.Off && c.Wake.Cause == string(fsm.QuorumLost):
			// Down, not asleep. It is called all the same; on the record it stays what it is, so that somebody else may vote.
		case n.Power == fsm.Asleep || n.Power == fsm.Off:
			w.record(w.power(n, fsm.Waking, fsm.Reason(c.Wake.Cause)))
		}
	}
}

func (w *waking) power(n fsm.Node, to fsm.Power, why fsm.Reason) fsm.Command {
	return fsm.SetPower{Node: n.Name, From: n.Power, To: to, Sleeps: n.Sleeps, Reason: why, At: w.clock.Wall(), By: w.self}
}

func (w *waking) end(node string, result fsm.Reason) {
	w.mu.Lock()
	a, ran := w.board.End(node)
	w.mu.Unlock()
	if !ran || !a.Own {
		return
	}
	w.log.Info("awake", "node", node, "reason", a.Wake.Cause, "calls", a.Attempt)
	w.record(fsm.EndWake{ID: a.Wake.ID, Result: result, At: w.clock.Wall()})
}

func (w *waking) calling(node string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.board.Running(), func(p wake.Progress) bool { return p.Wake.Node == node && p.Own })
}

// record queues an entry for the log. A full queue drops it: the packets matter, the ledger follows.
func (w *waking) record(c fsm.Command) {
	select {
	case w.entries <- c:
	default:
	}
}

// ledgerRetry is the pause between two attempts to record wakes that nobody could commit.
const ledgerRetry = 250 * time.Millisecond

// ledger brings the entries into the log, one after the other. The beginnings and ends of wakes are kept until there is
// a leader: a wake for the quorum always begins without one. Changes of power are not: settle asks for them again.
func (w *waking) ledger(ctx context.Context) {
	var late []fsm.Command
	for {
		var retry <-chan time.Time
		if len(late) > 0 {
			retry = time.After(ledgerRetry)
		}
		select {
		case <-ctx.Done():
			return
		case c := <-w.entries:
			_, change := c.(fsm.SetPower)
			switch {
			case change:
				w.enter(ctx, c)
			case len(late) > 0 || !w.enter(ctx, c):
				late = append(late[max(0, len(late)+1-cap(w.entries)):], c)
			}
		case <-retry:
			for len(late) > 0 && w.enter(ctx, late[0]) {
				late = late[1:]
			}
		}
	}
}

// enter proposes one entry and says whether it was decided.
func (w *waking) enter(ctx context.Context, c fsm.Command) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := w.proposer.propose(ctx, c)
	if err != nil {
		w.log.Debug("wake not recorded yet", "err", err)
	}
	return err == nil
}

// problems are the sentences about those that were called in vain, but for those of which it is said already.
func (w *waking) problems(said func(node string) bool) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for node, s := range w.gaveUp {
		if !said(node) {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return out
}

func newID() string {
	var id [8]byte
	rand.Read(id[:]) // never fails (crypto/rand)
	return hex.EncodeToString(id[:])
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
