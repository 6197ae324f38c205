package check

import (
	"slices"
	"time"

	"nightporter/chaos/history"
)

const (
	// callEvery is the longest pause between two magic packets of a call.
	callEvery = 5 * time.Second
	// prompt is how soon after a connection attempt the first one leaves.
	prompt = 100 * time.Millisecond
	// dozing: a host counts as asleep for others when it has slept that long. Earlier the record may still be on its way.
	dozing = 500 * time.Millisecond
)

// wakes looks at every connection attempt that reached the owner of a service whose targets all sleep.
func wakes(h *history.History, d *docket) {
	for _, k := range h.Demands {
		sv, ok := h.Setup.Service(k.Service)
		if !ok || !sleeping(h, sv, k.At) || !owns(h, k) || hampered(h, k.Host, k.At.Add(-2*time.Second), k.At.Add(prompt)) {
			continue
		}
		d.judged++
		late := k.At.Add(prompt + h.Setup.Extra)
		if !slices.ContainsFunc(h.Magics, func(m history.Magic) bool {
			return contains(sv.Targets, m.Target) && m.At.After(k.At.Add(-callEvery-h.Setup.Extra)) && m.At.Before(late)
		}) {
			d.find("%s: %s knocked at %s at %s and no magic packet left for any of %v by %s", k.Service, k.Client, k.Host, at(k.At), sv.Targets, at(late))
			continue
		}
		up := k.At.Add(h.Setup.Resume + h.Setup.Settle)
		if up.Before(h.Ended) && len(h.Disturbed(k.At.Add(-h.Setup.Settle), up)) == 0 && !wokeBy(h, sv.Targets, k.At, up) {
			d.find("%s: %s knocked at %s at %s, nothing was wrong, and none of %v was up by %s", k.Service, k.Client, k.Host, at(k.At), sv.Targets, at(up))
		}
	}
}

// sleeping says whether all targets of a service had been asleep for a while. One that went without a word counts for others
// as awake until gossip misses it.
func sleeping(h *history.History, sv history.Service, t time.Time) bool {
	for _, name := range sv.Targets {
		state, since := h.StateAt(name, t)
		least := dozing
		if !announced(h, name, since) {
			least = 3*h.Setup.Failover + 2*time.Second + h.Setup.Extra
		}
		if state != history.Asleep || t.Sub(since) < least {
			return false
		}
	}
	return len(sv.Targets) > 0
}

// announced says whether the daemon of a host itself began the sleep that began at a moment.
func announced(h *history.History, host string, since time.Time) bool {
	return slices.ContainsFunc(h.Suspends, func(s history.Suspend) bool {
		return s.Host == host && s.At.Sub(since).Abs() < dozing
	})
}

// owns says whether the log had given the service to the host where a demand arrived, for a while.
func owns(h *history.History, k history.Demand) bool {
	owner, since := "", time.Time{}
	for _, r := range h.Of(k.Service) {
		if !r.At.IsZero() && !r.At.After(k.At) {
			owner, since = r.To, r.At
		}
	}
	return owner == k.Host && k.At.Sub(since) > time.Second
}

// hampered says whether something was done to a host in a time, or to all.
func hampered(h *history.History, host string, from, to time.Time) bool {
	return slices.ContainsFunc(h.Disturbed(from, to), func(f history.Fault) bool { return f.Host == host || f.Host == "" })
}

// wokeBy says whether one of the hosts was up at some moment of a time.
func wokeBy(h *history.History, hosts []string, from, to time.Time) bool {
	for _, name := range hosts {
		if state, _ := h.StateAt(name, to); state == history.Up {
			return true
		}
		for _, p := range h.Powers {
			if p.Host == name && p.State == history.Up && p.At.After(from) && !p.At.After(to) {
				return true
			}
		}
	}
	return false
}

// called wants every host up that an operator woke and was told so, unless something was done to it meanwhile or it was
// sent back to sleep.
func called(h *history.History, d *docket) {
	for _, c := range h.Commands {
		if c.Verb != "wake" || !c.Done {
			continue
		}
		by := c.Ended.Add(h.Setup.Resume + h.Setup.Settle)
		if by.After(h.Ended) || len(h.Disturbed(c.Began.Add(-h.Setup.Settle), by)) > 0 || sentToSleep(h, c.Arg, c.Began, by) {
			continue
		}
		d.judged++
		if state, since := h.StateAt(c.Arg, by); state != history.Up {
			d.find("%s was called at %s, which was acknowledged, and at %s it is %s since %s", c.Arg, at(c.Began), at(by), state, at(since))
		}
	}
}

// sentToSleep says whether somebody asked for a host's sleep so late that it may have come after a call.
func sentToSleep(h *history.History, host string, from, to time.Time) bool {
	return slices.ContainsFunc(h.Commands, func(c history.Command) bool {
		return c.Verb == "sleep" && c.Arg == host && !c.Refused && (c.Ended.IsZero() || c.Ended.After(from)) && c.Began.Before(to)
	})
}

// waits looks at everything that told a client that nobody is there. A connection that was lost with its host may be
// reset by the next target; a front never says anything, and nobody refuses a new connection.
func waits(h *history.History, d *docket) {
	d.judged = len(h.Demands)
	for _, r := range h.Refusals {
		sv, ok := h.Setup.Service(r.Service)
		if !ok || !isHost(h, r.Host) {
			continue
		}
		if r.Fresh || !contains(sv.Targets, r.Host) {
			d.find("%s: %s told %s %s at %s", r.Service, r.Host, r.Client, r.What, at(r.At))
		}
	}
}
