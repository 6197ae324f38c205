package cluster

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"nightporter/fsm"
	"nightporter/lease"
)

// world is a view in a form that a table can be written in.
type world struct {
	nodes   string // "a:awake b:asleep c:awake!dead d:awake!unfit e:awake!maint f:sleeper" (power, flags)
	targets []string
	owner   string
	reason  fsm.Reason
	epoch   uint64
	quiet   time.Duration // since the owner's last sign of life
	leader  string
	young   bool // the voter's table is too young to say anything
	history []fsm.Change
}

var wall = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (w world) view() View {
	now := lease.Boot(time.Hour)
	v := View{
		Now: now, Wall: wall, Self: "a", Leader: w.leader, Timing: Derive(time.Second), TableAge: time.Minute,
		Present: map[string]Presence{}, Tenures: map[string]Sign{},
		State: &fsm.State{
			Cluster:    fsm.Cluster{ID: "x"},
			Services:   map[string]fsm.Service{"web": {Name: "web", Targets: w.targets}},
			Ownerships: map[string]fsm.Ownership{"web": {Owner: w.owner, Epoch: w.epoch, Reason: w.reason, Since: wall.Add(-time.Hour)}},
			Nodes:      map[string]fsm.Node{},
			History:    map[string][]fsm.Change{"web": w.history},
		},
	}
	if w.young {
		v.TableAge = v.Timing.TTL
	}
	v.Tenures["web"] = Sign{Epoch: w.epoch, Seen: now.Add(-w.quiet)}
	for _, f := range splitWords(w.nodes) {
		name, rest := f[:1], f[2:]
		power, flag := cutFlag(rest)
		n := fsm.Node{Name: name, Power: fsm.Power(power), Policy: fsm.AlwaysOn, PowerSince: wall.Add(-2 * time.Hour)}
		p := Presence{Alive: n.Power == fsm.Awake || n.Power == fsm.Suspending}
		switch flag {
		case "dead":
			p.Alive = false
		case "unfit":
			p.Unfit = "eth0 is down"
		case "maint":
			n.Maintenance = true
		case "back":
			n.PowerSince = wall
		case "sleeper":
			n.Policy = fsm.Sleeps
		case "gaveup":
			n.PowerReason = fsm.GaveUp
		case "witness":
			n.Role = fsm.Witness
		}
		v.State.Nodes[name], v.Present[name] = n, p
	}
	return v
}

func splitWords(s string) []string {
	var out []string
	for len(s) > 0 {
		i := slices.Index([]byte(s), ' ')
		if i < 0 {
			return append(out, s)
		}
		out, s = append(out, s[:i]), s[i+1:]
	}
	return out
}

func cutFlag(s string) (string, string) {
	for i := range s {
		if s[i] == '!' {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

func TestPlan(t *testing.T) {
	const second = time.Second
	lost := func(node string, ago ...time.Duration) []fsm.Change {
		var out []fsm.Change
		for _, d := range ago {
			out = append(out, fsm.Change{At: wall.Add(-d), From: node, Reason: fsm.OwnerFailed})
		}
		return out
	}
	tests := []struct {
		name   string
		world  world
		owner  string
		reason fsm.Reason // "" = no change
	}{
		{"first owner is the first ready target", world{nodes: "a:awake b:awake c:awake", targets: []string{"c", "b"}}, "c", fsm.FirstOwner},
		{"no ready target: a front", world{nodes: "a:awake b:awake c:asleep", targets: []string{"c"}}, "a", fsm.FirstOwner},
		{"nobody awake: nobody", world{nodes: "a:asleep b:off", targets: []string{"a"}}, "", ""},
		{"a front prefers always-on hosts", world{nodes: "a:awake!sleeper b:awake c:asleep", targets: []string{"c"}}, "b", fsm.FirstOwner},
		{"a front is rather not the leader", world{nodes: "a:awake b:awake c:asleep", targets: []string{"c"}, leader: "a"}, "b", fsm.FirstOwner},
		{"but rather the leader than a sleeper", world{nodes: "a:awake b:awake!sleeper c:asleep", targets: []string{"c"}, leader: "a"}, "a", fsm.FirstOwner},
		{"a healthy owner keeps it", world{nodes: "a:awake b:awake", targets: []string{"b"}, owner: "b", epoch: 3, quiet: second / 10}, "", ""},
		{"a target is sticky against a better one", world{nodes: "a:awake b:awake c:awake", targets: []string{"c", "b"}, owner: "b", epoch: 3}, "", ""},
		{"a front gives way to a ready target", world{nodes: "a:awake b:awake", targets: []string{"b"}, owner: "a", epoch: 3}, "b", fsm.TargetReady},
		{"not to one that is not in touch", world{nodes: "a:awake b:awake!dead", targets: []string{"b"}, owner: "a", epoch: 3}, "", ""},
		{"not to an unfit one", world{nodes: "a:awake b:awake!unfit", targets: []string{"b"}, owner: "a", epoch: 3}, "", ""},
		{"not to one in maintenance", world{nodes: "a:awake b:awake!maint", targets: []string{"b"}, owner: "a", epoch: 3}, "", ""},
		{"an operator's move stays", world{nodes: "a:awake b:awake", targets: []string{"b"}, owner: "a", epoch: 3, reason: fsm.OperatorMoved}, "", ""},
		{"until a target comes back after it", world{nodes: "a:awake b:awake!back", targets: []string{"b"}, owner: "a", epoch: 3, reason: fsm.OperatorMoved}, "b", fsm.TargetReady},
		{"silent for a ttl", world{nodes: "a:awake b:awake", targets: []string{"b"}, owner: "b", epoch: 3, quiet: second}, "a", fsm.OwnerFailed},
		{"silent for less", world{nodes: "a:awake b:awake", targets: []string{"b"}, owner: "b", epoch: 3, quiet: second / 2}, "", ""},
		{"a young table says nothing", world{nodes: "a:awake b:awake", targets: []string{"b"}, owner: "b", epoch: 3, quiet: second, young: true}, "", ""},
		{"gossip's silence alone is no failure", world{nodes: "a:awake b:awake!dead", targets: []string{"b"}, owner: "b", epoch: 3, quiet: second / 2}, "", ""},
		{"silent, and nobody else: a new epoch, since it may have released this one", world{nodes: "a:awake", targets: []string{"a"}, owner: "a", epoch: 3, quiet: second}, "a", fsm.OwnerFailed},
		{"silent again, and nobody else: not at once", world{nodes: "a:awake", targets: []string{"a"}, owner: "a", epoch: 4, quiet: second, history: lost("a", second)}, "", ""},
		{"gone, and nobody else", world{nodes: "a:awake!dead b:asleep", targets: []string{"a"}, owner: "a", epoch: 3, quiet: second}, "", ""},
		{"about to suspend", world{nodes: "a:awake b:suspending", targets: []string{"b"}, owner: "b", epoch: 3}, "a", fsm.OwnerSleeps},
		{"about to suspend, no front", world{nodes: "a:asleep b:suspending", targets: []string{"b"}, owner: "b", epoch: 3}, "", ""},
		{"asleep with it", world{nodes: "a:awake b:asleep", targets: []string{"b"}, owner: "b", epoch: 3}, "a", fsm.OwnerAsleep},
		{"a witness is no front", world{nodes: "a:awake!witness b:awake c:asleep", targets: []string{"c"}, leader: "b"}, "b", fsm.FirstOwner},
		{"nor a target", world{nodes: "a:awake!witness b:awake", targets: []string{"a"}}, "b", fsm.FirstOwner},
		{"it has become one", world{nodes: "a:awake!witness b:awake", targets: []string{"b"}, owner: "a", epoch: 3}, "b", fsm.OwnerDrained},
		{"unfit owner", world{nodes: "a:awake b:awake!unfit", targets: []string{"b"}, owner: "b", epoch: 3}, "a", fsm.OwnerUnfit},
		{"owner in maintenance", world{nodes: "a:awake b:awake!maint", targets: []string{"b"}, owner: "b", epoch: 3}, "a", fsm.OwnerDrained},
		{"owner forgotten", world{nodes: "a:awake", targets: []string{"b"}, owner: "b", epoch: 3}, "a", fsm.OwnerLeft},
		{"owner forgotten, nobody there", world{nodes: "a:asleep", targets: []string{"b"}, owner: "b", epoch: 3}, "", fsm.NobodyAvailable},
		{"no owner, one comes", world{nodes: "a:awake", targets: []string{"b"}, epoch: 3}, "a", fsm.OwnerFailed},
		{"a flapping target waits", world{nodes: "a:awake b:awake", targets: []string{"b"}, owner: "a", epoch: 3, history: lost("b", 3*second, second)}, "", ""},
		{"and gets it back when it was stable", world{nodes: "a:awake b:awake", targets: []string{"b"}, owner: "a", epoch: 3, history: lost("b", 20*second, 10*second)}, "b", fsm.TargetReady},
		{"a flapping node is better than none", world{nodes: "a:awake b:asleep", targets: []string{"b"}, epoch: 3, history: lost("a", second)}, "a", fsm.OwnerFailed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var want []fsm.Assign
			if tt.reason != "" {
				want = []fsm.Assign{{Service: "web", Owner: tt.owner, Planned: tt.world.epoch, Reason: tt.reason, At: wall, By: "a"}}
			}
			if diff := cmp.Diff(want, Plan(tt.world.view())); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPlanSettles drives random worlds: carrying out a plan leaves nothing to do, an assignee could always hold, and
// fronts share the load.
// TestAFrontThatPassesConnectionsOnKeepsTheService until the last of them is over, unless it is lost anyway.
func TestAFrontThatPassesConnectionsOnKeepsTheService(t *testing.T) {
	w := world{nodes: "a:awake b:awake", targets: []string{"b"}, owner: "a", epoch: 3}
	v := w.view()
	v.Engaged = map[string]bool{"web": true}
	if plan := Plan(v); len(plan) != 0 {
		t.Errorf("%+v, want nothing", plan)
	}
	w.nodes = "a:suspending b:awake"
	v = w.view()
	v.Engaged = map[string]bool{"web": true}
	if plan := Plan(v); len(plan) != 1 || plan[0].Owner != "b" {
		t.Errorf("%+v, want b", plan)
	}
}

func TestPlanSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"a", "b", "c", "d"}
		v := world{nodes: "a:awake", epoch: 0}.view()
		powers := []fsm.Power{fsm.Awake, fsm.Awake, fsm.Suspending, fsm.Asleep, fsm.Waking, fsm.Off}
		for _, n := range names {
			p := rapid.SampledFrom(powers).Draw(t, "power")
			v.State.Nodes[n] = fsm.Node{Name: n, Power: p, Policy: fsm.AlwaysOn, Maintenance: rapid.IntRange(0, 5).Draw(t, "maint") == 0}
			v.Present[n] = Presence{Alive: rapid.Bool().Draw(t, "alive")}
		}
		v.State.Drains = map[string]fsm.Drain{"a": {Force: true}, "b": {}}
		v.State.Services, v.State.Ownerships, v.Health = map[string]fsm.Service{}, map[string]fsm.Ownership{}, HealthTable{}
		for _, s := range []string{"s1", "s2", "s3"} {
			sv := fsm.Service{Name: s, Targets: rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 3, rapid.ID).Draw(t, "targets")}
			if rapid.Bool().Draw(t, "checked") {
				sv.Checks = []fsm.Check{{Kind: fsm.CheckTCP, Port: 80, Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 1}}
				c := ServiceChecks{Sum: ChecksSum(sv), Targets: map[string]Health{}}
				for _, n := range sv.Targets {
					state := rapid.SampledFrom([]HealthState{HealthReady, HealthFailing, HealthUnknown}).Draw(t, "health")
					c.Targets[n] = Health{State: state, Why: "why", Sum: c.Sum, Heard: v.Now}
				}
				v.Health[s] = c
			}
			v.State.Services[s] = sv
			owner := rapid.SampledFrom(append([]string{"", "gone"}, names...)).Draw(t, "owner")
			v.State.Ownerships[s] = fsm.Ownership{Owner: owner, Epoch: 5}
			v.Tenures[s] = Sign{Epoch: 5, Seen: v.Now.Add(-time.Duration(rapid.IntRange(0, 2000).Draw(t, "quiet")) * time.Millisecond)}
		}
		for name, own := range v.State.Ownerships { // what people are told is what is done
			choices, heir := v.Choices(name), v.Heir(name)
			i := slices.IndexFunc(choices, func(c Choice) bool { return c.Why == "" && c.Node != own.Owner })
			if (i < 0) != (heir == "") || (i >= 0 && choices[i].Node != heir) {
				t.Fatalf("%s would go to %q, and the choices are %+v", name, heir, choices)
			}
		}
		before := maps.Clone(v.State.Ownerships)
		for _, a := range Plan(v) {
			if a.Planned != before[a.Service].Epoch {
				t.Fatalf("planned from epoch %d, the owner is at %d", a.Planned, before[a.Service].Epoch)
			}
			if a.Owner != "" && v.CannotHold(a.Owner) != "" {
				t.Fatalf("%s was given to %s: %s", a.Service, a.Owner, v.CannotHold(a.Owner))
			}
			if why := v.CannotTake(v.State.Services[a.Service], a.Owner); a.Owner != "" && a.Owner != before[a.Service].Owner && why != "" {
				t.Fatalf("%s was given to %s: %s", a.Service, a.Owner, why)
			}
			v.State.Ownerships[a.Service] = fsm.Ownership{Owner: a.Owner, Epoch: a.Planned + 1, Reason: a.Reason}
			v.Tenures[a.Service] = Sign{Epoch: a.Planned + 1, Seen: v.Now}
			v.State.History[a.Service] = append(v.State.History[a.Service], fsm.Change{
				At: v.Wall, From: before[a.Service].Owner, To: a.Owner, Reason: a.Reason,
			})
		}
		if again := Plan(v); len(again) != 0 {
			t.Fatalf("the plan does not settle: %v", again)
		}
	})
}

func TestLeadElsewhere(t *testing.T) {
	tests := []struct{ name, nodes, owner, want string }{
		{"the leader holds nothing", "a:awake b:awake c:awake", "b", ""},
		{"it holds something: to one that does not", "a:awake b:awake c:awake", "a", "b"},
		{"not to a sleeper", "a:awake b:awake!sleeper c:awake", "a", "c"},
		{"not to one that is not in touch", "a:awake b:awake!dead c:asleep", "a", ""},
	}
	for _, tt := range tests {
		v := world{nodes: tt.nodes, owner: tt.owner, epoch: 1}.view()
		if got := LeadElsewhere(v, []string{"a", "b", "c"}); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
