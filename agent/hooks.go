package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"nightporter/config"
	"nightporter/fsm"
	"nightporter/health"
)

// hooks run what the configuration names for the moments after this host has opened a service's identity, and after it has closed it.
// They follow what is so; none of them is asked, and no lease waits for one: an identity that moves twice while a hook runs is told of
// when that has ended, and only as it is then.
//
// What was told is kept in the data directory, for as long as the host is not booted anew. An agent that was killed closes all that it held: its next life says so. One whose program
// was replaced goes on with what it held: nobody is told anything.
type hooks struct {
	rules    config.Hooks
	self     string
	machine  *fsm.Machine
	tenants  *tenants
	world    HookWorld // nil: a world in which nothing is run
	log      *slog.Logger
	bell     bell
	stopping atomic.Bool   // the agent ends for good
	linger   time.Duration // for which a suspend waits for release hooks, all of them together
	turns    chan struct{} // as many hooks run at one time as it has room for: a host that takes many services over has better to do

	mu      sync.Mutex
	told    map[string]occupancy // by service: the identity of which acquire was run, and release was not
	ending  map[string]occupancy // and of which release runs
	now     map[string]occupancy // as it is
	busy    map[string]bool      // services whose hooks run, or wait for their turn
	waits   time.Time            // since when a suspend waits for them; zero = it does not
	trouble map[string]hookTrouble
	running sync.WaitGroup
	idle    bells // rung when nothing runs any more
	kill    context.CancelFunc
	life    context.Context
}

// HookWorld is what hooks do to the world.
type HookWorld interface {
	Run(ctx context.Context, name string, env []string) error
	StartUnit(ctx context.Context, unit string) error
	StopUnit(ctx context.Context, unit string) error
	Load() ([]byte, error) // what was saved last since this host was booted; nil = nothing
	Save([]byte) error
}

// occupancy is an identity that is open here. The zero value is none.
type occupancy struct {
	Service string `json:"service"`
	Epoch   uint64 `json:"epoch"`
	Serves  bool   `json:"serves"` // as a target; else as a front
	// For the hooks' environment.
	Addresses string `json:"addresses"`
	MAC       string `json:"mac"`
	Mode      string `json:"mode"`
	Reason    string `json:"reason"`
	From      string `json:"from"` // who had it before; "" = nobody
	Unit      bool   `json:"unit"` // its target was started
}

// hookTrouble is the last failure of one hook.
type hookTrouble struct {
	service, sentence string
	at                time.Time
}

const (
	// hookTurns is how many hooks run at one time.
	hookTurns = 4
	// troubleLasts is for how long a failure is told that no later run has made good: the identity may never come back here.
	troubleLasts = 24 * time.Hour
)

// is says whether both are the same for hooks. A unit that comes up late makes no other occupancy.
func (o occupancy) is(p occupancy) bool {
	return o.Service == p.Service && o.Epoch == p.Epoch && o.Serves == p.Serves
}

// hooksLinger is for how long the end of an agent and a suspend wait for hooks.
const hooksLinger = 10 * time.Second

// newHooks takes up what an earlier life has told. suspend is how long a hand-over before a suspend may take.
func newHooks(rules config.Hooks, world HookWorld, suspend time.Duration, log *slog.Logger) *hooks {
	h := &hooks{
		rules: rules, world: world, log: log, bell: newBell(), linger: min(hooksLinger, suspend/2), turns: make(chan struct{}, hookTurns),
		told: make(map[string]occupancy), ending: make(map[string]occupancy), now: make(map[string]occupancy), busy: make(map[string]bool),
		trouble: make(map[string]hookTrouble),
	}
	h.life, h.kill = context.WithCancel(context.Background())
	if world != nil {
		h.recall()
	}
	return h
}

// wanted says whether there is anything to be run. What an earlier life has begun is brought to its end, whatever the file says now.
func (h *hooks) wanted() bool {
	if h.world == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.rules.Acquire) > 0 || len(h.rules.Release) > 0 || h.rules.Units || len(h.told) > 0
}

// run follows the tenancies until ctx ends. What it has begun goes on.
func (h *hooks) run(ctx context.Context) {
	if !h.wanted() {
		return
	}
	changed, cancel := h.machine.Watch()
	defer cancel()
	for {
		h.look()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-h.bell:
		}
	}
}

// makeWay lets what runs come to its end before this program is replaced, which would kill it.
func (h *hooks) makeWay() {
	if h.wanted() {
		h.wait(hooksLinger / 2)
	}
}

// finish tells of what the end of the agent has closed, and kills what takes too long. The next life runs that again.
func (h *hooks) finish() {
	if !h.wanted() {
		return
	}
	h.stopping.Store(true)
	h.look()
	h.wait(hooksLinger)
	h.kill()
	h.running.Wait()
}

// wait waits until nothing runs.
func (h *hooks) wait(limit time.Duration) {
	bell, remove := h.idle.add()
	defer remove()
	end := time.NewTimer(limit)
	defer end.Stop()
	for !h.resting() {
		select {
		case <-bell:
		case <-end.C:
			h.log.Warn("hooks that still run are not waited for any longer", "waited", limit.String())
			return
		}
	}
}

func (h *hooks) resting() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.busy) == 0
}

// quiet says whether a suspend may go on: no hook tells of an identity that has gone, or that takes too long.
func (h *hooks) quiet() bool {
	if !h.wanted() {
		return true
	}
	h.look() // what has closed just now counts
	h.mu.Lock()
	defer h.mu.Unlock()
	for service := range h.busy {
		if h.now[service].Epoch != 0 {
			continue
		}
		if h.waits.IsZero() {
			h.waits = time.Now()
		}
		return time.Since(h.waits) >= h.linger
	}
	h.waits = time.Time{}
	return true
}

// look compares what is open here with what was told.
func (h *hooks) look() {
	view := h.machine.View()
	if !h.tenants.caughtUp(view.Index) && !h.stopping.Load() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	services := maps.Clone(h.told)
	for name := range view.State.Services {
		services[name] = occupancy{}
	}
	for name := range services {
		t, known := h.tenants.known(name)
		if !known && (h.tenants.interlock(name) != nil || view.State.Cluster.ID == "") {
			continue // a tenancy that was taken over has not shown itself yet, or the log has told nothing
		}
		h.now[name] = occupied(name, view.State, t)
		h.begin(name)
	}
	for key, x := range h.trouble {
		if _, known := services[x.service]; !known || time.Since(x.at) > troubleLasts {
			delete(h.trouble, key)
		}
	}
}

// occupied is pure.
func occupied(name string, state *fsm.State, t tenancy) occupancy {
	if !t.Opened || t.Epoch == 0 {
		return occupancy{}
	}
	sv, own := state.Services[name], state.Ownerships[name]
	o := occupancy{Service: name, Epoch: t.Epoch, Serves: t.Serving, Mode: string(sv.Mode)}
	if o.Mode == "" {
		o.Mode = string(fsm.ModeMAC)
	}
	if sv.Mode != fsm.ModeAddress {
		o.MAC = sv.MAC.String()
	}
	var addrs []string
	for _, a := range sv.Addresses {
		addrs = append(addrs, a.String())
	}
	o.Addresses = strings.Join(addrs, " ")
	if own.Epoch == t.Epoch {
		o.Reason = string(own.Reason)
	}
	for _, c := range state.History[name] {
		if c.Epoch == t.Epoch {
			o.From = c.From
		}
		if c.Epoch == t.Epoch && c.Epoch == own.Epoch {
			o.Reason = string(c.Reason) // after a lift the record has that of the change of owner before
		}
	}
	return o
}

// begin has the hooks of one service run, if there is something to tell and none of them does. The caller holds mu.
func (h *hooks) begin(service string) {
	if h.busy[service] || h.told[service].is(h.now[service]) {
		return
	}
	h.busy[service] = true
	h.running.Go(func() {
		for h.tell(service) {
		}
	})
}

// tell runs the hooks for one change of one service. It is false when there is nothing more to tell.
func (h *hooks) tell(service string) bool {
	h.mu.Lock()
	told, now := h.told[service], h.now[service]
	if told.is(now) || h.life.Err() != nil {
		delete(h.busy, service)
		rests := len(h.busy) == 0
		h.mu.Unlock()
		if rests {
			h.idle.ring()
		}
		return false
	}
	now.Unit = h.rules.Units && now.Serves
	if told.Epoch != 0 {
		delete(h.told, service)
		h.ending[service] = told
	} else {
		h.told[service] = now
	}
	h.mu.Unlock()
	if told.Epoch == 0 {
		h.save() // before it: what was begun must be brought to its end
		h.acquired(now)
		return true
	}
	h.released(told)
	if h.life.Err() == nil { // else the next life tells it again
		h.mu.Lock()
		delete(h.ending, service)
		h.mu.Unlock()
		h.save()
	}
	return true
}

func (h *hooks) acquired(o occupancy) {
	h.each("acquire", h.rules.Acquire, o)
	if o.Unit {
		h.timed("start", o.Service, HeldUnit(o.Service), func(ctx context.Context) error { return h.world.StartUnit(ctx, HeldUnit(o.Service)) })
	}
}

func (h *hooks) released(o occupancy) {
	if o.Unit {
		h.timed("stop", o.Service, HeldUnit(o.Service), func(ctx context.Context) error { return h.world.StopUnit(ctx, HeldUnit(o.Service)) })
	}
	h.each("release", h.rules.Release, o)
}

// HeldUnit is the unit that is active while a target has the identity.
func HeldUnit(service string) string {
	return "nightporter-held@" + service + ".target" // unescaped: service names have nothing that an instance name may not have
}

func (h *hooks) each(moment string, names []string, o occupancy) {
	env := o.env(moment, h.self)
	for _, name := range names {
		h.timed(moment, o.Service, name, func(ctx context.Context) error { return h.world.Run(ctx, name, env) })
	}
}

// timed does one thing, when it is its turn, within its time.
func (h *hooks) timed(moment, service, what string, do func(context.Context) error) {
	select {
	case h.turns <- struct{}{}:
		defer func() { <-h.turns }()
	case <-h.life.Done():
		return
	}
	ctx, cancel := context.WithTimeout(h.life, h.rules.Timeout)
	defer cancel()
	began := time.Now()
	err := do(ctx)
	took := time.Since(began).Round(time.Millisecond).String()
	key := service + " " + moment + " " + what
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		delete(h.trouble, key)
		h.log.Info("hook run", "event", moment, "service", service, "hook", what, "took", took)
		return
	}
	h.trouble[key] = hookTrouble{service, fmt.Sprintf("the hook %s for %s of %s failed: %s", what, moment, service, sentenceOf(err, h.rules.Timeout)), time.Now()}
	h.log.Error("hook failed", "event", moment, "service", service, "hook", what, "took", took, "err", err)
}

func sentenceOf(err error, limit time.Duration) string {
	if health.Late(err) { // errLate or the deadline
		return "it did not end within " + limit.String() + " and was killed"
	}
	return err.Error()
}

// env is what a hook is told.
func (o occupancy) env(moment, self string) []string {
	role := "front"
	if o.Serves {
		role = "target"
	}
	return []string{
		"NIGHTPORTER_EVENT=" + moment, "NIGHTPORTER_NODE=" + self, "NIGHTPORTER_SERVICE=" + o.Service, "NIGHTPORTER_ADDRESSES=" + o.Addresses,
		"NIGHTPORTER_MAC=" + o.MAC, "NIGHTPORTER_MODE=" + o.Mode, "NIGHTPORTER_EPOCH=" + strconv.FormatUint(o.Epoch, 10), "NIGHTPORTER_ROLE=" + role,
		"NIGHTPORTER_REASON=" + o.Reason, "NIGHTPORTER_FROM=" + o.From,
	}
}

// recall takes up what an earlier life has told.
func (h *hooks) recall() {
	b, err := h.world.Load()
	var list []occupancy
	if err == nil && b != nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		h.log.Warn("nobody knows which hooks a former life of this agent has run", "err", err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range list {
		h.told[o.Service] = o
	}
}

func (h *hooks) save() {
	h.mu.Lock()
	all := maps.Clone(h.told)
	for service, o := range h.ending {
		if all[service].Epoch == 0 {
			all[service] = o
		}
	}
	list := slices.SortedFunc(maps.Values(all), func(a, b occupancy) int { return strings.Compare(a.Service, b.Service) })
	h.mu.Unlock()
	b, err := json.Marshal(list)
	if err == nil {
		err = h.world.Save(b)
	}
	if err != nil {
		h.log.Warn("which hooks have been run is not kept: after a crash of this agent some may not be run", "err", err)
	}
}

// problems are the hooks that failed when they were run last.
func (h *hooks) problems() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, x := range h.trouble {
		if time.Since(x.at) <= troubleLasts {
			out = append(out, x.sentence)
		}
	}
	slices.Sort(out)
	return out
}
