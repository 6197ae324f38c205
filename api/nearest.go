package api

import (
	"cmp"
	"slices"
	"strings"
)

// nearest gives the known name that somebody may have meant, or "": one that begins so, or differs in one or two letters.
func nearest(name string, known []string) string {
	far := func(s string) int {
		if strings.HasPrefix(strings.ToLower(s), strings.ToLower(name)) && name != "" {
			return 0
		}
		d := distance(strings.ToLower(name), strings.ToLower(s))
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

// distance is how many letters are to be changed, added or left out (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
