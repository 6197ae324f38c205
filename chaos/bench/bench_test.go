package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"nightporter/chaos/lab"
)

// options for one or two runs, in a directory for temporary files that is looked at in the end.
func options(t *testing.T) Options {
	t.Helper()
	// Not t.TempDir: with its long name the path of the lab's socket would be too long.
	dir, err := os.MkdirTemp("", "np-bench-")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != 0 {
			t.Errorf("it left %v behind (%v)", left, err)
		}
		os.RemoveAll(dir)
	})
	return Options{Version: "test", Binary: program, Runs: 1, Slow: 1, Idle: time.Second, Say: func(line string) { t.Log(line) }}
}

// skipWithout ends a test where labs cannot be built.
func skipWithout(t *testing.T, err error) {
	t.Helper()
	var refused *lab.NotAllowed
	if errors.As(err, &refused) {
		t.Skip(refused.Error())
	}
}

func TestMovesAndWakes(t *testing.T) {
	o := options(t)
	o.Runs, o.Only = 2, []string{"move", "wake"}
	r, err := Run(t.Context(), o)
	skipWithout(t, err)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := r.Show(&text); err != nil {
		t.Fatal(err)
	}
	t.Log(text.String())
	if len(r.Tables) != 2 || r.Tables[0].Name != "move" || r.Tables[1].Name != "wake" {
		t.Fatalf("it measured %v, want the tables move and wake", r.Tables)
	}
	for _, table := range r.Tables {
		for _, row := range table.Rows {
			if len(row.Samples) != 2 {
				t.Errorf("%s, %s: %d samples, want 2", table.Name, row.Name, len(row.Samples))
			}
			for _, s := range row.Samples {
				if s <= 0 && row.Unit != "" {
					t.Errorf("%s, %s: %v ms: what comes later happened first", table.Name, row.Name, s)
				}
			}
		}
	}
	// The target resumes before the connection is there.
	if c := r.Tables[1].Rows[1]; c.Samples[0] < float64(resumeTime.Milliseconds()) {
		t.Errorf("connect took %v ms, less than the host takes to resume", c.Samples[0])
	}
}

func TestCrashes(t *testing.T) {
	const failover = time.Second
	o := options(t)
	table, err := ourCrashes(t.Context(), &o, failover)
	skipWithout(t, err)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range table.Rows {
		if len(row.Samples) != 1 {
			t.Fatalf("%s: %d samples, want 1", row.Name, len(row.Samples))
		}
		t.Logf("%s: %v ms", row.Name, row.Samples[0])
	}
	// A lease lasts 2/3 of the failover, and its last renewal may be a quarter of that old: sooner nobody may stand in.
	sooner := float64((failover / 3).Milliseconds())
	for i, row := range table.Rows[:3] {
		if row.Samples[0] < sooner {
			t.Errorf("row %d, %s: %v ms: somebody stood in before the lease had run out", i, row.Name, row.Samples[0])
		}
	}
}

func TestKeepalivedStandsBesides(t *testing.T) {
	o := options(t)
	var without Table
	if err := without.besides(t.Context(), &o, "", time.Second); err != nil {
		t.Fatal(err)
	}
	if len(without.Rows) != 0 || len(without.Notes) != 1 || !strings.Contains(without.Notes[0], "not installed") {
		t.Errorf("without keepalived the table becomes %+v, want a note and no row", without)
	}
	program := keepalivedProgram()
	if program == "" {
		return // nothing more can be known here, and nothing more is promised
	}
	var with Table
	err := with.besides(t.Context(), &o, program, 300*time.Millisecond)
	skipWithout(t, err)
	if err != nil {
		t.Fatal(err)
	}
	// RFC 9568, 6.1: a backup waits for three adverts and a part of one.
	if len(with.Rows) != 2 || len(with.Rows[0].Samples) != 1 || with.Rows[0].Samples[0] < 200 {
		t.Errorf("the rows are %+v, want one blackout of two adverts of 100 ms at least", with.Rows)
	}
}

func TestAnInterruptionTakesTheLabDown(t *testing.T) {
	o := options(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	enough := errors.New("seen enough")
	o.Runs, o.Only = 100, []string{"move", "wake"}
	o.Say = func(string) { cancel(enough) }
	r, err := Run(ctx, o)
	skipWithout(t, err)
	if !errors.Is(err, enough) || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("Run gave %v, want that it was interrupted, and why", err)
	}
	if len(r.Tables) != 1 || len(r.Tables[0].Rows[0].Samples) != 1 {
		t.Errorf("it kept %v, want the one move that was measured", r.Tables)
	}
}

func TestWhatCannotBeMeasured(t *testing.T) {
	ok := Options{Runs: 1, Slow: 1, Idle: time.Second}
	for name, c := range map[string]struct {
		change func(*Options)
		word   string
	}{
		"an unknown table": {func(o *Options) { o.Only = []string{"moves"} }, `"moves"`},
		"no runs":          {func(o *Options) { o.Runs = 0 }, "0 and 1 runs"},
		"no slow runs":     {func(o *Options) { o.Slow = 0 }, "1 and 0 runs"},
		"no time":          {func(o *Options) { o.Idle = 0 }, "0s"},
	} {
		o := ok
		c.change(&o)
		if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s: %v, want a sentence with %s", name, err, c.word)
		}
	}
}

func TestShow(t *testing.T) {
	began := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	r := Report{
		Version: "v0", Commit: "abc", Kernel: "6.1 x86_64", CPUs: 2, Began: began, Ended: began.Add(time.Minute), LoadBefore: "1 2 3", LoadAfter: "4 5 6",
		Tables: []Table{{Name: "t", Title: "A title", Notes: []string{"a note"}, Rows: []Row{
			{Name: "good", Unit: "ms", Samples: []float64{1, 2, 30}, Goal: Goal{Median: 2, Max: 30}},
			{Name: "bad", Unit: "bytes", Samples: []float64{4096}, Goal: Goal{None: true}},
			{Name: "empty", Unit: "ms"},
		}}},
	}
	var b bytes.Buffer
	if err := r.Show(&b); err != nil {
		t.Fatal(err)
	}
	want := `nightporter v0 (commit abc), Linux 6.1 x86_64, 2 processors
2026-01-02 03:04 to 03:05 UTC, load 1 2 3 before and 4 5 6 after; nothing is drawn at random, so there is no seed

t: A title

       MEDIAN  P95   MAX   UNIT   RUNS  GOAL
good   2.00    30.0  30.0  ms     3     median 2.00, max 30.0: met
bad    4096    4096  4096  bytes  1     none: missed
empty  -       -     -     ms     0

  a note
`
	var got strings.Builder
	for line := range strings.Lines(b.String()) {
		got.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	if got.String() != want {
		t.Errorf("it shows\n%s\nwant\n%s", got.String(), want)
	}
	raw, err := json.Marshal(r)
	if err != nil || !bytes.Contains(raw, []byte(`"samples":[1,2,30]`)) {
		t.Errorf("the samples are not in the JSON: %s (%v)", raw, err)
	}
}
