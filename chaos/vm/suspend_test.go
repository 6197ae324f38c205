//go:build vm

package vm

import (
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/check"
	"nightporter/chaos/history"
)

// stories is how often the host goes to sleep by itself and is woken by a client.
const stories = 3

// One machine, since its boot is what takes long; the parts follow each other as on one host's day.
func TestAHostThatTrulySleeps(t *testing.T) {
	w := build(t)
	for range stories {
		w.story("nobody needs it", func() {})
	}
	w.stay()
	w.missed()
	w.moment()
	w.judge()
}

// count gives how often the machine has suspended and resumed.
func (w *world) count() (suspends, wakeups int) {
	w.nic.mu.Lock()
	defer w.nic.mu.Unlock()
	return len(w.nic.suspends), len(w.nic.wakeups)
}

// awaitSuspend waits for the machine's nth suspend and gives its time.
func (w *world) awaitSuspend(n int) (at time.Time) {
	w.Helper()
	w.awaitNIC("the machine suspends", func(c *nic) bool {
		if len(c.suspends) < n {
			return false
		}
		at = c.suspends[n-1]
		return true
	})
	return at
}

func (w *world) awaitWakeup(n int) (at time.Time) {
	w.Helper()
	w.awaitNIC("the machine resumes", func(c *nic) bool {
		if len(c.wakeups) < n {
			return false
		}
		at = c.wakeups[n-1]
		return true
	})
	return at
}

// story is that of the demo: the host hands over and sleeps; a client connects, once, is left waiting, wakes it and is served.
func (w *world) story(why string, sleep func()) {
	w.Helper()
	asleep, awake := w.count()
	sleep()
	at := w.awaitSuspend(asleep + 1)
	front := w.awaitOwner("holding", "h1", "h2")
	last := w.lastChange()
	if last.To != front || !last.At.Before(at) {
		w.Errorf("the log gave web to %s at %v, and the machine suspended at %v: not before that", last.To, last.At, at)
	}
	r, err := w.lab.Client(1).Connect(w.limit(), door)
	if err != nil || r.Host != self {
		w.Fatalf("the client was answered by %q: %v", r.Host, err)
	}
	woken := w.awaitWakeup(awake + 1)
	if woken.Before(r.Began) {
		w.Errorf("the machine resumed at %v, before the client came at %v", woken, r.Began)
	}
	w.seen(time.Now())
	if w.claims(at, w.lastChange().At) != 0 {
		w.Errorf("the sleeping machine used the identity")
	}
	magic := w.magicAfter(r.Began)
	w.Logf("%s: the front %s swallows, calls after %v; resumes after %v (%s); connect() completes after %v, answered after %v", why, front,
		magic.Sub(r.Began).Round(time.Millisecond), woken.Sub(r.Began).Round(time.Millisecond), w.lastMagic(), r.Connected.Round(time.Millisecond), r.Answered.Round(time.Millisecond))
	w.awaitOwner("serving", place)
}

// stay keeps the host awake by a lock of the guest's own logind. It may just have fallen asleep: a client wakes it then.
func (w *world) stay() {
	w.Helper()
	w.must(func() error { _, err := w.lab.Client(1).Connect(w.limit(), door); return err }())
	w.awaitOwner("serving", place)
	_, err := w.shell.run(w.limit(), "systemd-run --quiet --unit=stay systemd-inhibit --what=idle --who=test --why=test sleep infinity")
	w.must(err)
}

// suspendAtOnce is a suspend that nobody announced: logind and the agent hear nothing. The shell answers after the resume.
func (w *world) suspendAtOnce() (ended chan error) {
	ended = make(chan error, 1)
	ctx := w.limit()
	go func() {
		_, err := w.shell.run(ctx, "echo mem >/sys/power/state")
		ended <- err
	}()
	return ended
}

// missed: the machine is suspended while it holds the identity. Another host takes it over; a magic packet resumes the machine, whose kernel has the
// address still and is asked for it two hundred times a second; nothing of the identity leaves it before the log has given it back.
func (w *world) missed() {
	w.Helper()
	w.awaitOwner("serving", place)
	asleep, awake := w.count()
	told := time.Now()
	ended := w.suspendAtOnce()
	at := w.awaitSuspend(asleep + 1)
	w.seen(at)
	if w.claims(told.Add(-time.Second), at) == 0 {
		w.Errorf("the machine did not use the identity before it was suspended: the rest proves nothing")
	}
	front := w.awaitOwner("holding", "h1", "h2")
	taken := w.lastChange()
	w.must(w.place.Wake(w.limit()))
	woken := w.awaitWakeup(awake + 1)
	w.must(<-ended)
	w.awaitOwner("serving", place)
	back := w.lastChange()
	w.seen(time.Now())
	if back.To != place || !back.At.After(woken) {
		w.Errorf("the log gave web to %s at %v; the machine resumed at %v", back.To, back.At, woken)
	}
	if n := w.claims(at, back.At); n != 0 {
		w.Errorf("the machine used the identity in %d runs of frames between its suspend at %v and its new record at %v", n, at, back.At)
	}
	if w.claims(back.At, time.Now()) == 0 {
		w.Errorf("the machine never used the identity after its new record")
	}
	w.Logf("a suspend that was not announced: %s (%s) after %v; resumed after %v; 0 frames until the record, %v after the resume", front, taken.Reason,
		taken.At.Sub(at).Round(time.Millisecond), woken.Sub(at).Round(time.Millisecond), back.At.Sub(woken).Round(time.Millisecond))
}

// moment is the same for less than the lease lasts: the deadline has not passed, and the count of suspends alone keeps the fence closed until the lease was
// asked for and given anew.
func (w *world) moment() {
	w.Helper()
	w.awaitOwner("serving", place)
	asleep, awake := w.count()
	ended := w.suspendAtOnce()
	at := w.awaitSuspend(asleep + 1)
	w.must(w.monitor.command(w.limit(), "system_wakeup"))
	woken := w.awaitWakeup(awake + 1)
	w.must(<-ended)
	w.awaitOwner("serving", place)
	w.await("the machine uses the identity again", func() string {
		if w.claims(woken, time.Now()) == 0 {
			return "it does not"
		}
		return ""
	})
	round, ok := w.talk.round(woken)
	if !ok {
		w.Fatalf("the machine uses the identity after its resume at %v and has not asked for a lease", woken)
	}
	if n := w.claims(at, round); n != 0 {
		w.Errorf("the machine used the identity in %d runs of frames between its suspend at %v and the first answer to it at %v", n, at, round)
	}
	w.Logf("a suspend of %v: 0 frames until the first answer, %v after the resume", woken.Sub(at).Round(time.Millisecond), round.Sub(woken).Round(time.Millisecond))
}

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
func (w *world) claims(from, to time.Time) (n int) {
	for _, s := range w.observed().Spans {
		if s.Host == place && s.Last.After(from) && s.First.Before(to) {
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

// judge looks at the whole day: nobody was refused, and whoever used the identity was its owner by the log.
func (w *world) judge() {
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
	if want := 2*stories + 3; len(turns) < want { // the machine's first one; away and back in each story, and in missed
		w.Errorf("the identity was used in %d turns, want %d: %v", len(turns), want, turns)
	}
	w.Logf("%d frames of the identity in %d turns, none out of turn, nobody refused", frames, len(turns))
}

