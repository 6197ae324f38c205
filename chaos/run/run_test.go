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

// sliceSeeds are what every test run makes: about a minute each, most of which is the time to settle.
var sliceSeeds = []uint64{1}

// TestSlice is a short run of everything. A longer one is `nightporter chaos run`.
func TestSlice(t *testing.T) {
	for _, seed := range sliceSeeds {
		dir, err := os.MkdirTemp("", "nightporter-slice-")
		if err != nil {
			t.Fatal(err)
		}
		o := Options{
			Binary: program, Dir: dir, Hosts: 5, Duration: 20 * time.Second, Seed: seed, Failover: time.Second, Switch: lab.SwitchUser,
			Version: "test", Tell: func(l Line) { t.Logf("%9.3f %s %s", l.At.Seconds(), l.Who, l.Text) },
		}
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
		defer cancel()
		result, err := Run(ctx, o)
		if _, refused := errors.AsType[*lab.NotAllowed](err); refused {
			t.Skip(err.Error())
		}
		if err != nil {
			t.Fatalf("seed %d: %v; what there is is in %s", seed, err, dir)
		}
		for _, v := range result.Verdicts {
			if v.State != check.Passed {
				t.Errorf("seed %d: %s: %s %q; the run is in %s", seed, v.Check, v.State, v.Findings, dir)
			}
		}
		if !t.Failed() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		}
	}
}
