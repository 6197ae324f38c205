package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/wake"
)

// led is a node that knows a leader, or does not.
type led struct {
	leaderless
	leader string
}

func (l *led) Leader() string { return l.leader }

// hookWorld is a wakingWorld with a hook. Commands of the ledger are carried out at once.
type hookWorld struct {
	*wakingWorld
	led   *led
	runs  []string // the nodes
	env   []string // of the last one
	fails error
}

func newHookWorld(t *testing.T) *hookWorld {
	x := &hookWorld{wakingWorld: newWakingWorld(t, twoTargets(), time.Minute), led: &led{leader: "z"}}
	x.raft = x.led
	x.hook = func(ctx context.Context, env []string) error {
		_, limited := ctx.Deadline()
		if !limited {
			t.Error("the hook may run for ever")
		}
		x.runs, x.env = append(x.runs, strings.TrimPrefix(env[0], "NIGHTPORTER_NODE=")), env
		return x.fails
	}
	return x
}

// pass lets time go by, as the loop does.
func (x *hookWorld) pass(d time.Duration) {
	var hooks sync.WaitGroup
	for end := time.Now().Add(d); time.Now().Before(end); {
		x.look()
		for _, c := range x.entered {
			if p, ok := c.(fsm.SetPower); ok {
				_, _, _ = x.solo.Propose(context.Background(), p) // refused where it is late
			}
		}
		x.entered = slices.DeleteFunc(x.entered, func(c fsm.Command) bool { _, ok := c.(fsm.SetPower); return ok })
		for len(x.hooks) > 0 {
			x.escalate(context.Background(), &hooks, <-x.hooks)
		}
		time.Sleep(250 * time.Millisecond)
	}
	hooks.Wait()
}

// TestTheHookIsTheLastResort: after the whole timeout, once, and seldom; another target is called long before.
func TestTheHookIsTheLastResort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newHookWorld(t)
		for _, id := range strings.Split("vwxyz", "") { // it usually takes 4 s, so it is late after 15
			x.solo.must(fsm.MeasureWake{Node: "b", Sample: fsm.WakeSample{ID: id, Phases: fsm.Phases{Called: 1, Awake: 4 * time.Second, Ready: 4 * time.Second}}})
		}
		x.demand(wake.Demand{Service: "web"})
		x.pass(14 * time.Second)
		if n := x.calls.calls[macs["c"]]; n != 0 {
			t.Errorf("c was called %d times already", n)
		}
		x.pass(2 * time.Second)
		if x.calls.calls[macs["c"]] == 0 || len(x.runs) != 0 || !strings.Contains(x.problem("b"), "has not woken yet") {
			t.Errorf("late: calls %v, hooks %v, %q", x.calls.calls, x.runs, x.problem("b"))
		}
		x.pass(45 * time.Second)
		if !slices.Equal(x.runs, []string{"b"}) || !slices.Contains(x.env, "NIGHTPORTER_POWER=asleep") || !strings.Contains(x.problem("b"), "the wake hook was run") {
			t.Errorf("after the timeout: hooks %v with %q, %q", x.runs, x.env, x.problem("b"))
		}
		x.fails = errors.New("exit status 3: no such outlet")
		for range 8 { // clients go on knocking
			x.pass(30 * time.Second)
			x.demand(wake.Demand{Service: "web", Node: "b"})
		}
		if n := slices.Index(x.runs[1:], "b"); n >= 0 {
			t.Errorf("the hook was run again for b: %v", x.runs)
		}
		if !strings.Contains(x.problem("c"), "the wake hook failed: exit status 3: no such outlet") && !strings.Contains(x.problem("c"), "and the wake hook:") {
			t.Errorf("a hook that fails is told as %q", x.problem("c"))
		}
		for range 40 {
			x.pass(30 * time.Second)
			x.demand(wake.Demand{Service: "web", Node: "b"})
		}
		if n := len(slices.DeleteFunc(slices.Clone(x.runs), func(s string) bool { return s != "b" })); n != 2 {
			t.Errorf("in %v the hook was run %d times for b, want twice", 24*time.Minute, n)
		}
	})
}

// TestNoHookForAHostThatMayBeUp: not while it says so itself, nor while the log has it awake or nobody keeps the log.
func TestNoHookForAHostThatMayBeUp(t *testing.T) {
	for name, change := range map[string]func(x *hookWorld){
		"it says that it is awake": func(x *hookWorld) {
			x.members["b"] = cluster.Member{Name: "b", Status: cluster.Alive, Meta: cluster.Meta{Power: fsm.Awake, Sleeps: 3}}
		},
		"no leader":              func(x *hookWorld) { x.led.leader = "" },
		"it has left":            func(x *hookWorld) { x.solo.must(fsm.RemoveNode{Name: "b", Reason: fsm.NodeLeft}) },
		"it has slept since":     func(x *hookWorld) { x.power("b", fsm.Asleep, fsm.Awake); x.power("b", fsm.Awake, fsm.Suspending) },
		"the log has it awake":   func(x *hookWorld) { x.power("b", fsm.Asleep, fsm.Awake) },
		"it was run a while ago": func(x *hookWorld) { x.hooked["b"] = hookRun{at: x.clock.Boot(), pause: hookPause} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newHookWorld(t)
				k := wake.Wake{ID: "w", Node: "b", Sleeps: 3}
				if why := x.noHook(k); why != "" {
					t.Fatalf("not even before: %s", why)
				}
				change(x)
				var hooks sync.WaitGroup
				x.escalate(context.Background(), &hooks, wake.Action{Kind: wake.Escalate, Wake: k})
				hooks.Wait()
				if len(x.runs) != 0 || x.noHook(k) == "" {
					t.Errorf("the hook was run: %v", x.runs)
				}
			})
		})
	}
}
