package scenarios

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
	"nightporter/config"
)

// slept tells how often a host has fallen asleep, as the lab counts it.
func (w *world) slept(host string) int { return w.power()[host].Sleeps }

// A sleeping host looks after the others by its own clock's alarm: while all is well it sleeps on, and nobody hears of it. When the front has died
// and everybody else sleeps, nobody could call anybody: it stays up, calls the other voter, and the service is back.
func TestTheAlarmIsTheLastNet(t *testing.T) {
	sv := held("")
	sv.Targets = []string{"h3"}
	w := build(t, lab.Options{Hosts: 3, Sleepers: []int{2, 3}, Services: []config.Service{sv}, LookAfter: 3 * time.Second, Failover: 500 * time.Millisecond})
	w.settled(nil, 3)
	front := w.sleep("h3")
	// It looks, and goes back to sleep: no change of its record, no wake.
	looks := w.slept("h3")
	w.await("h3 has looked and sleeps again", func() string {
		if n := w.slept("h3"); n < looks+1 {
			return fmt.Sprintf("it fell asleep %d times", n)
		}
		return ""
	})
	a := w.why(front, "h3")
	if a.Power != "asleep" || a.PowerReason != "operator-sleep" {
		t.Fatalf("after a look in vain: %+v", a)
	}
	h, err := w.api(front).History(w.limit(), web)
	w.must(err)
	for _, one := range h.Wakes {
		t.Errorf("nobody called anybody, and there is a wake on record: %+v", one)
	}
	// Of the two that are left one is a front that dies, the other one sleeps as well, as with its lid closed: nobody is awake.
	other := without(w.hosts, "h3", front)[0]
	w.must(w.lab.Host(other).Freeze(w.limit()))
	at, err := w.lab.Host(front).Kill(w.limit())
	w.must(err)
	w.must(w.lab.Host("h3").AwaitPower(w.limit(), lab.PowerUp))
	w.awaitServing("h3")
	t.Logf("%s died while everybody else slept; h3 serves after %v", front, time.Since(at))
	w.connect("c1", "h3")
	var why api.Why
	w.await("the record says why", func() string {
		if why = w.why("h3", "h3"); why.PowerReason != "woke-alarm" || !strings.Contains(why.Cause, "to look after the others") {
			return fmt.Sprintf("%+v", why)
		}
		return ""
	})
	w.must(w.lab.Host(front).Start(w.limit()))
	w.settled(nil, 3)
	if all := w.wire.refused(); len(all) > 0 {
		t.Errorf("a client was turned away: %v", all)
	}
}
