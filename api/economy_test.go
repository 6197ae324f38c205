package api

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The golden files are the contract: a change of one is a change of what scripts read.
func TestTheLedgersJSONIsStable(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000000, time.UTC)
	stable(t, "wakes.json", &Wakes{
		Wakes: []WakeRecord{{
			ID: "a1", Node: "delta", Service: "web", Cause: "demand", Client: "192.0.2.7:51234", Port: "tcp/8080", By: "alpha", Started: at, Ended: at.Add(time.Second),
			Result: "woke-up", Verdict: "useful", Phases: []PhaseTime{{Phase: "called", After: Duration(300 * time.Microsecond)}},
		}},
		Refused: []Ignored{{Service: "web", Source: "192.0.2.9", Port: "tcp/8080", Why: "over-budget", Count: 17, First: at, Last: at, By: "alpha"}},
		Waiting: []WakeWaits{{Node: "echo", Service: "db", Client: "192.0.2.7:51235", By: "bravo"}},
		Notes:   []string{"what charlie refused is not known"},
	})
	stable(t, "report.json", &Report{
		From: at, Until: at.Add(time.Hour), Notes: []string{"something is not known"},
		Nodes: []NodeReport{{
			Node: "delta", Policy: "sleeps", Since: at, Awake: Duration(time.Hour), Asleep: Duration(2 * time.Hour), Off: Duration(time.Minute), Configured: true,
			WattsAwake: 60, WattsAsleep: 2, SavedWh: 116, Wakes: []WakeCount{{Service: "web", Cause: "demand", Verdict: "useful", Count: 3}},
		}},
	})
}

func stable[T any](t *testing.T, file string, in *T) {
	t.Helper()
	got, err := json.MarshalIndent(in, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
	var back T
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*in, back); diff != "" {
		t.Errorf("%s after a round trip (-want +got):\n%s", file, diff)
	}
}
