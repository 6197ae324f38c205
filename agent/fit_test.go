package agent

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nightporter/config"
	"nightporter/fsm"
	"nightporter/idle"
)

const cardMAC = fsm.MAC("\x02\x00\x00\x00\x00\x0b")

func goodReport() fsm.FitReport {
	return fsm.FitReport{
		Canary: fsm.CanaryAuto, Idle: true, WoL: fsm.WoLArmed, Wake: []fsm.MAC{cardMAC},
		Traits: []fsm.Trait{{Name: "card 1", Value: "x"}, {Name: "kernel", Value: "6.1"}},
	}
}

func TestUnfitToWake(t *testing.T) {
	shown := func(change func(*fsm.Fitness)) *fsm.Fitness {
		f := fsm.Fitness{Report: goodReport()}
		f.Print = f.Report.Fingerprint()
		change(&f)
		return &f
	}
	nothing := func(*fsm.Fitness) {}
	never := func(f *fsm.Fitness) { f.Print = "" }
	for _, c := range []struct {
		name    string
		fitness *fsm.Fitness
		node    func(*fsm.Node)
		want    string // part of the sentence; "" = it may sleep
		cannot  bool   // be woken
	}{
		{name: "has passed", fitness: shown(nothing)},
		{name: "always on", node: func(n *fsm.Node) { n.Policy = fsm.AlwaysOn }},
		{name: "one of an older version is a member", node: func(n *fsm.Node) { n.Format = 1 }},
		{name: "has said nothing", want: "has not said yet"},
		{name: "was flagged before it said anything", fitness: &fsm.Fitness{Revoked: fsm.Revocation{Reason: fsm.WakeFailed, Detail: "d"}}, want: "could not be woken from its last sleep (d): look at the firmware", cannot: true},
		{name: "never", fitness: shown(never), want: "has never shown that it can be woken: `nightporter canary b` shows whether it can be woken now, and so it does by itself when it is idle"},
		{name: "never, by hand", fitness: shown(func(f *fsm.Fitness) { f.Print, f.Report.Canary = "", fsm.CanaryManual }), want: "(canary: manual)"},
		{name: "never, without idle", fitness: shown(func(f *fsm.Fitness) { f.Print, f.Report.Idle = "", false }), want: "idle is not set for it"},
		{name: "never, and need not", fitness: shown(func(f *fsm.Fitness) { f.Print, f.Report.Canary = "", fsm.CanaryOff })},
		{name: "need not, but is unarmed", fitness: shown(func(f *fsm.Fitness) {
			f.Report.Canary, f.Report.WoL, f.Report.Why = fsm.CanaryOff, fsm.WoLUnarmed, "no card"
		}), want: "no magic packet would wake b: no card"},
		{name: "need not, but could not be woken", fitness: shown(func(f *fsm.Fitness) {
			f.Report.Canary, f.Revoked = fsm.CanaryOff, fsm.Revocation{Reason: fsm.WakeFailed, Detail: "d"}
		}), want: "could not be woken", cannot: true},
		{name: "the log is behind", fitness: shown(nothing), node: func(n *fsm.Node) { n.Wake = []fsm.MAC{"\x02\x00\x00\x00\x00\x0c"} }, want: "would go to 02:00:00:00:00:0c, and its cards have 02:00:00:00:00:0b now"},
		{name: "the log has nothing", fitness: shown(nothing), node: func(n *fsm.Node) { n.Wake = nil }, want: "would go to no address"},
		{name: "under way", fitness: shown(func(f *fsm.Fitness) { f.Canary.ID = "k" }), want: "is under way"},
		{name: "has drifted", fitness: shown(func(f *fsm.Fitness) {
			f.Revoked = fsm.Revocation{Reason: fsm.FitDrifted, Detail: "kernel is 6.12 and was 6.1"}
		}), want: "since then kernel is 6.12 and was 6.1: `nightporter canary b`"},
		{name: "has failed", fitness: shown(func(f *fsm.Fitness) { f.Revoked = fsm.Revocation{Reason: fsm.CanaryFailed, Detail: "d"} }), want: "the canary of b has failed (d)", cannot: true},
		{name: "is another machine", fitness: shown(func(f *fsm.Fitness) { f.Print = "00" }), want: "as another machine"},
	} {
		n := fsm.Node{Name: "b", Policy: fsm.Sleeps, Format: 2, Wake: []fsm.MAC{cardMAC}}
		if c.node != nil {
			c.node(&n)
		}
		state := &fsm.State{Nodes: map[string]fsm.Node{"b": n}, Fitness: map[string]fsm.Fitness{}}
		if c.fitness != nil {
			state.Fitness["b"] = *c.fitness
		}
		got := unfitToWake(state, "b")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if cannotBeWoken(state.Fitness["b"]) != c.cannot {
			t.Errorf("%s: it cannot be woken: %t", c.name, !c.cannot)
		}
		loud, quiet := fitnessProblems(state)
		if (len(loud) == 1) != (c.cannot && c.fitness != nil) || len(loud)+len(quiet) > 0 && got == "" {
			t.Errorf("%s: status says %q and %q", c.name, loud, quiet)
		}
	}
}

func TestCanaryDue(t *testing.T) {
	now := time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC)
	held := func(names ...idle.Name) idle.Verdict {
		v := idle.Verdict{State: idle.Held}
		for _, n := range names {
			v.Reasons = append(v.Reasons, idle.Standing{Reason: idle.Reason{Name: n, Kind: idle.Hold}})
		}
		return v
	}
	ended := func(ago time.Duration, result fsm.Reason, failed int) fsm.Fitness {
		return fsm.Fitness{Report: goodReport(), Failed: failed, Canary: fsm.Canary{ID: "k", Ended: now.Add(-ago), Result: result}}
	}
	with := func(change func(*fsm.Fitness)) fsm.Fitness {
		f := fsm.Fitness{Report: goodReport()}
		change(&f)
		return f
	}
	for name, c := range map[string]struct {
		verdict idle.Verdict
		fitness fsm.Fitness
		want    bool
	}{
		"idle for the first time":       {held(idle.Unfit), with(func(*fsm.Fitness) {}), true},
		"something else holds it":       {held(idle.Unfit, idle.Schedule), with(func(*fsm.Fitness) {}), false},
		"is in use":                     {idle.Verdict{State: idle.Busy}, with(func(*fsm.Fitness) {}), false},
		"is idle for too short a time":  {idle.Verdict{State: idle.Idle, Reasons: held(idle.Unfit).Reasons}, with(func(*fsm.Fitness) {}), false},
		"by hand only":                  {held(idle.Unfit), with(func(f *fsm.Fitness) { f.Report.Canary = fsm.CanaryManual }), false},
		"has said nothing":              {held(idle.Unfit), fsm.Fitness{}, false},
		"is unarmed":                    {held(idle.Unfit), with(func(f *fsm.Fitness) { f.Report.WoL = fsm.WoLUnarmed }), false},
		"under way":                     {held(idle.Unfit), with(func(f *fsm.Fitness) { f.Canary.ID = "k" }), false},
		"clients called it in vain":     {held(idle.Unfit), with(func(f *fsm.Fitness) { f.Revoked.Reason = fsm.WakeFailed }), false},
		"has drifted":                   {held(idle.Unfit), ended(time.Second, fsm.CanaryPassed, 0), true},
		"was called off just now":       {held(idle.Unfit), ended(9*time.Minute, fsm.CanaryCalledOff, 0), false},
		"was called off":                {held(idle.Unfit), ended(10*time.Minute, fsm.CanaryCalledOff, 0), true},
		"failed within the hour":        {held(idle.Unfit), ended(59*time.Minute, fsm.CanaryFailed, 1), false},
		"failed an hour ago":            {held(idle.Unfit), ended(time.Hour, fsm.CanaryFailed, 1), true},
		"failed three times":            {held(idle.Unfit), ended(3*time.Hour+59*time.Minute, fsm.CanaryFailed, 3), false},
		"failed three times, long ago":  {held(idle.Unfit), ended(4*time.Hour, fsm.CanaryFailed, 3), true},
		"failed often":                  {held(idle.Unfit), ended(canaryMost, fsm.CanaryFailed, 1000), true},
		"the clock on the wall is back": {held(idle.Unfit), ended(-time.Hour, fsm.CanaryFailed, 1), false},
	} {
		if got := canaryDue(c.verdict, c.fitness, now); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestCanaryNext(t *testing.T) {
	node := func(sleeps uint64, p fsm.Power, r fsm.Reason) fsm.Node {
		return fsm.Node{Name: "b", Sleeps: sleeps, Power: p, PowerReason: r}
	}
	measured := fsm.Phases{Awake: 4 * time.Second}
	for name, c := range map[string]struct {
		scene  canaryScene
		act    canaryAct
		result fsm.Reason
		says   string
	}{
		"begins":                {canaryScene{node: node(3, fsm.Awake, "")}, canaryPut, "", ""},
		"does not begin":        {canaryScene{node: node(3, fsm.Awake, ""), age: canaryBegins}, canaryClose, fsm.CanaryCalledOff, "did not begin"},
		"fell silent before":    {canaryScene{node: node(3, fsm.Off, "")}, canaryClose, fsm.CanaryCalledOff, "did not begin"},
		"hands over":            {canaryScene{node: node(4, fsm.Suspending, fsm.CanarySleep)}, canaryWait, "", ""},
		"goes":                  {canaryScene{node: node(4, fsm.Asleep, fsm.CanarySleep)}, canaryAsk, "", ""},
		"has just gone":         {canaryScene{node: node(4, fsm.Asleep, fsm.CanarySleep), silent: canaryRest - 1}, canaryAsk, "", ""},
		"sleeps":                {canaryScene{node: node(4, fsm.Asleep, fsm.CanarySleep), silent: canaryRest}, canaryCall, "", ""},
		"is called":             {canaryScene{node: node(4, fsm.Waking, fsm.CanarySleep), silent: time.Hour}, canaryWait, "", ""},
		"is given up":           {canaryScene{node: node(4, fsm.Asleep, fsm.GaveUp), silent: time.Hour, called: true}, canaryClose, fsm.CanaryFailed, "did not come back"},
		"is called for ever":    {canaryScene{node: node(4, fsm.Waking, fsm.CanarySleep), age: canaryLasts}, canaryClose, fsm.CanaryFailed, "15m"},
		"dies":                  {canaryScene{node: node(4, fsm.Off, fsm.NodeFailed)}, canaryClose, fsm.CanaryFailed, "silent"},
		"is back":               {canaryScene{node: node(4, fsm.Awake, fsm.WokeUp), called: true}, canaryWait, "", ""},
		"is back, measured":     {canaryScene{node: node(4, fsm.Awake, fsm.WokeUp), called: true, phases: measured}, canaryClose, fsm.CanaryPassed, "came back after 4s"},
		"is back, not measured": {canaryScene{node: node(4, fsm.Awake, fsm.WokeUp), called: true, awake: canaryMeasured}, canaryClose, fsm.CanaryPassed, "came back"},
		"is back too soon":      {canaryScene{node: node(4, fsm.Awake, fsm.WokeUp), awake: time.Hour}, canaryClose, fsm.CanaryCalledOff, "before it was seen to sleep"},
		"has booted":            {canaryScene{node: node(4, fsm.Awake, fsm.WokeUp), called: true, reborn: true}, canaryClose, fsm.CanaryFailed, "came up anew"},
		"wakes by itself":       {canaryScene{node: node(4, fsm.Awake, fsm.WokeUnasked), silent: time.Second}, canaryClose, fsm.CanaryFailed, "before it was called"},
		"is wanted":             {canaryScene{node: node(4, fsm.Awake, fsm.SleepCancelled)}, canaryClose, fsm.CanaryCalledOff, "wanted it"},
		"cannot begin":          {canaryScene{node: node(4, fsm.Awake, fsm.SuspendFailed)}, canaryClose, fsm.CanaryCalledOff, "did not begin to suspend"},
		"does not suspend":      {canaryScene{node: node(4, fsm.Awake, fsm.SuspendFailed), slept: true}, canaryClose, fsm.CanaryFailed, "suspend-failed"},
		"does not hand over":    {canaryScene{node: node(4, fsm.Awake, fsm.SuspendTimeout)}, canaryClose, fsm.CanaryCalledOff, "handed over"},
		"has crashed":           {canaryScene{node: node(4, fsm.Awake, fsm.NodeReturned), called: true}, canaryClose, fsm.CanaryFailed, "another way"},
		"sleeps again":          {canaryScene{node: node(5, fsm.Asleep, fsm.NodeIdle), silent: time.Hour}, canaryClose, fsm.CanaryCalledOff, "another time"},
	} {
		c.scene.canary = fsm.Canary{ID: "k", Sleeps: 3}
		act, result, says := canaryNext(c.scene)
		if act != c.act || result != c.result || !strings.Contains(says, c.says) || (says == "") != (c.act != canaryClose) {
			t.Errorf("%s: %d, %s, %q", name, act, result, says)
		}
	}
}

func TestFitReport(t *testing.T) {
	cfg := &config.Config{
		Canary: config.CanaryManual, WoL: config.WoLAuto, Interface: "br0", SuspendCommand: []string{"systemctl", "suspend"}, Idle: time.Minute,
		WoLPassword: []byte("123456"), Address: netip.MustParseAddr("192.0.2.1"),
	}
	facts := WakeFacts{Unarmed: strings.Repeat("é", 400), Traits: []fsm.Trait{{Name: "kernel", Value: "6.1"}, {Name: "card 1", Value: strings.Repeat("x", 300)}}}
	r := fitReport(cfg, []fsm.MAC{cardMAC}, facts)
	if r.Canary != fsm.CanaryManual || !r.Idle || r.WoL != fsm.WoLUnarmed || string(r.Password) != "123456" || len(r.Why) > 500 {
		t.Errorf("%+v", r)
	}
	var names []string
	for _, trait := range r.Traits {
		names = append(names, trait.Name)
		if len(trait.Value) > 200 || strings.Contains(trait.Value, "123456") {
			t.Errorf("%+v", trait)
		}
	}
	if want := []string{"card 1", "interface", "kernel", "suspend command", "wake addresses", "wol", "wol_password"}; !slices.Equal(names, want) {
		t.Errorf("the traits are %v, want %v", names, want)
	}
	cfg.WoL = config.WoLAssumed
	if r := fitReport(cfg, nil, facts); r.WoL != fsm.WoLAssumed || r.Why != "" {
		t.Errorf("%+v", r)
	}
	if a, b := shortened(strings.Repeat("x", 300)+"a", 200), shortened(strings.Repeat("x", 300)+"b", 200); a == b {
		t.Error("two long texts are one")
	}
}

// onReporter is a stage whose host says whether it can be woken.
func onReporter(t *testing.T, f func(*testing.T, *stage, *reporter)) {
	t.Helper()
	onStage(t, func(t *testing.T, s *stage) {
		s.raft.must(fsm.PutNode{Node: fsm.Node{Name: "b", Key: "k", Policy: fsm.Sleeps, Format: 2, Wake: []fsm.MAC{cardMAC}}})
		f(t, s, &reporter{
			cfg:   &config.Config{Node: "b", Canary: config.CanaryAuto, WoL: config.WoLAuto, SuspendCommand: []string{"suspend"}, Interface: "eth0", Idle: 15 * time.Minute},
			clock: s.clock, machine: s.machine, proposer: s.proposer, power: s, addresses: func() ([]fsm.MAC, error) { return []fsm.MAC{cardMAC}, nil },
			meta: s.meta, log: s.log, bell: newBell(),
		})
	})
}

// An unchanged host writes nothing; one that has changed says so with the next look, and loses what it had shown.
func TestReporter(t *testing.T) {
	onReporter(t, func(t *testing.T, s *stage, r *reporter) {
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); r.run(ctx) }()
		fitness := func() fsm.Fitness { synctest.Wait(); return s.machine.View().State.Fitness["b"] }
		if f := fitness(); f.Report.WoL != fsm.WoLArmed || len(f.Report.Traits) != 4 || s.meta.now().Wake[0] != cardMAC {
			t.Errorf("%+v", f)
		}
		s.raft.must(fsm.JudgeFitness{Node: "b", Reason: fsm.CanaryAccepted})
		before := s.machine.View().Index
		<-time.After(time.Hour)
		if fitness(); s.machine.View().Index != before {
			t.Error("an idle host writes to the log")
		}
		s.facts.Store(&WakeFacts{Unarmed: "no card"})
		<-time.After(fitEvery)
		if f := fitness(); f.Report.WoL != fsm.WoLUnarmed || f.Report.Why != "no card" || f.Revoked.Reason != "" {
			t.Errorf("%+v", f)
		}
		s.facts.Store(&WakeFacts{Traits: []fsm.Trait{{Name: "kernel", Value: "7"}}})
		r.bell.ring() // after a resume
		if f := fitness(); f.Revoked.Reason != fsm.FitDrifted || f.Revoked.Detail != "kernel is new: 7" {
			t.Errorf("%+v", f)
		}
		s.raft.must(fsm.PutNode{Node: fsm.Node{Name: "old", Key: "k", Policy: fsm.AlwaysOn}})
		s.facts.Store(&WakeFacts{Unarmed: "no card"})
		<-time.After(fitEvery)
		if f := fitness(); f.Report.WoL != fsm.WoLArmed {
			t.Error("a member of an older version would have to stop")
		}
		stop()
		<-done
	})
}

// A suspend whose magic packets would go to nobody is none, and the others are told.
func TestArmLooksAtTheAddresses(t *testing.T) {
	onReporter(t, func(t *testing.T, s *stage, r *reporter) {
		s.sleeper.power = checkedPower{s, r.current, r.barred}
		replaced := fsm.MAC("\x02\x00\x00\x00\x00\x0c")
		r.addresses = func() ([]fsm.MAC, error) { return []fsm.MAC{replaced}, nil }
		s.order()
		s.steps(3)
		if me := s.record(); s.suspends != 0 || me.Power != fsm.Awake || me.PowerReason != fsm.SuspendFailed {
			t.Fatalf("%d suspends, %+v", s.suspends, me)
		}
		if p := s.problem.Load(); p == nil || !strings.Contains(*p, "would go to 02:00:00:00:00:0b, and its cards have 02:00:00:00:00:0c now") {
			t.Errorf("the problem is %v", p)
		}
		if told := s.meta.now().Wake; !slices.Equal(told, []fsm.MAC{replaced}) {
			t.Errorf("the others are told of %v", told)
		}
		s.raft.must(fsm.PutNode{Node: fsm.Node{Name: "b", Key: "k", Policy: fsm.Sleeps, Format: 2, Wake: []fsm.MAC{cardMAC, replaced}}})
		s.order()
		s.steps(4)
		if s.suspends != 1 {
			t.Errorf("%d suspends, though the log is right", s.suspends)
		}
	})
}

// Beside a member of version 0.1 nobody can be told a SecureOn password: the host that has one stays awake, hands nothing over, and says why.
func TestAPasswordThatNobodyCanBeTold(t *testing.T) {
	onReporter(t, func(t *testing.T, s *stage, r *reporter) {
		s.sleeper.power = checkedPower{s, r.current, r.barred}
		r.cfg.Power, r.cfg.WoLPassword = config.Sleeps, []byte("123456")
		s.raft.must(fsm.PutNode{Node: fsm.Node{Name: "old", Key: "k", Policy: fsm.AlwaysOn}})
		const want = "need its SecureOn password (wol_password), which the others cannot be told while the version on old does not know it"
		n := newNapper(s)
		n.idler.barred = r.barred
		n.looksFor(16 * time.Minute)
		o, _ := n.idler.outlook()
		if rs := o.verdict.Reasons; n.state() != idle.Held || len(rs) != 1 || rs[0].Name != idle.Unfit || !strings.Contains(rs[0].Sentence, want) {
			t.Errorf("it is %s because of %+v", n.state(), rs)
		}
		s.holds() // which it keeps: the answer comes before any hand-over
		s.order()
		s.steps(2)
		if me := s.record(); s.suspends+s.arms != 0 || me.Power != fsm.Awake || me.PowerReason != fsm.SuspendFailed || !strings.Contains(s.said(), want) {
			t.Errorf("%d suspends, %+v, %q", s.suspends, me, s.said())
		}
		s.tenants.all = nil
		s.raft.must(fsm.RemoveNode{Name: "old"})
		if why := r.barred(); why != "" {
			t.Errorf("when all know it: %s", why)
		}
	})
}

// The idler puts a host through a canary when nobody needs it, and does not put it to sleep before.
func TestIdleHostBeginsItsCanary(t *testing.T) {
	onReporter(t, func(t *testing.T, s *stage, r *reporter) {
		r.look(context.Background())
		n := newNapper(s)
		n.looksFor(16 * time.Minute)
		f := s.machine.View().State.Fitness["b"]
		if me := n.stage.record(); !f.Canary.Running() || !f.Canary.Auto || me.Power != fsm.Awake || n.state() != idle.Held {
			t.Fatalf("%+v, %+v, %s", f.Canary, me, n.state())
		}
		s.raft.must(fsm.EndCanary{Node: "b", ID: f.Canary.ID, Result: fsm.CanaryPassed})
		n.looksFor(time.Minute)
		if me := n.stage.record(); me.Power != fsm.Suspending || me.PowerReason != fsm.NodeIdle {
			o, _ := n.idler.outlook()
			t.Errorf("%+v, %+v", me, o.verdict)
		}
	})
}

// Whatever the idler thinks, the leader lets no host go to sleep by itself that may not be able to wake.
func TestQuorumGuardKeepsUnfitHostsAwake(t *testing.T) {
	onReporter(t, func(t *testing.T, s *stage, r *reporter) {
		r.look(context.Background())
		res, err := s.proposer.commit(context.Background(), fsm.SetPower{Node: "b", From: fsm.Awake, To: fsm.Suspending, Reason: fsm.NodeIdle})
		if err != nil || res.Refused == "" || !strings.Contains(res.Message, "has never shown") {
			t.Errorf("%+v, %v", res, err)
		}
		res, err = s.proposer.commit(context.Background(), fsm.SetPower{Node: "b", From: fsm.Awake, To: fsm.Suspending, Reason: fsm.CanarySleep})
		if err != nil || res.Err() != nil {
			t.Errorf("a canary: %+v, %v", res, err)
		}
	})
}
