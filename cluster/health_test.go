package cluster

import (
	"strings"
	"testing"
	"time"

	"nightporter/fsm"
	"nightporter/lease"
)

// checkedWorld is a view in which web has a check. health says what was heard: "b:ready c:failing d:unknown", with the age of the
// word in seconds after a flag: "b:ready!20".
func checkedWorld(t *testing.T, w world, health string) View {
	t.Helper()
	v := w.view()
	sv := v.State.Services["web"]
	sv.Checks = []fsm.Check{{Kind: fsm.CheckTCP, Port: 80, Interval: 2 * time.Second, Timeout: time.Second, Rise: 1, Fall: 3}}
	v.State.Services["web"] = sv
	sum := ChecksSum(sv)
	c := ServiceChecks{Sum: sum, Since: v.Now.Add(-time.Minute), Targets: map[string]Health{}}
	for _, f := range splitWords(health) {
		state, age := cutFlag(f[2:])
		h := Health{State: HealthState(state), Why: "tcp 80: connection refused", Sum: sum, Heard: v.Now, Ready: v.Now.Add(-30 * time.Second)}
		if age != "" {
			d, err := time.ParseDuration(age)
			if err != nil {
				t.Fatal(err)
			}
			h.Heard = v.Now.Add(-d)
		}
		if h.State == HealthReady {
			h.Ready = h.Heard
		}
		c.Targets[f[:1]] = h
	}
	v.Health = HealthTable{"web": c}
	return v
}

func TestPlanWithChecks(t *testing.T) {
	failed := []fsm.Change{{At: wall.Add(-2 * time.Minute), From: "b", To: "a", Reason: fsm.CheckFailed}}
	justFailed := []fsm.Change{{At: wall.Add(-time.Second), From: "b", To: "a", Reason: fsm.CheckFailed}}
	three := world{nodes: "a:awake b:awake c:awake", targets: []string{"b", "c"}}
	held := func(by string) world {
		w := three
		w.owner, w.epoch = by, 3
		return w
	}
	with := func(w world, h []fsm.Change) world { w.history = h; return w }
	for _, tc := range []struct {
		name   string
		world  world
		health string
		owner  string
		reason fsm.Reason // "" = no change
	}{
		{"first owner is the first target that is ready", three, "b:failing c:ready", "c", fsm.FirstOwner},
		{"none is ready: a front", three, "b:failing c:unknown", "a", fsm.FirstOwner},
		{"nothing was heard: a front", three, "", "a", fsm.FirstOwner},
		{"an old word is none", three, "b:ready!8s c:ready!20s", "a", fsm.FirstOwner},
		{"only targets that are not ready: nobody, who would refuse its clients", world{nodes: "b:awake c:awake", targets: []string{"b", "c"}}, "b:failing c:failing", "", ""},
		{"a ready holder keeps it", held("b"), "b:ready c:ready", "", ""},
		{"a failing holder loses it to another target", held("b"), "b:failing c:ready", "c", fsm.CheckFailed},
		{"else to a front", held("b"), "b:failing c:failing", "a", fsm.CheckFailed},
		{"where there is nobody else, it keeps it", world{nodes: "b:awake c:awake", targets: []string{"b", "c"}, owner: "b", epoch: 3}, "b:failing c:failing", "", ""},
		{"unknown for longer than a failure takes to be found out", held("b"), "b:unknown c:ready", "c", fsm.CheckFailed},
		{"silent about its checks for as long", held("b"), "b:ready!10s c:ready", "c", fsm.CheckFailed},
		{"but not before", held("b"), "b:ready!8s c:ready", "", ""},
		{"a front's own health is no matter", held("a"), "b:failing c:failing", "", ""},
		{"a front gives it to a target that became ready", held("a"), "b:failing c:ready", "c", fsm.TargetReady},
		{"to one that had failed, because it passes again", with(held("a"), failed), "b:ready c:failing", "b", fsm.CheckPassed},
		{"but not so soon that it flaps", with(held("a"), justFailed), "b:ready c:failing", "", ""},
		{"a sleeping target's old word says nothing", world{nodes: "a:awake b:asleep c:awake", targets: []string{"b"}, owner: "a", epoch: 3}, "b:ready", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := checkedWorld(t, tc.world, tc.health)
			plan := Plan(v)
			if tc.reason == "" {
				if len(plan) != 0 {
					t.Fatalf("planned %+v, want nothing", plan)
				}
				return
			}
			if len(plan) != 1 || plan[0].Owner != tc.owner || plan[0].Reason != tc.reason {
				t.Fatalf("planned %+v, want %s because %s", plan, tc.owner, tc.reason)
			}
			if said := plan[0].Detail != ""; said != (tc.reason == fsm.CheckFailed) {
				t.Errorf("the detail is %q", plan[0].Detail)
			}
		})
	}
}

// A leader that just started, or stood still, takes nobody's silence about his checks for a failure.
func TestYoungTableTakesNoSilenceForFailure(t *testing.T) {
	w := world{nodes: "a:awake b:awake", targets: []string{"b"}, owner: "b", epoch: 3, young: true}
	if plan := Plan(checkedWorld(t, w, "b:ready!1h")); len(plan) != 0 {
		t.Errorf("planned %+v", plan)
	}
	if plan := Plan(checkedWorld(t, w, "b:failing")); len(plan) != 1 {
		t.Errorf("planned %+v though the word is fresh", plan)
	}
	v := checkedWorld(t, world{nodes: "a:awake b:awake", targets: []string{"b"}, owner: "b", epoch: 3}, "")
	v.Health.Expect(v.Now, v.State.Services, true)
	if plan := Plan(v); len(plan) != 0 {
		t.Errorf("planned %+v though it listens only now", plan)
	}
	if v.Now = v.Now.Add(10 * time.Second); len(Plan(v)) != 1 {
		t.Error("nothing was heard for ten seconds, and it is not taken away")
	}
}

func TestHealthTable(t *testing.T) {
	sv := fsm.Service{Name: "web", Targets: []string{"b"}, Checks: []fsm.Check{{Kind: fsm.CheckTCP, Port: 80}}}
	services := map[string]fsm.Service{"web": sv, "dns": {Name: "dns", Targets: []string{"b"}}}
	table, now := HealthTable{}, lease.Boot(time.Hour)
	table.Expect(now, services, false)
	say := func(state HealthState, inc, seq, sleeps uint64) bool {
		now = now.Add(time.Second)
		return table.Hear(now, "b", HealthReport{Incarnation: inc, Seq: seq, Sleeps: sleeps, Services: []ServiceHealth{
			{Service: "web", Sum: ChecksSum(sv), State: state, Why: "why"}, {Service: "dns", State: HealthReady}, {Service: "nfs", State: HealthReady},
		}})
	}
	view := func(sleeps uint64) View {
		return View{Now: now, Health: table.Clone(), State: &fsm.State{Nodes: map[string]fsm.Node{"b": {Name: "b", Sleeps: sleeps}}}}
	}
	want := func(what string, news, wantNews bool, sleeps uint64, wantState HealthState) {
		t.Helper()
		if state, why := view(sleeps).Readiness(sv, "b"); state != wantState || (why == "") != (state == HealthReady) {
			t.Errorf("%s: %s (%s), want %s", what, state, why, wantState)
		}
		if news != wantNews {
			t.Errorf("%s: news %v", what, news)
		}
	}
	want("nothing", false, false, 0, HealthUnknown)
	want("ready", say(HealthReady, 1, 5, 2), true, 2, HealthReady)
	want("again", say(HealthReady, 1, 6, 2), false, 2, HealthReady)
	want("doubled and late", say(HealthFailing, 1, 6, 2), false, 2, HealthReady)
	want("after another sleep", false, false, 3, HealthUnknown)
	want("failing", say(HealthFailing, 1, 7, 2), true, 2, HealthFailing)
	want("the next life counts anew", say(HealthReady, 2, 1, 2), true, 2, HealthReady)
	want("the former one is late", say(HealthFailing, 1, 9, 2), false, 2, HealthReady)
	if len(table) != 1 {
		t.Errorf("%v is remembered", table)
	}
	old := view(2)
	sv.Checks[0].Port = 81
	table.Expect(now, services, false)
	want("of another definition", false, false, 2, HealthUnknown)
	if c := table["web"]; c.Since != now {
		t.Errorf("the present definition counts from %d, not %d", c.Since, now)
	}
	if old.Health["web"].Since == now {
		t.Error("the copy changed")
	}
	now = now.Add(HealthFresh + time.Second)
	if _, why := old.Readiness(sv, "b"); strings.Contains(why, "old") {
		t.Errorf("a view's time went on: %s", why)
	}
	sv.Targets = []string{"c"}
	services["web"] = sv
	table.Expect(now, services, false)
	if n := len(table["web"].Targets); n != 0 {
		t.Errorf("%d targets are remembered that are none", n)
	}
}
