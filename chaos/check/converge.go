package check

import (
	"fmt"
	"slices"
	"time"

	"nightporter/chaos/history"
)

// converges looks at the end of the run, after everything was healed and the time to settle was over.
func converges(h *history.History, d *docket) {
	settled := h.Calm.Add(h.Setup.Settle)
	if h.Calm.IsZero() || len(h.Ends) == 0 || h.Ended.Before(settled) {
		d.blind = "the run did not come to its calm end"
		return
	}
	for _, r := range h.Requests {
		if r.Began.Before(settled) {
			continue
		}
		d.judged++
		if !r.OK() {
			d.find("%s: %s got no answer from %s to %s, long after everything was healed: %s", r.Service, r.Client, at(r.Began), at(r.Ended), r.Err)
		}
	}
	if d.judged == 0 {
		d.blind = "no client asked for anything in the end"
	}
	for _, e := range h.Ends {
		switch {
		case !e.Up:
			d.find("%s is not up at the end", e.Host)
		case !e.Member:
			d.find("%s does not belong to the cluster at the end", e.Host)
		case e.Problem != "":
			d.find("%s complains at the end: %s", e.Host, e.Problem)
		}
	}
	for _, name := range definedAtEnd(h) {
		oneHolder(h, name, d)
	}
}

// definedAtEnd gives the services that any host knows at the end.
func definedAtEnd(h *history.History) []string {
	var out []string
	for _, e := range h.Ends {
		out = append(out, e.Defined...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func oneHolder(h *history.History, name string, d *docket) {
	d.judged++
	var open, owners []string
	for _, e := range h.Ends {
		if !e.Up {
			continue
		}
		if contains(e.Open, name) {
			open = append(open, e.Host)
		}
		if !contains(e.Defined, name) {
			d.find("%s: %s does not know it at the end", name, e.Host)
		}
		owners = append(owners, e.Owners[name])
	}
	slices.Sort(owners)
	owners = slices.Compact(owners)
	if len(open) != 1 || len(owners) != 1 || open[0] != owners[0] {
		d.find("%s: at the end it is open at %v, and the hosts say that the owner is %v", name, open, owners)
	}
}

// Silence is a time in which a client got no answer from a service it kept asking.
type Silence struct {
	Service string        `json:"service"`
	Client  string        `json:"client"`
	From    time.Time     `json:"from"` // the last answer, or the first question
	To      time.Time     `json:"to"`
	Length  time.Duration `json:"length"`
	Causes  []string      `json:"causes"` // faults, sleeps and moves that it may come from
}

// pause is how long a client may ask nothing before its silence is its own.
const pause = 300 * time.Millisecond

// Silences gives the times in which clients waited longer than least. A request that waits counts with all its length; one
// that fails joins the next.
func Silences(h *history.History, least time.Duration) []Silence {
	type stream struct{ client, service string }
	last := map[stream]history.Request{}
	from := map[stream]time.Time{}
	var out []Silence
	requests := slices.Clone(h.Requests)
	slices.SortStableFunc(requests, func(a, b history.Request) int { return a.Began.Compare(b.Began) })
	for _, r := range requests {
		k := stream{r.Client, r.Service}
		prev, asked := last[k]
		last[k] = r
		if !asked || prev.OK() || r.Began.Sub(prev.Ended) > pause {
			from[k] = r.Began
		}
		if length := r.Ended.Sub(from[k]); r.OK() && length > least {
			out = append(out, Silence{Service: r.Service, Client: r.Client, From: from[k], To: r.Ended, Length: length})
		}
	}
	for i := range out {
		out[i].Causes = causes(h, out[i])
	}
	return out
}

// causes lists what may explain a silence.
func causes(h *history.History, s Silence) []string {
	var out []string
	for _, f := range h.Disturbed(s.From.Add(-h.Setup.Settle), s.To) {
		out = append(out, string(f.Kind)+" "+f.Host)
	}
	sv, _ := h.Setup.Service(s.Service)
	for _, p := range h.Powers {
		if p.State != history.Up && contains(sv.Targets, p.Host) && p.At.Before(s.To) {
			if state, _ := h.StateAt(p.Host, s.From); state != history.Up || p.At.After(s.From) {
				out = append(out, fmt.Sprintf("%s %s", p.Host, p.State))
			}
		}
	}
	for _, c := range h.Commands {
		touches := c.Service == s.Service || c.Verb == "sleep" || c.Verb == "leave" || c.Verb == "set"
		if touches && c.Began.Before(s.To) && (c.Ended.IsZero() || c.Ended.After(s.From.Add(-h.Setup.Failover))) {
			out = append(out, c.Verb+" "+c.Arg)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// blackout wants a cause for every silence longer than twice the failover.
func blackout(h *history.History, d *docket) {
	d.judged = len(h.Requests)
	for _, s := range Silences(h, 2*h.Setup.Failover+h.Setup.Extra) {
		if len(s.Causes) == 0 {
			d.find("%s: %s waited from %s for %s, and nothing had happened", s.Service, s.Client, at(s.From), ms(s.Length))
		}
	}
	if d.judged == 0 {
		d.blind = "no client asked for anything"
	}
}
