package agent

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/config"
	"nightporter/fsm"
	"nightporter/lease"
	"nightporter/metrics"
)

// sample finds a value by its labels.
func sample(list []metrics.Sample, labels ...string) (float64, bool) {
	for _, s := range list {
		if slices.Equal(s.Values, labels) {
			return s.Value, true
		}
	}
	return 0, false
}

// What the log remembers is counted once, from the start of the agent on; the ledger's counters go on, and never fall.
func TestWhatTheLogRemembersIsCounted(t *testing.T) {
	at := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	change := func(index uint64, r fsm.Reason, age time.Duration) fsm.Change {
		return fsm.Change{Index: index, Reason: r, At: at.Add(-age)}
	}
	state := &fsm.State{
		History: map[string][]fsm.Change{"web": {change(5, fsm.FirstOwner, time.Hour), change(9, fsm.OwnerSleeps, time.Minute), change(12, fsm.TargetReady, -time.Minute)}},
		Nodes:   map[string]fsm.Node{"b": {Name: "b", Format: 2, Power: fsm.Asleep, PowerSince: at.Add(-time.Minute)}, "old": {Name: "old", Power: fsm.Awake, PowerSince: at}},
		Ledger: map[string]fsm.NodeLedger{"b": {Total: fsm.Tally{Awake: time.Hour, Wakes: []fsm.WakeCount{
			{Service: "web", Cause: fsm.Demand, Verdict: fsm.Useful, Count: 4}, {Service: "web", Cause: fsm.Demand, Count: 1}, {Cause: fsm.OperatorWake, Count: 2},
		}}}},
		WakeTimes: map[string]fsm.WakeTimes{"b": {Failed: 3}},
	}
	f := &figures{base: 8, began: at, counted: make(map[string]uint64)}
	g := gathered{}
	g.ofLog(f, state, at)
	g.ofLog(f, state, at.Add(-10*time.Second)) // the clock was set back
	want := map[string]map[string]float64{
		"nightporter_service_transitions_total": {"web owner-sleeps": 1, "web target-ready": 1},
		"nightporter_node_power_seconds_total":  {"b asleep": 60, "b awake": 3600, "b off": 0},
		"nightporter_wakes_total":               {"b  operator-wake": 2, "b web demand": 5},
		"nightporter_wakes_judged_total":        {"b web useful": 4},
		"nightporter_wakes_failed_total":        {"b": 3, "old": 0},
	}
	for name, values := range want {
		got := make(map[string]float64)
		for _, s := range g[name] {
			got[strings.Join(s.Values, " ")] = s.Value
		}
		if fmt.Sprint(got) != fmt.Sprint(values) {
			t.Errorf("%s is %v, want %v", name, got, values)
		}
	}
	next := *state
	next.History = map[string][]fsm.Change{"web": append(slices.Clone(state.History["web"][1:]), change(20, fsm.OwnerSleeps, -time.Hour))}
	next.Nodes = map[string]fsm.Node{"old": state.Nodes["old"]}
	g.ofLog(f, &next, at)
	if n, _ := sample(g["nightporter_service_transitions_total"], "web", "owner-sleeps"); n != 2 || len(g["nightporter_node_power_seconds_total"]) != 0 {
		t.Errorf("afterwards: %v", g)
	}
	// A node that joins gets the whole story, of which only what came after its start is news.
	joined := &figures{began: at, counted: make(map[string]uint64)}
	g.ofLog(joined, state, at)
	if s := g["nightporter_service_transitions_total"]; len(s) != 1 || s[0].Values[1] != "target-ready" {
		t.Errorf("a node that joined counts %v", s)
	}
}

// Every metric of the catalog is gathered with as many label values as it has labels.
func TestEveryMetricIsGathered(t *testing.T) {
	now := time.Now()
	f := &figures{counted: make(map[string]uint64), began: now, phases: metrics.NewVec(wakeBounds...), silences: silences{blackouts: metrics.NewVec(silenceBounds...)}}
	f.woken("b", fsm.WakeSample{Phases: fsm.Phases{Called: 1, Served: time.Second}})
	f.woken("b", fsm.WakeSample{Phases: fsm.Phases{Called: 1}, Failed: true})
	f.silences.blackouts.Observe(time.Second, "owner-failed")
	f.silences.sums.Add(1, "web")
	f.refused.Reach(1, "web", denied)
	s := api.Status{
		Node: "a", Leader: "a", Services: []api.ServiceStatus{{Service: api.Service{Name: "web"}, Owner: "a", Fence: api.Fence{State: "open"}, Role: "serving", Health: []api.TargetHealth{{Node: "b", State: "ready"}}}},
		Nodes: []api.NodeStatus{{Name: "b", Policy: "sleeps", WakeFitness: &api.WakeFitness{MaySleep: true}}, {Name: "w", Role: "witness"}},
	}
	state := &fsm.State{
		History: map[string][]fsm.Change{"web": {{Index: 1, At: now, Reason: fsm.FirstOwner}}}, Nodes: map[string]fsm.Node{"b": {Name: "b", Format: 2, PowerSince: now.Add(-time.Hour), Power: fsm.Awake}},
		Ledger: map[string]fsm.NodeLedger{"b": {Total: fsm.Tally{Wakes: []fsm.WakeCount{{Service: "web", Cause: fsm.Demand, Verdict: fsm.Useful, Count: 4}}}}},
	}
	g := gathered{
		"nightporter_build_info": {{Values: []string{"c", "n", "v", "go"}}}, "nightporter_problems": {{}}, "nightporter_failover_seconds": {{}}, "nightporter_disk_failing": {{}}, "nightporter_wakes_waiting": {{}},
		"nightporter_blackout_seconds": f.silences.blackouts.Samples(), "nightporter_service_blackout_seconds_total": f.silences.sums.Samples(),
		"nightporter_wake_phase_seconds": f.phases.Samples(), "nightporter_wakes_refused_total": f.refused.Samples(),
	}
	g.ofServices(s)
	g.ofNodes(s)
	g.ofLog(f, state, now)
	g.ofRaft(cluster.RaftFigures{Contact: time.Second}, s)
	g.ofGossip(func() int { return 0 }, nil)
	g.ofProcess()
	for _, d := range catalog {
		if len(g[d.Name]) == 0 {
			t.Errorf("%s is not gathered", d.Name)
		}
		for _, one := range g[d.Name] {
			if len(one.Values) != len(d.Labels) || (one.Histogram != nil) != (d.Kind == metrics.Hist) {
				t.Errorf("%s%v has the values %v", d.Name, d.Labels, one.Values)
			}
		}
		delete(g, d.Name)
	}
	if len(g) > 0 {
		t.Errorf("not in the catalog: %v", g)
	}
	if n := len(f.phases.Samples()); n != 2 {
		t.Errorf("%d phases of the wake that did not fail", n)
	}
}

// A holder holds no longer than its lease, and of a target of which nothing is known there is no sample: neither is a fault.
func TestWhatAServiceShows(t *testing.T) {
	at := func(node, state string) api.TargetHealth { return api.TargetHealth{Node: node, State: state} }
	health := []api.TargetHealth{at("a", "ready"), at("b", "failing"), at("c", "unknown")}
	for name, c := range map[string]struct {
		fence string
		left  time.Duration
		want  float64
	}{
		"open under a lease": {"open", time.Millisecond, 1},
		"past the lease":     {"open", 0, 0},
		"closed":             {"closed", time.Second, 0},
	} {
		g := gathered{}
		g.ofServices(api.Status{Node: "a", Services: []api.ServiceStatus{{
			Service: api.Service{Name: "web"}, Owner: "a", Role: "serving", Fence: api.Fence{State: c.fence}, Lease: api.Lease{Left: api.Duration(c.left)}, Health: health,
		}}})
		holder, _ := sample(g["nightporter_service_holder"], "web")
		serving, _ := sample(g["nightporter_service_serving"], "web")
		if holder != c.want || serving != c.want {
			t.Errorf("%s: holder %v, serving %v, want %v", name, holder, serving, c.want)
		}
		ready, _ := sample(g["nightporter_service_target_ready"], "web", "a")
		failing, told := sample(g["nightporter_service_target_ready"], "web", "b")
		if list := g["nightporter_service_target_ready"]; ready != 1 || failing != 0 || !told || len(list) != 2 {
			t.Errorf("%s: the targets are %v", name, list)
		}
	}
}

// The silence at a change of holder is measured from the release that came, else from the former holder's last request; once in a tenure.
func TestSilences(t *testing.T) {
	for name, c := range map[string]struct {
		prev              string
		handed            uint64
		handedAt, askedAt lease.Boot
		want              time.Duration // 0 = none is measured
	}{
		"planned":            {"a", 6, 900, 500, 100},
		"crash":              {"a", 0, 0, 400, 600},
		"an older release":   {"a", 5, 900, 400, 600},
		"nobody heard him":   {"a", 0, 0, 0, 0},
		"nobody before":      {"", 0, 0, 400, 0},
		"this host before":   {"b", 6, 900, 400, 0},
		"the clock was back": {"a", 6, 2000, 0, 1},
	} {
		s := &silences{blackouts: metrics.NewVec(time.Second), asked: func(service, node string) (asking, bool) {
			return asking{at: c.askedAt}, c.askedAt != 0 && service == "web" && node == "a"
		}}
		n := &tenant{service: "web", self: "b", epoch: 7, handedAt: c.handedAt, handedEpoch: c.handed, wish: wish{Prev: c.prev, Own: fsm.Ownership{Reason: fsm.OwnerFailed}}}
		s.ended(n, 1000)
		s.ended(n, 5000) // the fence had closed and opens again
		text := string(metrics.Write([]metrics.Family{{Desc: metrics.Desc{Name: "x", Kind: metrics.Hist, Labels: []string{"reason"}}, Samples: s.blackouts.Samples()}}))
		count, sum := 1, c.want.Seconds()
		if c.want == 0 {
			count = 0
		}
		if name == "the clock was back" {
			sum = 0
		}
		if want := fmt.Sprintf("x_count{reason=\"owner-failed\"} %d\n", count); count == 0 != (text == "") || (count == 1 && !strings.Contains(text, want)) ||
			(count == 1 && !strings.Contains(text, fmt.Sprintf("x_sum{reason=\"owner-failed\"} %g\n", sum))) {
			t.Errorf("%s: %s", name, text)
		}
		if got, measured := sample(s.sums.Samples(), "web"); measured != (count == 1) || got != sum {
			t.Errorf("%s: %v s of web (%t), want %v", name, got, measured, sum)
		}
	}
	var nobody *silences
	nobody.ended(&tenant{}, 1)
}

// nothing is a Source of nothing.
type nothing struct{}

func (nothing) Status(context.Context) ([]byte, error)  { return []byte("{}"), nil }
func (nothing) Day(context.Context) ([]byte, error)     { return []byte("{}"), nil }
func (nothing) Metrics(context.Context) ([]byte, error) { return []byte("a 1\n"), nil }
func (nothing) Watch() (<-chan struct{}, func())        { return nil, func() {} }

// A port that is taken, or a token that is not there, is a problem that ends by itself when its cause does.
func TestThePageIsTriedAgain(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(taken.Addr().String())
	file := filepath.Join(t.TempDir(), "token")
	w := &webLoop{cfg: &config.Config{Node: "a", HTTP: config.HTTP{Listen: at, TokenFile: file}}, listen: systemWeb, source: nothing{}, log: slog.New(slog.DiscardHandler)}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run(ctx)
	}()
	defer func() {
		stop()
		<-ended
	}()
	await := func(want string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !strings.Contains(w.trouble(), want) || (want == "") != (w.trouble() == ""); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the problem is %q, want %q", w.trouble(), want)
			}
		}
	}
	await("there is no token file " + file)
	if err := os.WriteFile(file, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	await(fmt.Sprintf("port %d at 127.0.0.1 is taken by another program", at.Port()))
	taken.Close()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		r, err := http.NewRequest(http.MethodGet, "http://"+at.String()+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Close = true
		r.Header.Set("Authorization", "Bearer 0123456789abcdef")
		if a, err := http.DefaultClient.Do(r); err == nil {
			body, err := io.ReadAll(a.Body)
			a.Body.Close()
			if a.StatusCode != 200 || string(body) != "a 1\n" || a.Header.Get("Content-Type") != metrics.ContentType || err != nil {
				t.Errorf("%d %s %v", a.StatusCode, body, err)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatal("nothing is served")
		}
	}
	if w.trouble() != "" {
		t.Errorf("the problem stays: %s", w.trouble())
	}
}

func TestWithoutATokenNothingIsServedBeyondThisHost(t *testing.T) {
	for name, h := range map[string]config.HTTP{
		"no token": {Listen: netip.MustParseAddrPort("0.0.0.0:7375")}, "lan": {Listen: netip.AddrPortFrom(netip.Addr{}, 7375), LAN: true}, "the secret": {Listen: netip.MustParseAddrPort("127.0.0.1:7375"), TokenFile: "/s"},
	} {
		w := &webLoop{cfg: &config.Config{SecretFile: "/s", HTTP: h}, listen: func(netip.AddrPort) (net.Listener, error) {
			t.Errorf("%s: it listens", name)
			return nil, net.ErrClosed
		}}
		if _, err := w.serve(t.Context()); err == nil {
			t.Errorf("%s is served", name)
		}
	}
}
