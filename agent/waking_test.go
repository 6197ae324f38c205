package agent

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/wake"
)

// leaderless is a Raft that finds no majority.
type leaderless struct{ raftNode }

func (leaderless) Leader() string        { return "" }
func (leaderless) IsLeader() bool        { return false }
func (leaderless) Deaf() map[string]bool { return nil }

// noCalls sends nothing.
type noCalls struct{ Caller }

func (noCalls) Call([]net.HardwareAddr, []byte) error { return nil }

// TestQuorumWakeThatIsInVainRests: a voter that does not answer is called with pauses, and the loop sleeps in them; the
// resting campaign once rang its own loop's bell for ever.
func TestQuorumWakeThatIsInVainRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		solo := &soloRaft{machine: foundedMachine(t, log), t: t, index: 2}
		solo.must(fsm.PutNode{Node: fsm.Node{Name: "b", Key: "k", Policy: fsm.Sleeps, Wake: []fsm.MAC{"\x02\x00\x00\x00\x00\x09"}}})
		// c has left: its record is gone, its vote is not yet. There is nobody to call, and that once filled the loop's time.
		solo.machine.StoreConfiguration(4, raft.Configuration{Servers: []raft.Server{{ID: "a"}, {ID: "b"}, {ID: "c"}}})
		clock := &fakeClock{began: time.Now()}
		journal, err := cluster.NewJournal(raft.NewInmemStore())
		if err != nil {
			t.Fatal(err)
		}
		var looks atomic.Int64
		members := func() []cluster.Member { looks.Add(1); return nil }
		w := newWaking(10 * time.Second)
		w.self, w.clock, w.machine, w.raft, w.caller, w.log = "a", clock, solo.machine, leaderless{}, noCalls{}, log
		w.scene = &scene{
			is:   anyKey,
			self: "a", clock: clock, machine: w.machine, ballot: newBallot("a", clock, w.machine, journal, &memoryMirror{}, log),
			members: members, leader: w.raft.Leader, deaf: w.raft.Deaf, learnt: make(map[string]tenureSeen),
		}
		w.tenants, w.out = &tenants{}, &post{gossip: &lateGossip{}, machine: w.machine, log: log}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); w.run(ctx) }()
		time.Sleep(time.Minute) // well into the rest after a campaign that was given up
		before := looks.Load()
		time.Sleep(time.Minute)
		if n := looks.Load() - before; n < 60 || n > 300 {
			t.Errorf("%d looks in a minute, want two or so each second", n)
		}
		stop()
		<-done
	})
}

// countedCalls counts by address.
type countedCalls struct {
	Caller
	calls map[string]int
}

func (c *countedCalls) Call(macs []net.HardwareAddr, _ []byte) error {
	for _, m := range macs {
		c.calls[m.String()]++
	}
	return nil
}

// TestATargetThatCountsAsAwakeIsNudged: a front that swallows an attempt though the target counts as awake calls it all the same,
// once in a second: it may have been suspended without a word.
func TestATargetThatCountsAsAwakeIsNudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		solo := &soloRaft{machine: foundedMachine(t, log), t: t, index: 2}
		solo.must(fsm.PutNode{Node: fsm.Node{Name: "a", Key: "k", Policy: fsm.AlwaysOn, Wake: []fsm.MAC{"\x02\x00\x00\x00\x00\x08"}}})
		solo.must(fsm.PutNode{Node: fsm.Node{Name: "b", Key: "k", Policy: fsm.Sleeps, Wake: []fsm.MAC{"\x02\x00\x00\x00\x00\x09"}}})
		sv := testService
		sv.Targets = []string{"b", "a"}
		solo.must(fsm.PutService{Service: sv})
		clock, calls := &fakeClock{began: time.Now()}, &countedCalls{calls: map[string]int{}}
		journal, err := cluster.NewJournal(raft.NewInmemStore())
		if err != nil {
			t.Fatal(err)
		}
		w := newWaking(10 * time.Second)
		w.self, w.clock, w.machine, w.raft, w.caller, w.log = "a", clock, solo.machine, leaderless{}, calls, log
		w.scene = &scene{
			is:   anyKey,
			self: "a", clock: clock, machine: w.machine, ballot: newBallot("a", clock, w.machine, journal, &memoryMirror{}, log),
			members: func() []cluster.Member { return []cluster.Member{{Name: "b", Status: cluster.Alive}} },
			leader:  w.raft.Leader, deaf: w.raft.Deaf, learnt: make(map[string]tenureSeen),
		}
		for range 10 {
			w.demand(wake.Demand{Service: "web"})
		}
		time.Sleep(nudgeEvery)
		w.demand(wake.Demand{Service: "web"})
		if n := calls.calls["02:00:00:00:00:09"]; n != 2 || len(calls.calls) != 1 {
			t.Errorf("calls %v, want two for b alone", calls.calls)
		}
	})
}

// TestCampaignsGoOnInTheNextLife: as soon as the state knows whom they are for, and not before: then they would end at once.
func TestCampaignsGoOnInTheNextLife(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	clock := &fakeClock{began: time.Now()}
	solo := &soloRaft{t: t, machine: foundedMachine(t, log), index: 10}
	calls := &countedCalls{calls: make(map[string]int)}
	make1 := func() *waking {
		w := newWaking(10 * time.Second)
		w.self, w.clock, w.machine, w.caller, w.log = "a", clock, solo.machine, calls, log
		w.out = &post{gossip: &lateGossip{}, machine: w.machine, log: log}
		return w
	}
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	first := make1()
	first.operator("b", 1)
	left := first.own()
	if len(left) != 1 || left[0].Node != "b" {
		t.Fatalf("%+v is left", left)
	}
	next := make1()
	next.former, next.since = left, 12
	next.goOn()
	if n := len(next.own()); n != 0 {
		t.Errorf("%d campaigns before the state knows the node", n)
	}
	solo.index = 11
	solo.must(fsm.PutNode{Node: fsm.Node{Name: "b", Key: "k", Policy: fsm.Sleeps, Wake: []fsm.MAC{fsm.MAC(mac)}}})
	next.goOn()
	left[0].Power = string(fsm.Awake) // now it is known
	if got := next.own(); len(got) != 1 || got[0] != left[0] || calls.calls[mac.String()] != 1 {
		t.Errorf("%+v goes on, with the calls %v", got, calls.calls)
	}
}

// TestHelpEndsWithTheSleep: who helps to call a node stops when that has slept again since, even if it never saw it awake.
func TestHelpEndsWithTheSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newWakingWorld(t, twoTargets(), time.Minute)
		x.help(cluster.WakeCall{ID: "theirs", Node: "b", Sleeps: 3, Cause: fsm.Demand})
		x.look()
		x.power("b", fsm.Asleep, fsm.Awake) // gossip has not told yet
		x.power("b", fsm.Awake, fsm.Suspending)
		x.solo.must(fsm.SetPower{Node: "b", From: fsm.Suspending, To: fsm.Asleep, Sleeps: 4})
		x.look() // the state changed
		time.Sleep(wake.HelpAfter)
		x.look()
		if n := x.calls.calls[macs["b"]]; n != 0 {
			t.Errorf("b was called %d times out of its next sleep", n)
		}
		x.help(cluster.WakeCall{ID: "another", Node: "b", Sleeps: 4, Cause: fsm.Demand})
		time.Sleep(wake.HelpAfter)
		x.look()
		if n := x.calls.calls[macs["b"]]; n != 1 {
			t.Errorf("b was called %d times for the next wake, want once", n)
		}
	})
}
