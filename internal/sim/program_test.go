package sim

import (
	"slices"
	"strings"
	"testing"
	"time"

	"nightporter/chaos/check"
	"nightporter/chaos/history"
)

// TestAFailingProgramMovesItsService: to the other target while that is ready, else to a front, and back when it answers again; the same
// where the agents start and stop the units. Nothing else happens, so all checks judge it strictly.
func TestAFailingProgramMovesItsService(t *testing.T) {
	for _, managed := range []bool{false, true} {
		for _, how := range []string{refuses, hangs} {
			p := Plan{
				Seed: 1, Clients: 1, Failover: time.Second, Delay: 100 * time.Microsecond, Length: 34 * time.Second,
				Hosts:    []PlanHost{{Name: "alpha", Rate: 1}, {Name: "bravo", Rate: 1}, {Name: "charlie", Rate: 1}},
				Services: NewPlan(1).Services[:1],
				Steps: []Step{
					{At: 5 * time.Second, Verb: "program", Host: "holder:svc1", Service: "svc1", Arg: how, For: 14 * time.Second},
					{At: 14 * time.Second, Verb: "program", Host: "holder:svc1", Service: "svc1", Arg: how, For: 14 * time.Second},
				},
			}
			p.Services[0].Targets, p.Services[0].Founded = []string{"bravo", "charlie"}, true
			p.Services[0].Checked, p.Services[0].Managed = true, managed
			res := run(t, p)
			if verdicts := check.Judge(res.History); !check.OK(verdicts) {
				t.Errorf("managed %v, %s:\n%s", managed, how, words(verdicts))
			}
			var told []string
			first := ""
			for _, r := range res.History.Of("svc1") {
				if r.At.Before(res.History.Began.Add(4 * time.Second)) {
					first = r.To // whichever target was ready first
					continue
				}
				told = append(told, r.From+">"+r.To+" "+r.Reason)
			}
			want := "first>other check-failed, other>alpha check-failed, alpha>first check-passed"
			if managed { // the other target's unit does not run before the first one has lost the identity
				want = "first>alpha check-failed, alpha>other target-ready, other>alpha check-failed, alpha>first check-passed"
			}
			other := "bravo"
			if first == other {
				other = "charlie"
			}
			if got := strings.NewReplacer(first, "first", other, "other").Replace(strings.Join(told, ", ")); got != want {
				t.Errorf("managed %v, %s: it went %s, want %s", managed, how, got, want)
			}
			if slices.ContainsFunc(res.History.Requests, func(r history.Request) bool { return r.Began.After(res.History.Calm) && !r.OK() }) {
				t.Errorf("managed %v, %s: a client got no answer afterwards", managed, how)
			}
		}
	}
}

// TestPlansHaveChecks: some services have checks and some programs fail; what else a seed means is as it was without them.
func TestPlansHaveChecks(t *testing.T) {
	checked, managed, failing := 0, 0, 0
	for seed := range uint64(100) {
		p := NewPlan(seed)
		for _, s := range p.Services {
			if s.Checked {
				checked++
			}
			if s.Managed {
				managed++
			}
		}
		for _, s := range p.Steps {
			if s.Verb == "program" {
				failing++
			}
		}
	}
	if checked < 10 || managed < 3 || failing < 20 {
		t.Errorf("of 100 plans %d services are checked, %d managed, and programs fail %d times", checked, managed, failing)
	}
}
