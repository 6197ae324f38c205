package check

import (
	"slices"
	"time"

	"nightporter/chaos/history"
)

// lastNet looks at every sleep that a host began itself, with an alarm set, in which the alarm went off while no other host was up, nor
// came up by then for another reason. The host must stay up, and call the voters that sleep.
func lastNet(h *history.History, d *docket) {
	if slices.ContainsFunc(h.Setup.Hosts, func(x history.Host) bool { return x.Alarm > 0 }) {
		d.saw(OnlyAsleep, 0)
		d.saw(WentOn, 0)
	}
	for _, s := range h.Suspends {
		i := slices.IndexFunc(h.Setup.Hosts, func(x history.Host) bool { return x.Name == s.Host && x.Alarm > 0 })
		if i < 0 {
			continue
		}
		rings := s.At.Add(h.Setup.Hosts[i].Alarm)
		// Until it is up and has its link; it looks for four failovers; then the quorum wake waits for two, with a look every second.
		by := rings.Add(h.Setup.Resume + 8*h.Setup.Failover + 3*time.Second + h.Setup.Extra)
		sleeps := awayUntil(h, s.Host, s.At, rings)
		voters := stillVoters(h, s.Voters, rings)
		if !sleeps || len(voters) == 0 || !h.Calm.IsZero() && by.After(h.Calm) || hampered(h, s.Host, s.At, by) || !deserted(h, s.Host, rings, by) {
			continue
		}
		d.judged++
		d.saw(OnlyAsleep, 1)
		if answered(h, s.Host, rings) {
			d.saw(WentOn, 1)
		}
		if !hostUp(h, s.Host, by, by) {
			d.find("%s slept since %s with an alarm after %s, nobody else was awake, and at %s it is not up", s.Host, at(s.At), h.Setup.Hosts[i].Alarm, at(by))
		}
		for _, v := range voters {
			state, since := h.StateAt(v, by)
			if state != history.Asleep || v == s.Host || since.After(rings) {
				continue
			}
			d.find("%s was woken by its alarm at %s, nobody else was awake, and by %s the voter %s still sleeps", s.Host, at(rings), at(by), v)
		}
	}
}

// stillVoters are the voters, where the first word after a moment says that they are so yet.
func stillVoters(h *history.History, voters []string, moment time.Time) []string {
	after := history.Sample{}
	for _, s := range h.Samples {
		if len(s.Voters) > 0 && s.At.After(moment) && (after.At.IsZero() || s.At.Before(after.At)) {
			after = s
		}
	}
	if !slices.Equal(slices.Sorted(slices.Values(voters)), slices.Sorted(slices.Values(after.Voters))) {
		return nil
	}
	return voters
}

// awayUntil says whether a host fell asleep then, and slept until shortly before a moment at least: nothing else woke it.
func awayUntil(h *history.History, host string, from, until time.Time) bool {
	const early = 2 * time.Second // the alarm is set before the suspend begins, and counts whole seconds
	state, since := h.StateAt(host, until.Add(-early))
	return state == history.Asleep && !since.Before(from) && since.Sub(from) < early
}

// deserted says whether no other host was up for some time before a moment, and whether none got its power back until another one: what comes up
// meanwhile was called.
func deserted(h *history.History, but string, moment, until time.Time) bool {
	const gone = 2 * time.Second // the alarm may be early by so much, and somebody may have been up then
	for _, x := range h.Setup.Hosts {
		if x.Name == but {
			continue
		}
		if state, _ := h.StateAt(x.Name, moment); state == history.Up || state == history.Resuming {
			return false
		}
		for _, p := range h.Powers {
			if p.Host == x.Name && p.At.After(moment.Add(-gone)) && !p.At.After(moment) {
				return false
			}
			// From off to up nobody called it.
			if before, _ := h.StateAt(x.Name, p.At.Add(-time.Nanosecond)); p.Host == x.Name && p.State == history.Up && before == history.Off && p.At.After(moment) && !p.At.After(until) {
				return false
			}
		}
	}
	return true
}

// What lastNet tells of.
const (
	OnlyAsleep = "nobody was awake when an alarm went off"
	WentOn     = "clients were served after that before any host came back but those that it called"
)

// answered says whether a client was served after a host's alarm had gone off, while the hosts that had no power then had none yet, and no suspend that
// is a fault had been ended by its time.
func answered(h *history.History, by string, rings time.Time) bool {
	until := h.Ended
	for _, p := range h.Powers {
		before, _ := h.StateAt(p.Host, p.At.Add(-time.Nanosecond))
		if p.Host != by && p.State == history.Up && before == history.Off && p.At.After(rings) && p.At.Before(until) {
			until = p.At
		}
	}
	for _, f := range h.Faults {
		if f.Kind == history.Freeze && f.Dark && f.To.After(rings) && f.To.Before(until) && !packetFor(h, f.Host, rings, f.To) {
			until = f.To
		}
	}
	return slices.ContainsFunc(h.Requests, func(r history.Request) bool { return r.OK() && r.Ended.After(rings) && r.Ended.Before(until) })
}

// packetFor says whether some host sent another one a magic packet in a time.
func packetFor(h *history.History, target string, since, until time.Time) bool {
	return slices.ContainsFunc(h.Magics, func(m history.Magic) bool {
		return isHost(h, m.From) && m.Target == target && m.At.After(since) && m.At.Before(until)
	})
}
