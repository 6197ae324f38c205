package check

import (
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nightporter/chaos/history"
)

var t0 = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func sec(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }

// sound is a run in which everything went well: h3 sleeps and is woken, h1 is killed and h2 takes over, somebody moves and
// defines things.
func sound() *history.History {
	h := &history.History{
		Form: history.Lab, Began: t0, Calm: sec(60), Ended: sec(100),
		Setup: history.Setup{
			Hosts: []history.Host{{Name: "h1"}, {Name: "h2"}, {Name: "h3", Sleeper: true}}, Clients: []string{"c1"},
			Services: []history.Service{
				{Name: "web", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.200")}, Targets: []string{"h3"}, Founded: true},
				{Name: "x", Targets: []string{"h1"}},
			},
			Failover: time.Second, Resume: time.Second, Settle: 10 * time.Second, Rouse: 5 * time.Second, Extra: 100 * time.Millisecond,
		},
		Faults: []history.Fault{
			{Kind: history.Stop, Host: "h1", From: sec(30), Took: sec(30.1), To: sec(40), Mute: true},
			{Kind: history.Garbage, From: sec(41), To: sec(42)},
		},
		Powers: []history.Power{
			{Host: "h3", At: sec(5), State: history.Asleep},
			{Host: "h3", At: sec(12), State: history.Resuming},
			{Host: "h3", At: sec(13), State: history.Up},
			{Host: "h3", At: sec(25), State: history.Asleep},
			{Host: "h1", At: sec(47.1), State: history.Off},
			{Host: "h1", At: sec(54.4), State: history.Up},
			{Host: "h3", At: sec(54.5), State: history.Up},
		},
		Suspends: []history.Suspend{{Host: "h3", At: sec(5), Voters: []string{"h1", "h2", "h3"}}, {Host: "h3", At: sec(25), Voters: []string{"h1", "h2", "h3"}}},
		Records: []history.Record{
			{Service: "web", Epoch: 1, Index: 5, To: "h3", At: sec(0)},
			{Service: "web", Epoch: 2, Index: 9, From: "h3", To: "h1", At: sec(4)},
			{Service: "web", Epoch: 3, Index: 12, From: "h1", To: "h3", At: sec(13.2)},
			{Service: "web", Epoch: 4, Index: 14, From: "h3", To: "h1", At: sec(24)},
			{Service: "web", Epoch: 5, Index: 20, From: "h1", To: "h2", At: sec(31)},
			{Service: "web", Epoch: 6, Index: 24, From: "h2", To: "h3", At: sec(55)},
		},
		Spans: []history.Span{
			{Service: "web", Host: "h3", First: sec(0.1), Last: sec(4), Frames: 9},
			{Service: "web", Host: "h1", First: sec(4.1), Last: sec(13.2), Frames: 9},
			{Service: "web", Host: "h3", First: sec(13.3), Last: sec(24), Frames: 9},
			{Service: "web", Host: "h1", First: sec(24.1), Last: sec(30.5), Frames: 9},
			{Service: "web", Host: "h2", First: sec(31.1), Last: sec(55), Frames: 9},
			{Service: "web", Host: "h3", First: sec(55.1), Last: sec(90), Frames: 9},
		},
		Demands: []history.Demand{{At: sec(11), Service: "web", Host: "h1", Client: "c1"}},
		Magics:  []history.Magic{{At: sec(11.001), From: "h1", Target: "h3"}, {At: sec(53), From: "h2", Target: "h3"}, {At: sec(49), From: "h2", Target: "h3"}},
		Requests: []history.Request{
			{Client: "c1", Service: "web", Began: sec(1), Ended: sec(1.1), Server: "h3"},
			{Client: "c1", Service: "web", Began: sec(11), Ended: sec(14), Server: "h3"},
			{Client: "c1", Service: "web", Began: sec(80), Ended: sec(80.1), Server: "h3"},
		},
		Commands: []history.Command{
			{Verb: "move", Service: "web", Arg: "h1", Began: sec(3.9), Ended: sec(4.1), Done: true, From: "h3", Epoch: 2},
			{Verb: "apply", Service: "x", Began: sec(20), Ended: sec(21), Done: true, Result: "created"},
			{Verb: "apply", Service: "x", Began: sec(22), Ended: sec(23), Done: true, Result: "unchanged"},
			{Verb: "set", Arg: "1s", Began: sec(20), Ended: sec(21), Done: true},
			{Verb: "wake", Arg: "h3", Began: sec(53), Ended: sec(54.5), Done: true},
		},
		Samples: []history.Sample{
			{At: sec(1), Host: "h1", Epochs: map[string]uint64{"web": 1}},
			{At: sec(9), Host: "h1", Epochs: map[string]uint64{"web": 2}},
			{At: sec(45), Host: "h2", Voters: []string{"h1", "h2", "h3"}},
			{At: sec(54.3), Host: "h2", Voters: []string{"h3", "h2", "h1"}},
			{At: sec(90), Host: "h2", Leader: "h2", Voters: []string{"h1", "h2", "h3"}},
		},
		Controls: []history.Control{{Name: "two plain addresses", Flagged: true}},
	}
	for _, name := range []string{"h1", "h2", "h3"} {
		e := history.End{
			Host: name, Up: true, Member: true, Defined: []string{"web", "x"}, Failover: time.Second,
			Owners: map[string]string{"web": "h3", "x": "h1"},
		}
		for sv, owner := range e.Owners {
			if owner == name {
				e.Open, e.Present = append(e.Open, sv), append(e.Present, sv)
			}
		}
		h.Ends = append(h.Ends, e)
	}
	return h
}

func TestSoundRunPasses(t *testing.T) {
	all := Judge(sound())
	for _, v := range all {
		if v.State != Passed {
			t.Errorf("%s: %s %q", v.Check, v.State, v.Findings)
		}
	}
	if idle := Idle(all); !slices.Equal(idle, []string{"single-vote", "last-net"}) { // which have runs of their own (singlevote_test.go, lastnet_test.go)
		t.Errorf("the sound run does not come to %v", idle)
	}
	if !OK(all) || OK(nil) {
		t.Error("OK does not say so")
	}
}

// TestAMachineThatStoodStillIsNoFault: what must happen within a time is not asked of a machine that had none.
func TestAMachineThatStoodStillIsNoFault(t *testing.T) {
	h := sound()
	h.Requests = append(h.Requests, history.Request{Client: "c1", Service: "web", Began: sec(90), Ended: sec(94), Err: "no answer"},
		history.Request{Client: "c1", Service: "web", Began: sec(94.1), Ended: sec(94.2), Server: "h3"})
	if OK(Judge(h)) {
		t.Error("a request without an answer passes")
	}
	h.Faults = append(h.Faults, history.Fault{Kind: history.Busy, From: sec(89), Took: sec(89.5), To: sec(89.5)})
	for _, v := range Judge(h) {
		if v.State != Passed {
			t.Errorf("%s: %s %q", v.Check, v.State, v.Findings)
		}
	}
}

// TestEveryCheckHasTeeth spoils the sound run in one place, which the check that is named must find.
func TestEveryCheckHasTeeth(t *testing.T) {
	for _, c := range []struct {
		name, check string
		want        State
		spoil       func(*history.History)
	}{
		{"two holders mingle", "single-holder", Failed, func(h *history.History) {
			h.Spans = append(h.Spans[:4:4], append([]history.Span{
				{Service: "web", Host: "h2", First: sec(31.1), Last: sec(31.2), Frames: 1},
				{Service: "web", Host: "h1", First: sec(31.3), Last: sec(31.4), Frames: 1},
			}, h.Spans[4:]...)...)
		}},
		{"a host uses it that never owned it", "single-holder", Failed, func(h *history.History) { h.Spans[4].Host = "h9"; h.Setup.Hosts[1].Name = "h9" }},
		{"before the record", "single-holder", Failed, func(h *history.History) { h.Spans[1].First = sec(3.99) }},
		{"nobody seen", "single-holder", Blind, func(h *history.History) { h.Spans = nil }},
		{"frames were lost", "single-holder", Blind, func(h *history.History) { h.Blind = []string{"the capture lost 3 frames"} }},
		{"talks on while stopped", "fails-closed", Failed, func(h *history.History) { h.Spans[3].Last = sec(30.9) }},
		{"talks on through the whole stop", "fails-closed", Failed, func(h *history.History) { h.Spans[3].Last = sec(45) }},
		{"wakes up in the stop", "fails-closed", Failed, func(h *history.History) {
			h.Spans = append(h.Spans, history.Span{Service: "web", Host: "h1", First: sec(35), Last: sec(45)})
		}},
		{"talks on for a lease of another setting", "fails-closed", Failed, func(h *history.History) {
			h.Setup.Failover, h.Setup.Initial = 2*time.Second, time.Second
			h.Spans[3].Last = sec(30.9)
		}},
		{"talks without power", "fails-closed", Failed, func(h *history.History) { h.Faults[0].Dark = true }},
		{"no magic packet", "wakes", Failed, func(h *history.History) { h.Magics = h.Magics[1:] }},
		{"a magic packet for somebody else", "wakes", Failed, func(h *history.History) { h.Magics[0].Target = "h2" }},
		{"never comes up", "rouses", Failed, func(h *history.History) { h.Powers = h.Powers[:1]; h.Faults = nil }},
		{"an acknowledged call did nothing", "called", Failed, func(h *history.History) { h.Powers = h.Powers[:4] }},
		{"a call is lost", "called", Failed, func(h *history.History) {
			c := &h.Commands[4]
			c.Host, c.Done, c.Began, c.Ended = "h2", false, sec(70), time.Time{}
		}},
		{"a front refuses", "waits", Failed, func(h *history.History) {
			h.Refusals = []history.Refusal{{At: sec(11), Service: "web", Host: "h1", Client: "c1", What: "RST"}}
		}},
		{"a target refuses a new connection", "waits", Failed, func(h *history.History) {
			h.Refusals = []history.Refusal{{At: sec(14), Service: "web", Host: "h3", Client: "c1", What: "RST", Fresh: true}}
		}},
		{"a target whose program just failed refuses", "waits", Passed, func(h *history.History) { failing(h, 62, 65) }},
		{"it refuses long after its checks must have found that out", "waits", Failed, func(h *history.History) { failing(h, 62, 80) }},
		{"unless something else was wrong, too", "waits", Passed, func(h *history.History) {
			failing(h, 62, 80)
			h.Faults = append(h.Faults, history.Fault{Kind: history.Stop, Host: "h2", From: sec(70), Took: sec(70), To: sec(71)})
		}},
		{"or no front was there to take it", "waits", Passed, func(h *history.History) {
			failing(h, 62, 80)
			h.Powers = append(h.Powers, history.Power{Host: "h1", At: sec(61), State: history.Off}, history.Power{Host: "h2", At: sec(61), State: history.Off})
		}},
		{"a program fails, and another target refuses", "waits", Failed, func(h *history.History) {
			failing(h, 62, 65)
			h.Setup.Services[0].Targets, h.Refusals[0].Host = []string{"h3", "h1"}, "h1"
		}},
		{"a target of a checked service has its address", "clean", Passed, func(h *history.History) {
			h.Setup.Services[0].Checked, h.Ends[2].Open, h.Ends[2].Present = true, nil, []string{"web"}
		}},
		{"a front of it has none", "clean", Failed, func(h *history.History) {
			h.Setup.Services[0].Checked, h.Ends[0].Present = true, []string{"web"}
		}},
		{"a move is lost", "durable", Failed, func(h *history.History) { h.Commands[0].Epoch = 40 }},
		{"a move went elsewhere", "durable", Failed, func(h *history.History) { h.Commands[0].Arg = "h2" }},
		{"a definition is lost", "durable", Failed, func(h *history.History) { h.Ends[1].Defined = []string{"web"} }},
		{"a setting is lost", "durable", Failed, func(h *history.History) { h.Ends[2].Failover = 2 * time.Second }},
		{"no answer at the end", "converges", Failed, func(h *history.History) { h.Requests[2].Server = "" }},
		{"two holders at the end", "converges", Failed, func(h *history.History) { h.Ends[0].Open = []string{"web", "x"} }},
		{"nobody holds at the end", "converges", Failed, func(h *history.History) { h.Ends[2].Open = nil }},
		{"a complaint at the end", "converges", Failed, func(h *history.History) { h.Ends[0].Problem = "no majority" }},
		{"a host stays away", "converges", Failed, func(h *history.History) { h.Ends[0].Member = false }},
		{"no end", "converges", Blind, func(h *history.History) { h.Ends = nil }},
		{"nobody asks at the end", "converges", Failed, func(h *history.History) { h.Requests = h.Requests[:2]; h.Ends[0].Up = false }},
		{"a silence without cause", "blackout", Failed, func(h *history.History) { h.Requests[2].Began = sec(75) }},
		{"a silence that outlasts its causes", "blackout", Failed, func(h *history.History) {
			for i := range 4 {
				r := history.Request{Client: "c1", Service: "web", Began: sec(58 + 4*float64(i)), Ended: sec(62 + 4*float64(i)), Err: "no answer"}
				h.Requests = append(h.Requests, r)
			}
			h.Requests = append(h.Requests, history.Request{Client: "c1", Service: "web", Began: sec(74), Ended: sec(75), Server: "h3"})
		}},
		{"a silence that never ends", "blackout", Failed, func(h *history.History) {
			for i := range 8 {
				r := history.Request{Client: "c1", Service: "web", Began: sec(58 + 4*float64(i)), Ended: sec(62 + 4*float64(i)), Err: "no answer"}
				h.Requests = append(h.Requests, r)
			}
		}},
		{"a vote is lost", "steady-votes", Failed, func(h *history.History) { h.Samples[len(h.Samples)-1].Voters = []string{"h1", "h2"} }},
		{"nobody tells who votes", "steady-votes", Blind, func(h *history.History) { h.Samples[len(h.Samples)-1].Voters = nil }},
		{"a vote leaves that is needed", "quorum-guard", Failed, func(h *history.History) {
			h.Powers = append([]history.Power{{Host: "h2", At: t0.Add(-time.Hour), State: history.Off}}, h.Powers...)
			h.Samples = append(h.Samples, history.Sample{At: sec(42), Host: "h1", Leader: "h1", Voters: []string{"h1", "h2", "h3"}})
			h.Commands = append(h.Commands, history.Command{Verb: "leave", Arg: "h1", Began: sec(43), Ended: sec(44), Done: true})
		}},
		{"a vote sleeps that is needed", "quorum-guard", Failed, func(h *history.History) {
			h.Powers = append([]history.Power{{Host: "h2", At: t0.Add(-time.Hour), State: history.Off}}, h.Powers...)
			h.Suspends = h.Suspends[1:]
		}},
		{"nobody calls the voters", "quorum-wake", Failed, func(h *history.History) { h.Magics = h.Magics[:1] }},
		{"the vote was taken away just before", "quorum-guard", Passed, func(h *history.History) {
			h.Suspends = []history.Suspend{{Host: "h3", At: sec(5), Voters: []string{"h1", "h3"}, After: []string{"h1"}}}
		}},
		{"another vote was taken away just before", "quorum-guard", Failed, func(h *history.History) {
			h.Suspends = []history.Suspend{{Host: "h3", At: sec(5), Voters: []string{"h1", "h2", "h3", "h4", "h5"}, After: []string{"h3", "h4"}}}
			h.Powers = append(h.Powers, history.Power{Host: "h4", At: sec(-20), State: history.Asleep}, history.Power{Host: "h5", At: sec(-20), State: history.Asleep})
		}},
		{"voters are not known", "quorum-guard", Blind, func(h *history.History) { h.Suspends[0].Voters = nil }},
		{"suspends and owns", "hand-over", Failed, func(h *history.History) { h.Records = append(h.Records[:1:1], h.Records[2:]...) }},
		{"an epoch falls", "monotonic", Failed, func(h *history.History) { h.Samples[1].Epochs["web"] = 0 }},
		{"an index falls", "monotonic", Failed, func(h *history.History) { h.Records[3].Index = 2 }},
		{"two histories", "monotonic", Failed, func(h *history.History) {
			h.Tell("h2", "web", []history.Record{{Epoch: 4, Index: 14, To: "h2"}})
		}},
		{"an epoch is given twice", "linearizable", Failed, func(h *history.History) {
			c := h.Commands[0]
			c.Arg = "h2"
			h.Commands = append(h.Commands, c)
		}},
		{"a move is told the wrong owner", "linearizable", Failed, func(h *history.History) { h.Commands[0].From = "h2" }},
		{"created twice", "linearizable", Failed, func(h *history.History) { h.Commands[2].Result = "created" }},
		{"an agent falls over", "closed-door", Failed, func(h *history.History) { h.Exits = []history.Exit{{Host: "h1", At: sec(9), Code: 2}} }},
		{"a panic", "closed-door", Failed, func(h *history.History) { h.Crashes = []string{"h1: panic: oh"} }},
		{"an address is left", "clean", Failed, func(h *history.History) { h.Ends[1].Present = []string{"web"} }},
		{"the observer is blind", "controls", Failed, func(h *history.History) { h.Controls[0].Flagged = false }},
		{"no control", "controls", Blind, func(h *history.History) { h.Controls = nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := sound()
			c.spoil(h)
			for _, v := range Judge(h) {
				if v.Check == c.check {
					if v.State != c.want {
						t.Errorf("%s: %s %q, want %s", v.Check, v.State, v.Findings, c.want)
					}
					return
				}
			}
			t.Errorf("there is no check %s", c.check)
		})
	}
}

func TestHistoryOutlivesItsRun(t *testing.T) {
	h := sound()
	path := filepath.Join(t.TempDir(), "run", "history.json")
	if err := h.Write(path); err != nil {
		t.Fatal(err)
	}
	back, err := history.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Judge(h), Judge(back)); diff != "" {
		t.Error(diff)
	}
}

func TestSpans(t *testing.T) {
	var c history.Collector
	words := func() string { return "a frame" }
	for _, u := range []struct {
		host string
		ms   int
	}{{"a", 0}, {"a", 10}, {"a", 40}, {"b", 41}, {"a", 42}, {"a", 50}} {
		c.Use("web", u.host, t0.Add(time.Duration(u.ms)*time.Millisecond), words)
	}
	got := c.Spans()
	if len(got) != 4 || got[0].Frames != 2 || got[1].Frames != 1 || got[3].Host != "a" || got[3].Frames != 2 {
		t.Errorf("%+v", got)
	}
}

func TestFindingsAreBounded(t *testing.T) {
	h := sound()
	for range 50 {
		h.Crashes = append(h.Crashes, "panic")
	}
	for _, v := range Judge(h) {
		if v.Check == "closed-door" && (len(v.Findings) != findingsLimit || v.More != 30) {
			t.Errorf("%d findings and %d more", len(v.Findings), v.More)
		}
	}
}

// failing has the program of web on h3 fail, and refuse a client at a moment.
func failing(h *history.History, from, refused float64) {
	h.Setup.Services[0].Checked, h.Setup.Detect = true, 2*time.Second
	h.Faults = append(h.Faults, history.Fault{Kind: history.Program, Host: "h3", Service: "web", From: sec(from), Took: sec(from), To: sec(99)})
	h.Refusals = []history.Refusal{{At: sec(refused), Service: "web", Host: "h3", Client: "c1", What: "RST", Fresh: true}}
}
