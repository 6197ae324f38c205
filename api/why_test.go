package api

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The golden file is the contract, as that of the status is.
func TestWhyJSONIsStable(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000000, time.UTC)
	reason := AwakeReason{Name: "flows", Kind: "use", Subject: "web", Sentence: "a client uses web", Since: at, Until: at.Add(time.Second)}
	in := Why{
		Node: "delta", Summary: "delta is in use", Power: "awake", PowerReason: "woke-up", Since: at, Cause: "it was woken", Policy: "sleeps",
		Idle: Duration(15 * time.Minute), State: "busy", StateSince: at, SleepsAt: at.Add(time.Hour), WakesAt: at.Add(24 * time.Hour),
		Reasons: []AwakeReason{reason}, LastUse: reason, Rules: []Rule{{Sentence: "it sleeps if nobody comes", Key: "idle: 15m0s"}}, Notes: []string{"there is no systemd-logind here"},
	}
	got, err := json.MarshalIndent(in, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "why.json")
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
		t.Errorf("-want +got:\n%s", diff)
	}
	var back Why
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, back); diff != "" {
		t.Errorf("after a round trip (-want +got):\n%s", diff)
	}
}
