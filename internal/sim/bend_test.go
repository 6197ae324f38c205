package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"nightporter/chaos/check"
)

// bentPlan has the holder's clocks bent one way and all others' the other way, by what the kernel lets a tick be bent, and then the
// holder's agent ends: killed, or stopped.
func bentPlan(seed uint64) Plan {
	p := NewPlan(4 * seed) // an even one, with no fault of its own
	p.Seed = 1<<40 + seed  // it is no plan of that seed
	p.Steps, p.Services = nil, p.Services[:1]
	r := rand.New(rand.NewPCG(seed, 0x62656e6432))
	holder := "holder:" + p.Services[0].Name
	p.Steps = append(p.Steps, Step{At: time.Second, Verb: "bend", Host: holder, For: 30 * time.Second, Bend: -0.1})
	for _, h := range p.Hosts { // the holder's clocks are bent already
		p.Steps = append(p.Steps, Step{At: time.Second + time.Millisecond, Verb: "bend", Host: h.Name, For: 30 * time.Second, Bend: 0.1})
	}
	p.Steps = append(p.Steps, Step{
		At: 6*time.Second + time.Duration(r.Int64N(int64(p.Failover))), Verb: pick(r, "kill", "stop"), Host: holder, For: 5 * time.Second,
	})
	return p
}

// TestBentClocks: that makes no two holders, and sooner or later it does where the agents do not see how their clocks are bent.
func TestBentClocks(t *testing.T) {
	const stories, patience = 8, 80
	for seed := range uint64(stories) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { judged(t, bentPlan(seed)) })
	}
	for seed := range uint64(patience) {
		p := bentPlan(seed)
		p.Untold = true
		if slices.ContainsFunc(check.Judge(run(t, p).History), func(v check.Verdict) bool { return v.Check == "single-holder" && v.State == check.Failed }) {
			t.Logf("without a look the story %d has two holders", seed)
			return
		}
	}
	t.Error("the stories do not show what they are about")
}
