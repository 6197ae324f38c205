package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nightporter/api"
	"nightporter/config"
	"nightporter/fsm"
	"nightporter/idle"
	"nightporter/wake"
)

// scriptedSenses find what a test says.
type scriptedSenses struct {
	reasons   []idle.Reason
	looks     int
	forgotten int
	watched   []Watched
}

func (s *scriptedSenses) Sense(_ context.Context, _ time.Duration, services []Watched) ([]idle.Reason, []string) {
	s.looks++
	s.watched = services
	return s.reasons, []string{"a note"}
}
func (s *scriptedSenses) Forget()      { s.forgotten++ }
func (s *scriptedSenses) Close() error { return nil }

// napper is a stage whose host goes to sleep by itself after fifteen minutes.
type napper struct {
	*stage
	*idler
	senses *scriptedSenses
	leader string
	wakes  []wake.Wake
}

func newNapper(s *stage) *napper {
	n := &napper{stage: s, senses: &scriptedSenses{}, leader: "b"}
	n.idler = &idler{
		self: "b", clock: s.sleeper.clock, machine: s.sleeper.machine, scene: s.sleeper.scene, leader: func() string { return n.leader },
		proposer: s.sleeper.proposer, senses: n.senses, rules: idle.Rules{Idle: 15 * time.Minute, Late: 50 * time.Second},
		leaving: s.sleeper.leaving, waking: func() []wake.Wake { return n.wakes }, barred: func() string { return "" }, failure: s.sleeper.said, mayRest: s.alarm.mayRest, log: slog.New(slog.DiscardHandler), bell: newBell(),
	}
	return n
}

// looksFor lets the idler look every ten seconds.
func (n *napper) looksFor(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		n.look(context.Background())
		<-time.After(10 * time.Second)
		synctest.Wait()
	}
}

func (n *napper) state() idle.State {
	o, _ := n.idler.outlook()
	return o.verdict.State
}

func onNapper(t *testing.T, f func(*testing.T, *napper)) {
	t.Helper()
	onStage(t, func(t *testing.T, s *stage) { f(t, newNapper(s)) })
}

// The whole way: in use, idle, asleep with the reason in the record, back, and asleep again after as long.
func TestIdleHostAsksToSleep(t *testing.T) {
	onNapper(t, func(t *testing.T, n *napper) {
		n.senses.reasons = []idle.Reason{{Name: idle.Users, Kind: idle.Use, Subject: "jo"}, unknown("what it is about", errLost)}
		n.look(context.Background())
		if p := n.idler.problems(); len(p) != 1 || !strings.Contains(p[0], "it cannot be found out what it is about") {
			t.Errorf("the problems are %q", p)
		}
		n.senses.reasons = n.senses.reasons[:1]
		n.looksFor(time.Hour)
		if p := n.idler.problems(); len(p) != 0 {
			t.Errorf("the problems are %q", p)
		}
		if me := n.stage.record(); me.Power != fsm.Awake || n.state() != idle.Busy {
			t.Fatalf("in use it is %s, %+v", n.state(), me)
		}
		for sleeps := range uint64(2) {
			n.senses.reasons = nil
			n.looksFor(15*time.Minute - 20*time.Second)
			if n.state() != idle.Idle {
				t.Fatalf("just before its time it is %s", n.state())
			}
			n.looksFor(40 * time.Second)
			if me := n.stage.record(); me.Power != fsm.Suspending || me.PowerReason != fsm.NodeIdle || me.Sleeps != sleeps+1 {
				t.Fatalf("after its time the record is %+v", me)
			}
			n.during = func() {
				if me := n.stage.record(); me.Power != fsm.Asleep || me.PowerReason != fsm.NodeIdle {
					t.Errorf("asleep the record is %+v", me)
				}
			}
			n.steps(4)
			if me := n.stage.record(); me.Power != fsm.Awake || n.suspends != int(sleeps+1) {
				t.Fatalf("after %d suspends the record is %+v", n.suspends, me)
			}
			n.idler.returned()
		}
		n.look(context.Background())
		if n.senses.forgotten != 3 {
			t.Errorf("the senses have forgotten %d times, not when the agent began and after each sleep", n.senses.forgotten)
		}
	})
}

// A wish that is not granted is told, and made again later and later; when it may, the host sleeps.
func TestIdleHostIsRefused(t *testing.T) {
	onNapper(t, func(t *testing.T, n *napper) {
		n.looksFor(15 * time.Minute)
		var asked []time.Duration
		began := time.Now()
		for range 5 {
			n.raft.mu.Lock()
			n.raft.drop = true
			n.raft.mu.Unlock()
			for dropped := false; !dropped; {
				n.looksFor(10 * time.Second)
				n.raft.mu.Lock()
				dropped = !n.raft.drop
				n.raft.mu.Unlock()
			}
			asked = append(asked, time.Since(began))
			n.looksFor(10 * time.Second)
			o, _ := n.idler.outlook()
			if r := o.verdict.Reasons; n.state() != idle.Held || len(r) != 1 || r[0].Name != idle.Retry || !strings.Contains(r[0].Sentence, errLost.Error()) {
				t.Fatalf("it is %s because of %+v", n.state(), r)
			}
			if p := n.idler.problems(); len(p) != 1 || !strings.Contains(p[0], "b does not go to sleep by itself: it was to sleep, and that was not granted: "+errLost.Error()) {
				t.Errorf("the problems are %q", p)
			}
		}
		for i := 2; i < len(asked); i++ {
			if a, b := asked[i-1]-asked[i-2], asked[i]-asked[i-1]; b < 2*a-20*time.Second || b > 2*a+20*time.Second {
				t.Errorf("it asked after %v, and then after %v", a, b)
			}
		}
		n.looksFor(20 * time.Minute)
		if me := n.stage.record(); me.PowerReason != fsm.NodeIdle {
			t.Errorf("at last the record is %+v", me)
		}
	})
}

// What the cluster and this agent have against a sleep is a hold: it is told, and when it is over the host sleeps at once.
func TestIdleHostIsHeld(t *testing.T) {
	for name, c := range map[string]struct {
		hold func(*napper, bool)
		want idle.Name
		says string
	}{
		"no leader": {func(n *napper, on bool) {
			n.leader = "b"
			if on {
				n.leader = ""
			}
		}, idle.Quorum, "no leader"},
		"a leave": {func(n *napper, on bool) { n.leaves = on }, idle.Maintenance, "leave the cluster"},
		"a wake": {func(n *napper, on bool) {
			n.wakes = nil
			if on {
				n.wakes = []wake.Wake{{Node: "c"}}
			}
		}, idle.Waking, "it is waking c"},
		"nobody to serve": {holdsService, idle.Quorum, "no other awake host could hold service web"},
	} {
		t.Run(name, func(t *testing.T) {
			onNapper(t, func(t *testing.T, n *napper) {
				c.hold(n, true)
				n.looksFor(time.Hour)
				o, _ := n.idler.outlook()
				if r := o.verdict.Reasons; n.state() != idle.Held || len(r) != 1 || r[0].Name != c.want || !strings.Contains(r[0].Sentence, c.says) {
					t.Fatalf("it is %s because of %+v", n.state(), r)
				}
				c.hold(n, false)
				n.look(context.Background())
				if me := n.stage.record(); me.PowerReason != fsm.NodeIdle {
					t.Errorf("at last the record is %+v", me)
				}
			})
		})
	}
}

// holdsService gives the host a service that nobody else could take, or takes it away.
func holdsService(n *napper, on bool) {
	if !on {
		n.raft.must(fsm.DeleteService{Name: "web"})
		return
	}
	n.raft.must(fsm.PutService{Service: fsm.Service{
		Name: "web", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.200")}, MAC: fsm.MAC("\x02\x00\x00\x00\x00\x01"),
		Ports: []fsm.Port{{Protocol: fsm.TCP, Number: 80}}, Targets: []string{"b"}, Hold: fsm.HoldDrop,
	}})
	n.raft.must(fsm.Assign{Service: "web", Owner: "b", Reason: fsm.FirstOwner})
}

// The services of the cluster are what is watched; while the host is on its way to sleep, nothing is.
func TestIdlerWatchesWhileAwake(t *testing.T) {
	onNapper(t, func(t *testing.T, n *napper) {
		holdsService(n, true)
		n.look(context.Background())
		if w := n.senses.watched; len(w) != 1 || w[0].Service != "web" || len(w[0].Addresses) != 1 || len(w[0].Ports) != 1 {
			t.Errorf("watched are %+v", w)
		}
		holdsService(n, false)
		n.order()
		before := n.senses.looks
		n.looksFor(time.Minute)
		if n.senses.looks != before {
			t.Errorf("it looked %d times on its way to sleep", n.senses.looks-before)
		}
	})
}

// A suspend that nobody announced (a lid) is in no record: the time begins anew all the same, and what there is now is nothing new.
func TestIdlerAfterAnAbsence(t *testing.T) {
	onNapper(t, func(t *testing.T, n *napper) {
		n.looksFor(14 * time.Minute)
		n.idler.returned()
		if o, any := n.idler.outlook(); any {
			t.Errorf("after its return it still tells what it found before: %+v", o)
		}
		n.looksFor(14 * time.Minute)
		if me := n.stage.record(); me.Power != fsm.Awake || n.state() != idle.Idle || n.senses.forgotten != 2 {
			t.Errorf("it is %s, forgot %d times, %+v", n.state(), n.senses.forgotten, me)
		}
		n.looksFor(2 * time.Minute)
		if me := n.stage.record(); me.PowerReason != fsm.NodeIdle {
			t.Errorf("after its time the record is %+v", me)
		}
	})
}

// Who asks right after a sleep why the host is awake hears soon what is so now: it is looked at again as soon as its record says that it is awake.
func TestIdlerLooksSoonAfterASleep(t *testing.T) {
	onNapper(t, func(t *testing.T, n *napper) {
		n.idler.every = lookMost
		n.looksFor(15*time.Minute + 20*time.Second)
		n.idler.returned()
		looked := n.look(context.Background())
		if me := n.stage.record(); me.Power == fsm.Awake || looked || n.idler.pause(looked) != lookAwaited {
			t.Errorf("by its record it is %s; it looked: %v", me.Power, looked)
		}
		n.steps(4)
		looked = n.look(context.Background())
		if me := n.stage.record(); me.Power != fsm.Awake || !looked || n.idler.pause(looked) != lookMost {
			t.Errorf("after its return its record says %s; it looked: %v", me.Power, looked)
		}
	})
}

// A host that does not go to sleep by itself costs nothing: its loop ends at once.
func TestIdlerThatIsOff(t *testing.T) {
	onNapper(t, func(t *testing.T, n *napper) {
		n.idler.rules.Idle = 0
		n.idler.run(t.Context())
		n.idler.rules.Idle, n.idler.senses = time.Hour, nil
		n.idler.run(t.Context())
		if n.senses.looks != 0 {
			t.Errorf("it looked %d times", n.senses.looks)
		}
	})
}

func TestIdleRules(t *testing.T) {
	cfg := &config.Config{Power: config.Sleeps, Idle: 15 * time.Minute, StayAwake: config.StayAwake{
		Commands: []config.Busy{{Command: []string{"x"}, Timeout: 20 * time.Second}}, AtLeast: time.Minute, Schedule: []config.Span{{Days: 3, From: 1, To: 2}}, WakeAt: []config.Moment{{Days: 5, At: 6}},
	}}
	r := idleRules(cfg)
	if r.Idle != cfg.Idle || r.AtLeast != time.Minute || r.Late != 70*time.Second || !slices.Equal(r.Awake, []idle.Span{{Days: 3, From: 1, To: 2}}) {
		t.Errorf("%+v", r)
	}
	if m := wakeMoments(cfg); !slices.Equal(m, []idle.Moment{{Days: 5, At: 6}}) {
		t.Errorf("%+v", m)
	}
	cfg.Power = config.AlwaysOn
	if r := idleRules(cfg); r.Idle != 0 {
		t.Errorf("a host that is always on sleeps after %v", r.Idle)
	}
	for of, want := range map[time.Duration]time.Duration{time.Second: lookLeast, time.Minute: 2 * time.Second, time.Hour: lookMost} {
		if got := lookEvery(of); got != want {
			t.Errorf("for %v it looks every %v", of, got)
		}
	}
}

// What counts as use of a host, and whose it is.
func TestConnectionsThatCount(t *testing.T) {
	s := &systemSenses{rules: config.StayAwake{
		Ports:      []config.Port{{Protocol: "tcp", Number: 445}, {Protocol: "udp", Number: 53}},
		IgnoreFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.64/26")},
	}}
	web := netip.MustParseAddr("192.0.2.200")
	own := []netip.Addr{netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("127.0.0.1"), web}
	nas := netip.MustParseAddr("192.0.2.201")
	services := []Watched{{"nas", []netip.Addr{nas}, nil}, {"web", []netip.Addr{web}, []fsm.Port{{Protocol: fsm.TCP, Number: 8080}, {Protocol: fsm.UDP, Number: 8081}}}}
	for _, c := range []struct{ protocol, local, client, want string }{
		{"tcp", "192.0.2.200:80", "192.0.2.7:5000", "web"},
		{"udp", "192.0.2.200:80", "192.0.2.7:5000", "web"},
		{"tcp", "192.0.2.200:80", "192.0.2.70:5000", ""},  // to be ignored
		{"tcp", "192.0.2.200:80", "192.0.2.11:5000", ""},  // this host itself
		{"tcp", "192.0.2.200:80", "192.0.2.200:5000", ""}, // its checks
		{"tcp", "127.0.0.1:445", "127.0.0.1:5000", ""},    // its programs
		{"tcp", "192.0.2.11:445", "192.0.2.7:5000", "port 445/tcp"},
		{"udp", "192.0.2.11:53", "192.0.2.7:5000", "port 53/udp"},
		{"tcp", "192.0.2.11:8080", "192.0.2.12:5000", "web"}, // by way of a front, or directly
		{"udp", "192.0.2.11:8081", "192.0.2.7:5000", "web"},
		{"udp", "192.0.2.11:8080", "192.0.2.7:5000", ""},
		{"tcp", "192.0.2.201:22", "192.0.2.7:5000", "nas"},
		{"udp", "192.0.2.11:445", "192.0.2.7:5000", ""},
		{"tcp", "192.0.2.11:22", "192.0.2.7:5000", ""},
		{"tcp", "192.0.2.99:445", "192.0.2.7:5000", ""}, // it is passed on to another host
	} {
		if got := s.counts(c.protocol, netip.MustParseAddrPort(c.local), netip.MustParseAddrPort(c.client), own, services); got != c.want {
			t.Errorf("%s %s from %s is %q, want %q", c.protocol, c.local, c.client, got, c.want)
		}
	}
}

// Who of those who are logged in counts.
func TestUsersThatCount(t *testing.T) {
	for _, c := range []struct {
		login            idle.Login
		loggedIn, active bool
	}{
		{idle.Login{User: "jo"}, true, true},
		{idle.Login{User: "jo", Idle: true}, true, false},
		{idle.Login{User: "jo", Graphical: true}, true, true},
		{idle.Login{User: "jo", Graphical: true, Idle: true}, false, false},
		{idle.Login{User: "backup"}, false, false},
	} {
		for users, want := range map[config.Users]bool{config.UsersLoggedIn: c.loggedIn, config.UsersActive: c.active} {
			s := systemSenses{rules: config.StayAwake{Users: users, IgnoreUser: []string{"backup"}}}
			if got := s.present(c.login); got != want {
				t.Errorf("users %s: %+v counts: %v", users, c.login, got)
			}
		}
	}
}

// Real commands and hooks: status 0 is use, another is none, and one that cannot say is unknown, which counts as use.
func TestCommandsThatSayWhetherTheHostIsInUse(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, status := range map[string]int{"busy": 0, "free": 1} {
		if err := os.WriteFile(filepath.Join(dir, name), fmt.Appendf(nil, "#!/bin/sh\nexit %d\n", status), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	quick := func(argv ...string) config.Busy { return config.Busy{Command: argv, Timeout: 5 * time.Second} }
	cfg := &config.Config{ChecksDir: dir, Idle: time.Hour, StayAwake: config.StayAwake{
		Users: config.UsersOff,
		Commands: []config.Busy{
			quick("true"), quick("false"), quick("test", "1 2", "=", "1 2"), quick("sh", "-c", "exit 77"), quick("nightporter-absent"), quick("sh", "-c", "kill -9 $$"),
			{Command: []string{"sleep", "1000"}, Timeout: 50 * time.Millisecond},
		},
		Hooks: []string{"busy", "free", "absent"}, Processes: []string{"nightporter-absent"},
	}}
	s := newSystemSenses(cfg)
	defer s.Close()
	reasons, notes := s.Sense(t.Context(), 0, nil)
	var got []string
	for _, r := range reasons {
		if r.Kind != idle.Use {
			t.Errorf("%+v", r)
		}
		if r.Subject != "which connections there are" { // who may not ask for sockets is told so
			got = append(got, string(r.Name)+" "+r.Subject)
		}
	}
	want := []string{
		"command `true`", "command `test 1 2 = 1 2`", "unknown what `nightporter-absent` says", "unknown what `sh -c kill -9 $$` says", "unknown what `sleep 1000` says",
		"hook the hook busy", "unknown what the hook absent says",
	}
	if os.Geteuid() != 0 { // hooks must be root's
		want = append(want[:5], "unknown what the hook busy says", "unknown what the hook free says", "unknown what the hook absent says")
	}
	if !slices.Equal(got, want) || len(notes) != 0 {
		t.Errorf("found %q, notes %q, want %q", got, notes, want)
	}
}

// `why` in each state of a node, as sentences.
func TestWhySentences(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	state := &fsm.State{Wakes: []fsm.Wake{
		{Node: "b", Cause: fsm.OperatorWake, Started: at},
		{Node: "b", Cause: fsm.Demand, Client: "192.0.2.7:5000", Service: "web", Port: "tcp/80", Started: at},
		{Node: "c", Cause: fsm.QuorumLost, Started: at},
	}}
	for _, c := range []struct {
		power  fsm.Power
		reason fsm.Reason
		node   string
		want   []string
	}{
		{fsm.Asleep, fsm.NodeIdle, "b", []string{"b is asleep; a client", "nobody had needed it", "the client 192.0.2.7:5000 wanted web (tcp/80)"}},
		{fsm.Asleep, fsm.OperatorSleep, "d", []string{"d is asleep; a client", "`nightporter sleep`"}},
		{fsm.Asleep, fsm.HandedOver, "d", []string{"it was put to sleep"}},
		{fsm.Awake, fsm.WokeUp, "b", []string{"it was woken: the client 192.0.2.7:5000 wanted web (tcp/80)"}},
		{fsm.Awake, fsm.WokeUp, "c", []string{"it was woken: the cluster needs its vote"}},
		{fsm.Awake, fsm.WokeUp, "d", []string{"it was woken"}},
		{fsm.Suspending, fsm.NodeIdle, "b", []string{"b is going to sleep", "nobody had needed it"}},
		{fsm.Waking, fsm.Demand, "b", []string{"on its way up", "it was called: the client 192.0.2.7:5000 wanted web (tcp/80)"}},
		{fsm.Off, fsm.NodeFailed, "b", []string{"b is off", "fell silent"}},
		{fsm.Off, "of-a-newer-version", "b", []string{"of-a-newer-version"}},
	} {
		w := recorded(state, fsm.Node{Name: c.node, Power: c.power, PowerReason: c.reason, PowerSince: at})
		said := strings.Join(append([]string{w.Summary, w.Cause}, w.Notes...), "\n")
		for _, want := range c.want {
			if !strings.Contains(said, want) {
				t.Errorf("%s because of %s: %q does not say %q", c.power, c.reason, said, want)
			}
		}
		if !w.Since.Equal(at) || w.Reasons == nil || w.Notes == nil {
			t.Errorf("%+v", w)
		}
	}
	for want, d := range map[string]idle.Verdict{
		"b is in use; it goes to sleep 15m0s after":                                                 {State: idle.Busy},
		"nobody has used b for 5m0s; unless somebody does, it goes to sleep in 10m0s (idle: 15m0s)": {State: idle.Idle, Since: 5 * time.Minute, SleepAt: 20 * time.Minute},
		"nobody uses b, but something keeps it awake; it goes to sleep as soon as that has gone":    {State: idle.Held},
		"nobody needs b: it goes to sleep now":                                                      {State: idle.Sleep},
	} {
		if got := summary("b", d, 15*time.Minute, 10*time.Minute); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", d.State, got, want)
		}
	}
	for policy, want := range map[fsm.Policy]string{fsm.AlwaysOn: "never sleeps", fsm.Sleeps: "`nightporter sleep b`"} {
		if got := cannotSleep(fsm.Node{Name: "b", Policy: policy}); !strings.Contains(got, want) {
			t.Errorf("%s: %q", policy, got)
		}
	}
}

// The times of an answer are those of the wall.
func TestWhyTimes(t *testing.T) {
	wall := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	out := api.Why{Node: "b", Idle: api.Duration(15 * time.Minute)}
	flows := idle.Standing{Reason: idle.Reason{Name: idle.Flows, Kind: idle.Use, Subject: "web", Sentence: "so"}, Since: 10, Until: 20 * time.Minute}
	showOutlook(&out, outlook{20 * time.Minute, idle.Verdict{State: idle.Busy, Since: 10, Reasons: []idle.Standing{flows}, Last: flows}, []string{"n"}}, func(d time.Duration) time.Time { return wall.Add(d) })
	if len(out.Reasons) != 1 || out.Reasons[0] != out.LastUse || !out.LastUse.Until.Equal(wall.Add(20*time.Minute)) || out.LastUse.Sentence != "so" || !out.SleepsAt.IsZero() || !slices.Equal(out.Notes, []string{"n"}) {
		t.Errorf("%+v", out)
	}
}

// A unit's state is one of systemd's words; where systemd cannot be reached that is unknown.
func TestUnknownIsUse(t *testing.T) {
	r := unknown("whether backup.service is active", errors.New("systemd cannot be reached on this host"))
	if r.Kind != idle.Use || r.Sentence != "it cannot be found out whether backup.service is active, which counts as use: systemd cannot be reached on this host" {
		t.Errorf("%+v", r)
	}
}

// BenchmarkSense is what one look costs with the defaults, on a host without logind.
func BenchmarkSense(b *testing.B) {
	cfg := &config.Config{Idle: 15 * time.Minute, Interface: "lo", StayAwake: config.DefaultStayAwake()}
	s := newSystemSenses(cfg)
	defer s.Close()
	for b.Loop() {
		if reasons, _ := s.Sense(b.Context(), 0, nil); slices.ContainsFunc(reasons, func(r idle.Reason) bool { return r.Name == idle.Unknown }) {
			b.Fatal(reasons)
		}
	}
}
