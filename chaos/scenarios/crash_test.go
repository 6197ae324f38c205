package scenarios

import (
	"fmt"
	"testing"
	"time"

	"nightporter/chaos/judge"
	"nightporter/chaos/lab"
)

// The bounds of a takeover, at failover 1 s. An idle machine needs 0.8 s without an election and twice that with one;
// these leave room for a machine that does other things, and still tell a takeover by lease from one that waits for
// gossip's suspicion or an operator.
const (
	takeoverBound = 4 * time.Second
	electionBound = 10 * time.Second
)

// crash kills hosts at one time and waits for the first frame of the next holder.
func (w *world) crash(bound time.Duration, victims ...string) {
	w.Helper()
	var at time.Time
	for _, v := range victims {
		killed, err := w.lab.Host(v).Kill(w.limit())
		w.must(err)
		at = killed
	}
	dead := map[string]bool{}
	for _, v := range victims {
		dead[v] = true
	}
	holder, s := w.awaitHolder(web, "holding")
	if dead[holder] {
		w.Fatalf("%s is dead and holds %s", holder, web)
	}
	var first judge.Use
	w.await(holder+" lets the wire hear that it holds "+web, func() string {
		var heard bool
		if first, heard = w.wire.firstAfter(web, holder, at); !heard {
			return fmt.Sprintf("no frame of it under epoch %d since the death of %v", s.Epoch, victims)
		}
		return ""
	})
	if took := first.At.Sub(at); took > bound {
		w.Errorf("after the death of %v it took %v until %s used the identity; the bound is %v", victims, took, holder, bound)
	} else {
		w.Logf("after the death of %v: %s under epoch %d, first frame after %v", victims, holder, s.Epoch, took)
	}
}

// leaderApartFrom waits until the leader is another host than the holder, as the plan wants it.
func (w *world) leaderApartFrom(holder string, among []string) (leader string) {
	w.Helper()
	w.await("a leader that holds nothing", func() (missing string) {
		leader, missing = w.leader(among)
		if missing == "" && leader == holder {
			missing = holder + " leads and holds"
		}
		return missing
	})
	return leader
}

// The last host sleeps all the time, so a front holds; it is a fifth, so that two can die and three voters of five or
// two of three can still decide.
func TestCrashes(t *testing.T) {
	w := build(t, lab.Options{Hosts: 6})
	w.settled(nil, 5)
	front := w.sleep("h6")
	awake := without(w.hosts, "h6")

	leader := w.leaderApartFrom(front, awake)
	t.Logf("front %s, leader %s", front, leader)
	w.crash(takeoverBound, front)
	w.connectAndSleepAgain()
	w.must(w.lab.Host(front).Start(w.limit()))
	w.allOf(awake)

	front, _ = w.awaitHolder(web, "holding")
	leader = w.leaderApartFrom(front, awake)
	_, err := w.lab.Host(leader).Kill(w.limit())
	w.must(err)
	w.await("another leader", func() string {
		_, missing := w.leader(without(awake, leader))
		return missing
	})
	if now, _ := w.awaitHolder(web, "holding"); now != front {
		t.Errorf("the death of the leader %s moved the service from %s to %s", leader, front, now)
	}
	w.must(w.lab.Host(leader).Start(w.limit()))
	w.allOf(awake)

	front, _ = w.awaitHolder(web, "holding")
	leader = w.leaderApartFrom(front, awake)
	w.crash(electionBound, front, leader)
	w.connectAndSleepAgain()
}

// allOf waits until the hosts are in touch and agree on a leader.
func (w *world) allOf(hosts []string) {
	w.Helper()
	w.await("the hosts are whole again", func() string {
		all := w.running()
		for _, h := range hosts {
			if missing := whole(all[h], hosts, 5); missing != "" {
				return h + ": " + missing
			}
		}
		return ""
	})
}

// connectAndSleepAgain lets the client wake h6 and puts it to sleep again.
func (w *world) connectAndSleepAgain() {
	w.Helper()
	w.connect("c1", "h6")
	w.awaitServing("h6")
	var up string
	for name := range w.running() {
		if name != "h6" {
			up = name
		}
	}
	_, err := w.api(up).Sleep(w.limit(), "h6")
	w.must(err)
	w.must(w.lab.Host("h6").AwaitPower(w.limit(), lab.PowerAsleep))
	w.awaitHolder(web, "holding")
}
