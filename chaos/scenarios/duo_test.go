package scenarios

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// votes waits until these are the voters, as one of them says.
func (w *world) votes(voters ...string) {
	w.Helper()
	w.await(fmt.Sprintf("%v vote", voters), func() string {
		st, err := w.ask(voters[0])
		if err != nil || !slices.Equal(st.Quorum.Voters, voters) {
			return fmt.Sprintf("%v, %v", st.Quorum.Voters, err)
		}
		return ""
	})
}

// Of two hosts the one votes that holds the service, so that the death of the other one costs nothing; and it sleeps all the same, after its vote
// has moved.
func TestOfTwoHostsTheHolderVotes(t *testing.T) {
	w := build(t, lab.Options{Hosts: 2, Failover: 500 * time.Millisecond})
	w.settled(nil, 1)
	w.awaitServing("h2")
	w.votes("h2")
	_, err := w.lab.Host("h1").Kill(w.limit())
	w.must(err)
	w.await("h1 is missed", func() string {
		st, err := w.ask("h2")
		if n, ok := node(st, "h1"); err != nil || !ok || n.Alive {
			return fmt.Sprintf("%+v, %v", n, err)
		}
		return ""
	})
	w.connect("c1", "h2")
	w.awaitServing("h2")
	_, err = w.api("h2").Sleep(w.limit(), "h2")
	if err == nil {
		t.Error("h2 goes to sleep, and nobody is left to wake it")
	}
	w.must(w.lab.Host("h1").Start(w.limit()))
	w.settled(nil, 1)
	began := time.Now()
	if front := w.sleep("h2"); front != "h1" {
		t.Fatalf("%s holds", front)
	}
	t.Logf("h2 sleeps %v after it was told to, its vote included", time.Since(began))
	w.votes("h1")
	w.connect("c1", "h2")
	w.awaitServing("h2")
	if all := w.wire.refused(); len(all) > 0 {
		t.Errorf("a client was turned away: %v", all)
	}
}

// Of two hosts the one that was drained may be switched off as soon as `drain --wait` has returned: the vote is with the other one by then, which
// loses nothing.
func TestOfTwoHostsTheDrainedOneMayBeSwitchedOff(t *testing.T) {
	w := build(t, lab.Options{Hosts: 2, Failover: 500 * time.Millisecond})
	w.settled(nil, 1)
	w.awaitServing("h2")
	w.votes("h2")
	r, err := w.api("h2").Drain(w.limit(), api.DrainQuery{Node: "h2", Wait: true})
	w.must(err)
	_, err = w.lab.Host("h2").Kill(w.limit())
	w.must(err)
	if len(r.Moved) != 1 || strings.Contains(strings.Join(r.Notes, " "), "vote") {
		t.Fatalf("drain said %+v", r)
	}
	w.await("h2 is missed", func() string {
		st, err := w.ask("h1")
		if n, ok := node(st, "h2"); err != nil || !ok || n.Alive {
			return fmt.Sprintf("%+v, %v", n, err)
		}
		return ""
	})
	if holder, s := w.awaitHolder(web, "holding"); holder != "h1" || s.Epoch != r.Moved[0].Epoch {
		t.Errorf("%s holds under epoch %d, and h1 was given %d", holder, s.Epoch, r.Moved[0].Epoch)
	}
	w.must(w.api("h1").Undrain(w.limit(), "h2")) // alone it can decide
}

// Two hosts and a witness survive the crash of the one that holds, which two hosts alone do not.
func TestAWitnessDecidesForTheSurvivor(t *testing.T) {
	w := build(t, lab.Options{Hosts: 3, Sleepers: []int{2}, Witnesses: []int{3}})
	w.settled(nil, 3)
	w.awaitServing("h2")
	at, err := w.lab.Host("h2").Kill(w.limit())
	w.must(err)
	holder, s := w.awaitHolder(web, "holding")
	if holder != "h1" {
		t.Fatalf("%s holds", holder)
	}
	t.Logf("h1 holds under epoch %d after %v", s.Epoch, time.Since(at))
	if _, err := w.api("h1").Move(w.limit(), web, "h3"); err == nil {
		t.Error("the witness was given the service")
	}
	st, err := w.ask("h3")
	if n, ok := node(st, "h3"); err != nil || !ok || n.Role != "witness" || !n.Voter || n.Fit {
		t.Errorf("h3 says of itself %+v, %v", n, err)
	}
	w.must(w.lab.Host("h2").Start(w.limit()))
	w.awaitServing("h2")
	w.sleep("h2")
	w.connect("c1", "h2")
}

// A witness that comes to two hosts of which one sleeps gets no vote alone: two voters could do without neither. The sleeper is called, and then all
// three vote.
func TestAWitnessJoinsWhileTheOtherHostSleeps(t *testing.T) {
	w := build(t, lab.Options{Hosts: 3, Sleepers: []int{2}, Witnesses: []int{3}, Failover: 500 * time.Millisecond})
	w.settled(nil, 3)
	w.must(w.api("h3").Leave(w.limit()))
	_, err := w.lab.Host("h3").AwaitAgentExit(w.limit())
	w.must(err)
	w.await("two hosts are left, with one vote", func() string {
		st, err := w.ask("h1")
		if err != nil || len(st.Nodes) != 2 || len(st.Quorum.Voters) != 1 {
			return fmt.Sprintf("%d hosts, %v vote, %v", len(st.Nodes), st.Quorum.Voters, err)
		}
		return ""
	})
	w.sleep("h2")
	w.votes("h1")
	began := time.Now()
	w.must(w.lab.Host("h3").Start(w.limit()))
	w.await("three vote", func() string {
		st, err := w.ask("h1")
		if err != nil {
			return err.Error()
		}
		if len(st.Quorum.Voters) == 2 && w.power()["h2"].Power == lab.PowerAsleep {
			t.Errorf("%v vote while h2 sleeps", st.Quorum.Voters)
		}
		if len(st.Quorum.Voters) != 3 {
			return fmt.Sprint(st.Quorum.Voters)
		}
		return ""
	})
	t.Logf("three vote %v after the witness was started", time.Since(began))
	why := w.why("h1", "h2")
	if why.Power != "awake" || why.PowerReason != "woke-up" {
		t.Errorf("h2 is %s (%s)", why.Power, why.PowerReason)
	}
	w.sleep("h2")
}
