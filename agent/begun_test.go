package agent

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
)

// TestAHostThatNeverComesUpFillsNoLog: clients knock for two days. Each wake that begins has its record, its measurement and its end, also those
// that were kept for the end of a pause; they become few, and status says how it stands.
func TestAHostThatNeverComesUpFillsNoLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newWakingWorld(t, oneTarget(fsm.WakeRules{Budget: fsm.NoLimit, BudgetAll: fsm.NoLimit}), time.Minute)
		for end := time.Now().Add(48 * time.Hour); time.Now().Before(end); {
			x.demand(knock("web", "192.0.2.7"))
			x.look()
			time.Sleep(5 * time.Second)
		}
		begun, failed, measured := make(map[string]bool), 0, 0
		for _, c := range x.entered {
			switch c := c.(type) {
			case fsm.BeginWake:
				if begun[c.Wake.ID] || c.Wake.Client != "192.0.2.7:4000" || c.Wake.Service != "web" {
					t.Errorf("%+v", c.Wake)
				}
				begun[c.Wake.ID] = true
			case fsm.EndWake:
				if !begun[c.ID] || c.Result != fsm.GaveUp {
					t.Errorf("an end without a beginning: %+v", c)
				}
				failed++
			case fsm.MeasureWake:
				measured++
			}
		}
		if n := len(begun); n < 50 || n > 60 || failed < n-1 || measured < n-1 {
			t.Errorf("%d wakes began, %d were given up, %d measured", n, failed, measured)
		}
		if n := x.calls.calls[macs["b"]]; n < 20_000 {
			t.Errorf("%d calls: whoever knocks is not without any in the pauses", n)
		}
		p := x.problem("b")
		if !strings.Contains(p, "times in a row (clients that knock have it called again after 1h0m0s, `nightporter wake` does not wait)") {
			t.Errorf("status says %q", p)
		}
		before := x.calls.calls[macs["b"]]
		x.operator("b", 3)
		x.look()
		if x.calls.calls[macs["b"]] == before {
			t.Error("an operator waits")
		}
	})
}

// TestAHostThatCameBackByItselfHasNotFailed: nobody's campaign ended with it. What was kept for the end of the pause does not begin for
// a host that is up, and the next failure is the first one again.
func TestAHostThatCameBackByItselfHasNotFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newWakingWorld(t, oneTarget(fsm.WakeRules{Budget: fsm.NoLimit, BudgetAll: fsm.NoLimit}), time.Minute)
		knocking := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); {
				x.demand(knock("web", "192.0.2.7"))
				x.look()
				time.Sleep(5 * time.Second)
			}
		}
		knocking(3 * time.Hour)
		if p := x.problem("b"); !strings.Contains(p, "times in a row") {
			t.Fatalf("status says %q", p)
		}
		for _, calling := range []bool{true, false} { // until it is called again, and that is given up
			for (len(x.own()) > 0) != calling {
				knocking(5 * time.Second)
			}
		}
		knocking(time.Hour - 20*time.Second) // in the pause, and until it is nearly over
		x.isBack("b")
		x.entered = nil
		before := x.calls.calls[macs["b"]]
		for range 3600 {
			x.look()
			time.Sleep(2 * time.Second)
		}
		if n := x.calls.calls[macs["b"]] - before; n != 0 || len(x.entered) != 0 || x.problem("b") != "" {
			t.Errorf("while it was up: %d calls, entries %+v, problem %q", n, x.entered, x.problem("b"))
		}
		x.members["b"] = cluster.Member{Name: "b"}
		x.power("b", fsm.Awake, fsm.Suspending)
		x.solo.must(fsm.SetPower{Node: "b", From: fsm.Suspending, To: fsm.Asleep, Sleeps: 4})
		knocking(90 * time.Second)
		if p := x.problem("b"); !strings.Contains(p, "did not wake") || strings.Contains(p, "in a row") {
			t.Errorf("after one failure more status says %q", p)
		}
	})
}
