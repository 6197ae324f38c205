package agent

import (
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"nightporter/fsm"
	"nightporter/idle"
	"nightporter/lease"
)

func TestAnInquiry(t *testing.T) {
	up := glance{awake: true, sleeps: 1, served: true}
	with := func(g glance, f func(*glance)) glance { f(&g); return g }
	said := with(up, func(g *glance) { g.said = true })
	waiting := glance{awake: true, sleeps: 1}
	repeat := func(g glance, n int) []glance { return slices.Repeat([]glance{g}, n) }
	for _, c := range []struct {
		name string
		udp  bool
		seen []glance // one each second
		at   int      // when it is decided; 0 = never
		want fsm.Verdict
	}{
		{"it said something", false, []glance{{sleeps: 1}, waiting, up, said}, 4, fsm.Useful},
		{"before anybody looked whether it was served", false, []glance{with(waiting, func(g *glance) { g.said = true })}, 1, fsm.Useful},
		{"it said nothing", false, repeat(up, 20), 11, fsm.Spurious},
		{"its program came up late", false, append(repeat(waiting, 30), repeat(up, 20)...), 41, fsm.Spurious},
		{"something was missed", false, append([]glance{with(up, func(g *glance) { g.blind = true })}, repeat(up, 20)...), 11, fsm.Unknown},
		{"datagrams", true, []glance{waiting, up}, 2, fsm.Unknown},
		{"it never served", false, repeat(waiting, 400), 301, fsm.Unknown},
		{"it sleeps for days", false, repeat(glance{sleeps: 1}, 1000), 0, ""},
		{"asleep again", false, []glance{up, {sleeps: 2}}, 2, fsm.Unknown},
	} {
		q := inquiry{udp: c.udp, sleeps: 1, patience: judgeAfter}
		at, got := 0, fsm.Verdict("")
		for i, g := range c.seen {
			if got = q.see(lease.Boot(time.Hour).Add(time.Duration(i)*time.Second), g); got != "" {
				at = i + 1
				break
			}
		}
		if got != c.want || at != c.at {
			t.Errorf("%s: %q at %d, want %q at %d", c.name, got, at, c.want, c.at)
		}
	}
}

// TestAClientThatNobodyHelpsHasMoreTime: without replays its next SYN may be a minute away.
func TestAClientThatNobodyHelpsHasMoreTime(t *testing.T) {
	k := fsm.Wake{Client: "[fd77::7]:4000", Port: "udp/53"}
	for replay, want := range map[fsm.Replay]time.Duration{fsm.ReplayTCP: judgeAfter, fsm.ReplayAll: judgeAfter, fsm.ReplayNone: judgeUnaided} {
		if q, ok := inquire(k, fsm.Service{Replay: replay}, 7); !ok || q.patience != want || !q.udp || q.port != 53 || q.sleeps != 7 || q.client.String() != "fd77::7" {
			t.Errorf("replay %q: %+v", replay, q)
		}
	}
	for _, k := range []fsm.Wake{{Port: "tcp/80"}, {Client: "192.0.2.7:1"}, {Client: "192.0.2.7:1", Port: "tcp/x"}} {
		if _, ok := inquire(k, fsm.Service{}, 0); ok {
			t.Errorf("%+v tells of a client", k)
		}
	}
}

// TestWhatAClientSaid: a connection that went on through the sleep, and carried nothing since, is no use. What goes on to containers: where the kernel does not count what a client says to one, it may have said something; another's flow tells nothing
// of it.
func TestWhatAClientSaid(t *testing.T) {
	q := inquiry{client: netip.MustParseAddr("192.0.2.7"), port: 80, taken: lease.Boot(time.Hour)}
	service := netip.MustParseAddr("10.77.0.200")
	flow := func(from string, port uint16, received uint64, vague bool) idle.Conn {
		return idle.Conn{Local: netip.AddrPortFrom(service, port), Remote: netip.MustParseAddrPort(from), Received: received, Vague: vague}
	}
	quiet := func(d time.Duration) idle.Conn {
		c := flow("192.0.2.7:4000", 80, 1<<20, false)
		c.Quiet = d
		return c
	}
	for name, c := range map[string]struct {
		conn        idle.Conn
		said, vague bool
	}{
		"counted":            {flow("192.0.2.7:4000", 80, 90, false), true, false},
		"after the wake":     {quiet(39 * time.Second), true, false},
		"before the sleep":   {quiet(41 * time.Second), false, false},
		"said nothing":       {flow("192.0.2.7:4000", 80, 0, false), false, false},
		"not counted":        {flow("192.0.2.7:4000", 80, 0, true), false, true},
		"another's":          {flow("192.0.2.8:4000", 80, 90, true), false, false},
		"to another program": {flow("192.0.2.7:4000", 81, 90, true), false, false},
	} {
		said, vague := q.said(lease.Boot(time.Hour+10*time.Second), []idle.Conn{c.conn}, []netip.Addr{service}, func(netip.Addr) bool { return false })
		if said != c.said || vague != c.vague {
			t.Errorf("%s: %v, %v", name, said, vague)
		}
	}
}

// fakeUses is what the kernel says of connections.
type fakeUses struct {
	conns, flows  []idle.Conn
	closed, lists int
}

func (u *fakeUses) Read() ([]idle.Conn, bool, error) { return u.conns, false, nil }
func (u *fakeUses) Translated() ([]idle.Conn, error) { u.lists++; return u.flows, nil }
func (u *fakeUses) Close() error                     { u.closed++; return nil }

// verdictsWorld is host b, which judges its wakes for web.
type verdictsWorld struct {
	*verdicts
	solo     *soloRaft
	tenancy  tenancy
	recorded []fsm.Command
}

func newVerdicts(t *testing.T, hold fsm.Hold, uses *fakeUses) *verdictsWorld {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	x := &verdictsWorld{solo: &soloRaft{machine: foundedMachine(t, log), t: t, index: 2}}
	for name, addr := range map[string]string{"a": "10.77.0.11:7374", "b": "10.77.0.12:7374"} {
		x.solo.must(fsm.PutNode{Node: fsm.Node{Name: name, Key: "k", Policy: fsm.Sleeps, Format: fsm.Format, Addr: netip.MustParseAddrPort(addr)}})
	}
	sv := oneTarget(fsm.WakeRules{})
	sv.Hold, sv.Addresses = hold, []netip.Addr{netip.MustParseAddr("10.77.0.200")}
	sv.Ports = []fsm.Port{{Protocol: fsm.TCP, Number: 8080}}
	x.solo.must(fsm.PutService{Service: sv})
	x.verdicts = &verdicts{
		self: "b", clock: &fakeClock{began: time.Now()}, machine: x.solo.machine, shown: func(string) tenancy { return x.tenancy }, log: log, began: time.Now().Add(-time.Hour),
		open: func() (Uses, error) { return uses, nil }, record: func(c fsm.Command) { x.recorded = append(x.recorded, c) },
	}
	return x
}

// begin records a wake of a client's.
func (x *verdictsWorld) begin(id, node string, cause fsm.Reason) {
	x.solo.must(fsm.BeginWake{Wake: fsm.Wake{ID: id, Node: node, Service: "web", Cause: cause, Client: "192.0.2.7:4000", Port: "tcp/8080", Started: time.Now()}})
}

// TestAWakeIsJudged: by the host that was woken, for each client's wake once, and the kernel is left alone afterwards.
func TestAWakeIsJudged(t *testing.T) {
	conn := func(local, remote string, received uint64) idle.Conn {
		return idle.Conn{Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote), Received: received}
	}
	for _, c := range []struct {
		name  string
		hold  fsm.Hold
		conns []idle.Conn
		want  fsm.Verdict
	}{
		{"another connection of the client", fsm.HoldDrop, []idle.Conn{conn("10.77.0.200:8080", "192.0.2.7:999", 20)}, fsm.Useful},
		{"another client", fsm.HoldDrop, []idle.Conn{conn("10.77.0.200:8080", "192.0.2.8:4000", 20)}, ""},
		{"another port", fsm.HoldDrop, []idle.Conn{conn("10.77.0.200:22", "192.0.2.7:4000", 20)}, ""},
		{"only its end", fsm.HoldDrop, []idle.Conn{conn("10.77.0.200:8080", "192.0.2.7:4000", 1)}, ""},
		{"another address", fsm.HoldDrop, []idle.Conn{conn("10.77.0.12:8080", "10.77.0.11:4000", 20)}, ""},
		{"passed on by a front", fsm.HoldProxy, []idle.Conn{conn("10.77.0.12:8080", "10.77.0.11:4000", 20)}, fsm.Useful},
		{"passed on by a stranger", fsm.HoldProxy, []idle.Conn{conn("10.77.0.12:8080", "10.77.0.99:4000", 20)}, ""},
	} {
		uses := &fakeUses{conns: c.conns}
		x := newVerdicts(t, c.hold, uses)
		solo, j, begin := x.solo, x.verdicts, x.begin
		begin("other", "a", fsm.Demand)
		begin("quorum", "b", fsm.QuorumLost)
		begin("old", "b", fsm.Demand)
		solo.must(fsm.EndWake{ID: "old", Result: fsm.WokeUp, At: time.Now().Add(-2 * time.Hour)}) // a former life's
		if j.look() {
			t.Errorf("%s: something is looked for", c.name)
		}
		begin("w", "b", fsm.Demand)
		begin("w", "b", fsm.Demand)
		first := j.look()
		x.tenancy = tenancy{Opened: true, Serving: true}
		if again := j.look(); (first || again) != (c.want == "") {
			t.Errorf("%s: it is still looked for: %v, %v", c.name, first, again)
		}
		var got fsm.Verdict
		for _, r := range x.recorded {
			got = r.(fsm.JudgeWake).Verdict
			solo.must(r)
		}
		if got != c.want || len(x.recorded) > 1 || c.want != "" && (x.recorded[0].(fsm.JudgeWake).ID != "w" || j.look() || uses.closed != 1) {
			t.Errorf("%s: recorded %+v, want %q; closed %d times", c.name, x.recorded, c.want, uses.closed)
		}
	}
}
