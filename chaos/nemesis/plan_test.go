package nemesis

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nightporter/chaos/history"
)

var five = Field{Hosts: []string{"h1", "h2", "h3", "h4", "h5"}, Services: []string{"web", "mail"}, Switch: "user", Failover: time.Second}

func TestASeedFixesThePlan(t *testing.T) {
	if diff := cmp.Diff(Plan(7, five, time.Minute), Plan(7, five, time.Minute)); diff != "" {
		t.Error(diff)
	}
	if cmp.Equal(Plan(7, five, time.Minute), Plan(8, five, time.Minute)) {
		t.Error("two seeds make one plan")
	}
}

func TestPlansStayInTheirBounds(t *testing.T) {
	for seed := range uint64(200) {
		last := time.Duration(0)
		for _, d := range Plan(seed, five, 2*time.Minute) {
			if d.At+d.For > 2*time.Minute+10*time.Second || d.At < 0 {
				t.Errorf("seed %d: %s is out of the run", seed, d)
			}
			if !slices.Contains(five.Hosts, d.Host) || !slices.Contains(five.Services, d.Service) {
				t.Errorf("seed %d: %s is about nobody", seed, d)
			}
			if d.Kind == history.Partition && (len(d.Group) == 0 || len(d.Group) == len(five.Hosts)) {
				t.Errorf("seed %d: %s cuts nothing", seed, d)
			}
			last = max(last, d.At)
		}
		if last < time.Minute {
			t.Errorf("seed %d: the last deed is at %s", seed, last)
		}
	}
}

// TestALongPlanHasEverything: ten minutes come to every card of the deck.
func TestALongPlanHasEverything(t *testing.T) {
	type kind struct {
		k history.Kind
		r Role
	}
	for seed := range uint64(50) {
		have := map[kind]bool{}
		for _, d := range Plan(seed, five, 10*time.Minute) {
			have[kind{d.Kind, d.Role}] = true
		}
		for _, c := range deck() {
			if !have[kind{c.kind, c.role}] {
				t.Errorf("seed %d: no %s of %s", seed, c.kind, c.role)
			}
		}
	}
}

func TestABridgeOnlyLosesFrames(t *testing.T) {
	f := five
	f.Switch = "bridge"
	for _, d := range Plan(3, f, 10*time.Minute) {
		if d.Kind == history.Noise && d.Way != "loss" {
			t.Errorf("%s cannot be had from a bridge", d)
		}
	}
}

// Every round of a cluster of some shape begins with the stories of that shape, and the disk of the only voter of two hosts is not corrupted.
func TestShapesHaveTheirStories(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    Field
		want []history.Kind
	}{
		{"five hosts, three always on", Field{Hosts: []string{"a", "b", "c", "d", "e"}, Sleepers: []string{"d", "e"}}, nil},
		{"the same with clocks", Field{Hosts: []string{"a", "b", "c", "d", "e"}, Sleepers: []string{"d", "e"}, LookAfter: time.Second}, []history.Kind{Night}},
		{"three hosts", Field{Hosts: []string{"a", "b", "c"}, Sleepers: []string{"c"}}, []history.Kind{Dusk}},
		{"two hosts", Field{Hosts: []string{"a", "b"}, Sleepers: []string{"b"}}, []history.Kind{Lone}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.f.Services, tt.f.Failover = []string{"web"}, time.Second
			plan := Plan(3, tt.f, 10*time.Minute)
			for i, kind := range tt.want {
				if plan[i].Kind != kind || plan[i].Role != All {
					t.Errorf("deed %d is %s", i, plan[i])
				}
			}
			rounds := len(plan) / (len(tt.f.deck()) + len(tt.want))
			for _, kind := range []history.Kind{Night, Lone, Dusk} {
				n := 0
				for _, d := range plan {
					if d.Kind == kind {
						n++
					}
				}
				if told := slices.Contains(tt.want, kind); (n > 0) != told || told && n < rounds {
					t.Errorf("%d times %s in %d rounds", n, kind, rounds)
				}
			}
			if len(tt.f.Hosts) == 2 && slices.ContainsFunc(plan, func(d Deed) bool { return d.Kind == history.Damage }) {
				t.Error("the only voter's disk is corrupted")
			}
		})
	}
}
