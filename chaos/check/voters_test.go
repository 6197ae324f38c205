package check

import (
	"testing"

	"nightporter/chaos/history"
)

// few are the hosts of a run by name: those with a small letter may sleep.
func few(names string) (out []history.Host) {
	for _, c := range names {
		out = append(out, history.Host{Name: string(c), Sleeper: c >= 'a'})
	}
	return out
}

func letters(names string) (out []string) {
	for _, c := range names {
		out = append(out, string(c))
	}
	return out
}

func TestTheVotersHaveTeeth(t *testing.T) {
	for _, c := range []struct {
		hosts, voters string
		fine          bool
	}{
		{"ABc", "ABc", true},
		{"ABc", "cBA", true},
		{"ABc", "A", false},
		{"ABc", "AB", false},
		{"ABCd", "ABC", true},
		{"ABCd", "ABd", false}, // a sleeper, and not the third that is always on
		{"ABCd", "ABCd", false},
		{"ABCDe", "ABD", true},
		{"ABCDe", "ABDe", false},
		{"ABCDE", "ABCDE", true},
		{"ABCDE", "ABCDEF", false},
		{"ABCDEF", "ABDEF", true},
		{"ABcd", "ABd", true},
		{"ABcd", "Acd", false},
		{"Abcde", "Abcde", true},
		{"Abcdef", "bcdef", false},
		{"ABcdefg", "ABceg", true},
		{"ABcdefg", "ABc", false},
	} {
		h := &history.History{Began: t0, Calm: sec(60), Ended: sec(100), Setup: history.Setup{Hosts: few(c.hosts), Settle: sec(10).Sub(t0)}}
		h.Samples = []history.Sample{{At: sec(50), Host: "A", Leader: "A", Voters: letters("A")}, {At: sec(90), Host: "A", Leader: "A", Voters: letters(c.voters)}}
		d := new(docket)
		if steadyVotes(h, d); d.judged != 1 || (len(d.findings) == 0) != c.fine {
			t.Errorf("of %s vote %s: judged %d with %q", c.hosts, c.voters, d.judged, d.findings)
		}
	}
}

func TestWhoseWordOfTheVotersCounts(t *testing.T) {
	run := func() *history.History {
		return &history.History{
			Began: t0, Calm: sec(60), Ended: sec(100), Setup: history.Setup{Hosts: few("ABCd"), Settle: sec(10).Sub(t0)},
			Samples: []history.Sample{
				{At: sec(20), Host: "A", Leader: "A", Voters: letters("ABd")},
				{At: sec(40), Host: "B", Leader: "B", Voters: letters("ABC")},
				{At: sec(80), Host: "B", Leader: "B", Voters: letters("CBA")},
				{At: sec(81), Host: "B", Leader: "B"},
				{At: sec(82), Host: "A", Leader: "B", Voters: letters("ABd")}, // which follows, and may be behind
			},
			Ends: []history.End{{Host: "A", Up: true, Member: true}},
		}
	}
	for _, c := range []struct {
		name                   string
		judged, faults, change int
		blind                  bool
		spoil                  func(*history.History)
	}{
		{"the leader's last", 1, 0, 1, false, func(*history.History) {}},
		{"a follower's, where no leader says anything", 1, 1, 1, false, func(h *history.History) { h.Samples[2].Voters = nil }},
		{"nobody's from before the end", 0, 0, 0, true, func(h *history.History) { h.Samples = h.Samples[:2] }},
		{"a later leader's", 1, 1, 2, false, func(h *history.History) {
			h.Samples = append(h.Samples, history.Sample{At: sec(95), Host: "C", Leader: "C", Voters: letters("ABd")})
		}},
		{"two hosts", 0, 0, 0, false, func(h *history.History) { h.Setup.Hosts = few("Ab") }},
		{"a run without its end", 0, 0, 0, false, func(h *history.History) { h.Ended = sec(69) }},
		{"one that is no member at the end", 0, 0, 0, false, func(h *history.History) { h.Ends[0].Member = false }},
		{"one that rests may have its vote still before it", 1, 0, 2, false, func(h *history.History) {
			h.Setup.Hosts, h.Samples[2].Voters = few("ABcde"), letters("ABe")
			h.Ends = append(h.Ends, history.End{Host: "e", Rests: true})
		}},
		{"but two are no number", 1, 1, 2, false, func(h *history.History) {
			h.Setup.Hosts, h.Samples[2].Voters = few("ABcde"), letters("AB")
			h.Ends = append(h.Ends, history.End{Host: "e", Rests: true})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := run()
			c.spoil(h)
			d := new(docket)
			steadyVotes(h, d)
			if d.judged != c.judged || len(d.findings) != c.faults || (d.blind != "") != c.blind || c.judged > 0 && d.seen[0].Times != c.change {
				t.Errorf("judged %d with %q, blind %q, %v", d.judged, d.findings, d.blind, d.seen)
			}
		})
	}
}
