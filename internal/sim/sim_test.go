package sim

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"nightporter/chaos/check"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run carries out one plan in a bubble of its own.
func run(t *testing.T, p Plan) (res *Result) {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := WriteSecret(secret); err != nil {
		t.Fatal(err)
	}
	var trace io.Writer
	if path := os.Getenv("SIM_TRACE"); path != "" {
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		trace = f
	}
	synctest.Test(t, func(t *testing.T) {
		var err error
		if res, err = Run(p, secret, trace); err != nil {
			t.Fatal(err)
		}
	})
	return res
}

// judged runs a plan and reports what the checks find. What failed is kept in a folder.
func judged(t *testing.T, p Plan) {
	t.Helper()
	res := run(t, p)
	verdicts := check.Judge(res.History)
	if check.OK(verdicts) {
		return
	}
	dir := filepath.Join(outDir(), fmt.Sprintf("seed-%d", p.Seed))
	if err := res.Keep(dir, verdicts); err != nil {
		t.Error(err)
	}
	t.Errorf("seed %d, kept in %s:\n%s", p.Seed, dir, words(verdicts))
}

func words(verdicts []check.Verdict) string {
	var b strings.Builder
	for _, v := range verdicts {
		if v.State == check.Passed {
			continue
		}
		fmt.Fprintf(&b, "  %s (%s) %s:\n", v.Check, v.Keeps, v.State)
		for _, f := range v.Findings {
			fmt.Fprintf(&b, "    %s\n", f)
		}
	}
	return b.String()
}

func outDir() string {
	if d := os.Getenv("SIM_OUT"); d != "" {
		return d
	}
	return filepath.Join(os.TempDir(), "nightporter-sim")
}

func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestCalm: without any fault or command the cluster founds itself and serves, at any number of hosts.
func TestCalm(t *testing.T) {
	for seed := range uint64(6) {
		p := NewPlan(seed)
		p.Steps = nil
		judged(t, p)
	}
}

// TestSchedules runs seeds from SIM_SEED on: SIM_SEEDS of them, or as many as fit into the time of a test.
func TestSchedules(t *testing.T) {
	first, most := number(t, "SIM_SEED", 1), number(t, "SIM_SEEDS", 0)
	step := number(t, "SIM_STEP", 1)
	began := time.Now()
	for n := uint64(0); n < most || (most == 0 && time.Since(began) < 40*time.Second); n++ {
		seed := first + n*step
		t.Run(fmt.Sprint(seed), func(t *testing.T) { judged(t, NewPlan(seed)) })
	}
}
