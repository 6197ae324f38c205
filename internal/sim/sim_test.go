package sim

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"nightporter/chaos/check"
	"nightporter/chaos/history"
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

// judged runs a plan and reports what the checks find. What failed is kept in a folder. The campaign is told on standard
// output, at once: a crash would take everything else with it.
func judged(t *testing.T, p Plan) {
	t.Helper()
	tell("seed %d", p.Seed)
	dir := filepath.Join(outDir(), fmt.Sprintf("seed-%d", p.Seed))
	if telling() {
		if err := KeepPlan(dir, p); err != nil {
			t.Fatal(err)
		}
	}
	res := run(t, p)
	verdicts := check.Judge(res.History)
	if check.OK(verdicts) {
		if telling() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		}
		tell("passed %d", p.Seed)
		return
	}
	if err := res.Keep(dir, verdicts); err != nil {
		t.Error(err)
	}
	tell("failed %s", strings.Join(strings.Fields(words(verdicts)), " "))
	t.Errorf("seed %d, kept in %s:\n%s", p.Seed, dir, words(verdicts))
}

func telling() bool { return os.Getenv("SIM_TELL") != "" }

func tell(f string, args ...any) {
	if telling() {
		fmt.Printf(f+"\n", args...)
	}
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

// TestIdleHosts: with nothing else going on, hosts that nobody uses go to sleep by themselves, again and again, and clients who come back have
// them called.
func TestIdleHosts(t *testing.T) {
	slept, called := 0, 0
	for _, seed := range []uint64{15, 31, 47} {
		p := NewPlan(seed)
		p.Steps = nil
		if p.Idle == 0 {
			t.Fatal("the plan has no idle hosts")
		}
		res := run(t, p)
		if verdicts := check.Judge(res.History); !check.OK(verdicts) {
			t.Errorf("seed %d:\n%s", seed, words(verdicts))
		}
		slept, called = slept+len(res.History.Suspends), called+len(res.History.Magics)
	}
	if t.Logf("hosts went to sleep %d times; %d magic packets", slept, called); slept < 4 || called < 2 {
		t.Errorf("hosts went to sleep %d times, and %d magic packets were sent", slept, called)
	}
}

// TestLids: hosts are suspended by others, through a logind that waits for their agents' locks: those that hold something and those that
// lead more often than others, hosts that are always on as well, and while operators move things and send hosts to sleep.
func TestLids(t *testing.T) {
	for seed := range uint64(3) {
		p := NewPlan(seed)
		p.Steps = slices.DeleteFunc(p.Steps, func(s Step) bool { return !slices.Contains(harmless, s.Verb) })
		r := rand.New(rand.NewPCG(seed, 0x6c6964))
		for at := 2 * time.Second; at < p.Length-6*time.Second; at += time.Duration(1000+r.IntN(5000)) * time.Millisecond {
			p.Steps = append(p.Steps, Step{At: at, Verb: "lid", Host: p.anyHost(r), For: time.Duration(300+r.IntN(5000)) * time.Millisecond})
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) { judged(t, p) })
	}
}

// TestSchedules runs SIM_SEEDS seeds from SIM_SEED on, or as many as fit into the time of a test.
func TestSchedules(t *testing.T) {
	first, most := number(t, "SIM_SEED", 1), number(t, "SIM_SEEDS", 0)
	began := time.Now()
	for n := uint64(0); n < most || (most == 0 && time.Since(began) < slice); n++ {
		t.Run(fmt.Sprint(first+n), func(t *testing.T) { judged(t, NewPlan(first+n)) })
	}
}

// slice is the part of a test run that goes into random schedules.
const slice = 40 * time.Second

// TestReplay judges the history of a run that was kept in the folder SIM_REPLAY, and runs its schedule again, several times:
// a seed does not fix how goroutines interleave. Without a folder it keeps a run of its own first.
func TestReplay(t *testing.T) {
	dir := os.Getenv("SIM_REPLAY")
	if dir == "" {
		dir = filepath.Join(t.TempDir(), "kept")
		res := run(t, NewPlan(3))
		if err := res.Keep(dir, check.Judge(res.History)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(check.Judge(res.History), rejudge(t, dir)); diff != "" {
			t.Errorf("judged again it says something else:\n%s", diff)
		}
	}
	t.Logf("the history as it was kept:\n%s", words(rejudge(t, dir)))
	p, err := LoadPlan(dir)
	if err != nil {
		t.Fatal(err)
	}
	for range number(t, "SIM_AGAIN", 3) {
		judged(t, p)
	}
}

// rejudge judges a history that was kept; a run that crashed left none.
func rejudge(t *testing.T, dir string) []check.Verdict {
	t.Helper()
	h, err := history.Read(filepath.Join(dir, historyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return check.Judge(h)
}
