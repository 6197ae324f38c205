package check

import (
	"time"

	"nightporter/chaos/history"
)

// Turn is the moment from which a host used an identity, until the next turn.
type Turn struct {
	Host string
	At   time.Time
}

// Strays gives the indexes of the turns that the records, in the order of their epochs, do not allow. Each turn must
// stand on a record that gives the host the identity, later than the record of the turn before it, and must not begin
// before that record was made. With two holders at once their frames mingle, A, B, A, and the second turn of A has no
// record to stand on: there is none, or its time has not come. A leader stamps a record before it is committed, so no
// honest frame is older than its record.
//
// A record is the earliest that fits, which leaves the most for the turns that follow. After a stray the host whose turn
// it was goes on.
func Strays(turns []Turn, records []history.Record) []int {
	var out []int
	from := 0
	for i, t := range turns {
		next := from
		for next < len(records) && records[next].To != t.Host {
			next++
		}
		if next == len(records) || t.At.Before(records[next].At) {
			out = append(out, i)
			continue
		}
		from = next
	}
	return out
}

// singleHolder compares the hosts that used an identity, frame by frame, with the log's owners. What a host outside the
// cluster does is no matter of its members.
func singleHolder(h *history.History, d *docket) {
	for _, sv := range h.Setup.Services {
		var turns []Turn
		var first []history.Span
		for _, s := range h.Spans {
			if s.Service != sv.Name || !isHost(h, s.Host) {
				continue
			}
			d.judged += s.Frames
			if n := len(turns); n == 0 || turns[n-1].Host != s.Host {
				turns = append(turns, Turn{s.Host, s.First})
				first = append(first, s)
			}
		}
		records := h.Of(sv.Name)
		for _, i := range Strays(turns, records) {
			d.find("%s: %s used the identity out of turn at %s: %s; before it %s, the log says %s", sv.Name, turns[i].Host,
				at(turns[i].At), first[i].Sample, describe(turns, i), around(records, turns[i].At))
		}
	}
	if d.judged == 0 {
		d.blind = "nobody was ever seen to use any identity"
	}
}

// describe tells of the turns before one.
func describe(turns []Turn, i int) string {
	if i == 0 {
		return "nobody did"
	}
	return turns[i-1].Host + " did from " + at(turns[i-1].At)
}

// around tells of the records near a moment.
func around(records []history.Record, t time.Time) string {
	words := ""
	for _, r := range records {
		if gap := r.At.Sub(t).Abs(); gap < 10*time.Second {
			words += " [" + r.Reason + ": " + r.From + "->" + r.To + " at " + at(r.At) + "]"
		}
	}
	if words == "" {
		return "nothing for ten seconds around it"
	}
	return words[1:]
}

// failsClosed looks for frames of hosts whose daemon was muted longer ago than a lease lasts.
func failsClosed(h *history.History, d *docket) {
	for _, f := range h.Faults {
		if !f.Mute && !f.Dark {
			continue
		}
		end := f.To
		if end.IsZero() {
			end = h.Ended
		}
		from, what := f.Took.Add(h.TTLAt(f.Took)), "a lease's length after"
		if f.Dark {
			from, what = f.Took, "after"
		}
		if !from.Before(end) {
			continue
		}
		d.judged++
		for _, s := range h.Spans {
			if s.Host == f.Host && frameBetween(s, from, end) {
				d.find("%s: %s was on the wire until %s, later than %s %s (%s)", s.Service, s.Host, at(s.Last), what, f.Kind, at(f.Took))
			}
		}
	}
}

// frameBetween says whether a span certainly has a frame between two moments: a span has no gap of history.SpanGap.
func frameBetween(s history.Span, from, to time.Time) bool {
	in := func(t time.Time) bool { return t.After(from) && t.Before(to) }
	return in(s.First) || in(s.Last) || s.First.Before(from) && s.Last.After(to) && to.Sub(from) > history.SpanGap
}

// clean looks at the addresses that are left at the end.
func clean(h *history.History, d *docket) {
	for _, e := range h.Ends {
		if !e.Up {
			continue
		}
		d.judged++
		for _, sv := range e.Leftover(h.Setup) {
			d.find("%s: %s still has its address configured at the end, and does not hold it", sv, e.Host)
		}
	}
	if d.judged == 0 {
		d.blind = "no host was looked at in the end"
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// controls wants every mistake flagged that the observer was shown. There is no observer of frames in virtual time, where
// the wire itself keeps the record.
func controls(h *history.History, d *docket) {
	for _, c := range h.Controls {
		d.judged++
		if !c.Flagged {
			d.find("the observer was shown %q and saw nothing wrong", c.Name)
		}
	}
	if d.judged == 0 && h.Form == history.Lab {
		d.blind = "the observer was shown no mistake, so its silence proves nothing"
	}
}
