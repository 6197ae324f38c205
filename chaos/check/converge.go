package check

import (
	"slices"
	"strings"
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
		if !inTheEnd(h, r) {
			continue
		}
		d.judged++
		if !r.OK() {
			d.find("%s: %s got no answer from %s to %s, long after everything was healed: %s", r.Service, r.Client, at(r.Began), at(r.Ended), r.Err)
		}
	}
	if d.judged == 0 {
		d.blind = "no client asked for anything in the end, or the machine had no time for the laboratory"
	}
	for _, e := range h.Ends {
		switch {
		case !e.Up && !e.Rests:
			d.find("%s is not up at the end", e.Host)
		case !e.Up:
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

// EndCounts says whether converges has something to judge, once its time has come: a question that a client asked in the end, while the machine
// had time for the laboratory.
func EndCounts(h *history.History) bool {
	return slices.ContainsFunc(h.Requests, func(r history.Request) bool { return inTheEnd(h, r) })
}

// inTheEnd says whether a question counts there: no lease is renewed by a machine that stands still.
func inTheEnd(h *history.History, r history.Request) bool {
	return !h.Calm.IsZero() && !r.Began.Before(h.Calm.Add(h.Setup.Settle)) && !busy(h, r.Began.Add(-recovery(h, true)), r.Ended)
}

// busy says whether the machine itself stood still at some moment of a time.
func busy(h *history.History, from, to time.Time) bool {
	return slices.ContainsFunc(h.Disturbed(from, to), func(f history.Fault) bool { return f.Kind == history.Busy })
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
	Late    time.Duration `json:"late"`   // by how much it is longer than they explain, if above 0

	over time.Time // when the last of the causes was over
}

// pause is how long a client may ask nothing before its silence is its own.
const pause = 300 * time.Millisecond

// Silences gives the times in which clients waited longer than least. A request that waits counts with all its length; one
// that fails joins the next; one that was never answered counts until the end of what was asked.
func Silences(h *history.History, least time.Duration) []Silence {
	type stream struct{ client, service string }
	last := map[stream]history.Request{}
	from := map[stream]time.Time{}
	var out []Silence
	add := func(r history.Request, since time.Time) {
		if length := r.Ended.Sub(since); length > least {
			out = append(out, Silence{Service: r.Service, Client: r.Client, From: since, To: r.Ended, Length: length})
		}
	}
	requests := slices.Clone(h.Requests)
	slices.SortStableFunc(requests, func(a, b history.Request) int { return a.Began.Compare(b.Began) })
	for _, r := range requests {
		k := stream{r.Client, r.Service}
		prev, asked := last[k]
		last[k] = r
		if !asked || prev.OK() || r.Began.Sub(prev.Ended) > pause {
			if asked && !prev.OK() {
				add(prev, from[k]) // given up without an answer
			}
			from[k] = r.Began
		}
		if r.OK() {
			add(r, from[k])
		}
	}
	for k, r := range last {
		if !r.OK() {
			add(r, from[k])
		}
	}
	slices.SortFunc(out, func(a, b Silence) int { return a.From.Compare(b.From) })
	for i := range out {
		causes(h, &out[i])
	}
	return out
}

// recovery is what the cluster may need, once a cause is over, until a client is answered again: an election, the end of a lease, an
// assignment, and the pause that a client's kernel makes between two SYNs by then; and where a target had to be woken, that.
func recovery(h *history.History, woken bool) time.Duration {
	d := 4*h.Setup.Failover + 5*time.Second + h.Setup.Extra
	if woken {
		d += h.Setup.Resume + h.Setup.Rouse
	}
	return d
}

// causes finds what a silence comes from, and until when that explains it.
func causes(h *history.History, s *Silence) {
	woken := false
	sv, _ := h.Setup.Service(s.Service)
	note := func(what string, from, to time.Time) {
		if to.IsZero() {
			to = h.Ended
		}
		if from.After(s.To) || to.Add(recovery(h, true)).Before(s.From) {
			return
		}
		s.Causes = append(s.Causes, what)
		if to.After(s.over) {
			s.over = to
		}
	}
	for _, host := range sv.Targets {
		for _, gone := range absences(h, host) {
			if gone.from.Before(s.To) && gone.to.Add(recovery(h, true)).After(s.From) {
				woken = true
				note(host+" "+string(gone.state), gone.from, gone.to)
			}
		}
	}
	for _, f := range h.Faults {
		note(strings.TrimSpace(string(f.Kind)+" "+f.Host), f.From, f.To)
	}
	for _, c := range h.Commands {
		if !c.Refused && (c.Service == s.Service || c.Verb == "sleep" || c.Verb == "wake" || c.Verb == "leave" || c.Verb == "set") {
			note(c.Verb+" "+c.Arg, c.Began, c.Ended)
		}
	}
	for _, gone := range undefined(h, sv) {
		note("not defined", gone.from, gone.to)
	}
	for _, r := range h.Of(sv.Name) { // a target need not be ready when it is up, and what was swallowed in the moment of its hand-over is lost
		if sv.Checked && (r.Reason == "target-ready" || r.Reason == "check-passed") {
			note(r.To+" became ready", r.At, r.At)
		}
	}
	for _, rest := range damped(h, sv) {
		note("passed over "+rest.host, rest.from, rest.to)
	}
	for _, moved := range fronted(h, sv) {
		note("moved to "+moved.host, moved.from, moved.to)
	}
	slices.Sort(s.Causes)
	s.Causes = slices.Compact(s.Causes)
	s.Late = s.To.Sub(s.over.Add(recovery(h, woken)))
}

// absence is a time in which a machine was not up.
type absence struct {
	state    history.PowerState
	from, to time.Time
}

func absences(h *history.History, host string) []absence {
	var out []absence
	var now *absence
	for _, p := range h.Powers {
		if p.Host != host {
			continue
		}
		switch {
		case p.State == history.Up && now != nil:
			now.to = p.At
			out = append(out, *now)
			now = nil
		case p.State != history.Up && now == nil:
			now = &absence{state: p.State, from: p.At}
		}
	}
	if now != nil {
		now.to = h.Ended
		out = append(out, *now)
	}
	return out
}

// undefined gives the times in which the log has no such service: before somebody defines it, and after it is deleted until it
// gets an owner again.
func undefined(h *history.History, sv history.Service) []absence {
	records := h.Of(sv.Name)
	until := func(rest []history.Record) time.Time {
		for _, r := range rest {
			if r.To != "" {
				return r.At
			}
		}
		return h.Ended
	}
	var out []absence
	if !sv.Founded {
		out = append(out, absence{from: h.Began, to: until(records)})
	}
	for i, r := range records {
		if r.Reason == "service-deleted" {
			out = append(out, absence{from: r.At, to: until(records[i+1:])})
		}
	}
	return out
}

// damped are the times in which a target is passed over because it lost the service by failure: after n losses within five minutes
// for 2^n times the failover, at most a minute, as docs/design.md says. That is judged by the leader's wall clock against a stamp that may be
// another's; meanwhile a front holds, and clients wait.
func damped(h *history.History, sv history.Service) []away {
	var out []away
	records := h.Of(sv.Name)
	for i, r := range records {
		if !contains(sv.Targets, r.From) || !failure(r) {
			continue
		}
		n := 0
		for _, p := range records[:i+1] {
			if p.From == r.From && failure(p) && r.At.Sub(p.At) < 5*time.Minute {
				n++
			}
		}
		out = append(out, away{r.From, r.At, r.At.Add(min(h.Setup.Failover<<min(n, 10), time.Minute) + stampsDiffer)})
	}
	return out
}

// failure says whether a host lost a service by failing.
func failure(r history.Record) bool {
	return r.Reason == "owner-failed" || r.Reason == "owner-unfit" || r.Reason == "check-failed"
}

// stampsDiffer is how far ahead of the leader's wall clock a stamp may be that still counts.
const stampsDiffer = 5 * time.Second

// away is a time in which nobody serves: an operator had given the service to a host that does not run it, or its target is passed
// over.
type away struct {
	host     string
	from, to time.Time
}

func fronted(h *history.History, sv history.Service) []away {
	var out []away
	records := h.Of(sv.Name)
	for i, r := range records {
		if contains(sv.Targets, r.To) || r.Reason != "operator-moved" {
			continue
		}
		a := away{r.To, r.At, h.Ended}
		if i+1 < len(records) {
			a.to = records[i+1].At
		}
		out = append(out, a)
	}
	return out
}

// blackout wants a cause for every silence longer than twice the failover, and its end soon after the cause's.
func blackout(h *history.History, d *docket) {
	for _, s := range Silences(h, 2*h.Setup.Failover+h.Setup.Extra) {
		d.judged++
		switch {
		case len(s.Causes) == 0:
			d.find("%s: %s waited from %s for %s, and nothing had happened", s.Service, s.Client, at(s.From), ms(s.Length))
		case s.Late > 0:
			d.find("%s: %s waited from %s for %s, %s longer than %v explains", s.Service, s.Client, at(s.From), ms(s.Length), ms(s.Late), s.Causes)
		}
	}
	if len(h.Requests) == 0 {
		d.blind = "no client asked for anything"
	}
}
