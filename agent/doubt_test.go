package agent

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/lease"
)

// What puts a host in doubt, and what ends it.
func TestDoubt(t *testing.T) {
	const most = 5 * time.Second
	two := []string{"h1", "h2"}
	for name, c := range map[string]struct {
		goesOn bool
		do     func(*doubt)
		in     bool
	}{
		"an agent starts":                  {do: func(d *doubt) { d.calls() }, in: true},
		"all answer":                       {do: func(d *doubt) { r := d.calls(); d.answered(r, "h1"); d.answered(r, "h2") }},
		"one does not":                     {do: func(d *doubt) { d.answered(d.calls(), "h1") }, in: true},
		"not for long":                     {do: func(d *doubt) { d.calls(); run(d, most) }},
		"nobody was called":                {do: func(d *doubt) { run(d, 2*most) }, in: true},
		"a former program went on":         {goesOn: true, do: func(d *doubt) {}},
		"a link that is gone for a moment": {goesOn: true, do: func(d *doubt) { d.linked(false); run(d, stall/2); d.linked(true) }},
		"a link that comes":                {goesOn: true, do: func(d *doubt) { d.linked(false); run(d, stall); d.linked(true); d.calls() }, in: true},
		"and is gone again": {goesOn: true, do: func(d *doubt) {
			d.linked(false)
			run(d, stall)
			d.linked(true)
			d.calls()
			d.linked(false)
			run(d, 2*most)
		}, in: true},
		"time without a link": {do: func(d *doubt) { d.linked(false); d.calls(); run(d, 2*most) }, in: true},
		"and then with it":    {do: func(d *doubt) { d.linked(false); run(d, 2*most); d.linked(true); d.calls() }, in: true},
		"for long enough":     {do: func(d *doubt) { d.linked(false); run(d, 2*most); d.linked(true); d.calls(); run(d, most) }},
		"it was stopped":      {goesOn: true, do: func(d *doubt) { time.Sleep(stall); d.calls() }, in: true},
		"for a moment":        {goesOn: true, do: func(d *doubt) { time.Sleep(stall - 1) }},
		"an answer of before": {goesOn: true, do: func(d *doubt) {
			r := d.calls()
			time.Sleep(stall)
			d.is()
			d.calls()
			d.answered(r, "h1")
			d.answered(r, "h2")
		}, in: true},
		"answers after return": {goesOn: true, do: func(d *doubt) { time.Sleep(stall); d.is(); r := d.calls(); d.answered(r, "h1"); d.answered(r, "h2") }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rings := 0
				d := newDoubt(&fakeClock{began: time.Now()}, c.goesOn, func() { rings++ })
				c.do(d)
				d.is()
				if got := d.look(two, most); got != c.in {
					t.Errorf("in doubt: %v", got)
				}
				if c.goesOn && c.in && rings == 0 {
					t.Error("nobody is told to call the others")
				}
			})
		})
	}
}

// run lets time pass in which the host runs.
func run(d *doubt, long time.Duration) {
	for end := time.Now().Add(long); time.Now().Before(end); {
		time.Sleep(tickEvery / 2)
		d.present()
	}
}

// A holder in doubt closes its fence at once and keeps its tenure: it goes on asking, as a sign of life, which opens nothing, and it opens again under the
// same epoch as soon as it may.
func TestHushedHolder(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a := w.hosts["a"]
		w.give("a", 1, "")
		w.pass(300 * time.Millisecond)
		hush := func(on bool) {
			a.tenant.want.Store(&wish{
				Service: testService, Exists: true, Own: fsm.Ownership{Owner: "a", Epoch: 1, Reason: fsm.OperatorMoved}, Mine: true, Hush: on,
				Quorum: lease.Quorum{Config: 1, Voters: []string{"a", "b", "c"}}, Timing: cluster.Derive(time.Second),
			})
			a.tenant.do(func() {})
		}
		hush(true)
		w.pass(time.Millisecond)
		if s := a.tenant.shown.Load(); a.kernel.open() || s.Opened || !s.Hushed || s.Epoch != 1 {
			t.Errorf("at once: %+v", s)
		}
		w.pass(5 * time.Second)
		if a.kernel.open() {
			t.Error("it was opened")
		}
		if asked, ok := w.hosts["c"].ballot.lastAsked("web", "a"); !ok || w.clock.Boot().Sub(asked.at) > time.Second {
			t.Error("it gives no sign of life, so the leader would take the service away")
		}
		hush(false)
		w.pass(10 * time.Millisecond)
		if s := a.tenant.shown.Load(); !a.kernel.open() || s.Epoch != 1 {
			t.Errorf("afterwards: %+v", s)
		}
	})
}

// A host that may not hold says so in every wish, whether it has begun or not: what it would get it could not open.
func TestWhoMayNotHoldWaits(t *testing.T) {
	v := cluster.View{State: &fsm.State{
		Nodes:      map[string]fsm.Node{"a": {Name: "a", Power: fsm.Awake}},
		Services:   map[string]fsm.Service{"web": testService},
		Ownerships: map[string]fsm.Ownership{"web": {Owner: "a", Epoch: 1}},
	}}
	for may, want := range map[posture]wish{{}: {Mine: true}, {barred: true}: {Waits: true}, {hushed: true}: {Mine: true, Hush: true, Waits: true}} {
		ts := &tenants{self: "a"}
		ts.restrain(may)
		if w := ts.wishFor("web", v, lease.Quorum{}); w.Mine != want.Mine || w.Hush != want.Hush || w.Waits != want.Waits {
			t.Errorf("%+v: mine %t, hush %t, waits %t", may, w.Mine, w.Hush, w.Waits)
		}
	}
}

// A vote that is withheld grants nothing, and remembers who asked.
func TestWithheldVote(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		withheld := true
		for _, h := range w.hosts {
			h.ballot.withholds = func() bool { return withheld }
		}
		w.give("a", 1, "")
		w.pass(2 * time.Second)
		if asked, ok := w.hosts["b"].ballot.lastAsked("web", "a"); w.hosts["a"].kernel.open() || !ok || asked.granted {
			t.Errorf("%+v, open %v", asked, w.hosts["a"].kernel.open())
		}
	})
}

// Without a link the only vote is withheld, and says so in a sentence; so it is after an absence that nobody has told of, until the others were called.
func TestTheOnlyVoteOfAHostThatWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		others := []string{"h2"}
		l := aloneWithItsVote(t, &others)
		if l.withholds() || !l.look().holds() {
			t.Fatal("nothing is wrong")
		}
		l.doubt.linked(false)
		if !l.withholds() || !l.look().hushed || !strings.Contains(l.waiting(), "no link") {
			t.Errorf("without a link: %q", l.waiting())
		}
		time.Sleep(stall / 2)
		if l.doubt.linked(true); l.withholds() || !l.look().holds() || l.waiting() != "" {
			t.Errorf("back at once: %q", l.waiting())
		}
		time.Sleep(stall)
		if !l.withholds() {
			t.Error("it stood still, and its vote is given before anybody has noticed")
		}
		l.doubt.calls()
		if run(l.doubt, hailLone-tickEvery); !l.look().hushed || !strings.Contains(l.waiting(), "was away") {
			t.Errorf("nobody has answered yet: %q", l.waiting())
		}
		if run(l.doubt, 2*tickEvery); !l.look().holds() || l.withholds() {
			t.Errorf("they had their time: %q", l.waiting())
		}
		others = nil
		if time.Sleep(stall); l.withholds() {
			t.Error("there is nobody else")
		}
	})
}
