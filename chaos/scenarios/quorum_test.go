package scenarios

import (
	"fmt"
	"testing"
	"time"

	"nightporter/chaos/lab"
)

// Three hosts, one asleep, and it is a voter. When the front dies, one voter of three is awake: it cannot decide
// anything, so it wakes the sleeper for its vote, nobody having asked for the service.
func TestTheSurvivorWakesASleepingVoter(t *testing.T) {
	w := build(t, lab.Options{Hosts: 3})
	w.settled(nil, 3)
	front := w.sleep("h3")
	survivor := without(w.hosts, "h3", front)[0]
	at, err := w.lab.Host(front).Kill(w.limit())
	w.must(err)
	w.must(w.lab.Host("h3").AwaitPower(w.limit(), lab.PowerUp))
	w.await("a leader", func() string {
		_, missing := w.leader([]string{survivor, "h3"})
		return missing
	})
	holder, s := w.awaitHolder(web, "")
	if holder == front {
		t.Fatalf("%s is dead and holds", front)
	}
	t.Logf("%s died; %s holds under epoch %d after %v", front, holder, s.Epoch, time.Since(at))
	w.connect("c1", "h3")
	w.awaitServing("h3")
	w.await("the wake for the quorum is on record", func() string {
		h, err := w.api(survivor).History(w.limit(), web)
		w.must(err)
		for _, wake := range h.Wakes {
			if wake.Node == "h3" && wake.Cause == "quorum-lost" && wake.By == survivor {
				return ""
			}
		}
		return fmt.Sprintf("%+v", h.Wakes)
	})
	// And back to normal: the dead one returns, the sleeper may sleep again.
	w.must(w.lab.Host(front).Start(w.limit()))
	w.settled(nil, 3)
	w.sleep("h3")
	w.connect("c1", "h3")
	w.awaitServing("h3")
	if all := w.wire.refused(); len(all) > 0 {
		t.Errorf("a client was turned away: %v", all)
	}
}
