package scenarios

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"nightporter/api"
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

// Two voters of three are told to sleep at the same instant, through the host that stays awake: one may, and the other is
// refused, because the two that stay awake are the majority.
func TestOfTwoVotersThatWantToSleepOneMay(t *testing.T) {
	w := build(t, lab.Options{Hosts: 3, Sleepers: []int{2, 3}})
	w.settled(nil, 3)
	w.awaitHolder(web, "")
	sleepers := []string{"h2", "h3"}
	errs := make([]error, 2)
	var both sync.WaitGroup
	for i, h := range sleepers {
		both.Go(func() { _, errs[i] = w.api("h1").Sleep(w.limit(), h) })
	}
	both.Wait()
	asleep, refused := 0, 1
	if errs[0] != nil {
		asleep, refused = 1, 0
	}
	if errs[asleep] != nil {
		t.Fatalf("both were refused: %v and %v", errs[0], errs[1])
	}
	w.wantCode(errs[refused], api.CodeRefused)
	t.Logf("%s sleeps; %s: %v", sleepers[asleep], sleepers[refused], errs[refused])
	w.must(w.lab.Host(sleepers[asleep]).AwaitPower(w.limit(), lab.PowerAsleep))
	w.connect("c1", sleepers[refused])
	w.await("a leader", func() string {
		_, missing := w.leader([]string{"h1", sleepers[refused]})
		return missing
	})
}
