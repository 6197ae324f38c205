// Package spelling says how far two words are from each other, for those that somebody may have meant.
package spelling

// Distance is how many letters are to be changed, added or left out to come from one word to the other (Levenshtein). It counts bytes: the words are
// keys and names.
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
