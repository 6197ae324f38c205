package run

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"nightporter/chaos/check"
	"nightporter/chaos/lab"
)

// shortRuns are what every test run makes. The first one is a slice of everything, a minute, most of which is the time to settle; the others are of clusters of
// special shapes, with what makes them special and little else.
var shortRuns = []struct {
	name string
	o    Options
	told []string // what the run must have come to
}{
	{"everything", Options{Hosts: 5, Duration: 20 * time.Second, Seed: 1, Failover: time.Second}, nil},
	{"two hosts", Options{Hosts: 2, Duration: 8 * time.Second, Seed: 1, Failover: 400 * time.Millisecond, Settle: 9 * time.Second}, []string{check.VotelessDied}},
	{"a witness", Options{Hosts: 3, Witnesses: 1, Duration: 12 * time.Second, Seed: 1, Failover: 400 * time.Millisecond, Settle: 10 * time.Second}, []string{check.SleeperCalled}},
	{"the last net", Options{Hosts: 3, LookAfter: 4 * time.Second, Duration: 22 * time.Second, Seed: 1, Failover: 400 * time.Millisecond, Settle: 10 * time.Second}, []string{check.OnlyAsleep, check.WentOn}},
}

// TestSlice makes short runs. Longer ones are `nightporter chaos run`.
func TestSlice(t *testing.T) {
	for _, s := range shortRuns {
		t.Run(s.name, func(t *testing.T) { slice(t, s.o, s.told) })
	}
}

func slice(t *testing.T, o Options, told []string) {
	dir, err := os.MkdirTemp("", "nightporter-slice-")
	if err != nil {
		t.Fatal(err)
	}
	o.Binary, o.Dir, o.Switch, o.Version = program, dir, lab.SwitchUser, "test"
	o.Tell = func(l Line) { t.Logf("%9.3f %s %s", l.At.Seconds(), l.Who, l.Text) }
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	result, err := Run(ctx, o)
	if _, refused := errors.AsType[*lab.NotAllowed](err); refused {
		t.Skip(err.Error())
	}
	if err != nil {
		t.Fatalf("%v; what there is is in %s", err, dir)
	}
	seen := map[string]int{}
	for _, v := range result.Verdicts {
		if v.State != check.Passed {
			t.Errorf("%s: %s %q; the run is in %s", v.Check, v.State, v.Findings, dir)
		}
		for _, c := range v.Seen {
			seen[c.What] = c.Times
		}
	}
	for _, what := range told {
		if seen[what] == 0 {
			t.Errorf("the run did not come to this: %s; it is in %s", what, dir)
		}
	}
	if !t.Failed() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}
}
