package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"nightporter/chaos/check"
	chaosrun "nightporter/chaos/run"
	"nightporter/internal/mutant"
)

// Every mistake is looked for, and each once.
func TestEveryMutantIsATarget(t *testing.T) {
	seen := map[mutant.Name]int{}
	for _, x := range targets() {
		seen[x.mutant]++
		if len(x.breaks) == 0 {
			t.Errorf("%s breaks nothing", x.mutant)
		}
	}
	for _, n := range mutant.All() {
		if seen[n] != 1 {
			t.Errorf("%s is looked for %d times", n, seen[n])
		}
	}
}

// Only a failed check that keeps what a mistake breaks has found it.
func TestFound(t *testing.T) {
	x := target{mutant: mutant.GARP, breaks: []string{"I1"}}
	all := []check.Verdict{
		{Check: "clean", Keeps: "I1", State: check.Passed},
		{Check: "controls", Keeps: "-", State: check.Failed},
		{Check: "guard", Keeps: "I10, I8", State: check.Failed},
		{Check: "blind", Keeps: "I1", State: check.Blind},
	}
	if got := x.found(all); len(got) != 0 {
		t.Errorf("found by %q", got)
	}
	if got := x.found(append(all, check.Verdict{Check: "single-holder", Keeps: "I1, I2", State: check.Failed})); len(got) != 1 || got[0] != "single-holder" {
		t.Errorf("found by %q", got)
	}
}

// A process of the simulation tells one seed after the other; only a failure has verdicts.
func TestWatched(t *testing.T) {
	dir := t.TempDir()
	body, err := json.Marshal([]check.Verdict{{Check: "single-holder", Keeps: "I1", State: check.Failed}})
	if err == nil {
		err = os.MkdirAll(filepath.Join(dir, "seed-8"), 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "seed-8", "verdict.json"), body, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	var got []run
	w := &watched{seed: 7, dir: dir, see: func(r run) bool { got = append(got, r); return len(got) < 3 }}
	for _, line := range []string{"seed 7", "seed 8", "failed something", "seed 9", "PASS", "seed 10"} {
		if !w.line(line) {
			break
		}
	}
	if len(got) != 3 || got[0].seed != 7 || got[0].verdicts != nil || got[1].seed != 8 || len(got[1].verdicts) != 1 || got[2].seed != 9 || got[2].verdicts != nil {
		t.Errorf("seen: %+v", got)
	}
	if !w.enough {
		t.Error("it goes on after the last one that was wanted")
	}
}

// A laboratory that does not even start has no verdict, whatever an earlier campaign left in its folder.
func TestAnOldVerdictIsNone(t *testing.T) {
	s := search{dir: t.TempDir(), program: "true", hosts: 3, duration: time.Second}
	old := filepath.Join(s.dir, "chaos-x-1")
	if err := os.MkdirAll(old, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(old, chaosrun.VerdictFile), []byte(`{"ok":true}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := s.once(t.Context(), "x", 1); r.lost == "" {
		t.Errorf("a program that does nothing came to a verdict: %+v", r)
	}
}
