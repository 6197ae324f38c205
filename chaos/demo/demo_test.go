package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"nightporter/chaos/lab"
)

// tellTest runs parts of the story in a directory for temporary files of its own, which shows what is left behind.
func tellTest(ctx context.Context, t *testing.T, parts []step, tell func(Line)) (left []string, err error) {
	t.Helper()
	// Not t.TempDir: with its long name the path of the lab's socket would be too long.
	dir, err := os.MkdirTemp("", "np-demo-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("TMPDIR", dir)
	err = run(ctx, Options{Binary: program, Tell: tell}, parts)
	var refused *lab.NotAllowed
	if errors.As(err, &refused) {
		t.Skip(refused.Error())
	}
	entries, lost := os.ReadDir(dir)
	if lost != nil {
		t.Fatal(lost)
	}
	for _, e := range entries {
		left = append(left, filepath.Join(dir, e.Name()))
	}
	return left, err
}

func TestTheStory(t *testing.T) {
	var lines []string
	left, err := tellTest(t.Context(), t, steps(), func(l Line) {
		lines = append(lines, fmt.Sprintf("%.3f %s %s", l.At.Seconds(), l.Who, l.Text))
	})
	all := strings.Join(lines, "\n")
	t.Log(all)
	if err != nil {
		t.Fatal(err)
	}
	for what, times := range map[string]int{"sends the first magic packet for h4": 2, "connect() succeeds": 2, "is dead": 1, "two holders at once: 0": 1} {
		if n := strings.Count(all, what); n != times {
			t.Errorf("%q was told %d times, want %d", what, n, times)
		}
	}
	if len(left) != 0 {
		t.Errorf("it left %v behind", left)
	}
}

func TestAnInterruptionLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	enough := errors.New("seen enough")
	left, err := tellTest(ctx, t, steps(), func(l Line) {
		if l.Who == target {
			cancel(enough)
		}
	})
	if !errors.Is(err, enough) || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("Run gave %v, want that it was interrupted, and why", err)
	}
	if len(left) != 0 {
		t.Errorf("it left %v behind", left)
	}
}

// Nobody founds a cluster within no time, so the first part fails.
func TestAFailureSaysWhatWasExpected(t *testing.T) {
	hasty := []step{{"Four hosts meet", time.Millisecond, (*story).meet}}
	left, err := tellTest(t.Context(), t, hasty, func(Line) {})
	f, failed := errors.AsType[*Failure](err)
	if !failed {
		t.Fatalf("Run gave %v, want a Failure", err)
	}
	for _, part := range []string{"Four hosts meet", "all four hosts are in one cluster", "not within 1ms", f.Logs} {
		if part == "" || !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not mention %q", err, part)
		}
	}
	if !slices.Equal(left, []string{f.Logs}) {
		t.Errorf("it left %v behind, want nothing but the logs in %s", left, f.Logs)
	}
	for k := 1; k <= hosts; k++ {
		if _, err := os.Stat(filepath.Join(f.Logs, fmt.Sprintf("h%d.log", k))); err != nil {
			t.Error(err)
		}
	}
}
