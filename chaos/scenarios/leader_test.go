package scenarios

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"nightporter/chaos/lab"
)

// leaderStops is how often a leader is stopped in a run of all tests; NIGHTPORTER_LEADER_STOPS asks for more.
const leaderStops = 30

// The death of a Raft leader that holds nothing must not cost a holder that is somewhere else a single frame. The target
// serves and is no voter; the leader is stopped until another leads, and goes on, again and again.
func TestALeaderThatStopsCostsNoFrame(t *testing.T) {
	rounds := leaderStops
	if text := os.Getenv("NIGHTPORTER_LEADER_STOPS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("NIGHTPORTER_LEADER_STOPS is %q; give a number of rounds", text)
		}
		rounds = n
	}
	w := build(t, lab.Options{Hosts: 4})
	w.settled(nil, 3)
	before := w.awaitServing("h4")
	p := w.probe("c1", webPort())
	w.awaitAnswer(p)
	all := w.hosts
	began := time.Now()
	var slowest time.Duration
	for i := range rounds {
		var leader string
		w.await("all agree on a leader", func() (missing string) {
			leader, missing = w.leader(all)
			return missing
		})
		if leader == "h4" {
			t.Fatal("the target leads, though it should not even vote")
		}
		host := w.lab.Host(leader)
		stopped := time.Now()
		w.must(host.Signal(w.limit(), syscall.SIGSTOP))
		w.await("another leader", func() string {
			next, missing := w.leader(without(all, leader))
			if missing == "" && next == leader {
				missing = fmt.Sprintf("%s still counts as the leader", leader)
			}
			return missing
		})
		slowest = max(slowest, time.Since(stopped))
		w.must(host.Signal(w.limit(), syscall.SIGCONT))
		if worst := p.longest(); worst.lost > 0 {
			t.Fatalf("round %d, leader %s stopped at %s: %v", i, leader, stopped.Format("15:04:05.000"), worst)
		}
	}
	w.awaitAnswer(p)
	p.end()
	lost, asked := p.gaps()
	if len(lost) > 0 {
		t.Errorf("of %d questions some were lost: %v", asked, lost)
	}
	if after := w.awaitServing("h4"); after.Epoch != before.Epoch {
		t.Errorf("the epoch went from %d to %d although the holder was never touched", before.Epoch, after.Epoch)
	}
	t.Logf("%d leaders stopped in %v (slowest election %v), %d questions at %v, none lost: %v", rounds,
		time.Since(began).Round(time.Second), slowest.Round(time.Millisecond), asked, probeEvery, len(lost) == 0)
}
