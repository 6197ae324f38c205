//go:build mutant

package mutant

import (
	"fmt"
	"os"
)

// Built says whether this program has the mistakes in it.
const Built = true

// chosen is set before anything runs, and never again.
var chosen Name

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
	chosen = n
}

// On says whether a mistake is to be made.
func On(n Name) bool { return chosen == n }

// Environment names what the processes of a laboratory inherit.
func Environment() []string { return []string{variable} }
