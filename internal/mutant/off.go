//go:build !mutant

package mutant

// Built says whether this program has the mistakes in it.
const Built = false

// On says whether a mistake is to be made.
func On(Name) bool { return false }

// Environment names what the processes of a laboratory inherit.
func Environment() []string { return nil }
