package scenarios

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
	"nightporter/fsm"
)

// moments is how many clients come at the very moment at which the target goes to sleep.
const moments = 20

// A client that comes at the very moment of a suspend finds the target still awake, or on its way, or gone: it is served
// all the same, by the connection attempt that it made.
func TestNoMomentOfASuspendLosesAClient(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4})
	w.settled(nil, 3)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	draw := rand.New(rand.NewPCG(seed, 0))
	cancelled := 0
	for round := range moments {
		w.awaitServing("h4")
		// The whole way from the command to the frozen host takes 100 to 200 ms here.
		offset := time.Duration(draw.Int64N(int64(200 * time.Millisecond)))
		slept := make(chan error, 1)
		go func() {
			_, err := w.api("h1").Sleep(w.limit(), "h4")
			slept <- err
		}()
		<-time.After(offset) // the moment itself is what is tested: there is nothing to wait for
		r, err := w.lab.Client(1).Connect(w.limit(), webPort())
		if err != nil || r.Host != "h4" {
			t.Fatalf("round %d, offset %v: %+v, %v", round, offset, r, err)
		}
		err = <-slept
		if w.cancelled(err) {
			cancelled++
		}
		t.Logf("round %d: offset %v, connected after %v, sleep: %v", round, offset, r.Connected, err)
		// A client that was served before the hand-over cancels nothing, and the target sleeps or is about to. Clients
		// come until it serves again; every one of them is answered.
		w.await("h4 serves again", func() string {
			st, err := w.ask("h1")
			if err != nil {
				return err.Error()
			}
			n, _ := node(st, "h4")
			sv, _ := service(st, web)
			if n.Power == "awake" && n.Alive && sv.Owner == "h4" && sv.OwnerState == "serving" {
				return ""
			}
			w.connect("c1", "h4")
			return fmt.Sprintf("h4 is %s, %s is %s", n.Power, sv.Owner, sv.OwnerState)
		})
	}
	t.Logf("%d of %d sleeps were cancelled", cancelled, moments)
	if all := w.wire.refused(); len(all) > 0 {
		t.Errorf("clients were turned away: %v", all)
	}
}

// cancelled says whether a sleep ended because a client came, before the suspend or at once after it; that is right here.
// No other error is: the host was awake when it was told to sleep, its suspend command works, and somebody led all the
// time.
func (w *world) cancelled(err error) bool {
	w.Helper()
	if err == nil {
		return false
	}
	w.wantCode(err, api.CodeRefused)
	if said := err.Error(); !strings.Contains(said, string(fsm.SleepCancelled)) && !strings.Contains(said, string(fsm.WokeUp)) {
		w.Errorf("the sleep ended otherwise than by a client: %v", err)
	}
	return true
}
