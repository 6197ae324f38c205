package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// fitLog has every command about whether nodes can be woken, with every field set. It is in a folder of its own: format 2 has it.
func fitLog() []fixture {
	c := testNode("c", Sleeps)
	c.Sleeps = 4
	return []fixture{
		{"01-found", Found{Cluster: Cluster{ID: testID, Name: "home", Created: at(0)}, Failover: time.Second, Services: []Service{testService("web", 200)}, By: "a"}},
		{"02-put-node", PutNode{Node: c, At: at(1)}},
		{"03-report-fitness", ReportFitness{Node: "c", Report: testReport("6.1"), At: at(2)}},
		{"04-begin-canary", BeginCanary{Node: "c", ID: "k1", At: at(3), By: "c"}},
		{"05-end-canary", EndCanary{Node: "c", ID: "k1", Result: CanaryPassed, Detail: "it came back", At: at(9), Phases: Phases{
			Called: time.Millisecond, Back: 4 * time.Second, Awake: 4100 * time.Millisecond,
		}}},
		{"06-report-fitness", ReportFitness{Node: "c", Report: testReport("6.12"), At: at(10)}},
		{"07-judge-fitness", JudgeFitness{Node: "c", Reason: CanaryAccepted, At: at(11), By: "a"}},
		{"08-begin-canary", BeginCanary{Node: "c", ID: "k2", Auto: true, At: at(12), By: "c"}},
		{"09-end-canary", EndCanary{Node: "c", ID: "k2", Result: CanaryFailed, Detail: "it did not come back", At: at(13), Phases: Phases{Called: time.Millisecond}}},
		{"10-judge-fitness", JudgeFitness{Node: "c", Reason: WakeFailed, Sleeps: 4, Detail: "its calls were given up", At: at(14), By: "a"}},
	}
}

func testReport(kernel string) FitReport {
	return FitReport{
		Canary: CanaryAuto, Idle: true, WoL: WoLUnarmed, Why: "its card does not let itself be armed", Wake: []MAC{"\x02\x00\x00\x00\x01\x0b"},
		Password: "\x00\x11\x22\x33\x44\x55",
		Traits:   []Trait{{"card 1", "02:00:00:00:01:0b r8169"}, {"kernel", kernel}, {"suspend", "systemctl suspend"}},
	}
}

func TestFitness(t *testing.T) {
	report := ReportFitness{Node: "c", Report: testReport("6.1"), At: at(10)}
	begin := BeginCanary{Node: "c", ID: "k1", At: at(11), By: "a"}
	end := func(r Reason) EndCanary { return EndCanary{Node: "c", ID: "k1", Result: r, Detail: "why", At: at(20)} }
	of := func(check func(Fitness) bool) func(*State) error {
		return func(s *State) error {
			return want(check(s.Fitness["c"]), "fitness is %+v", s.Fitness["c"])
		}
	}
	bad := func(change func(*FitReport)) ReportFitness {
		r := testReport("6.1")
		change(&r)
		return ReportFitness{Node: "c", Report: r}
	}
	long := strings.Repeat("x", 1000)
	passed := []Command{report, begin, end(CanaryPassed)}
	sleeps := SetPower{Node: "c", From: Awake, To: Suspending, Reason: CanarySleep, At: at(12), By: "a"}
	runApplyCases(t, []applyCase{
		{name: "first report", command: report, check: of(func(f Fitness) bool { return f.Print == "" && f.Revoked.Reason == "" && len(f.Report.Traits) == 3 })},
		{name: "report of nobody", command: ReportFitness{Node: "z", Report: testReport("6.1")}, refused: UnknownNode, says: `"z"`},
		{name: "no such mode", command: bad(func(r *FitReport) { r.Canary = "soon" }), refused: Invalid, says: `"soon"`},
		{name: "no such setting", command: bad(func(r *FitReport) { r.WoL = "" }), refused: Invalid, says: "Wake-on-LAN"},
		{name: "short password", command: bad(func(r *FitReport) { r.Password = "1234" }), refused: Invalid, says: "6 bytes, not 4"},
		{name: "long sentence", command: bad(func(r *FitReport) { r.Why = long }), refused: Invalid, says: "1000 bytes"},
		{name: "many addresses", command: bad(func(r *FitReport) { r.Wake = slices.Repeat(r.Wake, 33) }), refused: Invalid, says: "33 wake addresses"},
		{name: "many traits", command: bad(func(r *FitReport) { r.Traits = make([]Trait, 33) }), refused: Invalid, says: "33 traits"},
		{name: "long trait", command: bad(func(r *FitReport) { r.Traits[2].Value = long }), refused: Invalid, says: "256 bytes"},
		{name: "disorder", command: bad(func(r *FitReport) { r.Traits[0].Name = "z" }), refused: Invalid, says: "order"},

		{name: "begins", given: []Command{report}, command: begin, check: of(func(f Fitness) bool { return f.Canary.Running() && f.Canary.By == "a" })},
		{name: "begins before a report", command: begin, check: of(func(f Fitness) bool { return f.Canary.Running() })},
		{name: "begins again", given: []Command{begin}, command: begin, check: of(func(f Fitness) bool { return f.Canary.Began == at(11) })},
		{name: "no ID", command: BeginCanary{Node: "c"}, refused: Invalid, says: "no ID"},
		{name: "of nobody", command: BeginCanary{Node: "z", ID: "k"}, refused: UnknownNode, says: `"z"`},
		{name: "always on", command: BeginCanary{Node: "a", ID: "k"}, refused: NeverSleeps, says: "always-on"},
		{name: "on its way", given: []Command{sleeps}, command: begin, refused: WrongPower, says: "suspending"},
		{
			name: "one at a time", given: []Command{PutNode{Node: testNode("d", Sleeps), At: at(9)}, begin},
			command: BeginCanary{Node: "d", ID: "k2"}, refused: CanaryRunning, says: "canary of c",
		},

		{name: "passes", given: []Command{report, begin}, command: end(CanaryPassed), check: of(func(f Fitness) bool {
			return f.Print == testReport("6.1").Fingerprint() && f.Since == at(20) && !f.Canary.Running() && f.Canary.Result == CanaryPassed
		})},
		{name: "fails", given: passed, command: BeginCanary{Node: "c", ID: "k2"}, check: of(func(f Fitness) bool { return f.Print != "" && f.Revoked.Reason == "" })},
		{
			name: "has failed", given: append(slices.Clone(passed), BeginCanary{Node: "c", ID: "k2"}), command: EndCanary{Node: "c", ID: "k2", Result: CanaryFailed, Detail: long},
			check: of(func(f Fitness) bool {
				return f.Revoked.Reason == CanaryFailed && f.Failed == 1 && len(f.Revoked.Detail) == maxSentence
			}),
		},
		{
			name: "called off", given: append(slices.Clone(passed), BeginCanary{Node: "c", ID: "k2"}), command: EndCanary{Node: "c", ID: "k2", Result: CanaryCalledOff},
			check: of(func(f Fitness) bool {
				return f.Revoked.Reason == "" && f.Failed == 0 && f.Print != "" && f.Canary.Result == CanaryCalledOff
			}),
		},
		{name: "of another ID", given: []Command{begin}, command: EndCanary{Node: "c", ID: "k0", Result: CanaryPassed}, check: of(func(f Fitness) bool { return f.Canary.Running() && f.Print == "" })},
		{name: "ends twice", given: passed, command: end(CanaryFailed), check: of(func(f Fitness) bool { return f.Canary.Result == CanaryPassed && f.Failed == 0 })},
		{name: "no such end", given: []Command{begin}, command: end(WokeUp), refused: Invalid, says: "woke-up"},

		{name: "same again", given: passed, command: report, check: of(func(f Fitness) bool { return f.Revoked.Reason == "" })},
		{name: "another kernel", given: passed, command: ReportFitness{Node: "c", Report: testReport("6.12"), At: at(30)}, check: of(func(f Fitness) bool {
			return f.Revoked.Reason == FitDrifted && f.Revoked.Detail == "kernel is 6.12 and was 6.1" && f.Revoked.At == at(30)
		})},
		{
			name: "and back", given: append(slices.Clone(passed), ReportFitness{Node: "c", Report: testReport("6.12"), At: at(30)}), command: report,
			check: of(func(f Fitness) bool {
				return f.Revoked.Reason == FitDrifted && f.Revoked.Detail == "kernel is 6.12 and was 6.1"
			}),
		},
		{
			name: "a card more and one less", given: passed, command: bad(func(r *FitReport) { r.Traits[0].Name = "card 0" }),
			check: of(func(f Fitness) bool {
				return f.Revoked.Detail == "card 0 is new: 02:00:00:00:01:0b r8169; card 1 is gone: 02:00:00:00:01:0b r8169"
			}),
		},
		{
			name: "no drift in what is no trait", given: passed, command: bad(func(r *FitReport) { r.WoL, r.Why = WoLArmed, "" }),
			check: of(func(f Fitness) bool { return f.Revoked.Reason == "" && f.Report.WoL == WoLArmed }),
		},

		{
			name: "did not wake", given: passed, command: JudgeFitness{Node: "c", Reason: WakeFailed, Detail: "d", At: at(30)},
			check: of(func(f Fitness) bool { return f.Revoked.Reason == WakeFailed && f.Revoked.Detail == "d" }),
		},
		{name: "did not wake in another sleep", command: JudgeFitness{Node: "c", Reason: WakeFailed, Sleeps: 4}, refused: WrongPower, says: "sleep 0"},
		{
			name: "did not wake from its canary", given: []Command{report, begin, sleeps, end(CanaryFailed)}, command: JudgeFitness{Node: "c", Reason: WakeFailed, Sleeps: 1},
			check: of(func(f Fitness) bool { return f.Revoked.Reason == CanaryFailed }),
		},
		{
			name: "accepted", given: []Command{report, JudgeFitness{Node: "c", Reason: WakeFailed}}, command: JudgeFitness{Node: "c", Reason: CanaryAccepted, At: at(30)},
			check: of(func(f Fitness) bool { return f.Revoked.Reason == "" && f.Print == testReport("6.1").Fingerprint() }),
		},
		{name: "accepted unseen", command: JudgeFitness{Node: "c", Reason: CanaryAccepted}, refused: Invalid, says: "nothing to accept"},
		{name: "judged for nothing", command: JudgeFitness{Node: "c", Reason: Demand}, refused: Invalid, says: "demand"},
		{name: "forgotten", given: passed, command: RemoveNode{Name: "c", Reason: NodeLeft}, check: func(s *State) error { return want(len(s.Fitness) == 0, "%+v", s.Fitness) }},
	})
}

// Fingerprints of different traits differ, however they are cut.
func TestFingerprint(t *testing.T) {
	seen := map[string]string{}
	for _, traits := range [][]Trait{nil, {{"a", "b"}}, {{"a", "c"}}, {{"ab", ""}}, {{"a", "b"}, {"c", "d"}}, {{"a", "b\"\n\"c\"=\"d"}}} {
		p := FitReport{Traits: traits}.Fingerprint()
		if other, twice := seen[p]; twice || len(p) != 16 {
			t.Errorf("%v and %s have the fingerprint %s", traits, other, p)
		}
		seen[p] = fmt.Sprint(traits)
	}
}
