package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/wake"
)

// soloRaft is a Raft of one node: what is proposed is committed, but the answer may be lost.
type soloRaft struct {
	raftNode
	machine *fsm.Machine
	t       *testing.T

	mu    sync.Mutex
	index uint64
	lose  bool // the next answer
	drop  bool // the next proposal
}

func (r *soloRaft) IsLeader() bool                    { return true }
func (r *soloRaft) Deaf() map[string]bool             { return nil }
func (r *soloRaft) Leader() string                    { return "b" }
func (r *soloRaft) Barrier(context.Context) error     { return nil }
func (r *soloRaft) Past(string) (cluster.Past, error) { return cluster.Past{}, nil }
func (r *soloRaft) Committed(cluster.Mark)            {}

var errLost = errors.New("the answer was lost")

func (r *soloRaft) Propose(_ context.Context, c fsm.Command) (fsm.Result, cluster.Mark, error) {
	raw, err := fsm.Encode(c)
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.drop {
		r.drop = false
		return fsm.Result{}, cluster.Mark{}, errLost
	}
	r.index++
	res, ok := r.machine.Apply(&raft.Log{Index: r.index, Term: 1, Type: raft.LogCommand, Data: raw}).(fsm.Result)
	if !ok {
		r.t.Fatal("no result")
	}
	if r.lose {
		r.lose = false
		return fsm.Result{}, cluster.Mark{}, errLost
	}
	return res, cluster.Mark{Index: r.index, Term: 1}, nil
}

// must commits what somebody else proposes.
func (r *soloRaft) must(c fsm.Command) {
	r.t.Helper()
	if res, _, err := r.Propose(context.Background(), c); err != nil || res.Err() != nil {
		r.t.Fatalf("%+v: %v, %v", c, err, res.Err())
	}
}

// stage is a sleeper with nothing around it that is not needed: a host that holds nothing.
type stage struct {
	*sleeper
	raft     *soloRaft
	suspends int
	during   func()                      // runs while the host is suspended
	hang     func(context.Context) error // runs instead of a suspend
	resumed  atomic.Uint64               // the kernel's count
	refused  atomic.Uint64               // and of those that it refused

	facts     atomic.Pointer[WakeFacts] // nil: its cards are armed, and it has no traits
	countless bool                      // it keeps none
	alarms    []time.Duration           // as they were set, 0 = taken back
	leaves    bool
	halfway   bool // systemd is at a sleep of two halves

	unable         error
	arms, restored int
}

func (s *stage) Able(context.Context) error { return s.unable }

func (s *stage) Arm() error {
	s.arms++
	return nil
}

func (s *stage) Restore() error {
	s.restored++
	return nil
}

func (s *stage) SetAlarm(in time.Duration) error {
	s.alarms = append(s.alarms, in)
	return nil
}
func (s *stage) AlarmTrouble() string { return "" }
func (s *stage) Suspend(ctx context.Context) error {
	s.suspends++
	if s.hang != nil {
		return s.hang(ctx)
	}
	if s.during != nil {
		s.during()
	}
	s.returned(wake.Slept) // as the ticks do after a resume
	return nil
}

func (s *stage) Resumes() (uint64, bool) { return s.resumed.Load(), !s.countless }

func (s *stage) Refusals() wake.Refusals {
	return wake.Refusals{Count: s.refused.Load(), Errno: unix.ENOMEM}
}
func (s *stage) Halfway() bool                              { return s.halfway }
func (s *stage) Sources() map[string]uint64                 { return nil }
func (s *stage) WakeAddresses() ([]net.HardwareAddr, error) { return nil, nil }

func (s *stage) WakeFacts() (WakeFacts, error) {
	if f := s.facts.Load(); f != nil {
		return *f, nil
	}
	return WakeFacts{}, nil
}

func newStage(t *testing.T) *stage {
	log := slog.New(slog.DiscardHandler)
	clock := &fakeClock{began: time.Now()}
	machine := foundedMachine(t, log)
	r := &soloRaft{machine: machine, t: t, index: 2}
	s := &stage{raft: r}
	journal, err := cluster.NewJournal(raft.NewInmemStore())
	if err != nil {
		t.Fatal(err)
	}
	members := func() []cluster.Member { return nil }
	sc := &scene{
		is:   anyKey,
		self: "b", clock: clock, machine: machine, ballot: newBallot("b", clock, machine, journal, &memoryMirror{}, log),
		members: members, leader: r.Leader, deaf: r.Deaf, learnt: make(map[string]tenureSeen),
	}
	p := &proposer{self: "b", clock: clock, raft: r, out: &post{gossip: &lateGossip{}, machine: machine, log: log}, log: log}
	p.gate = &quorumGuard{scene: sc, machine: machine, barrier: r.Barrier, turn: make(turn, 1)}
	s.sleeper = &sleeper{
		self: "b", clock: clock, machine: machine, raft: r, proposer: p, tenants: &tenants{}, scene: sc, opens: &opens{}, power: s,
		meta: newMetaKeeper(log), rejoin: func() {}, leaving: func() bool { return s.leaves }, timeout: 10 * time.Second, log: log, bell: newBell(),
		alarm: &alarm{self: "b", clock: clock, machine: machine, raft: r, proposer: p, power: s, link: func() bool { return true }, noticed: func() bool { return true }, log: log},
	}
	r.must(fsm.PutNode{Node: fsm.Node{Name: "b", Key: "k", Policy: fsm.Sleeps}})
	return s
}

func (s *stage) record() fsm.Node { return s.machine.View().State.Nodes["b"] }

// order commits what `nightporter sleep` does. The stamp is the leader's, whose clock is wrong.
func (s *stage) order() {
	me := s.record()
	s.raft.must(fsm.SetPower{Node: "b", From: fsm.Awake, To: fsm.Suspending, Sleeps: me.Sleeps, Reason: fsm.OperatorSleep, At: time.Now().Add(-1000 * time.Hour)})
}

// steps lets the sleeper look a few times.
func (s *stage) steps(n int) {
	for range n {
		<-time.After(s.step(context.Background()))
		synctest.Wait()
	}
}

func onStage(t *testing.T, f func(*testing.T, *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newStage(t)) })
}

// TestSleepAndReturn: the whole way, once for each order.
func TestSleepAndReturn(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		for n := range 3 {
			s.order()
			s.steps(4)
			if me := s.record(); s.suspends != n+1 || me.Power != fsm.Awake || me.Sleeps != uint64(n+1) {
				t.Fatalf("after order %d: %d suspends, %+v", n+1, s.suspends, me)
			}
		}
	})
}

// TestNoSuspendOnAFoundRecord: an agent that starts and finds itself asleep on record reports back.
func TestNoSuspendOnAFoundRecord(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.order()
		s.raft.must(fsm.SetPower{Node: "b", From: fsm.Suspending, To: fsm.Asleep, Sleeps: 1, Reason: fsm.HandedOver})
		s.steps(3)
		if me := s.record(); s.suspends != 0 || me.Power != fsm.Awake {
			t.Errorf("%d suspends, %+v", s.suspends, me)
		}
	})
}

// TestLostAnswerIsAskedFor: "asleep" was committed and nobody said so.
func TestLostAnswerIsAskedFor(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.order()
		s.raft.lose = true
		s.steps(1)
		if me := s.record(); me.Power != fsm.Asleep || s.suspends != 0 {
			t.Fatalf("%+v, %d suspends", me, s.suspends)
		}
		s.steps(4)
		if me := s.record(); s.suspends != 1 || me.Power != fsm.Awake {
			t.Errorf("%d suspends, %+v", s.suspends, me)
		}
	})
}

// TestCalledWhileUnsure: somebody called before the answer was known, so there is no suspend.
func TestCalledWhileUnsure(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.order()
		s.raft.lose = true
		s.steps(1)
		s.raft.must(fsm.SetPower{Node: "b", From: fsm.Asleep, To: fsm.Waking, Sleeps: 1, Reason: fsm.Demand})
		s.steps(3)
		if me := s.record(); s.suspends != 0 || me.Power != fsm.Awake {
			t.Errorf("%d suspends, %+v", s.suspends, me)
		}
	})
}

// TestHandOverHasALimit: on this host's own clock.
func TestHandOverHasALimit(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		held := tenancy{Opened: true, Epoch: 1}
		keeper := &tenant{}
		keeper.shown.Store(&held)
		s.tenants.all = map[string]*tenant{"web": keeper}
		s.order()
		s.steps(90)
		if me := s.record(); me.Power != fsm.Suspending {
			t.Fatalf("after 9 s: %+v", me)
		}
		s.steps(20)
		if me := s.record(); me.Power != fsm.Awake || me.PowerReason != fsm.SuspendTimeout || s.suspends != 0 {
			t.Errorf("after 11 s: %+v, %d suspends", me, s.suspends)
		}
	})
}

// TestAnEarlierLifesAsleepIsNoOrder: what an earlier life of this agent proposed is committed late, in the middle of the same
// sleep; nobody knows what that life did after it.
func TestAnEarlierLifesAsleepIsNoOrder(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.order()
		s.raft.drop = true
		s.steps(1)
		s.raft.must(fsm.SetPower{Node: "b", From: fsm.Suspending, To: fsm.Asleep, Sleeps: 1, Reason: fsm.HandedOver, At: time.Now().Add(-time.Second)})
		s.steps(3)
		if me := s.record(); s.suspends != 0 || me.Power != fsm.Awake {
			t.Errorf("%d suspends, %+v", s.suspends, me)
		}
	})
}

// TestCalledInVainIsNoOrder: the record goes back to "asleep" when a call is given up; the host, which never slept, reports back.
func TestCalledInVainIsNoOrder(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.order()
		s.raft.lose = true
		s.steps(1)
		for _, c := range []fsm.SetPower{{From: fsm.Asleep, To: fsm.Waking, Reason: fsm.Demand}, {From: fsm.Waking, To: fsm.Asleep, Reason: fsm.GaveUp}} {
			c.Node, c.Sleeps, c.At = "b", 1, time.Now().Add(time.Minute)
			s.raft.must(c)
		}
		s.steps(3)
		if me := s.record(); s.suspends != 0 || me.Power != fsm.Awake {
			t.Errorf("%d suspends, %+v", s.suspends, me)
		}
	})
}

// TestHeirsOfAnEarlierLifeAreNotAwaited: after a crash of the agent nobody says again that he is open.
func TestHeirsOfAnEarlierLifeAreNotAwaited(t *testing.T) {
	for released, want := range map[uint64]int{0: 1, 1: 0} {
		onStage(t, func(t *testing.T, s *stage) {
			s.raft.must(fsm.PutNode{Node: fsm.Node{Name: "a", Key: "k2", Policy: fsm.AlwaysOn}})
			s.raft.must(fsm.PutService{Service: testService})
			s.raft.must(fsm.Assign{Service: "web", Owner: "b", Planned: 0, Reason: fsm.FirstOwner})
			s.raft.must(fsm.Assign{Service: "web", Owner: "a", Planned: 1, Reason: fsm.OwnerFailed})
			keeper := &tenant{}
			keeper.shown.Store(&tenancy{Released: released})
			s.tenants.all = map[string]*tenant{"web": keeper}
			s.order()
			s.steps(4)
			if s.suspends != want {
				t.Errorf("%d suspends after epoch %d ended in this life, want %d", s.suspends, released, want)
			}
		})
	}
}

// untilStopped is a suspend command that does not end by itself.
func untilStopped(ctx context.Context) error {
	<-ctx.Done()
	return errors.New("signal: terminated")
}

// TestSuspendCommandThatHangs: the host is awake all the time, and says so in the end.
func TestSuspendCommandThatHangs(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.hang = untilStopped
		s.order()
		began := time.Now()
		s.steps(2)
		if me := s.record(); me.Power != fsm.Awake || me.PowerReason != fsm.SuspendFailed || time.Since(began) > wakeGrace+2*time.Second {
			t.Errorf("after %v: %+v", time.Since(began), me)
		}
		if p := s.problem.Load(); p == nil || !strings.Contains(*p, "this host did not sleep") {
			t.Errorf("problem: %v", p)
		}
		s.hang = nil
		s.order()
		s.steps(4)
		if p := s.problem.Load(); p != nil || s.suspends != 2 {
			t.Errorf("%d suspends; the complaint about an earlier sleep stands: %v", s.suspends, *p)
		}
	})
}

// TestCalledDuringTheCommand: a wake is never lost, however long the command still runs.
func TestCalledDuringTheCommand(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.hang = untilStopped
		s.order()
		s.steps(1)
		called := time.AfterFunc(time.Second, func() {
			s.raft.must(fsm.SetPower{Node: "b", From: fsm.Asleep, To: fsm.Waking, Sleeps: 1, Reason: fsm.Demand})
		})
		defer called.Stop()
		began := time.Now()
		s.steps(2)
		if me := s.record(); me.Power != fsm.Awake || me.PowerReason != fsm.SleepCancelled || time.Since(began) > 5*time.Second {
			t.Errorf("after %v: %+v", time.Since(began), me)
		}
	})
}

// TestCalledAfterTheCommand: a suspend command may end before the sleep begins. A host that is called in between does not say that it is
// back before it was away, or it is clear that it will not be: it would get its services and take them into the sleep.
func TestCalledAfterTheCommand(t *testing.T) {
	for name, sleeps := range map[string]bool{"and sleeps all the same": true, "and stays awake": false} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(t *testing.T, s *stage) {
				s.hang = func(context.Context) error { return nil } // it has only told somebody else to suspend this host
				s.order()
				s.steps(1)
				began := time.Now()
				called := time.AfterFunc(100*time.Millisecond, func() {
					s.raft.must(fsm.SetPower{Node: "b", From: fsm.Asleep, To: fsm.Waking, Sleeps: 1, Reason: fsm.Demand})
				})
				defer called.Stop()
				back := time.Duration(0)
				if sleeps {
					woken := time.AfterFunc(time.Second, func() {
						if me := s.record(); me.Power != fsm.Waking {
							t.Errorf("it said that it is %s before it was away", me.Power)
						}
						s.resumed.Add(1)
						s.returned(wake.Slept)
					})
					defer woken.Stop()
					back = time.Second
				}
				s.steps(2)
				me, took, want := s.record(), time.Since(began), fsm.SleepCancelled // a canary must not take it for a wake
				if sleeps {
					want = fsm.WokeUp
				}
				if me.Power != fsm.Awake || me.PowerReason != want || took < back || took > back+calledGrace+lastTick+time.Second {
					t.Errorf("after %v: %+v", took, me)
				}
				if p := s.problem.Load(); p != nil {
					t.Errorf("it complains: %s", *p)
				}
			})
		})
	}
}

// TestCommandThatGoesOnAfterTheResume: the host is back as soon as it is, and the next sleep does not run beside what is left.
func TestCommandThatGoesOnAfterTheResume(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		ended := 0
		s.hang = func(ctx context.Context) error {
			s.returned(wake.Slept)
			<-ctx.Done()
			ended++
			return nil
		}
		for n := range 2 {
			s.order()
			began := time.Now()
			s.steps(3)
			if me := s.record(); me.Power != fsm.Awake || time.Since(began) > time.Second || ended != n {
				t.Errorf("sleep %d: after %v %+v, %d commands ended", n+1, time.Since(began), me, ended)
			}
		}
		s.stopLast()
		s.running.Wait()
	})
}

// TestStoppedOnTheWayIntoSleep: a stopped process is no suspend. The host is not said to be back while its suspend command is
// at work, which would give it services that it takes into its sleep; where the kernel does not count, a stall has to do.
func TestStoppedOnTheWayIntoSleep(t *testing.T) {
	for _, countless := range []bool{false, true} {
		onStage(t, func(t *testing.T, s *stage) {
			s.countless = countless
			early := false
			s.hang = func(context.Context) error {
				s.returned(wake.Stalled)
				time.Sleep(3 * time.Second)
				early = s.record().Power != fsm.Asleep
				s.resumed.Add(1)
				return nil
			}
			s.order()
			s.steps(4)
			s.running.Wait()
			if me := s.record(); early != countless || me.Power != fsm.Awake || s.suspends != 1 {
				t.Errorf("a kernel without a count: %v; back before the suspend: %v; %d suspends, %+v", countless, early, s.suspends, me)
			}
		})
	}
}

// TestASleepOfAMoment: the clocks are as they were before it, and the kernel has counted it; without a count the host waits for a
// while, and then says that it did not sleep.
func TestASleepOfAMoment(t *testing.T) {
	for _, countless := range []bool{false, true} {
		onStage(t, func(t *testing.T, s *stage) {
			s.countless = countless
			s.hang = func(context.Context) error {
				time.Sleep(30 * time.Millisecond)
				s.resumed.Add(1)
				return nil
			}
			s.order()
			began := time.Now()
			s.steps(3)
			took, complained := time.Since(began), s.problem.Load() != nil
			want := fsm.WokeUnasked
			if countless {
				want = fsm.SuspendFailed
			}
			if me := s.record(); me.Power != fsm.Awake || me.PowerReason != want || complained != countless || (took > time.Second) != countless {
				t.Errorf("countless %v: after %v %+v, complained %v", countless, took, me, complained)
			}
		})
	}
}

// TestNoSleepOnTheWayOut: a host that is leaving the cluster stays awake: without its record nobody could call it.
func TestNoSleepOnTheWayOut(t *testing.T) {
	for _, late := range []bool{false, true} {
		onStage(t, func(t *testing.T, s *stage) {
			s.order()
			if late {
				s.raft.lose = true
				s.steps(1)
			}
			s.leaves = true
			s.steps(3)
			if me := s.record(); s.suspends != 0 || me.Power != fsm.Awake || me.PowerReason != fsm.SleepCancelled {
				t.Errorf("late %v: %d suspends, %+v", late, s.suspends, me)
			}
		})
	}
}

// anyKey takes every host for the node that it says it is.
func anyKey(fsm.Node, string) bool { return true }
