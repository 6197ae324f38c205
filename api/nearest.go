package api

import (
	"cmp"
	"slices"
	"strings"

	"nightporter/internal/spelling"
)

// nearest gives the known name that somebody may have meant, or "": one that begins so, or differs in one or two letters.
func nearest(name string, known []string) string {
	far := func(s string) int {
		if strings.HasPrefix(strings.ToLower(s), strings.ToLower(name)) && name != "" {
			return 0
		}
		d := spelling.Distance(strings.ToLower(name), strings.ToLower(s))
		if d >= len(s) { // nothing is left of it
			return 1 << 20
		}
		return d
	}
	if len(known) == 0 {
		return ""
	}
	best := slices.MinFunc(known, func(a, b string) int { return cmp.Or(cmp.Compare(far(a), far(b)), cmp.Compare(a, b)) })
	if d := far(best); d > 2 || (d > 0 && d >= len(name)) {
		return ""
	}
	return best
}
