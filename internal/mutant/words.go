package mutant

import "slices"

// What is here is for those who choose a mistake. The linker leaves it out of a program that does not.

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
	Unready:             "unready",
}

// Setting is the environment entry that chooses a mistake.
func Setting(n Name) string { return variable + "=" + n.String() }

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

// String is the word for a mistake; "" is the program as it is.
func (n Name) String() string { return words[n] }
