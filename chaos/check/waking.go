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
	// quiet is how long before nothing may have been wrong, where a bound counts on that.
	quiet = 5 * time.Second
)

// wakes looks at every connection attempt that reached the owner of a service whose targets all sleep.
func wakes(h *history.History, d *docket) {
	for _, k := range knocks(h) {
		d.judged++
		sv, _ := h.Setup.Service(k.Service)
		late := k.At.Add(prompt + h.Setup.Extra)
		if !slices.ContainsFunc(h.Magics, func(m history.Magic) bool {
			return contains(sv.Targets, m.Target) && m.At.After(k.At.Add(-callEvery-h.Setup.Extra)) && m.At.Before(late)
		}) {
			d.find("%s: %s knocked at %s at %s and no magic packet left for any of %v by %s", k.Service, k.Client, k.Host, at(k.At), sv.Targets, at(late))
		}
	}
}

// rouses wants a target up soon after such an attempt, while nothing is wrong.
func rouses(h *history.History, d *docket) {
	for _, k := range knocks(h) {
		sv, _ := h.Setup.Service(k.Service)
		up := k.At.Add(h.Setup.Resume + h.Setup.Rouse)
		if !up.Before(h.Ended) || len(h.Disturbed(k.At.Add(-quiet), up)) > 0 {
			continue
		}
		d.judged++
		if !wokeBy(h, sv.Targets, k.At, up) {
			d.find("%s: %s knocked at %s at %s, nothing was wrong, and none of %v was up by %s", k.Service, k.Client, k.Host, at(k.At), sv.Targets, at(up))
		}
	}
}

// knocks are the connection attempts that reached the owner of a service whose targets all slept, and that nothing was done to.
func knocks(h *history.History) []history.Demand {
	return slices.DeleteFunc(slices.Clone(h.Demands), func(k history.Demand) bool {
		sv, ok := h.Setup.Service(k.Service)
		return !ok || !sleeping(h, sv, k.At) || !owns(h, sv, k) || hampered(h, k.Host, k.At.Add(-2*time.Second), k.At.Add(prompt))
	})
}

// sleeping says whether all targets of a service were asleep.
func sleeping(h *history.History, sv history.Service, t time.Time) bool {
	for _, name := range sv.Targets {
		if state, _ := h.StateAt(name, t); state != history.Asleep {
			return false
		}
	}
	return len(sv.Targets) > 0
}

// owns says whether the log had given the service to the host where a demand arrived, and the host had taken it: a target
// waits for its heir before it sleeps; after a crash the lease must run out first.
func owns(h *history.History, sv history.Service, k history.Demand) bool {
	owner, since := "", time.Time{}
	for _, r := range h.Of(k.Service) {
		if !r.At.IsZero() && !r.At.After(k.At) {
			owner, since = r.To, r.At
		}
	}
	if owner != k.Host {
		return false
	}
	handed := slices.ContainsFunc(sv.Targets, func(name string) bool {
		_, asleep := h.StateAt(name, k.At)
		return since.Before(asleep)
	})
	return handed || k.At.Sub(since) > h.Setup.TTL()+h.Setup.Extra+time.Second
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

// stayedUp says whether a host was up when somebody called it, and did not go to sleep on that: it may have lost its power.
func stayedUp(h *history.History, host string, from, to time.Time) bool {
	state, _ := h.StateAt(host, from)
	return state == history.Up && !slices.ContainsFunc(h.Powers, func(p history.Power) bool {
		return p.Host == host && p.State == history.Asleep && p.At.After(from) && !p.At.After(to)
	})
}

// called looks at the wakes that operators asked for. One that was acknowledged is a word about the host: it was up then. And
// while nothing is wrong, every one is acknowledged in time, at whatever point of its way into sleep it met the host.
func called(h *history.History, d *docket) {
	for _, c := range h.Commands {
		if c.Verb != "wake" || c.Refused {
			continue
		}
		by := c.Began.Add(h.Setup.Resume + h.Setup.Rouse)
		switch {
		case c.Done:
			d.judged++
			if !wokeBy(h, []string{c.Arg}, c.Began, c.Ended) && !stayedUp(h, c.Arg, c.Began, c.Ended) {
				state, since := h.StateAt(c.Arg, c.Ended)
				d.find("%s was called at %s, which was acknowledged at %s, and it was %s since %s", c.Arg, at(c.Began), at(c.Ended), state, at(since))
			}
		case !c.Ended.IsZero() && c.Ended.Before(by):
			// Whoever asked gave up before the time was over.
		case by.Before(h.Ended) && len(h.Disturbed(c.Began.Add(-quiet), by)) == 0 && hostUp(h, c.Host, c.Began, by) && !sentToSleep(h, c.Arg, c.Began, by):
			d.judged++
			d.find("%s was called at %s by %s, nothing was wrong, and by %s nobody had heard of it: %s", c.Arg, at(c.Began), c.Host, at(by), c.Err)
		}
	}
}

// hostUp says whether a host ran all through a time.
func hostUp(h *history.History, host string, from, to time.Time) bool {
	if state, _ := h.StateAt(host, from); state != history.Up {
		return false
	}
	return !slices.ContainsFunc(h.Powers, func(p history.Power) bool { return p.Host == host && p.At.After(from) && p.At.Before(to) })
}

// sentToSleep says whether somebody asked for a host's sleep after a call had begun: then that counts.
func sentToSleep(h *history.History, host string, from, to time.Time) bool {
	return slices.ContainsFunc(h.Commands, func(c history.Command) bool {
		return c.Verb == "sleep" && c.Arg == host && !c.Refused && c.Began.After(from) && c.Began.Before(to)
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
