//go:build mutant

package mutant

import (
	"fmt"
	"os"
	"sync/atomic"
)

// Built says whether this program has the mistakes in it.
const Built = true

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

// Use chooses a mistake for this process, until restore is called. 0 = none.
func Use(n Name) (restore func()) {
	old := chosen.Swap(int64(n))
	return func() { chosen.Store(old) }
}
