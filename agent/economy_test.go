package agent

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/wake"
)

// knock is an attempt to reach a service from an address.
func knock(service, from string) wake.Demand {
	return wake.Demand{Service: service, Protocol: "tcp", Client: netip.MustParseAddrPort(from + ":4000"), Dest: netip.MustParseAddrPort("10.77.0.200:8080")}
}

func oneTarget(rules fsm.WakeRules) fsm.Service {
	sv := testService
	sv.Targets, sv.Wake = []string{"b"}, rules
	return sv
}

// lines is what was counted, for people.
func (x *wakingWorld) lines() string {
	var out []string
	for _, r := range x.economy.refused(time.Duration(x.clock.Boot()), x.clock.Wall(), "a") {
		out = append(out, fmt.Sprintf("%s %s %s %d", r.Source, r.Port, r.Why, r.Count))
	}
	return strings.Join(out, ", ")
}

// TestDeniedSourcesWakeNobody: nor do they nudge a target that counts as awake, and what they say on a connection that exists wakes nobody either.
func TestDeniedSourcesWakeNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newWakingWorld(t, oneTarget(fsm.WakeRules{Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Deny: []netip.Prefix{netip.MustParsePrefix("192.0.2.9/32")}}), time.Minute)
		word := knock("web", "192.0.2.9")
		word.Node = "b"
		for range 3 {
			x.demand(knock("web", "192.0.2.9"))
			x.demand(knock("web", "198.51.100.1"))
			x.demand(word)
		}
		x.look()
		if n := x.calls.calls[macs["b"]]; n != 0 {
			t.Fatalf("%d calls", n)
		}
		if got := x.lines(); got != "192.0.2.9 tcp/8080 denied 6, 198.51.100.1 tcp/8080 denied 3" {
			t.Errorf("counted: %s", got)
		}
		x.demand(knock("web", "192.0.2.7"))
		if n := x.calls.calls[macs["b"]]; n != 1 {
			t.Errorf("an allowed source makes %d calls", n)
		}
		if n := testing.AllocsPerRun(100, func() { x.demand(knock("web", "192.0.2.9")) }); n > 1 { // one of them is the knock itself
			t.Errorf("%v allocations for a packet that is denied", n)
		}
	})
}

// ended puts a wake into the log that another front began, and its verdict.
func (x *wakingWorld) ended(id, client string, v fsm.Verdict) {
	x.solo.must(fsm.BeginWake{Wake: fsm.Wake{ID: id, Node: "b", Service: "web", Cause: fsm.Demand, Client: client + ":1", Port: "tcp/8080", By: "z", Started: time.Now()}})
	x.solo.must(fsm.EndWake{ID: id, Result: fsm.WokeUp, At: time.Now()})
	if v != "" {
		x.solo.must(fsm.JudgeWake{ID: id, Verdict: v})
	}
}

// TestTheBudgetIsTheLogs: what a source did at another front counts here, useful wakes do not, and after an hour it has its turn again.
func TestTheBudgetIsTheLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newWakingWorld(t, oneTarget(fsm.WakeRules{Budget: 2, BudgetAll: fsm.NoLimit}), time.Minute)
		for i := range 5 {
			x.ended(fmt.Sprint("good", i), "192.0.2.7", fsm.Useful)
			x.ended(fmt.Sprint("dark", i), "192.0.2.8", fsm.Unknown)
		}
		x.ended("s1", "192.0.2.9", fsm.Spurious)
		x.ended("s2", "192.0.2.9", fsm.Spurious)
		x.demand(knock("web", "192.0.2.9"))
		x.demand(knock("web", "192.0.2.9"))
		if n := x.calls.calls[macs["b"]]; n != 0 || x.lines() != "192.0.2.9 tcp/8080 over-budget 2" {
			t.Fatalf("%d calls; %s", n, x.lines())
		}
		if p := x.economy.problems(time.Duration(x.clock.Boot())); len(p) != 1 || !strings.Contains(p[0], "1 source used up the budget") {
			t.Errorf("status says %q", p)
		}
		x.demand(knock("web", "192.0.2.7"))
		if n := x.calls.calls[macs["b"]]; n != 1 {
			t.Fatalf("a good client makes %d calls", n)
		}
		x.demand(knock("web", "192.0.2.9")) // somebody is called already: it adds nothing, and is no refusal
		x.end("b", fsm.WokeUp)
		if x.lines() != "192.0.2.9 tcp/8080 over-budget 2" {
			t.Errorf("counted: %s", x.lines())
		}
		time.Sleep(31 * time.Minute)
		for _, what := range []string{"after half an hour it wakes again", "a repetition, while nobody has judged that"} {
			before := x.calls.calls[macs["b"]]
			x.demand(knock("web", "192.0.2.9"))
			if n := x.calls.calls[macs["b"]] - before; n != 1 {
				t.Errorf("%s: %d calls", what, n)
			}
			x.end("b", fsm.WokeUp)
		}
	})
}

// TestManySourcesShareABudget: but for those that are known for something good. While a member of an older version is there, nobody is judged.
func TestManySourcesShareABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newWakingWorld(t, oneTarget(fsm.WakeRules{BudgetAll: 2}), time.Minute)
		x.solo.must(fsm.PutNode{Node: fsm.Node{Name: "old", Key: "k", Policy: fsm.AlwaysOn}})
		x.ended("g", "192.0.2.7", fsm.Useful)
		for i := range 3 {
			x.demand(knock("web", fmt.Sprint("198.51.100.", i)))
			x.end("b", fsm.WokeUp)
		}
		if n := x.calls.calls[macs["b"]]; n != 3 {
			t.Fatalf("%d of 3 calls beside a member that cannot read verdicts", n)
		}
		x.solo.must(fsm.RemoveNode{Name: "old"})
		x.demand(knock("web", "198.51.100.77"))
		if n := x.calls.calls[macs["b"]]; n != 3 || x.lines() != "198.51.100.77 tcp/8080 over-budget-all 1" {
			t.Fatalf("%d calls; %s", n, x.lines())
		}
		x.demand(knock("web", "192.0.2.7"))
		if n := x.calls.calls[macs["b"]]; n != 4 {
			t.Errorf("a known client makes %d calls", n)
		}
	})
}

func TestLinesAreBounded(t *testing.T) {
	var e economy
	state := &fsm.State{Services: map[string]fsm.Service{"web": oneTarget(fsm.WakeRules{Deny: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})}}
	for i := range 5000 {
		e.lets(time.Hour, time.Unix(0, 0), state, knock("web", fmt.Sprintf("10.0.%d.%d", i/250, i%250)), false)
	}
	all := e.refused(time.Hour, time.Unix(0, 0), "a")
	var sum, others uint64
	for _, r := range all {
		if sum += r.Count; r.Source == "" {
			others = r.Count
		}
	}
	if len(all) != linesMost+1 || sum != 5000 || others != 5000-linesMost {
		t.Errorf("%d lines count %d, %d of them together", len(all), sum, others)
	}
}

// TestLinesAreForgotten: a day after the last attempt, so that there is room for others.
func TestLinesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newWakingWorld(t, oneTarget(fsm.WakeRules{Deny: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}), time.Minute)
		x.demand(knock("web", "192.0.2.7"))
		time.Sleep(time.Hour)
		x.demand(knock("web", "192.0.2.8"))
		learn := func() { x.economy.learn(time.Duration(x.clock.Boot()), x.clock.Wall(), x.solo.machine.View().State) }
		learn()
		time.Sleep(lineLasts - time.Hour)
		learn()
		if got := x.lines(); got != "192.0.2.8 tcp/8080 denied 1" {
			t.Errorf("after a day: %s", got)
		}
	})
}

// inrushWorld has a service for each of b and c, and lets one host start at a time.
func inrushWorld(t *testing.T) *wakingWorld {
	t.Helper()
	x := newWakingWorld(t, oneTarget(fsm.WakeRules{}), time.Minute)
	db := testService
	db.Name, db.Targets, db.Addresses, db.MAC = "db", []string{"c"}, []netip.Addr{netip.MustParseAddr("10.77.0.201")}, "\x02\x00\x5e\x00\x00\xc9"
	x.solo.must(fsm.PutService{Service: db})
	x.solo.must(fsm.SetInrush{Limit: 1})
	return x
}

func (x *wakingWorld) isBack(node string) {
	x.members[node] = cluster.Member{Name: node, Status: cluster.Alive, Meta: cluster.Meta{Power: fsm.Awake, Sleeps: 3}}
	x.power(node, fsm.Asleep, fsm.Awake)
}

// TestOneStartsAfterTheOther: also where another front calls the first one. Nobody waits for long for a host that does not answer, and
// operators do not wait at all.
func TestOneStartsAfterTheOther(t *testing.T) {
	calls := func(x *wakingWorld, b, c int, when string) {
		t.Helper()
		if x.calls.calls[macs["b"]] < b || x.calls.calls[macs["b"]] > 0 && b == 0 || (x.calls.calls[macs["c"]] > 0) != (c > 0) {
			t.Errorf("%s the calls are %v", when, x.calls.calls)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		x := inrushWorld(t)
		x.demand(knock("web", "192.0.2.7"))
		for range 3 {
			x.demand(knock("db", "192.0.2.7"))
			x.look()
		}
		calls(x, 1, 0, "at first")
		if w := x.waitingWakes(); len(w) != 1 || w[0].Node != "c" || w[0].Service != "db" {
			t.Errorf("%+v wait", w)
		}
		time.Sleep(2 * time.Second)
		x.isBack("b")
		x.look()
		x.look()
		calls(x, 1, 1, "when b is back")
		if len(x.waitingWakes()) != 0 {
			t.Error("somebody still waits")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		x := inrushWorld(t)
		x.help(cluster.WakeCall{ID: "other", Node: "b", Service: "web", Cause: fsm.Demand, Sleeps: 3}) // another front's word
		x.demand(knock("db", "192.0.2.7"))
		time.Sleep(wake.InrushHold - time.Second)
		x.look()
		calls(x, 1, 0, "while b is called by another front")
		time.Sleep(time.Second)
		x.look()
		calls(x, 1, 1, "when b has had its time")
	})
	synctest.Test(t, func(t *testing.T) {
		x := inrushWorld(t)
		x.demand(knock("web", "192.0.2.7"))
		x.operator("c", 3)
		calls(x, 1, 1, "with an operator's wake")
	})
	synctest.Test(t, func(t *testing.T) { // nobody waits in the line for a client that has gone; it has paid nothing
		x := inrushWorld(t)
		for range 4 {
			x.operator("b", 3)
			x.demand(knock("db", "192.0.2.7"))
			for range 32 { // the client repeats its SYN after half a minute
				x.look()
				x.end("b", fsm.WokeUp)
				x.operator("b", 3)
				time.Sleep(time.Second)
			}
		}
		if w := x.waitingWakes(); len(w) != 1 {
			t.Fatalf("%+v wait", w)
		}
		for range 131 {
			x.end("b", fsm.WokeUp)
			x.operator("b", 3)
			x.look()
			time.Sleep(time.Second)
		}
		if w := x.waitingWakes(); len(w) != 0 || x.calls.calls[macs["c"]] != 0 {
			t.Errorf("%+v wait, the calls are %v", w, x.calls.calls)
		}
	})
	synctest.Test(t, func(t *testing.T) { // who woke by itself meanwhile leaves the line
		x := inrushWorld(t)
		x.demand(knock("web", "192.0.2.7"))
		x.demand(knock("db", "192.0.2.7"))
		x.isBack("c")
		x.look()
		if len(x.waitingWakes()) != 0 || x.calls.calls[macs["c"]] != 0 {
			t.Errorf("%v wait, the calls are %v", x.waitingWakes(), x.calls.calls)
		}
	})
}

// TestAHostIsLeftAsleep: for as long as its service's definition says, whoever knocks; an operator is not asked to wait.
func TestAHostIsLeftAsleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newWakingWorld(t, oneTarget(fsm.WakeRules{AsleepAtLeast: time.Minute}), time.Minute)
		x.solo.must(fsm.SetPower{Node: "b", From: fsm.Asleep, To: fsm.Awake, Sleeps: 3, At: time.Now()})
		x.solo.must(fsm.SetPower{Node: "b", From: fsm.Awake, To: fsm.Suspending, Sleeps: 3, At: time.Now()})
		x.solo.must(fsm.SetPower{Node: "b", From: fsm.Suspending, To: fsm.Asleep, Sleeps: 4, At: time.Now()})
		for range 59 {
			x.demand(knock("web", "192.0.2.7"))
			x.look()
			time.Sleep(time.Second)
		}
		if n := x.calls.calls[macs["b"]]; n != 0 {
			t.Fatalf("%d calls within a minute", n)
		}
		time.Sleep(time.Second)
		x.look()
		if n := x.calls.calls[macs["b"]]; n != 1 {
			t.Errorf("%d calls after a minute", n)
		}
	})
	now := 5 * time.Hour
	sv, slept := fsm.Service{Wake: fsm.WakeRules{AsleepAtLeast: time.Minute}}, time.Unix(1e9, 0)
	for _, c := range []struct {
		power fsm.Power
		ago   time.Duration
		want  time.Duration
	}{{fsm.Asleep, 10 * time.Second, 50 * time.Second}, {fsm.Asleep, time.Hour, 0}, {fsm.Asleep, -time.Hour, time.Minute}, {fsm.Off, time.Second, 0}, {fsm.Suspending, 0, 0}} {
		if got := notBefore(now, slept.Add(c.ago), sv, fsm.Node{Power: c.power, PowerSince: slept}) - now; got != c.want {
			t.Errorf("%s %s ago: in %s, want %s", c.power, c.ago, got, c.want)
		}
	}
}
