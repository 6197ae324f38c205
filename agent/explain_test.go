package agent

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/fsm"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// told is a cluster: a and b are always on, n sleeps and runs web, m sleeps and is its second target.
func told(change func(*cluster.View)) cluster.View {
	mac := []fsm.MAC{fsm.MAC("\x02\x00\x00\x00\x01\x0b")}
	v := cluster.View{
		Wall: noon, Self: "a", Leader: "b", Timing: cluster.Derive(time.Second), TableAge: time.Hour, Present: map[string]cluster.Presence{},
		State: &fsm.State{
			Cluster: fsm.Cluster{ID: "1"},
			Services: map[string]fsm.Service{"web": {
				Name: "web", Targets: []string{"n", "m"}, Hold: fsm.HoldDrop, Ports: []fsm.Port{{Protocol: fsm.TCP, Number: 80}},
				Wake: fsm.WakeRules{Deny: []netip.Prefix{netip.MustParsePrefix("192.0.2.9/32")}},
			}},
			Ownerships: map[string]fsm.Ownership{"web": {Owner: "a", Epoch: 3, Reason: fsm.OwnerSleeps, Since: noon.Add(-time.Hour), By: "b"}},
			History:    map[string][]fsm.Change{"web": {{Index: 22, Epoch: 3, From: "n", To: "a", Reason: fsm.OwnerSleeps, At: noon.Add(-time.Hour)}}},
			Nodes: map[string]fsm.Node{
				"a": {Name: "a", Policy: fsm.AlwaysOn, Power: fsm.Awake, PowerReason: fsm.NodeJoined}, "b": {Name: "b", Policy: fsm.AlwaysOn, Power: fsm.Awake},
				"n": {Name: "n", Policy: fsm.Sleeps, Power: fsm.Asleep, PowerReason: fsm.NodeIdle, PowerSince: noon.Add(-time.Hour), Wake: mac},
				"m": {Name: "m", Policy: fsm.Sleeps, Power: fsm.Off, PowerReason: fsm.NodeFailed, PowerSince: noon.Add(-2 * time.Hour), Wake: mac},
			},
		},
	}
	for _, name := range []string{"a", "b"} {
		v.Present[name] = cluster.Presence{Alive: true}
	}
	if change != nil {
		change(&v)
	}
	return v
}

func wakes(v *cluster.View, node string) {
	n := v.State.Nodes[node]
	n.Power, n.PowerReason, n.PowerSince = fsm.Awake, fsm.WokeUp, noon.Add(-time.Minute)
	v.State.Nodes[node] = n
	v.Present[node] = cluster.Presence{Alive: true}
}

// sentences is the whole answer as text.
func sentences(w api.ServiceWhy) string {
	lines := []string{w.Summary}
	for _, c := range w.Choices {
		lines = append(lines, fmt.Sprintf("%s as %s %s: %s", c.Node, c.Kind, c.State, c.Reason))
	}
	for _, r := range w.Rules {
		lines = append(lines, fmt.Sprintf("%s (%s)", r.Sentence, r.Key))
	}
	return strings.Join(append(lines, w.Notes...), "\n")
}

func TestWhyAServiceIsWhereItIs(t *testing.T) {
	own := func(owner string, reason fsm.Reason) func(*cluster.View) {
		return func(v *cluster.View) {
			v.State.Ownerships["web"] = fsm.Ownership{Owner: owner, Epoch: 4, Reason: reason, Since: noon.Add(-time.Hour), By: "b"}
		}
	}
	for _, tc := range []struct {
		name   string
		change func(*cluster.View)
		want   string
	}{
		{"a front holds it", nil, `
a holds web as a front since 2026-01-02 11:00:00 UTC (epoch 3), because its owner was about to sleep (before: n); it runs on n, m, and until one of these is ready clients wait at a (hold: drop)
n as target passed-over: it is asleep since 2026-01-02 11:00:00 UTC, because nobody had needed it (idle)
m as target passed-over: it is off since 2026-01-02 10:00:00 UTC, because it fell silent without a word
a as front holds: it has the service
b as front ready: it could hold the address and wake a target
a client that asks for 80/tcp wakes n, unless another target is quicker up (never from 192.0.2.9/32) (ports, wake)
it moves to n when that is awake (targets: [n, m])
it moves to m when that is awake (targets: [n, m])
n can be called by hand (` + "`nightporter wake n`" + `)
if a fell silent, b would take it when its lease has run out (failover: 1s)`},
		{"the second target serves", func(v *cluster.View) { own("m", fsm.TargetReady)(v); wakes(v, "m"); wakes(v, "n") }, `
m serves web since 2026-01-02 11:00:00 UTC (epoch 4), because a target came up and took it back
n as target ready: it is ready, and would be next: a service is not taken from a target that serves
m as target holds: it has the service
a as front ready: it could hold the address and wake a target
b as front ready: it could hold the address and wake a target
when m goes to sleep, n takes it first (power: sleeps)
if m fell silent, n would take it when its lease has run out (failover: 1s)
n comes earlier in its targets and does not take it from a target that serves; somebody can move it (` + "`nightporter move web n`)"},
		{"somebody moved it", func(v *cluster.View) {
			wakes(v, "n")
			own("a", fsm.OperatorMoved)(v)
			n := v.State.Nodes["n"]
			n.PowerSince = noon.Add(-2 * time.Hour)
			v.State.Nodes["n"] = n
		}, `
a holds web as a front since 2026-01-02 11:00:00 UTC (epoch 4), because somebody moved it with ` + "`nightporter move`" + `; it runs on n, m, and until one of these is ready clients wait at a (hold: drop)
n as target passed-over: somebody moved the service away with ` + "`nightporter move`" + `; it takes it back when it comes up anew
m as target passed-over: it is off since 2026-01-02 10:00:00 UTC, because it fell silent without a word
a as front holds: it has the service
b as front ready: it could hold the address and wake a target
a client that asks for 80/tcp wakes m, unless another target is quicker up (never from 192.0.2.9/32) (ports, wake)
it stays where it was moved to, until n comes up anew or somebody gives it back (` + "`nightporter move web n`" + `)
it moves to m when that is awake (targets: [n, m])
m can be called by hand (` + "`nightporter wake m`" + `)
if a fell silent, n would take it when its lease has run out (failover: 1s)`},
		{"passed over for now", func(v *cluster.View) {
			wakes(v, "n")
			wakes(v, "m")
			v.Engaged = map[string]bool{"web": true}
			v.State.History["web"] = append(v.State.History["web"], fsm.Change{Epoch: 2, From: "n", Reason: fsm.OwnerFailed, At: noon.Add(-time.Second)}, fsm.Change{Epoch: 2, From: "b", Reason: fsm.OwnerFailed, At: noon.Add(-time.Second)})
			sv := v.State.Services["web"]
			sv.Ports = nil
			v.State.Services["web"] = sv
		}, `
a holds web as a front since 2026-01-02 11:00:00 UTC (epoch 3), because its owner was about to sleep; it runs on n, m, and until one of these is ready clients wait at a (hold: drop)
n as target passed-over: it lost the service by failure just now: it is left alone for a while, so that it does not flap
m as target passed-over: it is ready, but clients are connected through a (hold: proxy): it gets the service when they have gone
a as front holds: it has the service
b as front ready: it could hold the address and wake a target; it lost the service by failure just now, so it comes last for a while
it moves to n when that has been left alone for a while, a minute at most (failover: 1s)
it moves to m when the clients that are connected through the front have gone (hold: proxy)
if a fell silent, m would take it when its lease has run out (failover: 1s)`},
		{"nobody can", func(v *cluster.View) { own("", fsm.NobodyAvailable)(v); clear(v.Present); v.Leader = "" }, `
nobody has web: no host that is awake could take it
n as target passed-over: it is asleep since 2026-01-02 11:00:00 UTC, because nobody had needed it (idle)
m as target passed-over: it is off since 2026-01-02 10:00:00 UTC, because it fell silent without a word
a as front passed-over: it is not in touch
b as front passed-over: it is not in touch
nothing of this is decided before there is a leader: until then the service stays where it is (` + "`nightporter status`" + `)
the first of the hosts below that is awake, in touch and fit gets it at once (targets)
it moves to n when that is awake (targets: [n, m])
it moves to m when that is awake (targets: [n, m])
n can be called by hand (` + "`nightporter wake n`" + `)`},
		{"the one that clients wake was called in vain, and who holds refuses them", func(v *cluster.View) {
			v.State.Fitness = map[string]fsm.Fitness{"n": {Revoked: fsm.Revocation{Reason: fsm.WakeFailed}}}
			sv := v.State.Services["web"]
			sv.Hold, sv.Targets = fsm.HoldReject, []string{"n"}
			v.State.Services["web"] = sv
			v.Present["b"] = cluster.Presence{Alive: true, Deaf: true}
		}, `
a holds web as a front since 2026-01-02 11:00:00 UTC (epoch 3), because its owner was about to sleep (before: n); it runs on n, and until n is ready clients are refused at a (hold: reject)
n as target passed-over: it is asleep since 2026-01-02 11:00:00 UTC, because nobody had needed it (idle)
a as front holds: it has the service
b as front passed-over: the log does not reach b
m as front passed-over: it is off since 2026-01-02 10:00:00 UTC, because it fell silent without a word
a client that asks for 80/tcp wakes n, which was called in vain the last time (never from 192.0.2.9/32) (ports, wake)
it moves to n when that is awake (targets: [n])
n can be called by hand (` + "`nightporter wake n`" + `)
if a fell silent, nobody could take it now (failover: 1s)`},
	} {
		if got := sentences(whyService(told(tc.change), "web")); got != strings.TrimSpace(tc.want) {
			t.Errorf("%s:\n%s\n--- want\n%s", tc.name, got, strings.TrimSpace(tc.want))
		}
	}
}

func TestWhatWouldChangeAHost(t *testing.T) {
	v := told(nil)
	rules := func(n fsm.Node) string {
		var out []string
		for _, r := range powerRules(v.State, n) {
			out = append(out, r.Sentence+" ("+r.Key+")")
		}
		return strings.Join(out, "\n")
	}
	asleep := v.State.Nodes["n"]
	if got := rules(asleep); !strings.HasPrefix(got, "a client that asks for web at 80/tcp wakes it, unless another target is awake or quicker up (never from 192.0.2.9/32) (ports, targets, wake of web)\nsomebody can call it") {
		t.Error(got)
	}
	asleep.Wake = nil
	if got := rules(asleep); !strings.Contains(got, "nobody can call it") || strings.Contains(got, "nightporter wake") {
		t.Error(got)
	}
	if got := rules(v.State.Nodes["a"]); got != "it never goes to sleep (power: always-on)" {
		t.Error(got)
	}
	if got := rules(v.State.Nodes["m"]); !strings.Contains(got, "`nightporter forget m`") {
		t.Error(got)
	}
	for state, want := range map[string]string{"busy": "it sleeps 15m0s after the last use has ended", "held": "it sleeps as soon as nothing keeps it awake any more"} {
		if got := sleepRules(api.Why{Idle: api.Duration(15 * time.Minute), State: state}); len(got) != 1 || got[0].Sentence != want {
			t.Errorf("%s: %+v", state, got)
		}
	}
	idle := sleepRules(api.Why{Idle: api.Duration(15 * time.Minute), State: "idle", SleepsAt: noon})
	if len(idle) != 1 || idle[0] != (api.Rule{Sentence: "it sleeps at 2026-01-02 12:00:00 UTC if nobody needs it until then", Key: "idle: 15m0s"}) || sleepRules(api.Why{State: "busy"}) != nil {
		t.Errorf("%+v", idle)
	}
}

func TestWhatANameStandsFor(t *testing.T) {
	state := told(nil).State
	state.Services, state.Ownerships, state.Nodes = maps.Clone(state.Services), maps.Clone(state.Ownerships), maps.Clone(state.Nodes)
	state.Ownerships["gone"] = fsm.Ownership{Epoch: 9}
	state.Ownerships["m"] = fsm.Ownership{Epoch: 1}
	for name, want := range map[string]string{
		"": " ", "web": "web ", "n": " n", "gone": "gone ", "service/web": "web ", "node/n": " n", "service/m": "m ", "node/m": " m",
		"m": "m is a service and a node; write service/m or node/m", "node/x": `there is no node "x" in this cluster; the nodes are a, b, m, n`,
		"service/x": `there is no service "x"; the only service is web`, "wbe": `there is neither a service nor a node "wbe"; did you mean web? the only service is web, the nodes are a, b, m, n`,
	} {
		service, node, err := named(state, name)
		got := service + " " + node
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q stands for %q, want %q", name, got, want)
		}
	}
}

// chronicle is a state with a story: n fell asleep, web went to a, the voters changed, a setting did.
func chronicle() *fsm.State {
	state := told(nil).State
	at := func(n int) time.Time { return noon.Add(time.Duration(n-10) * time.Minute) }
	state.Events = &fsm.EventLog{Floor: 20, Pages: []fsm.EventPage{{First: 5, Events: []fsm.Event{
		{Index: 21, At: at(1), Kind: fsm.EventPower, Node: "n", From: "awake", To: "suspending", Reason: fsm.NodeIdle, By: "b"},
		{Index: 22, At: at(2), Kind: fsm.EventOwner, Service: "web", Epoch: 3, From: "n", To: "a", Reason: fsm.OwnerSleeps, By: "b"},
		{Index: 25, At: at(5), Kind: fsm.EventVoters, From: "a,b", To: "a,b,n"},
	}}, {First: 8, Events: []fsm.Event{
		{Index: 29, At: at(9), Kind: fsm.EventSetting, What: fsm.OfFailover, From: "1s", To: "2s", By: "b"},
	}}}}
	return state
}

func TestPartsOfTheStory(t *testing.T) {
	for _, tc := range []struct {
		name    string
		q       api.EventsQuery
		want    []uint64
		cursor  api.Cursor
		gap     bool
		skipped uint64
	}{
		{"all", api.EventsQuery{}, []uint64{21, 22, 25, 29}, api.Cursor{Index: 29, Number: 8}, false, 0},
		{"the newest", api.EventsQuery{Last: 2}, []uint64{25, 29}, api.Cursor{Index: 29, Number: 8}, false, 0},
		{"lately", api.EventsQuery{Since: api.Duration(5 * time.Minute)}, []uint64{25, 29}, api.Cursor{Index: 29, Number: 8}, false, 0},
		{"of a kind", api.EventsQuery{Kinds: []string{"owner", "setting"}}, []uint64{22, 29}, api.Cursor{Index: 29, Number: 8}, false, 0},
		{"of a service", api.EventsQuery{Service: "web"}, []uint64{22}, api.Cursor{Index: 29, Number: 8}, false, 0},
		{"of a node", api.EventsQuery{Node: "n"}, []uint64{21, 22, 25}, api.Cursor{Index: 29, Number: 8}, false, 0},
		{"going on", api.EventsQuery{Cursor: api.Cursor{Index: 22, Number: 6}}, []uint64{25, 29}, api.Cursor{Index: 29, Number: 8}, false, 0},
		{"nothing new", api.EventsQuery{Cursor: api.Cursor{Index: 29, Number: 8}}, nil, api.Cursor{Index: 29, Number: 8}, false, 0},
		{"ahead of this host", api.EventsQuery{Cursor: api.Cursor{Index: 40, Number: 12}}, nil, api.Cursor{Index: 40, Number: 12}, false, 0},
		{"too late", api.EventsQuery{Cursor: api.Cursor{Index: 11, Number: 2}}, []uint64{21, 22, 25, 29}, api.Cursor{Index: 29, Number: 8}, true, 2},
		{"just in time", api.EventsQuery{Cursor: api.Cursor{Index: 20, Number: 4}}, []uint64{21, 22, 25, 29}, api.Cursor{Index: 29, Number: 8}, false, 0},
		{"too late, not known by how much", api.EventsQuery{Cursor: api.Cursor{Index: 11}}, []uint64{21, 22, 25, 29}, api.Cursor{Index: 29, Number: 8}, true, 0},
	} {
		got := storyOf(chronicle(), tc.q, noon)
		var indexes []uint64
		for _, e := range got.Events {
			indexes = append(indexes, e.Index)
		}
		if !slices.Equal(indexes, tc.want) || got.Cursor != tc.cursor || got.Gap != tc.gap || got.Skipped != tc.skipped {
			t.Errorf("%s: %v up to %+v, gap %v, skipped %d", tc.name, indexes, got.Cursor, got.Gap, got.Skipped)
		}
	}
	if err := checkKinds([]string{"owner", "weather"}); err == nil || !strings.Contains(err.Error(), `"weather"; the kinds are cluster, owner,`) {
		t.Errorf("%v", err)
	}
}

func TestHistoryOfServiceNodeAndAll(t *testing.T) {
	state := chronicle()
	state.Wakes = []fsm.Wake{{ID: "1", Node: "n", Service: "web", Started: noon}, {ID: "2", Node: "m", Service: "mail", Started: noon}, {ID: "3", Node: "n", Started: noon.Add(-48 * time.Hour)}}
	state.History["mail"] = []fsm.Change{{Index: 1, Epoch: 1, To: "m", At: noon.Add(-48 * time.Hour)}}
	for _, tc := range []struct {
		service, node string
		since         time.Duration
		want          string
	}{
		{"", "", 0, "changes 2 (mail 1st), wakes 3, events 3"},
		{"", "", 24 * time.Hour, "changes 1 (web 1st), wakes 2, events 3"},
		{"web", "", 0, "changes 1 (web 1st), wakes 2, events 1"}, // with the sleep of its target
		{"", "n", 0, "changes 1 (web 1st), wakes 2, events 2"},
		{"", "m", 0, "changes 1 (mail 1st), wakes 1, events 0"},
	} {
		h := historyOf(state, tc.service, tc.node, api.Duration(tc.since), noon)
		if got := fmt.Sprintf("changes %d (%s 1st), wakes %d, events %d", len(h.Changes), h.Changes[0].Service, len(h.Wakes), len(h.Events)); got != tc.want {
			t.Errorf("%q %q: %s, want %s", tc.service, tc.node, got, tc.want)
		}
	}
}

// A host that left has a history as long as the story has it.
func TestNodesThatAreRemembered(t *testing.T) {
	state := chronicle()
	delete(state.Nodes, "n")
	if _, _, err := named(state, "n"); err == nil || !remembered(state, "n") || remembered(state, "x") {
		t.Errorf("n: %v", err)
	}
}

// What only grows older is no news to somebody who watches; everything else is.
func TestWhatIsNews(t *testing.T) {
	base := func() api.Status {
		return api.Status{
			Node: "a", Time: noon, Known: api.Known{Index: 1, Current: true, Age: 1}, Nodes: []api.NodeStatus{{Name: "a", Alive: true, LastSeen: noon}, {Name: "n", LastSeen: noon}},
			Troubles: []api.Trouble{{What: "what stands here is 9.8s old: since then"}},
			Services: []api.ServiceStatus{{
				Lease:  api.Lease{State: "held", Left: 5, Refused: []api.Refusal{{Voter: "b", Left: 3}}},
				Holder: api.Holder{Lease: "held", LeaseAge: 1}, Health: []api.TargetHealth{{Node: "n", Age: 3}},
			}},
		}
	}
	mark := func(change func(*api.Status)) string {
		s := base()
		change(&s)
		before := s.Services[0].Lease.Left
		m, err := markOf(s)
		if err != nil || s.Services[0].Lease.Left != before || s.Time.IsZero() {
			t.Fatalf("%v, or the status was changed: %+v", err, s)
		}
		return m
	}
	same := mark(func(*api.Status) {})
	for name, change := range map[string]func(*api.Status){
		"time":   func(s *api.Status) { s.Time = noon.Add(time.Second) },
		"known":  func(s *api.Status) { s.Known.Age, s.Known.Index = 9, 9 },
		"lease":  func(s *api.Status) { s.Services[0].Lease.Left, s.Services[0].Lease.Refused[0].Left = 1, 1 },
		"ages":   func(s *api.Status) { s.Services[0].Holder.LeaseAge, s.Services[0].Health[0].Age = 7, 7 },
		"source": func(s *api.Status) { s.Services[0].Holder.Source = "asked" }, // it did not answer in time before
		"vote":   func(s *api.Status) { s.Services[0].Holder.Lease = "granted" },
		"words":  func(s *api.Status) { s.Troubles[0].What = "what stands here is 1m41s old: since then" },
		"alive":  func(s *api.Status) { s.Nodes[0].LastSeen = noon.Add(time.Second) },
	} {
		if mark(change) != same {
			t.Errorf("%s: that it grows older is told as news", name)
		}
	}
	for name, change := range map[string]func(*api.Status){
		"cut off":  func(s *api.Status) { s.Known.Current = false },
		"refused":  func(s *api.Status) { s.Services[0].Lease.State = "refused" },
		"gone":     func(s *api.Status) { s.Nodes[0].Alive = false },
		"asking":   func(s *api.Status) { s.Services[0].Holder.Lease = "asking" },
		"problems": func(s *api.Status) { s.Troubles = []api.Trouble{{What: "x"}} },
		"last":     func(s *api.Status) { s.Nodes[1].LastSeen = noon.Add(time.Second) },
	} {
		if mark(change) == same {
			t.Errorf("%s is not told as news", name)
		}
	}
}

// What the owner said of its fence counts as long as this host would hear of a change.
func TestWhatIsKnownOfAFenceElsewhere(t *testing.T) {
	said, granted := api.Holder{Lease: "unknown", Fence: "open"}, api.Holder{Lease: "granted", Fence: "open"}
	for _, tc := range []struct {
		h    api.Holder
		k    knowledge
		want string
	}{
		{said, knowledge{true, true}, "open"},
		{said, knowledge{false, true}, "presumed-open"},
		{said, knowledge{false, false}, "unknown"},
		{said, knowledge{true, false}, "unknown"},
		{granted, knowledge{false, false}, "open"},
		{api.Holder{Lease: "silent", Fence: "unknown"}, knowledge{}, "unknown"},
	} {
		if got := dated(tc.h, tc.k).Fence; got != tc.want {
			t.Errorf("%+v with %+v: %s, want %s", tc.h, tc.k, got, tc.want)
		}
	}
}
