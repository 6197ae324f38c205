package check

import (
	"slices"
	"time"

	"nightporter/chaos/history"
)

// quorumGuard counts, for every suspend that a daemon began itself, the voters that stayed awake. What fell away so
// shortly before that the cluster could not know of it still counts as awake. The set may have been changed since it was last asked for. Then
// the one that a leader names next counts: a suspend that took the majority would have let nobody change it any more.
func quorumGuard(h *history.History, d *docket) {
	leaveGuard(h, d)
	for _, s := range h.Suspends {
		if len(s.Voters) == 0 {
			d.blind = "nobody knows who the voters were when " + s.Host + " went to sleep at " + at(s.At)
			continue
		}
		d.judged++
		awake, need := left(h, s, s.Voters)
		if awake >= need {
			continue
		}
		if len(s.After) > 0 && !slices.Equal(s.After, s.Voters) {
			if awake, need := left(h, s, s.After); awake >= need {
				continue
			}
		}
		d.find("%s went to sleep at %s and left %d of the voters %v awake; %d are needed", s.Host, at(s.At), awake, s.Voters, need)
	}
}

// left counts the voters of a set that a suspend leaves awake. The sleep of a host without a vote takes none away.
func left(h *history.History, s history.Suspend, voters []string) (awake, need int) {
	if !slices.Contains(voters, s.Host) {
		return 0, 0
	}
	for _, v := range voters {
		if v == s.Host {
			continue
		}
		if state, since := h.StateAt(v, s.At); state == history.Up || s.At.Sub(since) < notice(h) {
			awake++
		}
	}
	return awake, len(voters)/2 + 1
}

// leaveGuard counts the voters that stayed awake after an acknowledged leave: the one that left is none any more.
func leaveGuard(h *history.History, d *docket) {
	for _, c := range h.Commands {
		if c.Verb != "leave" || !c.Done {
			continue
		}
		voters := slices.DeleteFunc(slices.Clone(h.VotersAt(c.Began)), func(v string) bool { return v == c.Arg })
		if len(voters) == 0 {
			continue
		}
		d.judged++
		awake := 0
		for _, v := range voters {
			if state, since := h.StateAt(v, c.Ended); state == history.Up || c.Ended.Sub(since) < notice(h) {
				awake++
			}
		}
		if need := len(voters)/2 + 1; awake < need {
			d.find("%s left at %s, which was acknowledged, and of the voters %v only %d were awake; %d are needed", c.Arg, at(c.Ended), voters, awake, need)
		}
	}
}

// notice is how long the cluster may not know that a voter has fallen away.
func notice(h *history.History) time.Duration {
	return 3*h.Setup.Failover + 2*time.Second + h.Setup.Extra + h.Setup.Rouse
}

// handOver looks at what the log gave to a host that went to sleep by itself.
func handOver(h *history.History, d *docket) {
	for _, s := range h.Suspends {
		d.judged++
		for _, sv := range h.Setup.Services {
			var last history.Record
			for _, r := range h.Of(sv.Name) {
				if !r.At.IsZero() && !r.At.After(s.At) {
					last = r
				}
			}
			if last.To == s.Host {
				d.find("%s: %s went to sleep at %s and owned it since %s (epoch %d)", sv.Name, s.Host, at(s.At), at(last.At), last.Epoch)
			}
		}
	}
}

// SleeperCalled is what quorumWake tells of.
const SleeperCalled = "a majority lacked sleepers, and one of them was called"

// quorumWake looks at every change of power that left too few voters awake, and others asleep: as long as nobody is up who
// could be a majority, somebody must call the sleepers. It is judged where one of the waking was left alone meanwhile.
func quorumWake(h *history.History, d *docket) {
	d.saw(SleeperCalled, 0)
	for _, p := range h.Powers {
		if p.State == history.Up {
			continue
		}
		// The leader's silence is noticed after up to twice the failover and a heartbeat's pause; then as long again without a leader, with a
		// look every second before and after it; and the first packet.
		by := p.At.Add(5*h.Setup.Failover + 2*time.Second + h.Setup.Extra)
		if slices.ContainsFunc(h.Setup.Hosts, func(x history.Host) bool { return x.Alarm > 0 }) {
			by = by.Add(4*h.Setup.Failover + h.Setup.Resume + time.Second) // who was woken by its alarm looks first whether anybody leads
		}
		voters := lastingVoters(h, p.At, by)
		var awake, asleep []string
		for _, v := range voters {
			switch state, _ := h.StateAt(v, p.At); state {
			case history.Up:
				awake = append(awake, v)
			case history.Asleep:
				asleep = append(asleep, v)
			}
		}
		left := slices.ContainsFunc(awake, func(v string) bool { return !hampered(h, v, p.At.Add(-quiet), by) })
		if len(awake) > len(voters)/2 || len(asleep) == 0 || !left || by.After(h.Ended) {
			continue
		}
		called := slices.ContainsFunc(h.Magics, func(m history.Magic) bool {
			return m.At.After(p.At) && !m.At.After(by) && contains(asleep, m.Target)
		})
		if !called && changes(h, voters, p.At, by) {
			continue // it was not to last
		}
		d.judged++
		if called {
			d.saw(SleeperCalled, 1)
		} else {
			d.find("of the voters %v only %v were awake since %s went %s at %s, and nobody had called any of %v by %s",
				voters, awake, p.Host, p.State, at(p.At), asleep, at(by))
		}
	}
}

// lastingVoters are the voters, where the last word about them before a time and the first one after it agree.
func lastingVoters(h *history.History, from, to time.Time) []string {
	var before, after history.Sample
	for _, s := range h.Samples {
		switch {
		case len(s.Voters) == 0:
		case s.At.Before(from) && s.At.After(before.At):
			before = s
		case s.At.After(to) && (after.At.IsZero() || s.At.Before(after.At)):
			after = s
		}
	}
	was, is := slices.Sorted(slices.Values(before.Voters)), slices.Sorted(slices.Values(after.Voters))
	if !slices.Equal(was, is) {
		return nil
	}
	return was
}

// changes says whether the power of one of some hosts changed within a time.
func changes(h *history.History, hosts []string, from, to time.Time) bool {
	return slices.ContainsFunc(h.Powers, func(p history.Power) bool {
		return contains(hosts, p.Host) && p.At.After(from) && !p.At.After(to)
	})
}
