package agent

import (
	"nightporter/wake"
)

// What came in the last moments before the fence was closed may be in work yet. Its client has said all that it has to say: it would say nothing
// to the front, and wake nobody. So a host that is to sleep looks for such clients when its fence is closed, and stays awake for them: it gets
// the service back, and its kernel repeats the answer. Who asks later is the front's to hear.

// lookForWaiting notes that a client waits, if one does that may wake this host.
func (t *tenant) lookForWaiting() {
	if !t.wish.Leaving {
		return
	}
	owed, err := t.reach.Unanswered(t.wish.Service.Addresses)
	if err != nil {
		t.log.Warn("whether a client waits for an answer is not known: this host may sleep before it is given", "service", t.service, "err", err)
		return
	}
	may := wake.Admission{Allow: t.wish.Service.Wake.Allow, Deny: t.wish.Service.Wake.Deny}
	for _, o := range owed {
		if may.Wakes(o.Client.Addr()) && (!o.Half || t.halved.Load()+1 != t.wish.Sleeps) {
			t.owes = t.wish.Sleeps
			if o.Half { // anybody can begin a connection in anybody's name: not twice in a row
				t.halved.Store(t.owes)
			}
			t.log.Info("a client waits for this host, which was to sleep", "service", t.service, "client", o.Client, "to", o.Dest, "because", o.Why, "count", len(owed))
			return
		}
	}
}

// owes says whether a client waits for this host since before it was on its way into a sleep.
func (ts *tenants) owes(sleeps uint64) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.all {
		if s := t.shown.Load(); s != nil && s.Owes == sleeps && sleeps != 0 {
			return true
		}
	}
	return false
}
