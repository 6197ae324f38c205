package scenarios

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// A host in maintenance gives away what it holds, gets nothing back, and stays so over restarts of every agent; where nobody else could hold, only --force takes the service from it.
func TestADrainOutlivesRestarts(t *testing.T) {
	w := build(t, lab.Options{Hosts: 3, Sleepers: []int{2, 3}})
	w.settled(nil, 3)
	w.awaitServing("h2")
	p := w.probe("c1", webPort())
	w.awaitAnswer(p)
	out, err := w.lab.Host("h1").Output(w.limit(), "nightporter", "drain", "--wait", "--reason", "new disk", "h2")
	w.must(err)
	if !strings.Contains(out, "web: h2 -> h3 (epoch ") || !strings.Contains(out, "h2 is in maintenance") {
		t.Errorf("drain said %q", out)
	}
	w.awaitServing("h3")
	w.awaitAnswer(p)
	p.end()
	if g := p.longest(); g.long > time.Second { // a planned move, not a crash
		t.Errorf("the drain cost clients %v", g)
	}

	// The host is rebooted, as one is when its disk is changed, and then the power of all fails: the log knows.
	w.must(w.lab.Host("h2").Signal(w.limit(), syscall.SIGTERM))
	_, err = w.lab.Host("h2").AwaitAgentExit(w.limit())
	w.must(err)
	_, err = w.lab.Host("h2").Kill(w.limit())
	w.must(err)
	w.must(w.lab.Host("h2").Start(w.limit()))
	w.settled(nil, 3)
	st, err := w.ask("h2")
	w.must(err)
	if n, _ := node(st, "h2"); !n.Maintenance || n.Drain.Text != "new disk" {
		t.Errorf("after its reboot h2 says %+v", n)
	}
	w.awaitServing("h3")
	for _, h := range w.hosts {
		_, err := w.lab.Host(h).Kill(w.limit())
		w.must(err)
	}
	for _, h := range w.hosts {
		w.must(w.lab.Host(h).Start(w.limit()))
	}
	w.awaitServing("h3")
	w.await("h1 knows of the maintenance", func() string { // the holder may know its log before the leader has told h1 how much of it counts
		st, err := w.ask("h1")
		if err != nil {
			return err.Error()
		}
		n, _ := node(st, "h2")
		if d := n.Drain; !n.Maintenance || d.By != "h1" || d.Text != "new disk" || d.Since.IsZero() || !n.Voter {
			return fmt.Sprintf("after the restart h2 is %+v", n)
		}
		if !slices.ContainsFunc(st.Problems, func(s string) bool {
			return strings.HasPrefix(s, "node h2 is in maintenance since ") && strings.Contains(s, "by h1 (new disk)")
		}) {
			return fmt.Sprintf("status says %q", st.Problems)
		}
		return ""
	})
	w.wantCode(func() error { _, err := w.api("h1").Move(w.limit(), web, "h2"); return err }(), api.CodeRefused)

	_, err = w.api("h2").Drain(w.limit(), api.DrainQuery{Node: "h1", Text: "and another one"})
	w.must(err)
	_, err = w.api("h1").Drain(w.limit(), api.DrainQuery{Node: "h3"})
	w.wantCode(err, api.CodeRefused)
	if !strings.Contains(err.Error(), "nobody else could hold service web now (h1 is in maintenance, h2 is in maintenance)") {
		t.Errorf("refused with %v", err)
	}
	w.awaitServing("h3")
	r, err := w.api("h1").Drain(w.limit(), api.DrainQuery{Node: "h3", Force: true, Wait: true})
	w.must(err)
	if !slices.Equal(r.Nobody, []string{web}) {
		t.Errorf("by force: %+v", r)
	}
	w.await("no fence is open", func() string {
		for h, st := range w.running() {
			if s, _ := service(st, web); s.Fence.State == "open" || s.Owner != "" {
				return fmt.Sprintf("%s: %+v", h, s)
			}
		}
		return ""
	})
	w.must(w.api("h3").Undrain(w.limit(), "h2"))
	w.awaitServing("h2")
	w.connect("c1", "h2")
}
