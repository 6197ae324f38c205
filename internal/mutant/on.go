//go:build mutant

package mutant

import (
	"fmt"
	"os"
	"slices"
	"sync/atomic"
)

// Built says whether this program has the mistakes in it.
const Built = true

// variable names the mistake; empty or absent: none.
const variable = "NIGHTPORTER_MUTANT"

var words = []string{
	Uncleaned:           "uncleaned",
	Unarmed:             "unarmed",
	MacvlanOnly:         "macvlan-only",
	GARP:                "garp",
	NoHandOver:          "no-hand-over",
	LateGuard:           "late-guard",
	LostWake:            "lost-wake",
	EpochReuse:          "epoch-reuse",
	NoQuorumWake:        "no-quorum-wake",
	NoAmnesiaWait:       "no-amnesia-wait",
	DeadlineFromArrival: "deadline-from-arrival",
	ReleaseBeforeClose:  "release-before-close",
	NoRule2:             "no-rule-2",
	NoSpacing:           "no-spacing",
	NoMargin:            "no-margin",
	KeepsOn:             "keeps-on",
	LateAnswer:          "late-answer",
	ReleaseAnyEpoch:     "release-any-epoch",
}

var chosen atomic.Int64

// init refuses a name that is none: a run that makes no mistake would look like one that the checks missed.
func init() {
	word := os.Getenv(variable)
	if word == "" {
		return
	}
	n, ok := Parse(word)
	if !ok {
		fmt.Fprintf(os.Stderr, "%s: there is no mutant %q; there are %q\n", variable, word, words[1:])
		os.Exit(2)
	}
	chosen.Store(int64(n))
}

// On says whether a mistake is to be made.
func On(n Name) bool { return Name(chosen.Load()) == n }

// Environment names what the processes of a laboratory inherit.
func Environment() []string { return []string{variable} }

// Setting is the environment entry that chooses a mistake.
func Setting(n Name) string { return variable + "=" + n.String() }

// Use chooses a mistake for this process, until restore is called. 0 = none.
func Use(n Name) (restore func()) {
	old := chosen.Swap(int64(n))
	return func() { chosen.Store(old) }
}

// All gives every mistake.
func All() []Name {
	var out []Name
	for i := range words[1:] {
		out = append(out, Name(i+1))
	}
	return out
}

// Parse finds a mistake by its word.
func Parse(word string) (Name, bool) {
	i := slices.Index(words, word)
	return Name(i), i > 0
}

func (n Name) String() string { return words[n] }
