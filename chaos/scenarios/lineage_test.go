package scenarios

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// recovers makes a host a cluster of its own, whose agent does not run and whose others are off.
func (w *world) recovers(host string, gone ...string) (id string) {
	w.Helper()
	out, err := w.lab.Host(host).Output(w.limit(), w.recoverOn(host, "-o", "json", "--gone", strings.Join(gone, ","), "--listen", "1s", "--deaf")...)
	w.must(err)
	var done struct{ ID string }
	w.must(json.Unmarshal([]byte(out), &done))
	return done.ID
}

// stopAgent ends the agent at once; its host stays on.
func (w *world) stopAgent(host string) {
	w.Helper()
	w.must(w.lab.Host(host).Signal(w.limit(), syscall.SIGKILL))
	_, err := w.lab.Host(host).AwaitAgentExit(w.limit())
	w.must(err)
}

// powerOff cuts the power of hosts.
func (w *world) powerOff(hosts ...string) {
	w.Helper()
	for _, h := range hosts {
		_, err := w.lab.Host(h).Kill(w.limit())
		w.must(err)
	}
}

// startUnplugged starts hosts whose cable is out, and waits until their agents have done what they do then.
func (w *world) startUnplugged(done func(host string) string, hosts ...string) {
	w.Helper()
	for _, h := range hosts {
		w.must(w.lab.Cut(w.limit(), lab.Cut{From: h, Cable: true}))
		w.must(w.lab.Host(h).Start(w.limit()))
	}
	for _, h := range hosts {
		w.await(h+" runs with its cable out", func() string { return done(h) })
	}
}

// silent says what is missing until a host knows that its cluster goes on without it.
func (w *world) silent(host string) (missing string) {
	st, err := w.ask(host)
	if s, _ := service(st, web); err != nil || s.Fence.State == "open" || len(st.Problems) != 1 || !strings.Contains(st.Problems[0], "run `nightporter leave` here") {
		return fmt.Sprintf("%s %q %v", s.Fence.State, st.Problems, err)
	}
	return ""
}

// Two hosts; the one with the only vote is lost, the other one goes on. The lost one returns, and its cable is in only when its agent has long
// begun: it could decide alone, and must hear of the recovery before a frame of its own is on the wire.
func TestTheOnlyVoterOfBeforeARecoveryComesBackUnplugged(t *testing.T) {
	w := build(t, lab.Options{Hosts: 2, Failover: 500 * time.Millisecond})
	w.settled(nil, 1)
	w.awaitServing("h2")
	w.votes("h2")
	w.powerOff("h2")
	w.stopAgent("h1")
	w.recovers("h1", "h2")
	w.must(w.lab.Host("h1").Start(w.limit()))
	w.awaitHolder(web, "")
	p := w.probe("c1", webPort()) // who holds it answers
	w.startUnplugged(func(h string) string {
		st, err := w.ask(h)
		s, _ := service(st, web)
		if begun := s.Fence.State == "open" || strings.Contains(strings.Join(st.Problems, " "), "has no link"); err != nil || st.Leader != h || !begun {
			return fmt.Sprintf("leader %q, fence %q, %q, %v", st.Leader, s.Fence.State, st.Problems, err)
		}
		return ""
	}, "h2")
	w.must(w.lab.Heal(w.limit(), "h2"))
	w.await("h2 is silent", func() string { return w.silent("h2") })
	p.end()
	if holder, _ := w.awaitHolder(web, ""); holder != "h1" {
		t.Errorf("%s holds", holder)
	}

	// It is not gone as long as it is heard; then somebody says that it does not come back, and h1 goes on without looking for it.
	err := w.api("h1").Forget(w.limit(), "h2")
	w.wantCode(err, api.CodeRefused)
	w.powerOff("h2")
	w.await("h2 can be forgotten", func() string { return words(w.api("h1").Forget(w.limit(), "h2")) })
	w.wantCode(w.api("h1").Forget(w.limit(), "h2"), api.CodeUnknownNode)
	said, err := w.lab.Host("h1").Output(w.limit(), "nightporter", "history", "h2")
	if err != nil || !strings.Contains(said, "h2 forgotten") {
		t.Errorf("the story of h2 is %q, %v", said, err)
	}
}

// Three hosts; two are lost, and the third goes on. The two have a majority of the votes of before, and their cables come in at one time: that of
// the one that held the service, whose agent ran all along, and that of one that was switched off.
func TestTheOldMajorityComesBackUnplugged(t *testing.T) {
	w := build(t, lab.Options{Hosts: 3, Failover: 500 * time.Millisecond})
	w.settled(nil, 3)
	w.awaitServing("h3")
	_, err := w.api("h2").Move(w.limit(), web, "h1")
	w.must(err)
	w.await("h1 holds", func() string {
		if h, _, missing := w.holder(web); h != "h1" {
			return h + missing
		}
		return ""
	})
	w.must(w.lab.Cut(w.limit(), lab.Cut{From: "h1", Cable: true}))
	w.powerOff("h2")
	w.stopAgent("h3")
	w.recovers("h3", "h1", "h2")
	w.must(w.lab.Host("h3").Start(w.limit()))
	w.awaitServing("h3")
	p := w.probe("c1", webPort())
	w.startUnplugged(func(h string) string {
		_, err := w.ask(h)
		return words(err)
	}, "h2")
	w.must(w.lab.Heal(w.limit(), ""))
	for _, h := range []string{"h1", "h2"} {
		w.await(h+" is silent", func() string { return w.silent(h) })
	}
	w.connect("c1", "h3")
	p.end()
	w.awaitServing("h3")
}

func words(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

// Three hosts, and two of them were recovered, each while the other was named as gone: two clusters go on from one. When they meet, one of
// them yields, and never do both hold. Who yields joins the other one as a new member.
func TestTwoRecoveriesOfOneCluster(t *testing.T) {
	w := build(t, lab.Options{Hosts: 3, Failover: 500 * time.Millisecond})
	w.settled(nil, 3)
	w.awaitServing("h3")
	w.powerOff("h1", "h2", "h3")
	for _, h := range []string{"h1", "h2"} {
		w.must(w.lab.Host(h).Start(w.limit()))
		w.stopAgent(h)
		w.recovers(h, slices.DeleteFunc([]string{"h1", "h2", "h3"}, func(o string) bool { return o == h })...)
		w.powerOff(h)
	}
	w.must(w.lab.Host("h1").Start(w.limit()))
	w.awaitHolder(web, "")
	from := w.wire.turnsOf(web)
	p := w.probe("c1", webPort())
	w.startUnplugged(func(h string) string {
		st, err := w.ask(h)
		if err != nil || st.Leader != h {
			return fmt.Sprintf("leader %q, %v", st.Leader, err)
		}
		return ""
	}, "h2")
	w.must(w.lab.Heal(w.limit(), "h2"))
	yields, goesOn := "", ""
	w.await("one of them yields", func() string {
		for yields, goesOn = range map[string]string{"h1": "h2", "h2": "h1"} {
			if w.silent(yields) == "" {
				return ""
			}
		}
		return "neither " + w.silent("h1") + " nor " + w.silent("h2")
	})
	w.await(goesOn+" holds", func() string {
		if h, _, missing := w.holder(web); h != goesOn {
			return h + missing
		}
		return ""
	})
	p.end()
	want := []string{"h1"}
	if goesOn == "h2" {
		want = append(want, "h2")
	}
	if got := w.wire.turnsOf(web)[len(from)-1:]; !slices.Equal(got, want) {
		t.Errorf("%v used the identity one after the other, want %v", got, want)
	}
	_, err := w.lab.Host(yields).Output(w.limit(), "nightporter", "leave")
	w.must(err)
	_, err = w.lab.Host(yields).AwaitAgentExit(w.limit())
	w.must(err)
	w.must(w.lab.Host(yields).Start(w.limit()))
	w.await(yields+" is a member of the one cluster", func() string {
		st, err := w.ask(goesOn)
		if n, ok := node(st, yields); err != nil || !ok || !n.Alive {
			return fmt.Sprintf("%+v %v", n, err)
		}
		return ""
	})
	w.wire.leave(w) // the two stories had epochs of their own, which the usual judge takes for one story's
}

// turnsOf gives who used an identity, one after the other.
func (x *wire) turnsOf(name string) (hosts []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, s := range x.services {
		for _, r := range s.turns {
			if s.name == name {
				hosts = append(hosts, r.Host)
			}
		}
	}
	return hosts
}

// leave ends the watch without its judgement.
func (x *wire) leave(w *world) {
	w.Helper()
	dropped, err := x.capture.Stop()
	<-x.done
	if err != nil || dropped != 0 {
		w.Errorf("the capture lost %d frames (%v): it proves nothing", dropped, err)
	}
	w.wire = nil
}
