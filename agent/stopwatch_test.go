package agent

import (
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/lease"
	"nightporter/wake"
)

func TestStopwatch(t *testing.T) {
	const s = time.Second
	all := sighting{true, true, true, true}
	for _, tc := range []struct {
		name    string
		service string
		seen    []sighting // one each second
		done    int        // at which of them; 0 = never
		want    fsm.Phases
	}{
		{"phase by phase", "web", []sighting{{}, {back: true}, {back: true, awake: true}, {back: true, awake: true, ready: true}, all}, 5, fsm.Phases{Back: 2 * s, Awake: 3 * s, Ready: 4 * s, Served: 5 * s}},
		{"all at once", "web", []sighting{{}, all}, 2, fsm.Phases{Back: 2 * s, Awake: 2 * s, Ready: 2 * s, Served: 2 * s}},
		{"gossip was late", "web", []sighting{{awake: true}, all}, 2, fsm.Phases{Back: s, Awake: s, Ready: 2 * s, Served: 2 * s}},
		{"an old word about the checks counts only once it is awake", "web", []sighting{{ready: true}, {back: true, ready: true}}, 0, fsm.Phases{Back: 2 * s}},
		{"nobody waits for a service", "", []sighting{{back: true}, {back: true, awake: true}}, 2, fsm.Phases{Back: s, Awake: 2 * s}},
		{"it never gets ready", "web", append(slices.Repeat([]sighting{{back: true, awake: true}}, 12), sighting{}), 12, fsm.Phases{Back: s, Awake: s}},
		{"it goes back to sleep", "web", []sighting{{back: true, awake: true, ready: true}, {}}, 2, fsm.Phases{Back: s, Awake: s, Ready: s}},
		{"it stays away", "web", slices.Repeat([]sighting{{}}, 100), 0, fsm.Phases{}},
	} {
		w := stopwatch{wake: wake.Wake{Service: tc.service}, began: lease.Boot(time.Hour), most: 10 * time.Second}
		done := 0
		for i, what := range tc.seen {
			if w.see(w.began.Add(time.Duration(i+1)*time.Second), what) {
				done = i + 1
				break
			}
		}
		if done != tc.done || w.phases != tc.want {
			t.Errorf("%s: done at %d with %+v, want %d with %+v", tc.name, done, w.phases, tc.done, tc.want)
		}
	}
}

// wakingWorld is host a, which wakes b and c, the targets of web. Gossip says what members has.
type wakingWorld struct {
	*waking
	solo    *soloRaft
	calls   *countedCalls
	members map[string]cluster.Member
	entered []fsm.Command
}

var macs = map[string]string{"b": "02:00:00:00:00:0b", "c": "02:00:00:00:00:0c"}

func newWakingWorld(t *testing.T, sv fsm.Service, most time.Duration) *wakingWorld {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	x := &wakingWorld{
		solo: &soloRaft{machine: foundedMachine(t, log), t: t, index: 2}, calls: &countedCalls{calls: map[string]int{}},
		members: map[string]cluster.Member{},
	}
	clock := &fakeClock{began: time.Now()}
	journal, err := cluster.NewJournal(raft.NewInmemStore())
	if err != nil {
		t.Fatal(err)
	}
	x.solo.must(fsm.PutNode{Node: fsm.Node{Name: "a", Key: "k", Policy: fsm.AlwaysOn, Format: fsm.Format}})
	for name, mac := range macs {
		hw, err := net.ParseMAC(mac)
		if err != nil {
			t.Fatal(err)
		}
		x.solo.must(fsm.PutNode{Node: fsm.Node{
			Name: name, Key: "k", Policy: fsm.Sleeps, Power: fsm.Asleep, Sleeps: 3, Wake: []fsm.MAC{fsm.MAC(hw)}, Format: fsm.Format,
		}})
	}
	x.solo.must(fsm.PutService{Service: sv})
	w := newWaking(most)
	w.self, w.clock, w.machine, w.raft, w.caller, w.log = "a", clock, x.solo.machine, leaderless{}, x.calls, log
	w.scene = &scene{
		is:   anyKey,
		self: "a", clock: clock, machine: w.machine, ballot: newBallot("a", clock, w.machine, journal, &memoryMirror{}, log),
		members: func() []cluster.Member { return slices.Collect(maps.Values(x.members)) }, leader: w.raft.Leader, deaf: w.raft.Deaf,
		learnt: make(map[string]tenureSeen),
	}
	w.tenants, w.out = &tenants{}, &post{gossip: &lateGossip{}, machine: w.machine, log: log}
	x.waking = w
	return x
}

// look is one turn of the loop.
func (x *wakingWorld) look() {
	x.callLine()
	x.due()
	x.settle()
	x.measure()
	for range len(x.entries) {
		x.entered = append(x.entered, <-x.entries)
	}
}

// measured are the samples that were to be recorded.
func (x *wakingWorld) measured() (out []fsm.MeasureWake) {
	for _, c := range x.entered {
		if m, ok := c.(fsm.MeasureWake); ok {
			out = append(out, m)
		}
	}
	return out
}

func (x *wakingWorld) power(node string, from, to fsm.Power) {
	x.solo.must(fsm.SetPower{Node: node, From: from, To: to, Sleeps: 3})
}

func twoTargets() fsm.Service {
	sv := checkedService
	sv.Targets = []string{"b", "c"}
	return sv
}

// TestAWakeIsMeasured: from the demand to the open service, in its phases, and recorded once.
func TestAWakeIsMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newWakingWorld(t, twoTargets(), 90*time.Second)
		x.look()
		pass := func(d time.Duration) { time.Sleep(d); x.look() }
		x.demand(wake.Demand{Service: "web"})
		pass(2 * time.Second)
		x.members["b"] = cluster.Member{Name: "b", Status: cluster.Alive, Meta: cluster.Meta{Power: fsm.Awake, Sleeps: 2}} // of before its sleep
		pass(time.Second)
		x.members["b"] = cluster.Member{Name: "b", Status: cluster.Alive, Meta: cluster.Meta{Power: fsm.Awake, Sleeps: 3}}
		pass(time.Second)
		x.power("b", fsm.Asleep, fsm.Awake)
		pass(time.Second)
		x.scene.hear("b", cluster.HealthReport{Incarnation: 1, Seq: 1, Sleeps: 3, Services: []cluster.ServiceHealth{
			{Service: "web", Sum: cluster.ChecksSum(twoTargets()), State: cluster.HealthReady},
		}})
		pass(time.Second)
		x.solo.must(fsm.Assign{Service: "web", Owner: "b", Reason: fsm.TargetReady})
		pass(time.Second)
		if n := len(x.measured()); n != 0 {
			t.Fatalf("%d samples before the service is open", n)
		}
		x.opens.note("web", 1)
		pass(time.Second)
		pass(time.Minute)
		got := x.measured()
		s := time.Second
		want := fsm.Phases{Called: 1, Back: 4 * s, Awake: 5 * s, Ready: 6 * s, Served: 8 * s}
		if len(got) != 1 || got[0].Node != "b" || got[0].Sample.Failed || got[0].Sample.Phases != want {
			t.Fatalf("recorded %+v, want %+v", got, want)
		}
	})
}

// TestAWakeThatFailsFallsBack: to the next target, at once, and the failure is recorded. A host that takes 4 s as a rule has failed long before
// wake_timeout.
func TestAWakeThatFailsFallsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newWakingWorld(t, twoTargets(), 90*time.Second)
		for _, id := range strings.Split("vwxyz", "") {
			x.solo.must(fsm.MeasureWake{Node: "b", Sample: fsm.WakeSample{ID: id, Phases: fsm.Phases{Called: 1, Awake: 4 * time.Second}}})
		}
		x.demand(wake.Demand{Service: "web"})
		for range 14 {
			time.Sleep(time.Second)
			x.look()
		}
		if x.calls.calls[macs["b"]] < 5 || x.calls.calls[macs["c"]] != 0 {
			t.Fatalf("after 14 s the calls are %v, want b's alone", x.calls.calls)
		}
		time.Sleep(time.Second)
		x.look()
		if x.calls.calls[macs["c"]] != 1 {
			t.Errorf("after 15 s the calls are %v, want the first of c", x.calls.calls)
		}
		if got := x.measured(); len(got) != 1 || got[0].Node != "b" || !got[0].Sample.Failed {
			t.Errorf("recorded %+v, want b's failure", got)
		}
		x.demand(wake.Demand{Service: "web"}) // who knocks again means c now
		if own := x.own(); len(own) != 1 || own[0].Node != "c" {
			t.Errorf("%+v is called", own)
		}
	})
}

// TestAnOldMemberKeepsWakesFromBeingRecorded: it would have to halt at that.
func TestAnOldMemberKeepsWakesFromBeingRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newWakingWorld(t, testService, 90*time.Second)
		x.solo.must(fsm.PutNode{Node: fsm.Node{Name: "old", Key: "k", Policy: fsm.AlwaysOn}})
		x.demand(wake.Demand{Service: "web"})
		time.Sleep(2 * time.Minute)
		x.look()
		if got := x.measured(); len(got) != 0 {
			t.Errorf("recorded %+v", got)
		}
	})
}

// TestTarget: an awake target that may get ready is waited for, one that fails for long is not. A knock sends it a packet, since it may have been suspended after
// its last word, and begins no wake.
func TestTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newWakingWorld(t, twoTargets(), 20*time.Second)
		x.members["b"] = cluster.Member{Name: "b", Status: cluster.Alive}
		x.power("b", fsm.Asleep, fsm.Awake)
		seq := uint64(0)
		say := func(state cluster.HealthState) {
			seq++
			x.scene.hear("b", cluster.HealthReport{Incarnation: 1, Seq: seq, Sleeps: 3, Services: []cluster.ServiceHealth{
				{Service: "web", Sum: cluster.ChecksSum(twoTargets()), State: state, Why: "why"},
			}})
		}
		want := func(what, node string) {
			t.Helper()
			if got, ok := x.target(x.machine.View().State, "web"); got != node || ok != (node != "") {
				t.Errorf("%s: %q, want %q", what, got, node)
			}
		}
		want("awake, nothing is known yet", "")
		say(cluster.HealthFailing)
		want("it begins to fail", "")
		for range 10 {
			time.Sleep(2 * time.Second)
			say(cluster.HealthFailing)
			want("it may get ready yet", "")
			x.demand(wake.Demand{Service: "web"})
		}
		if n, own := x.calls.calls[macs["b"]], x.own(); n != 10 || len(own) > 0 {
			t.Errorf("of ten knocks at a target that says that it fails came %d calls and the wakes %+v", n, own)
		}
		time.Sleep(2 * time.Second)
		say(cluster.HealthFailing)
		want("it failed for too long", "c")
		say(cluster.HealthReady)
		want("it is ready", "")
		say(cluster.HealthFailing)
		want("it fails anew", "")
	})
}
