package scenarios

import (
	"net/netip"
	"syscall"
	"testing"
	"time"

	"nightporter/chaos/lab"
	"nightporter/config"
)

// handoverGap is the longest gap that a planned hand-over may have. It takes some milliseconds; a takeover by the end of
// a lease cannot take less than the lease without its renewals, 533 ms at failover 1 s, so this tells the two apart.
const handoverGap = 300 * time.Millisecond

// pair is a lab of four hosts of which two, always on, can serve, so that somebody answers whoever has the service.
func pair(t *testing.T) *world { return pairOf(t, config.DefaultFailover) }

func pairOf(t *testing.T, failover time.Duration) *world {
	t.Helper()
	return build(t, pairOptions(failover))
}

func pairOptions(failover time.Duration) lab.Options {
	return lab.Options{Failover: failover, Hosts: 4, Sleepers: []int{4}, Services: []config.Service{{
		Name: web, Addresses: []netip.Addr{lab.ServiceAddr()}, Hold: config.HoldDrop, Ports: []config.Port{{Protocol: "tcp", Number: lab.ServerPort}},
		Targets: []string{"h1", "h2"},
	}}}
}

// SIGTERM hands over first; SIGKILL costs a lease; after both the agent comes back by itself and epochs never fall.
func TestOneAgentRestarts(t *testing.T) {
	w := pair(t)
	w.settled(nil, 3)
	before := w.awaitServing("h1")
	p := w.probe("c1", webPort())
	w.awaitAnswer(p)

	h1 := w.lab.Host("h1")
	w.must(h1.Signal(w.limit(), syscall.SIGTERM))
	if code, err := h1.AwaitAgentExit(w.limit()); err != nil || code != 0 {
		t.Fatalf("after SIGTERM the agent ended with status %d (%v)", code, err)
	}
	w.awaitAnswer(p)
	t.Logf("SIGTERM of the holder: %v", p.longest())
	if g := p.longest(); g.long > handoverGap {
		t.Errorf("SIGTERM of the holder cost %v, more than %v: that was no hand-over", g, handoverGap)
	}
	second := w.awaitServing("h2")
	if second.Epoch <= before.Epoch {
		t.Errorf("the epoch went from %d to %d", before.Epoch, second.Epoch)
	}
	w.must(h1.Start(w.limit()))
	w.settled(nil, 3)
	w.awaitAnswer(p)
	if g := p.longest(); g.long > handoverGap {
		t.Errorf("the return of a host that holds nothing cost %v", g)
	}

	h2 := w.lab.Host("h2")
	w.must(h2.Signal(w.limit(), syscall.SIGKILL))
	if code, err := h2.AwaitAgentExit(w.limit()); err != nil || code != 128+9 {
		t.Fatalf("after SIGKILL the agent ended with status %d (%v)", code, err)
	}
	w.must(h2.Start(w.limit()))
	w.settled(nil, 3)
	w.awaitAnswer(p)
	if holder, last := w.awaitHolder(web, "serving"); last.Epoch < second.Epoch {
		t.Errorf("over a crash the epoch fell from %d to %d (%s)", second.Epoch, last.Epoch, holder)
	}
	p.end()
	all, asked := p.gaps()
	t.Logf("%d questions, gaps %v", asked, all)
}

// All hosts lose their power at once and get it back: no operator is needed, and nothing that was decided is forgotten.
func TestPowerLossOfAll(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4})
	w.settled(nil, 3)
	for round := range 2 {
		if round == 1 {
			w.sleep("h4") // asleep it may lose its power too
		}
		_, before := w.awaitHolder(web, "")
		w.note()
		for _, h := range w.hosts {
			_, err := w.lab.Host(h).Kill(w.limit())
			w.must(err)
		}
		at := time.Now()
		for _, h := range w.hosts {
			w.must(w.lab.Host(h).Start(w.limit()))
		}
		w.settled(nil, 3)
		after := w.awaitServing("h4")
		t.Logf("round %d: whole again after %v, epoch %d, then %d", round, time.Since(at), before.Epoch, after.Epoch)
		if after.Epoch < before.Epoch {
			t.Errorf("the epoch fell from %d to %d", before.Epoch, after.Epoch)
		}
		w.connect("c1", "h4")
	}
}
