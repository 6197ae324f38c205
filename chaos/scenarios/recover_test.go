package scenarios

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// Two of three hosts are lost for good: the third one goes on by `nightporter recover`, which refuses while one of them answers. When both come
// back with what they had, and are a majority of the cluster that they know, they hold nothing, say so, and join anew.
func TestRecoverAfterTheMajorityIsLost(t *testing.T) {
	w := build(t, lab.Options{Hosts: 3, Failover: 500 * time.Millisecond}) // so the wait is short as well
	w.settled(nil, 3)
	before := w.awaitServing("h3")
	h3 := w.lab.Host("h3")
	for _, lost := range []string{"h1", "h2"} {
		_, err := w.lab.Host(lost).Kill(w.limit())
		w.must(err)
	}
	w.await("h3 cannot go on alone", func() string {
		st, err := w.ask("h3")
		if s, _ := service(st, web); err != nil || s.Fence.State == "open" {
			return fmt.Sprintf("%+v %v", s, err)
		}
		return ""
	})
	w.recoverFails("another agent is running", "--gone", "h1,h2")
	w.must(h3.Signal(w.limit(), syscall.SIGKILL))
	_, err := h3.AwaitAgentExit(w.limit())
	w.must(err)
	w.recoverFails("not all other members are gone: h2 left", "--gone", "h1")
	w.recoverFails("leases that were granted before may run for", "--gone", "h1,h2", "--listen", "10ms")
	w.must(w.lab.Host("h1").Start(w.limit()))
	w.await("the agent of h1 answers", func() string {
		if _, err := w.ask("h1"); err != nil {
			return err.Error()
		}
		return ""
	})
	w.recoverFails("h1 at 10.77.0.11:7373: its agent speaks in gossip", "--gone", "h1,h2", "--listen", "5s")
	w.must(w.lab.Host("h1").Signal(w.limit(), syscall.SIGKILL))
	_, err = w.lab.Host("h1").AwaitAgentExit(w.limit())
	w.must(err)
	w.recoverFails("h1 at 10.77.0.11:7374: a machine answers there, and no agent runs on it", "--gone", "h1,h2", "--listen", "1s")
	_, err = w.lab.Host("h1").Kill(w.limit())
	w.must(err)

	w.must(w.lab.Cut(w.limit(), lab.Cut{From: "h3"}))
	w.recoverFails("nothing at all was heard on ", "--gone", "h1,h2", "--listen", "1s")
	w.must(w.lab.Heal(w.limit(), "h3"))
	p := w.probe("c1", webPort()) // somebody speaks on the LAN, and asks who has the address
	out, err := h3.Output(w.limit(), w.recover("-o", "json", "--gone", "h1,h2", "--listen", "1s")...)
	w.must(err)
	p.end()
	var done struct{ ID, From, Backup string }
	w.must(json.Unmarshal([]byte(out), &done))
	if kept, err := filepath.Glob(filepath.Join(done.Backup, "raft", "raft.db")); err != nil || len(kept) != 1 || done.ID == done.From {
		t.Errorf("the old state is not where it says: %s (%v)", out, err)
	}
	w.must(h3.Start(w.limit()))
	after := w.awaitServing("h3")
	if after.Epoch>>24 == before.Epoch>>24 {
		t.Errorf("epoch %d came after %d: the lost hosts may have used it", after.Epoch, before.Epoch)
	}
	w.connect("c1", "h3")

	// Both come back at one time. Who uses web without h3's history saying so, is found by the watch at the switch.
	for _, lost := range []string{"h1", "h2"} {
		w.must(w.lab.Host(lost).Start(w.limit()))
	}
	for _, lost := range []string{"h1", "h2"} {
		w.await(lost+" knows that it was left behind", func() string {
			st, err := w.ask(lost)
			if err != nil || len(st.Problems) != 1 || !strings.Contains(st.Problems[0], "belongs to the cluster before a recovery") || st.Cluster.ID != done.From {
				return fmt.Sprintf("%q %v", st.Problems, err)
			}
			return ""
		})
		w.await("h3 knows that "+lost+" is silent", func() string {
			st, err := w.ask("h3")
			for _, p := range st.Problems {
				if strings.HasPrefix(p, lost+" belongs to the cluster before the recovery of ") && strings.Contains(p, "and holds nothing: run `nightporter leave` there") {
					return ""
				}
			}
			return fmt.Sprintf("%q %v", st.Problems, err)
		})
		_, err := w.api(lost).Move(w.limit(), web, lost)
		w.wantCode(err, api.CodeRefused)
	}
	w.awaitServing("h3")
	// They know it without being told again: h3 is off, and they are a majority of the cluster that they had.
	_, err = h3.Kill(w.limit())
	w.must(err)
	for _, lost := range []string{"h1", "h2"} {
		w.must(w.lab.Host(lost).Signal(w.limit(), syscall.SIGKILL))
		_, err := w.lab.Host(lost).AwaitAgentExit(w.limit())
		w.must(err)
		w.must(w.lab.Host(lost).Start(w.limit()))
	}
	for _, lost := range []string{"h1", "h2"} {
		w.await(lost+" is up, and holds nothing", func() string {
			st, err := w.ask(lost)
			if s, _ := service(st, web); err != nil || s.Fence.State == "open" || !strings.Contains(strings.Join(st.Problems, " "), "before a recovery") {
				return fmt.Sprintf("%+v %v", st, err)
			}
			return ""
		})
	}
	w.must(h3.Start(w.limit()))
	w.awaitServing("h3")
	for _, lost := range []string{"h1", "h2"} {
		_, err := w.lab.Host(lost).Output(w.limit(), "nightporter", "leave")
		w.must(err)
		_, err = w.lab.Host(lost).AwaitAgentExit(w.limit())
		w.must(err)
		w.must(w.lab.Host(lost).Start(w.limit()))
	}
	w.settled(nil, 3)
	w.awaitServing("h3")
	for _, to := range []string{"h1", "h3"} {
		_, err := w.api("h2").Move(w.limit(), web, to)
		w.must(err)
	}
	w.connect("c1", "h3")
}

// recover is the command line of a recovery on h3.
func (w *world) recover(more ...string) []string { return w.recoverOn("h3", more...) }

// recoverOn is that of a lab's host.
func (w *world) recoverOn(host string, more ...string) []string {
	return append([]string{"nightporter", "recover", "--yes", "--config", filepath.Join(w.lab.Dir(), "nightporter.yaml"), "--node", host}, more...)
}

// recoverFails wants a recovery on h3 to be refused with these words.
func (w *world) recoverFails(says string, more ...string) {
	w.Helper()
	out, err := w.lab.Host("h3").Output(w.limit(), w.recover(more...)...)
	if err == nil || !strings.Contains(err.Error(), says) {
		w.Fatalf("recover %v: %v, want %q; %s", more, err, says, out)
	}
}
