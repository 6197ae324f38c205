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
