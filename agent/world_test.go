package agent

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/identity"
	"nightporter/lease"
	"nightporter/wake"
)

// The world of these tests: real tenants and real ballots in virtual time (testing/synctest), a simulated kernel and a
// network that delays, and drops what it is told to. Every open and close of a fence is written down with its time.

const latency = 500 * time.Microsecond

type fakeClock struct {
	began time.Time
	slept atomic.Int64 // what CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC

	bends atomic.Pointer[bends] // nil = nobody bent it
}

func (c *fakeClock) Boot() lease.Boot {
	return lease.Boot(time.Since(c.began)+c.bent()) + lease.Boot(c.slept.Load()) + lease.Boot(time.Hour)
}

func (c *fakeClock) Both() (lease.Boot, time.Duration) {
	return c.Boot(), c.Boot().Sub(lease.Boot(c.slept.Load()))
}
func (c *fakeClock) Wall() time.Time { return time.Now() }

// Sight shows how the clock was bent meanwhile, if a test bends it.
func (c *fakeClock) Sight() lease.Sight {
	raw := time.Since(c.began)
	return lease.Sight{Before: raw, Mono: raw + c.bent(), After: raw}
}

// bends is what a clock is ahead by: so much at a moment, and by so many millionths of the time since.
type bends struct {
	at     time.Time
	was    time.Duration
	faster int64
}

// bent is by how much the clock is ahead.
func (c *fakeClock) bent() time.Duration {
	b := c.bends.Load()
	if b == nil {
		return 0
	}
	return b.was + time.Since(b.at)*time.Duration(b.faster)/1_000_000
}

// bend makes the clock faster or slower from now on, by millionths.
func (c *fakeClock) bend(faster int64) { c.bends.Store(&bends{time.Now(), c.bent(), faster}) }

// memoryMirror is the voter's table in memory.
type memoryMirror struct {
	table lease.Table
	have  bool
}

func (m *memoryMirror) Load() (lease.Table, bool) { return m.table, m.have }
func (m *memoryMirror) Save(t lease.Table) error  { m.table, m.have = t, true; return nil }
func (m *memoryMirror) Close() error              { return nil }

// fakeKernel is one host's kernel: it keeps a fence open until its deadline, whatever happens to the daemon.
type fakeKernel struct {
	w    *world
	host string

	mu       sync.Mutex
	deadline lease.Boot // of the open fence; 0 = closed
	guard    bool
	shut     []netip.AddrPort
	prepared bool
	spec     identity.Spec // what was prepared last
	events   []string
	foreign  []identity.Foreign
	failNext error
	slow     time.Duration // what a preparation takes
	suspends uint64        // begun
	armed    uint64
}

// suspendBegins shuts the fence as the kernel does: whatever is written later does not open it, but an acquisition that began after it.
func (k *fakeKernel) suspendBegins() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.suspends++
}

func (k *fakeKernel) note(f string, args ...any) {
	k.events = append(k.events, fmt.Sprintf(f, args...))
}

func (k *fakeKernel) log() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string(nil), k.events...)
}

// open says whether frames of the identity pass now.
func (k *fakeKernel) open() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.deadline > k.w.clock.Boot() && k.armed == k.suspends
}

func (k *fakeKernel) guarded() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.guard
}

func (k *fakeKernel) isPrepared() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.prepared
}

func (k *fakeKernel) Sweep() error                               { return nil }
func (k *fakeKernel) Watch(context.Context) <-chan identity.Stir { return nil }
func (k *fakeKernel) LAN() (identity.LAN, error)                 { return identity.LAN{Up: true}, nil }
func (k *fakeKernel) Refusal() string                            { return "" }
func (k *fakeKernel) Close() error                               { return nil }
func (k *fakeKernel) Retain(inUse []identity.Spec) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var names []string
	for _, s := range inUse {
		names = append(names, s.Service)
	}
	k.note("retain %v", names)
	return nil
}

func (k *fakeKernel) Prepare(spec identity.Spec) (Hold, error) {
	k.mu.Lock()
	slow := k.slow
	k.mu.Unlock()
	<-time.After(slow)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.failNext; err != nil {
		k.failNext = nil
		return nil, err
	}
	k.prepared, k.guard, k.deadline, k.spec = true, true, 0, spec
	k.note("prepare")
	return &fakeHold{k}, nil
}

func (k *fakeKernel) Adopt(identity.Heirloom) (Hold, error) { return &fakeHold{k}, nil }
func (k *fakeKernel) Bequeath() (identity.Legacy, error)    { return identity.Legacy{}, nil }

func (h *fakeHold) Bequeath() (identity.Heirloom, error) { return identity.Heirloom{}, nil }

type fakeHold struct{ k *fakeKernel }

type fakeFence struct{ identity.Fence }

func (fakeFence) Kind() string     { return "fake" }
func (fakeFence) Limits() []string { return nil }

func (h *fakeHold) Guard(on bool) error {
	h.k.mu.Lock()
	defer h.k.mu.Unlock()
	h.k.guard = on
	h.k.note("guard %v", on)
	return nil
}

func (h *fakeHold) Answer([]identity.Answer) error { return nil }
func (h *fakeHold) GuardPorts(tcp, udp []netip.AddrPort) error {
	h.k.mu.Lock()
	defer h.k.mu.Unlock()
	h.k.shut = slices.Concat(tcp, udp)
	h.k.note("doors %d", len(h.k.shut))
	return nil
}

func (h *fakeHold) Generation() (uint64, error) {
	h.k.mu.Lock()
	defer h.k.mu.Unlock()
	return h.k.suspends, nil
}

func (h *fakeHold) Open(d time.Duration, generation uint64) error {
	h.k.mu.Lock()
	defer h.k.mu.Unlock()
	h.k.note("open")
	h.k.deadline, h.k.armed = lease.Boot(d), generation
	h.k.w.opened(h.k.host)
	return nil
}

func (h *fakeHold) Extend(d time.Duration) error {
	h.k.mu.Lock()
	defer h.k.mu.Unlock()
	h.k.deadline = lease.Boot(d)
	return nil
}

func (h *fakeHold) Close() error {
	h.k.mu.Lock()
	defer h.k.mu.Unlock()
	if err := h.k.failNext; err != nil {
		h.k.failNext = nil
		return err
	}
	h.k.note("close")
	h.k.deadline = 0
	return nil
}

func (h *fakeHold) Announce(still func() bool) error {
	h.k.mu.Lock()
	defer h.k.mu.Unlock()
	if still() {
		h.k.note("announce")
	}
	return nil
}

func (h *fakeHold) Probe(_ context.Context, wait time.Duration, _ []net.HardwareAddr) ([]identity.Foreign, error) {
	<-time.After(wait)
	h.k.mu.Lock()
	defer h.k.mu.Unlock()
	h.k.note("probe")
	return h.k.foreign, nil
}

func (h *fakeHold) Check() ([]identity.Drift, error) { return nil, nil }
func (h *fakeHold) Repair() error                    { return nil }
func (h *fakeHold) Link() string                     { return "np-test" }
func (h *fakeHold) Fence() identity.Fence            { return fakeFence{} }
func (h *fakeHold) Remove() error {
	h.k.mu.Lock()
	defer h.k.mu.Unlock()
	h.k.note("remove")
	h.k.prepared, h.k.deadline = false, 0
	return nil
}

// world is three voters a, b, c, each with a tenant of the service web.
type world struct {
	t       *testing.T
	clock   *fakeClock
	hosts   map[string]*worldHost
	mu      sync.Mutex
	cut     map[string]bool // hosts that nothing reaches and that reach nobody
	lose    func(from, to string, m cluster.Message) bool
	overlap []string
}

type worldHost struct {
	w       *world
	name    string
	kernel  *fakeKernel
	ballot  *ballot
	tenant  *tenant
	stop    context.CancelFunc
	ended   chan struct{}
	opens   []uint64
	demands int
	called  string // whom the last demand was for, where it says so
	ether   fakeEther
}

var testService = fsm.Service{
	Name: "web", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.200")}, MAC: fsm.MAC(net.HardwareAddr{2, 0, 0, 0, 0, 1}),
	Ports: []fsm.Port{{Protocol: fsm.TCP, Number: 80}}, Targets: []string{"b"}, Hold: fsm.HoldDrop,
}

// foundedMachine has applied the founding of a cluster with failover 1 s.
func foundedMachine(t *testing.T, log *slog.Logger) *fsm.Machine {
	t.Helper()
	m := fsm.NewMachine(log)
	raw, err := fsm.Encode(fsm.Found{
		Cluster: fsm.Cluster{ID: "00112233445566778899aabbccddeeff", Name: "home"}, Failover: time.Second, By: "a",
	})
	if err != nil {
		t.Fatal(err)
	}
	if res, ok := m.Apply(&raft.Log{Index: 2, Term: 1, Type: raft.LogCommand, Data: raw}).(fsm.Result); !ok || res.Err() != nil {
		t.Fatalf("founding: %+v", res)
	}
	return m
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, clock: &fakeClock{began: time.Now()}, hosts: map[string]*worldHost{}, cut: map[string]bool{}}
	log := slog.New(slog.DiscardHandler)
	for i, name := range []string{"a", "b", "c"} {
		journal, err := cluster.NewJournal(raft.NewInmemStore())
		if err != nil {
			t.Fatal(err)
		}
		h := &worldHost{w: w, name: name, ended: make(chan struct{})}
		h.kernel = &fakeKernel{w: w, host: name}
		h.ballot = newBallot(name, w.clock, foundedMachine(t, log), journal, &memoryMirror{}, log)
		h.tenant = &tenant{
			service: "web", self: name, clock: w.clock, ruler: h.ballot.ruler, kernel: h.kernel, log: log, out: h, onForeign: conflictStop,
			inbox: make(chan func(), 64), holder: lease.NewHolder("web", name, uint64(100+i)),
			demand: func(d wake.Demand) { h.demands++; h.called = d.Node },
			reach:  fakeReach{h},
			listen: func(string, wake.Guard, func(wake.Demand)) (io.Closer, error) { return io.NopCloser(nil), nil },
		}
		ctx, stop := context.WithCancel(context.Background())
		h.stop = stop
		go func() { defer close(h.ended); h.tenant.run(ctx) }()
		w.hosts[name] = h
	}
	w.pass(time.Second) // rule 1: the voters' wait after their start
	return w
}

// end stops the tenants; each must leave its fence closed.
func (w *world) end() {
	for _, h := range w.hosts {
		h.stop()
		<-h.ended
		if h.kernel.open() && !w.isCut(h.name) {
			w.t.Errorf("%s ended with an open fence", h.name)
		}
	}
	if len(w.overlap) > 0 {
		w.t.Errorf("I1 is broken: %v", w.overlap)
	}
}

func (w *world) isCut(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut[name]
}

// toldOpen says whether a host was told that a tenure is open.
func (w *world) toldOpen(host string, epoch uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.hosts[host].opens, epoch)
}

// pass lets virtual time go by.
func (w *world) pass(d time.Duration) { <-time.After(d) }

// opened checks I1 whenever somebody opens.
func (w *world) opened(host string) {
	now := w.clock.Boot()
	for name, h := range w.hosts {
		if name == host {
			continue
		}
		h.kernel.mu.Lock()
		open := h.kernel.deadline > now
		h.kernel.mu.Unlock()
		if open {
			w.overlap = append(w.overlap, fmt.Sprintf("%s opened while %s is open", host, name))
		}
	}
}

// give commits an ownership: every host that is not cut learns of it.
func (w *world) give(owner string, epoch uint64, prev string) {
	w.giveAs(testService, owner, epoch, prev)
}

// giveAs commits it under a definition.
func (w *world) giveAs(service fsm.Service, owner string, epoch uint64, prev string) {
	for name, h := range w.hosts {
		if w.isCut(name) {
			continue
		}
		timing := cluster.Derive(time.Second)
		x := wish{
			Service: service, Exists: true, Own: fsm.Ownership{Owner: owner, Epoch: epoch, Reason: fsm.OperatorMoved}, Prev: prev,
			Mine: owner == name, Serving: name == "b", Heir: owner != name && owner != "" && !w.isCut(owner),
			Quorum: lease.Quorum{Config: 1, Voters: []string{"a", "b", "c"}}, Timing: timing,
		}
		h.tenant.want.Store(&x)
		h.tenant.do(func() {})
	}
}

func (h *worldHost) send(to string, m cluster.Message) {
	m.From = h.name
	w := h.w
	w.mu.Lock()
	lost := w.cut[h.name] || w.cut[to] || (w.lose != nil && w.lose(h.name, to, m))
	w.mu.Unlock()
	if lost {
		return
	}
	time.AfterFunc(latency, func() { w.hosts[to].receive(m) })
}

func (h *worldHost) all(m cluster.Message) {
	for name := range h.w.hosts {
		if name != h.name {
			h.send(name, m)
		}
	}
}

func (h *worldHost) engage([]cluster.Tenure) {} // nobody leads in this world
func (h *worldHost) stands(cluster.Tenure)   {}

func (h *worldHost) vote(r lease.Request) (lease.Answer, bool) { return h.ballot.request(r) }
func (h *worldHost) free(r lease.Release) (lease.Ack, bool)    { return h.ballot.release(r) }

func (h *worldHost) receive(m cluster.Message) {
	for _, r := range m.Requests {
		if a, ok := h.ballot.request(r); ok {
			h.send(r.Node, cluster.Message{Answers: []lease.Answer{a}})
		}
	}
	for _, r := range m.Releases {
		if a, ok := h.ballot.release(r); ok {
			h.send(r.Node, cluster.Message{Acks: []lease.Ack{a}})
		}
	}
	h.w.mu.Lock()
	t := h.tenant
	h.w.mu.Unlock()
	t.do(func() {
		for _, a := range m.Answers {
			t.answer(a)
		}
		for _, a := range m.Acks {
			t.ack(a)
		}
		for _, r := range m.Handed {
			t.handed(r)
		}
		for _, r := range m.Prepared {
			t.ready(r.Epoch)
		}
		for _, l := range m.Listening {
			t.targetListens(m.From, l)
		}
		for _, f := range m.Flows {
			t.learnFlows(m.From, f)
		}
		for _, x := range m.FlowsKnown {
			t.reported(m.From, x)
		}
	})
	for _, o := range m.Open {
		h.w.mu.Lock()
		h.opens = append(h.opens, o.Epoch)
		h.w.mu.Unlock()
	}
}
