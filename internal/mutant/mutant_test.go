package mutant

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// traces are what a program has that can make mistakes: the variable, and a name of each kind.
var traces = []string{"NIGHTPORTER_MUTANT", "late-guard", "macvlan-only", "epoch-reuse", "no-quorum-wake", "there is no mutant"}

// build makes the program as `make build` does, with more flags.
func build(t *testing.T, flags ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nightporter")
	args := append([]string{"build", "-trimpath", "-o", path}, flags...)
	cmd := exec.Command("go", append(args, "nightporter/cmd/nightporter")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// found lists the traces that a program has in it.
func found(t *testing.T, path string) (out []string) {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range traces {
		if bytes.Contains(body, []byte(s)) {
			out = append(out, s)
		}
	}
	return out
}

// The program that people get has no trace of any mutant, stripped or not; the tagged one has all, so the search is not blind.
func TestNoMutantIsInTheRelease(t *testing.T) {
	for _, flags := range [][]string{{"-ldflags", "-s -w"}, nil} {
		if got := found(t, build(t, flags...)); len(got) != 0 {
			t.Errorf("built with %q, it has %q in it", flags, got)
		}
	}
	if got := found(t, build(t, "-tags", "mutant")); len(got) != len(traces) {
		t.Errorf("the tagged program has only %q of %q", got, traces)
	}
}

// A name that is none is refused at once.
func TestAnUnknownMutantIsRefused(t *testing.T) {
	path := build(t, "-tags", "mutant")
	for value, want := range map[string]int{"nonsense": 2, "late-guard": 0, "": 0} {
		cmd := exec.Command(path, "version")
		cmd.Env = append(os.Environ(), "NIGHTPORTER_MUTANT="+value)
		out, err := cmd.CombinedOutput()
		code := 0
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			code = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if code != want || (want != 0) != strings.Contains(string(out), `there is no mutant "nonsense"`) {
			t.Errorf("%q: status %d, %s", value, code, out)
		}
	}
}
