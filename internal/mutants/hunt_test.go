package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"nightporter/chaos/check"
	"nightporter/internal/mutant"
)

func failing(name, keeps string) []check.Verdict {
	return []check.Verdict{{Check: name, Keeps: keeps, State: check.Failed, Findings: []string{"something"}}}
}

// The parts of a list of seeds are the list, each seed once.
func TestParts(t *testing.T) {
	for count := range uint64(9) {
		for n := uint64(1); n <= 3; n++ {
			next := uint64(5)
			for i := range n {
				from, many := part(5, count, i, n)
				if from != next {
					t.Fatalf("%d seeds in %d: part %d begins at %d, not at %d", count, n, i, from, next)
				}
				next += many
			}
			if next != 5+count {
				t.Errorf("%d seeds in %d end before %d", count, n, next)
			}
		}
	}
}

// Two at a time do all, and an error is not lost.
func TestTwo(t *testing.T) {
	done := make([]bool, 7)
	err := two(len(done), func(i int) error {
		done[i] = true
		if i == 3 {
			return context.Canceled
		}
		return nil
	})
	if err == nil {
		t.Error("the error is lost")
	}
	for i, d := range done {
		if !d {
			t.Errorf("%d was not done", i)
		}
	}
}

// What the program without a mistake shows on the same seed, before the same judge, is no find.
func TestDoubt(t *testing.T) {
	garp := target{mutant: mutant.GARP, breaks: []string{"I1"}}
	for name, c := range map[string]struct {
		failed failure
		caught bool
	}{
		"same":          {failure{simName, run{seed: 4, verdicts: failing("single-holder", "I1, I2")}}, false},
		"another seed":  {failure{simName, run{seed: 5, verdicts: failing("single-holder", "I1, I2")}}, true},
		"another judge": {failure{labName, run{seed: 4, verdicts: failing("single-holder", "I1, I2")}}, true},
		"another check": {failure{simName, run{seed: 4, verdicts: failing("waits", "I5")}}, true},
		"no verdict":    {failure{simName, run{seed: 4, lost: "stuck"}}, true},
	} {
		o := outcome{target: garp, harness: simName, seed: 4, checks: []string{"single-holder"}}
		if o.doubt([]failure{c.failed}); o.caught() != c.caught {
			t.Errorf("%s: caught is %v", name, o.caught())
		}
	}
	o := outcome{target: garp, harness: simName, seed: 4}
	if o.doubt([]failure{{simName, run{seed: 4, verdicts: failing("single-holder", "I1")}}}); o.caught() || o.dubious {
		t.Error("what was not found is in doubt")
	}
}

// The campaign is good when each mistake was found by the build or, the same one, by the lease search, and nothing else was.
func TestWrite(t *testing.T) {
	seen := []flaw{{name: "no margin under drift", breaks: "I1", stories: 40}}
	missed := outcome{target: target{mutant: mutant.GARP, breaks: []string{"I1"}}, harness: simName}
	caught := missed
	caught.checks = []string{"single-holder"}
	twin := missed
	twin.target.flaw = "no margin under drift"
	for name, c := range map[string]struct {
		all    []outcome
		flaws  []flaw
		failed []failure
		good   bool
		says   string
	}{
		"caught":                {[]outcome{caught}, seen, nil, true, "sim: single-holder"},
		"missed":                {[]outcome{caught, missed}, seen, nil, false, "**not by this build**"},
		"by the flaw":           {[]outcome{twin}, seen, nil, true, "40 stories"},
		"by no flaw":            {[]outcome{twin}, []flaw{{name: "no margin under drift"}}, nil, false, "**not caught**"},
		"a flaw is not found":   {[]outcome{caught}, []flaw{{name: "rule 3 is missing"}}, nil, false, "**not caught**"},
		"fails without it":      {[]outcome{caught}, seen, []failure{{simName, run{seed: 9, verdicts: failing("waits", "I5")}}}, false, "sim, seed 9: waits"},
		"no verdict without it": {[]outcome{caught}, seen, []failure{{simName, run{seed: 9, lost: "it did not end"}}}, false, "sim, seed 9: it did not end"},
	} {
		var out strings.Builder
		if got := write(&out, c.all, c.flaws, c.failed); got != c.good || !strings.Contains(out.String(), c.says) {
			t.Errorf("%s: good is %v, and it says\n%s", name, got, &out)
		}
	}
}

// A mistake that is asked for by a wrong name would be one that was never looked for.
func TestChosen(t *testing.T) {
	if got, err := chosen("garp,no-margin"); err != nil || len(got) != 2 || got[0].mutant != mutant.GARP || got[1].mutant != mutant.NoMargin {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := chosen(""); err != nil || len(got) != len(mutant.All()) {
		t.Errorf("of all: %d, %v", len(got), err)
	}
	if _, err := chosen("garp,nonsense"); err == nil {
		t.Error("nonsense is accepted")
	}
}

// A mistake that nobody looks for would be missed in silence.
func TestEveryTargetHasJudges(t *testing.T) {
	flaws, err := os.ReadFile("../../lease/flaws_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range targets() {
		if len(x.judges) == 0 {
			t.Errorf("nobody looks for %s", x.mutant)
		}
		if x.flaw != "" && !strings.Contains(string(flaws), `"`+x.flaw+`"`) {
			t.Errorf("the lease search makes no mistake %q", x.flaw)
		}
	}
}
