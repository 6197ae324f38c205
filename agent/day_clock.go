package agent

import (
	"cmp"
	"slices"
	"time"
)

// logStamp is the time that a proposer's clock gave to an entry of the log.
type logStamp struct {
	index uint64
	at    time.Time
}

// agree gives entries times that never fall in the order of the log and are not after now. It is pure. Stamps are those of several hosts' clocks, and a
// clock may be wrong or be set: as many stamps as can be are taken at their word, the longest row of them that does not fall. The others
// come as near to their stamps as those around them allow.
func agree(stamps []logStamp, now time.Time) map[uint64]time.Time {
	stamps = slices.SortedStableFunc(slices.Values(stamps), func(a, b logStamp) int { return cmp.Compare(a.index, b.index) })
	stamps = slices.CompactFunc(stamps, func(a, b logStamp) bool { return a.index == b.index })
	// ends[k] is the stamp with which a row of k+1 ends earliest, before[i] the one before stamps[i] in its row.
	var ends []int
	before := make([]int, len(stamps))
	for i, s := range stamps {
		if s.at.After(now) {
			continue
		}
		k, _ := slices.BinarySearchFunc(ends, s.at, func(e int, t time.Time) int {
			if stamps[e].at.After(t) {
				return 1
			}
			return -1
		})
		before[i] = -1
		if k > 0 {
			before[i] = ends[k-1]
		}
		ends = append(ends[:k], append([]int{i}, ends[min(k+1, len(ends)):]...)...)
	}
	// From the newest on, no entry is after the next that is believed; from the oldest on, none before the last.
	row := -1
	if len(ends) > 0 {
		row = ends[len(ends)-1]
	}
	next := now
	for i := len(stamps) - 1; i >= 0; i-- {
		if i == row {
			next, row = stamps[i].at, before[i]
		} else if stamps[i].at.After(next) {
			stamps[i].at = next
		}
	}
	out, last := make(map[uint64]time.Time, len(stamps)), time.Time{}
	for _, s := range stamps {
		if s.at.After(last) {
			last = s.at
		}
		out[s.index] = last
	}
	return out
}
