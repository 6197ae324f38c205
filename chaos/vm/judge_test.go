//go:build vm

package vm

import (
	"time"

	"nightporter/api"
	"nightporter/chaos/check"
	"nightporter/chaos/history"
)

// lastChange is the newest record of the service, as an always-on host has it.
func (w *world) lastChange() api.Change {
	w.Helper()
	changes := w.changes()
	return changes[len(changes)-1]
}

func (w *world) changes() []api.Change {
	w.Helper()
	h, err := w.lab.Host("h1").API().History(w.limit(), web)
	w.must(err)
	if len(h.Changes) == 0 {
		w.Fatal("h1 knows no owner of web")
	}
	return h.Changes
}

// seen waits until the watch has come past a moment. Somebody asks for the address all the time, so it gets there.
func (w *world) seen(at time.Time) {
	w.Helper()
	w.must(w.watch.Past(w.limit(), at))
}

// observed is all that was seen so far.
func (w *world) observed() *history.History {
	h := &history.History{Setup: history.Setup{Services: []history.Service{{Name: web}}}}
	w.watch.Fill(h)
	return h
}

// claims counts the runs of frames by which the machine used the identity between two moments.
func (w *world) claims(from, to time.Time) int { return w.uses(place, from, to) }

// uses does so for any host.
func (w *world) uses(host string, from, to time.Time) (n int) {
	for _, s := range w.observed().Spans {
		if s.Host == host && s.Last.After(from) && s.First.Before(to) {
			n++
		}
	}
	return n
}

// magicAfter is the first magic packet for the machine after a moment.
func (w *world) magicAfter(at time.Time) time.Time {
	w.Helper()
	for _, m := range w.observed().Magics {
		if m.Target == place && m.At.After(at) {
			return m.At
		}
	}
	w.Errorf("nobody sent a magic packet after %v", at)
	return at
}

func (w *world) lastMagic() string {
	w.nic.mu.Lock()
	defer w.nic.mu.Unlock()
	if len(w.nic.magics) == 0 {
		return "by nothing"
	}
	return w.nic.magics[len(w.nic.magics)-1]
}

// judge looks at the whole day: nobody was refused, and whoever used the identity was its owner by the log; there were so many turns at least.
func (w *world) judge(want int) {
	w.Helper()
	w.seen(time.Now())
	all := w.observed()
	for _, r := range all.Refusals {
		w.Errorf("%s told %s at %v: %s", r.Host, r.Client, r.At, r.What)
	}
	var turns []check.Turn
	frames := 0
	for _, s := range all.Spans {
		frames += s.Frames
		if n := len(turns); n == 0 || turns[n-1].Host != s.Host {
			turns = append(turns, check.Turn{Host: s.Host, At: s.First})
		}
	}
	var records []history.Record
	for _, c := range w.changes() {
		records = append(records, history.Record{Epoch: c.Epoch, To: c.To, At: c.At})
	}
	for _, i := range check.Strays(turns, records) {
		w.Errorf("%s used the identity out of turn at %v; the turns: %v, the records: %+v", turns[i].Host, turns[i].At, turns, records)
	}
	if len(turns) < want {
		w.Errorf("the identity was used in %d turns, want %d: %v", len(turns), want, turns)
	}
	w.Logf("%d frames of the identity in %d turns, none out of turn, nobody refused", frames, len(turns))
}
