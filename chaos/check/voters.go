package check

import (
	"slices"
	"time"

	"nightporter/chaos/history"
)

// votersMost is how many hosts of a cluster vote at most.
const votersMost = 5

// lastAsked is how long before the end of that time hosts may have been asked last: it is done every few seconds.
const lastAsked = 8 * time.Second

// VotersChanged is what steadyVotes tells of.
const VotersChanged = "leaders named other voters than before"

// steadyVotes looks at the voters of three hosts and more at the end, when everything was healed and the time to settle was over: an odd number of
// them, as many as there should be, and no vote with a host that may sleep where one that is always on could have it. Of two hosts singleVote judges.
func steadyVotes(h *history.History, d *docket) {
	settled := h.Calm.Add(h.Setup.Settle)
	if len(h.Setup.Hosts) < 3 || h.Calm.IsZero() || h.Ended.Before(settled) || slices.ContainsFunc(h.Ends, func(e history.End) bool { return e.Up && !e.Member }) {
		return // converges says so
	}
	last := lastWord(h, settled.Add(-lastAsked))
	if len(last.Voters) == 0 {
		d.blind = "nobody says who the voters are at the end"
		return
	}
	d.judged++
	d.saw(VotersChanged, votersChanged(h))
	var steady, without, sleepers []string
	for _, x := range h.Setup.Hosts {
		votes := contains(last.Voters, x.Name)
		switch {
		case x.Sleeper && votes:
			sleepers = append(sleepers, x.Name)
		case !x.Sleeper:
			if steady = append(steady, x.Name); !votes {
				without = append(without, x.Name)
			}
		}
	}
	size := len(h.Setup.Hosts)
	if len(steady) >= 3 {
		size = len(steady)
	}
	size = min(size, votersMost)
	size -= (size + 1) % 2
	rests := slices.ContainsFunc(h.Ends, func(e history.End) bool { return !e.Up && e.Rests }) // which gets no vote before it is awake
	if len(last.Voters) != size && (!rests || len(last.Voters) > size || len(last.Voters)%2 == 0) {
		d.find("at the end the voters are %v, as %s says, and there should be %d", last.Voters, last.Host, size)
	}
	switch {
	case len(sleepers) == 0:
	case len(without) > 0:
		d.find("at the end %v vote, which may sleep, and %v do not, which are always on", sleepers, without)
	case len(steady) >= 3:
		d.find("at the end %v vote, which may sleep, though %d are always on", sleepers, len(steady))
	}
}

// votersChanged counts how often a leader named other voters than the last one that named some.
func votersChanged(h *history.History) (n int) {
	var before []string
	for _, s := range h.Samples {
		if len(s.Voters) == 0 || s.Host != s.Leader {
			continue
		}
		now := slices.Sorted(slices.Values(s.Voters))
		if before != nil && !slices.Equal(now, before) {
			n++
		}
		before = now
	}
	return n
}

// lastWord is what was said of the voters last from a moment on, by a leader if one said something.
func lastWord(h *history.History, from time.Time) (last history.Sample) {
	for _, s := range h.Samples {
		leads, led := s.Host == s.Leader, len(last.Voters) > 0 && last.Host == last.Leader
		if len(s.Voters) == 0 || s.At.Before(from) || led && !leads || leads == led && s.At.Before(last.At) {
			continue
		}
		last = s
	}
	return last
}
