package main

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"nightporter/api"
)

// fakeAgent is a small cluster that answers from memory: alpha (leader) and bravo awake, delta asleep.
type fakeAgent struct{ services []api.Service }

func newFake() *fakeAgent {
	return &fakeAgent{services: []api.Service{{
		Name: "web", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.200")}, Mode: "mac", MAC: api.MAC{2, 0, 0, 0, 0, 1},
		Ports: []api.Port{{Protocol: "tcp", Number: 8080}}, Targets: []string{"delta"}, Hold: "drop", Unit: "web.service", Manage: true,
		Checks: []api.Check{{
			Kind: "http", Port: 8080, Path: "/health", StatusMin: 200, StatusMax: 299, Interval: api.Duration(2 * time.Second),
			Timeout: api.Duration(time.Second), Rise: 1, Fall: 2,
		}},
	}}}
}

var (
	names = []string{"alpha", "bravo", "delta"}
	since = time.Date(2026, 1, 2, 3, 4, 5, 678000000, time.UTC)
)

func (f *fakeAgent) Status(ctx context.Context) (api.Status, error) {
	nodes, err := f.Members(ctx)
	s := api.Status{
		Node: "alpha", Time: since.Add(time.Hour), Version: "v0.1", Known: api.Known{Index: 412, Current: true}, Cluster: api.Cluster{ID: "c0ffee", Name: "home"}, Leader: "alpha",
		Quorum:   api.Quorum{Voters: names, Awake: names[:2], Needed: 2, Have: true},
		Failover: api.Duration(300 * time.Millisecond), FailoverFile: api.Duration(time.Second),
		LAN:      api.LAN{Interface: "eth0", Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.11/24")}},
		Sleep:    api.HostSleep{How: "suspend", Delay: "held", DelayMax: api.Duration(5 * time.Second)},
		Problems: []string{"delta's wake address is not known"}, Nodes: nodes,
		Troubles: []api.Trouble{{What: "delta's wake address is not known", Do: "name it in the configuration of delta (wake: [MAC]) and restart its agent"}},
	}
	for _, v := range f.services {
		s.Services = append(s.Services, api.ServiceStatus{
			Service: v, ModeGives: "what it gives", Owner: "alpha", OwnerState: "holding", Epoch: 7, Reason: "owner-sleeps", Since: since, Cause: "its owner was about to sleep", By: "alpha", Role: "holding",
			Holder: api.Holder{Lease: "held", Fence: "open"},
			Lease:  api.Lease{State: "held", Epoch: 7, Left: api.Duration(187654321), Refused: []api.Refusal{{Voter: "bravo", Reason: "held-by-other", Holder: "delta", Left: api.Duration(time.Second)}}},
			Health: []api.TargetHealth{
				{Node: "bravo", State: "failing", Detail: "http 8080/health: status 503, not 200 to 299", Age: api.Duration(time.Second)},
				{Node: "delta", State: "unknown", Detail: "it is asleep"},
			},
			Fence:   api.Fence{Kind: "nft", State: "open", Limits: []string{"a wall clock that is set back"}},
			Waiting: api.Waiting{Attempts: 2, Connections: 1, Shut: []string{"tcp 192.0.2.200:22"}},
		})
	}
	return s, err
}

func (f *fakeAgent) Members(context.Context) ([]api.NodeStatus, error) {
	return []api.NodeStatus{
		{Name: "alpha", Alive: true, Power: "awake", PowerReason: "node-joined", Since: since, Policy: "always-on", Voter: true, Leader: true, Secrets: []string{"00112233", "44556677"}, Addr: netip.MustParseAddrPort("192.0.2.11:7374"), Wake: []api.MAC{{2, 0, 0, 0, 0, 0x11}}, Version: "v0.1"},
		{Name: "delta", Power: "asleep", PowerReason: "operator-sleep", Since: since, Policy: "sleeps", Maintenance: true, Secrets: []string{"00112233"}, WakeFitness: &api.WakeFitness{
			Why: "delta could not be woken", WoL: "armed", SecureOn: true, Mode: "auto", Since: since, Revoked: "wake-failed", Canary: api.CanaryResult{Node: "delta", Result: "canary-passed"},
		}, Wakes: api.WakeTimes{
			Woken: 12, Failures: 1, Limit: api.Duration(15 * time.Second), Phases: []api.PhaseTimes{
				{Phase: "called", Count: 12, P50: api.Duration(340 * time.Microsecond), P95: api.Duration(1200 * time.Microsecond), Max: api.Duration(2 * time.Millisecond)},
				{Phase: "awake", Count: 12, P50: api.Duration(2345678901), P95: api.Duration(3 * time.Second), Max: api.Duration(4 * time.Second)},
			},
		}},
	}, nil
}

func (f *fakeAgent) Services(context.Context) ([]api.Service, error) { return f.services, nil }

func (f *fakeAgent) find(name string) error {
	var known []string
	for _, s := range f.services {
		known = append(known, s.Name)
	}
	if !slices.Contains(known, name) {
		return api.UnknownService(name, known)
	}
	return nil
}

func findNode(name string) error {
	if !slices.Contains(names, name) {
		return api.UnknownNode(name, names)
	}
	return nil
}

func (f *fakeAgent) History(_ context.Context, s string) (api.History, error) {
	if s == "quiet" {
		return api.History{Service: s}, nil
	}
	return api.History{
		Service: s,
		Changes: []api.Change{
			{Service: s, Index: 4, At: since, Epoch: 6, To: "delta", Reason: "first-owner", By: "alpha"},
			{Service: s, Index: 9, At: since.Add(2 * time.Second), Epoch: 7, From: "delta", To: "alpha", Reason: "owner-sleeps", By: "alpha", Detail: "by hand"},
		},
		Wakes: []api.WakeRecord{
			{ID: "1", Node: "delta", Cause: "demand", Client: "192.0.2.7:51234", Port: "tcp/8080", By: "alpha", Started: since.Add(time.Second), Ended: since.Add(4 * time.Second), Result: "woke-up", Phases: []api.PhaseTime{
				{Phase: "called", After: api.Duration(340 * time.Microsecond)}, {Phase: "awake", After: api.Duration(3 * time.Second)}, {Phase: "served", After: api.Duration(3456 * time.Millisecond)},
			}},
			{ID: "2", Node: "delta", Cause: "operator-wake", By: "bravo", Started: since.Add(9 * time.Second)},
		},
	}, f.find(s)
}

func (f *fakeAgent) HistoryOf(ctx context.Context, q api.HistoryQuery) (api.History, error) {
	if q.Name == "nobody" {
		return api.History{}, api.UnknownName(q.Name, []string{"web"}, names)
	}
	h, err := f.History(ctx, "web")
	if q.Name == "quiet" {
		return api.History{Service: q.Name}, nil
	}
	if h.Service = ""; q.Name == "web" {
		h.Service = q.Name
	}
	e, _ := f.Events(ctx, api.EventsQuery{})
	h.Events = e.Events[:1]
	return h, err
}

func (f *fakeAgent) Events(_ context.Context, q api.EventsQuery) (api.Events, error) {
	if slices.Contains(q.Kinds, "nonsense") {
		return api.Events{}, api.Invalid(`there are no events of the kind "nonsense"`, "the kinds are cluster, owner")
	}
	list := []api.Event{
		{Index: 7, At: since, Kind: "power", Node: "delta", From: "awake", To: "suspending", Reason: "idle", By: "alpha", Sentence: "delta: awake -> suspending, because nobody had needed it (idle), by alpha"},
		{Index: 9, At: since.Add(2 * time.Second), Kind: "owner", Service: "web", Epoch: 7, From: "delta", To: "alpha", Reason: "owner-sleeps", By: "alpha", Sentence: "web: delta -> alpha (epoch 7), because its owner was about to sleep, by alpha"},
	}
	return api.Events{Events: list[max(0, 2-q.Last)%2:], Cursor: api.Cursor{Index: 9, Number: 14}}, nil
}

func (f *fakeAgent) Watch(ctx context.Context, _ api.WatchQuery) (api.Watched, error) {
	s, err := f.Status(ctx)
	return api.Watched{Mark: "m", Status: s}, err
}

func (f *fakeAgent) Explain(ctx context.Context, n string) (api.Explained, error) {
	if f.find(n) != nil {
		w, err := f.Why(ctx, n)
		if err != nil {
			return api.Explained{}, api.UnknownName(n, []string{"web"}, names)
		}
		w.Rules = []api.Rule{{Sentence: "somebody can put it to sleep", Key: "`nightporter sleep " + n + "`"}, {Sentence: "it may crash"}}
		return api.Explained{Node: &w}, nil
	}
	return api.Explained{Service: &api.ServiceWhy{
		Service: n, Summary: "alpha holds web as a front", Owner: "alpha", OwnerState: "holding", Epoch: 7, Since: since, Reason: "owner-sleeps", By: "alpha",
		Choices: []api.Choice{
			{Node: "delta", Kind: "target", State: "passed-over", Reason: "it is asleep"}, {Node: "alpha", Kind: "front", State: "holds", Reason: "it has the service"},
		},
		Rules: []api.Rule{{Sentence: "it moves to delta when that is awake", Key: "targets: [delta]"}}, Notes: []string{"this is as bravo sees it"},
	}}, nil
}

func (f *fakeAgent) Version(context.Context) (api.Version, error) {
	return api.Version{Version: "v0.1", Go: "go1.26", Node: "alpha"}, nil
}

func (f *fakeAgent) Why(_ context.Context, n string) (api.Why, error) {
	if n == "delta" {
		return api.Why{
			Node: n, Summary: "delta is asleep; a client that wants one of its services wakes it", Power: "asleep", PowerReason: "idle", Since: since,
			Cause: "nobody had needed it for as long as its configuration says (idle)", Policy: "sleeps", Reasons: []api.AwakeReason{}, Notes: []string{"it was woken last by a client"},
		}, nil
	}
	return api.Why{
		Node: n, Summary: n + " is in use; it goes to sleep 15m0s after the last use has ended", Power: "awake", PowerReason: "woke-up", Since: since,
		Cause: "it was woken: the client 192.0.2.7:51234 wanted web (tcp/8080)", Policy: "sleeps", Idle: api.Duration(15 * time.Minute), State: "busy", StateSince: since.Add(time.Second),
		Reasons: []api.AwakeReason{
			{Name: "flows", Kind: "use", Subject: "web", Sentence: "a client uses web", Since: since.Add(time.Second), Until: since.Add(time.Minute)},
			{Name: "schedule", Kind: "hold", Subject: "07:00-20:00", Sentence: "its schedule wants it awake now (07:00-20:00)", Since: since.Add(2 * time.Second), Until: since.Add(time.Minute)},
		},
		LastUse: api.AwakeReason{Name: "users", Kind: "use", Subject: "jo", Sentence: "jo is logged in on pts/0", Since: since, Until: since.Add(time.Minute)},
		Notes:   []string{}, WakesAt: since.Add(24 * time.Hour), SleepsAt: since.Add(time.Hour),
	}, findNode(n)
}

func (f *fakeAgent) Wakes(_ context.Context, q api.WakesQuery) (api.Wakes, error) {
	if q.Name == "web" {
		return api.Wakes{}, nil
	}
	h, err := f.History(context.Background(), "web")
	h.Wakes[0].Service, h.Wakes[0].Verdict = "web", "useful"
	return api.Wakes{
		Wakes: h.Wakes[max(0, 2-q.Last)%2:], Waiting: []api.WakeWaits{{Node: "delta", Service: "web", Client: "192.0.2.8:1", By: "alpha"}},
		Refused: []api.Ignored{
			{Service: "web", Source: "192.0.2.9", Port: "tcp/8080", Why: "denied", Count: 17, First: since, Last: since.Add(time.Minute), By: "alpha"},
			{Service: "web", Port: "tcp/8080", Why: "over-budget-all", Count: 2000, First: since, Last: since.Add(time.Hour), By: "bravo"},
		},
		Notes: []string{"what charlie refused is not known: no answer"},
	}, err
}

func (f *fakeAgent) Doctor(_ context.Context, q api.DoctorQuery) (api.DoctorReport, error) {
	r := api.DoctorReport{
		Nodes: []api.DoctorNode{
			{Node: "alpha", State: "examined", At: since, Version: "v0.1", Findings: []api.Finding{
				{Level: api.Warn, Area: "wol", Name: "wol-unarmed", What: "Wake-on-LAN is off: eno1: Disabled", Why: "The agent arms it.", Fix: "ethtool -s eno1 wol g"},
				{Level: api.Fine, Area: "clock", Name: "fine", What: "the wall clock is kept right"},
			}, Reached: []api.DoctorReach{}, Holds: []api.DoctorHold{}, Heard: []api.DoctorHeard{}},
			{Node: "bravo", State: "examined", Via: "alpha", Findings: []api.Finding{}, Reached: []api.DoctorReach{}, Holds: []api.DoctorHold{}, Heard: []api.DoctorHeard{}},
			{Node: "delta", State: "asleep", Detail: "it was not woken for this", Findings: []api.Finding{}, Reached: []api.DoctorReach{}, Holds: []api.DoctorHold{}, Heard: []api.DoctorHeard{}},
		},
		Together: []api.Finding{{Level: api.Note, Area: "versions", Name: "peer-asleep", What: "delta is asleep and was not examined", Why: "What is wrong there is not known.", Fix: "nightporter doctor --peers --wake"}},
	}
	if q.Wake {
		r.Together = []api.Finding{{Level: api.Fail, Area: "firewall", Name: "blocked-one-way", What: "alpha does not reach 7373/udp of delta", Why: "It is the classic fault.", Fix: "on delta: nft"}}
	}
	return r, nil
}

func (f *fakeAgent) Report(_ context.Context, q api.ReportQuery) (api.Report, error) {
	r := api.Report{
		Until: since, Notes: []string{"what bravo draws is not configured"}, Nodes: []api.NodeReport{
			{Node: "bravo", Policy: "sleeps", Since: since, Awake: api.Duration(20 * time.Minute), Asleep: api.Duration(90 * time.Minute)},
			{
				Node: "delta", Policy: "sleeps", Since: since, Awake: api.Duration(30 * time.Hour), Asleep: api.Duration(100 * time.Hour), Configured: true,
				WattsAwake: 60, WattsAsleep: 2, SavedWh: 5800, Wakes: []api.WakeCount{{Service: "web", Cause: "demand", Verdict: "useful", Count: 12}, {Cause: "operator-wake", Count: 1}},
			},
		},
	}
	if q.Since != 0 {
		r.From = since.Add(-time.Duration(q.Since)).Truncate(24 * time.Hour)
	}
	return r, nil
}

func (f *fakeAgent) Apply(_ context.Context, list []api.Service) (api.Applied, error) {
	var a api.Applied
	for _, s := range list {
		i := slices.IndexFunc(f.services, func(o api.Service) bool { return o.Name == s.Name })
		if i >= 0 {
			f.services[i] = s
			a.Changed = append(a.Changed, s.Name)
			continue
		}
		f.services = append(f.services, s)
		a.Created = append(a.Created, s.Name)
	}
	return a, nil
}

func (f *fakeAgent) Delete(_ context.Context, s string) error {
	err := f.find(s)
	f.services = slices.DeleteFunc(f.services, func(o api.Service) bool { return o.Name == s })
	return err
}

func (f *fakeAgent) Move(_ context.Context, s, n string) (api.Moved, error) {
	if n == "delta" {
		return api.Moved{}, api.NoLeader("move "+s, "1 of 3 voters is awake")
	}
	if err := f.find(s); err != nil {
		return api.Moved{}, err
	}
	return api.Moved{Service: s, From: "alpha", To: n, Epoch: 8}, findNode(n)
}

func (f *fakeAgent) Set(context.Context, api.Settings) error { return nil }

func (f *fakeAgent) Sleep(ctx context.Context, n string) (api.PowerChange, error) {
	if n == "bravo" {
		<-ctx.Done() // never answers: the command's patience ends first
		return api.PowerChange{}, ctx.Err()
	}
	if n == "alpha" {
		return api.PowerChange{}, api.Refused("alpha stays awake: of 3 voters only alpha and bravo are awake", "wake delta first")
	}
	return api.PowerChange{Node: n, Power: "asleep", Moved: []api.Moved{{Service: "web", From: n, To: "alpha", Epoch: 8}}}, findNode(n)
}

func (f *fakeAgent) SleepAnyway(_ context.Context, n string) (api.PowerChange, error) {
	return api.PowerChange{Node: n, Power: "asleep"}, findNode(n)
}

func (f *fakeAgent) Canary(_ context.Context, n string) (api.CanaryResult, error) {
	r := api.CanaryResult{Node: n, Passed: n == "delta", Result: "canary-passed", Detail: "it slept, was called, and came back", By: "alpha", Began: since, Ended: since.Add(time.Minute), Phases: []api.PhaseTime{
		{Phase: "called", After: api.Duration(340 * time.Microsecond)}, {Phase: "awake", After: api.Duration(3 * time.Second)},
	}}
	if !r.Passed {
		r.Result, r.Detail, r.Phases = "canary-failed", "it did not come back", nil
	}
	return r, findNode(n)
}

func (f *fakeAgent) AcceptFitness(_ context.Context, n string) error { return findNode(n) }

func (f *fakeAgent) Wake(_ context.Context, n string) (api.PowerChange, error) {
	return api.PowerChange{Node: n, Power: "waking", Called: []string{"02:00:00:00:00:14"}}, findNode(n)
}

func (f *fakeAgent) Join(_ context.Context, addrs []string) (api.Joined, error) {
	return api.Joined{Reached: len(addrs) - 1}, nil
}

func (f *fakeAgent) Leave(context.Context) error { return nil }

func (f *fakeAgent) Forget(_ context.Context, n string) error { return findNode(strings.ToLower(n)) }

func (f *fakeAgent) Propose(_ context.Context, c []byte) ([]byte, error) { return c, nil }

func (f *fakeAgent) Drain(_ context.Context, q api.DrainQuery) (api.Drained, error) {
	if q.Node == "alpha" && !q.Force {
		return api.Drained{}, api.Refused("cannot drain alpha: nobody else could hold service web now (delta is asleep)", "wake or start another host first")
	}
	out := api.Drained{Node: q.Node, Drain: api.Drain{Since: since, By: "alpha", Text: q.Text, Force: q.Force}}
	if q.Wait {
		out.Moved = []api.Moved{{Service: "web", From: q.Node, To: "alpha", Epoch: 8}}
	} else {
		out.Pending = []string{"web"}
	}
	if q.Force {
		out.Nobody, out.Pending, out.Notes = []string{"web"}, nil, []string{"no target is left"}
	}
	return out, findNode(q.Node)
}

func (f *fakeAgent) Undrain(_ context.Context, n string) error { return findNode(n) }

// savedCluster is the ID of the cluster.
const savedCluster = "000102030405060708090a0b0c0d0e0f"

// Backup gives a state with web as it is at first, and another failover.
func (f *fakeAgent) Backup(context.Context) (api.BackupOf, error) {
	const state = `{"cluster":{"id":"` + savedCluster + `","name":"home","created":"2026-01-02T03:04:05Z"},` +
		`"timing":{"failover":2000000000,"largest":2000000000,"changed":"2026-01-02T03:04:05Z"},"inrush":-1,` +
		`"services":{"web":{"name":"web","addresses":["192.0.2.200"],"mac":"02:00:00:00:00:01","ports":[{"protocol":"tcp","number":8080}],"targets":["delta","echo"],"hold":"drop"}},` +
		`"ownerships":{"web":{"owner":"","epoch":41,"reason":"","since":"2026-01-02T03:04:05Z","by":""}},"nodes":{},"history":{},"wakes":[],"drains":{"alpha":{"since":"2026-01-02T03:04:05Z","by":"bravo","text":"new disk","force":true},"delta":{"since":"2026-01-02T03:04:05Z","by":"bravo"}}}`
	return api.BackupOf{State: append([]byte("NPS\x02"), state...), Index: 7, By: "alpha"}, nil
}

// Restorable foresees what Drain would refuse.
func (f *fakeAgent) Restorable(_ context.Context, q api.RestoreQuery) (api.Restorable, error) {
	for _, d := range q.Drain {
		if d.Node == "alpha" && !d.Force {
			return api.Restorable{}, api.Refused("cannot restore: alpha would be drained, and nobody else could hold service web now (delta is asleep)", "nothing was changed; wake or start another host first")
		}
	}
	return api.Restorable{Lift: q.Epochs.Cluster != savedCluster}, nil
}

func (f *fakeAgent) LiftEpochs(_ context.Context, e api.Epochs) error {
	if e.Highest != 41 {
		return api.Invalid("the backup has another epoch", "")
	}
	return nil
}
