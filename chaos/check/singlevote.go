package check

import (
	"cmp"
	"slices"
	"time"

	"nightporter/chaos/history"
)

// What singleVote tells of.
const (
	VotelessDied   = "the host without the vote died, nothing else was wrong, and clients asked for a service of the other one meanwhile"
	askedMeanwhile = "requests in such times"
)

// singleVote looks at clusters of two hosts: at the end the one votes that holds most of the services, if these have been there for as long as the vote waits
// and takes; and where the other one died while that was so, and
// nothing else was wrong, clients noticed nothing.
func singleVote(h *history.History, d *docket) {
	if len(h.Setup.Hosts) != 2 {
		return
	}
	d.saw(VotelessDied, 0)
	voteAtTheEnd(h, d)
	for _, f := range h.Faults {
		if f.Kind != history.PowerOff && f.Kind != history.Kill || f.To.IsZero() {
			continue
		}
		other := h.Setup.Hosts[0].Name
		if other == f.Host {
			other = h.Setup.Hosts[1].Name
		}
		from, to := f.From.Add(-quiet), f.To
		if !slices.Equal(lastingVoters(h, from, to), []string{other}) || !hostUp(h, other, from, to) || !lonely(h, f, from, to) {
			continue
		}
		for _, sv := range h.Setup.Services {
			if !ownedThrough(h, sv.Name, other, from, to) {
				continue
			}
			asked := 0
			for _, r := range h.Requests {
				if r.Service != sv.Name || !r.Began.After(f.From) || !r.Ended.Before(to) {
					continue
				}
				asked++
				if !r.OK() {
					d.find("%s: %s holds it and has the only vote, %s died at %s, and %s got no answer from %s to %s: %s",
						sv.Name, other, f.Host, at(f.From), r.Client, at(r.Began), at(r.Ended), r.Err)
				}
			}
			if asked > 0 {
				d.judged++
				d.saw(VotelessDied, 1)
				d.saw(askedMeanwhile, asked)
			}
		}
	}
}

func voteAtTheEnd(h *history.History, d *docket) {
	last := history.Sample{}
	for _, s := range h.Samples {
		if len(s.Voters) > 0 && s.At.After(last.At) {
			last = s
		}
	}
	if h.Calm.IsZero() || len(h.Ends) == 0 || h.Ended.Before(h.Calm.Add(h.Setup.Settle)) {
		return // converges says so
	}
	load, since := loadsAt(h, last.At)
	most := slices.MaxFunc(h.Setup.Hosts, func(a, b history.Host) int { return cmp.Compare(load[a.Name], load[b.Name]) }).Name
	well := len(last.Voters) == 1 && load[last.Voters[0]] >= load[most]
	if !well && last.At.Sub(since) < following*h.Setup.Failover+recovery(h, false) {
		return // the vote may still be on its way
	}
	d.judged++
	if !well {
		d.find("at the end the voters are %v, and %s holds %d of the services since %s", last.Voters, most, load[most], at(since))
	}
}

// following is for how many failovers services stay with another host before the vote goes after them.
const following = 10

// loadsAt gives how many services each host had at a moment by the log, and when one of them had moved last.
func loadsAt(h *history.History, t time.Time) (load map[string]int, since time.Time) {
	load = map[string]int{}
	for _, sv := range h.Setup.Services {
		owner := ""
		for _, r := range h.Of(sv.Name) {
			if r.At.After(t) {
				break
			}
			owner = r.To
			if r.At.After(since) {
				since = r.At
			}
		}
		if owner != "" {
			load[owner]++
		}
	}
	return load, since
}

// lonely says whether nothing but one fault, and what ends it, was done to the cluster in a time.
func lonely(h *history.History, f history.Fault, from, to time.Time) bool {
	return !slices.ContainsFunc(h.Disturbed(from, to), func(o history.Fault) bool { return o.Host != f.Host || !o.From.Equal(f.From) && !o.From.Equal(f.To) }) &&
		!slices.ContainsFunc(h.Commands, func(c history.Command) bool {
			ended := c.Ended
			if ended.IsZero() { // nobody knows what came of it: who holds, votes and is up is looked at anyway
				ended = c.Began
			}
			return c.Began.Before(to) && ended.Add(quiet).After(from)
		})
}

// ownedThrough says whether a service belonged to a host all through a time.
func ownedThrough(h *history.History, service, host string, from, to time.Time) bool {
	owner := ""
	for _, r := range h.Of(service) {
		switch {
		case r.At.IsZero():
		case !r.At.After(from):
			owner = r.To
		case r.At.Before(to):
			return false
		}
	}
	return owner == host
}
