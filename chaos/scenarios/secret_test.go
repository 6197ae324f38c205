package scenarios

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"nightporter/chaos/lab"
)

// The cluster's secret is changed in three rounds, host by host; nobody loses a lease, a round that would lock somebody out is refused, and in the end
// the old secret lets nobody in: not a host that has nothing else, nor somebody who has a member's own key beside it.
func TestTheSecretIsChangedWithoutDowntime(t *testing.T) {
	o := pairOptions(slowFailover)
	o.Agent = own
	w := build(t, o)
	w.settled(nil, 3)
	_, err := w.api("h3").Move(w.limit(), web, "h1")
	w.must(err)
	before := w.awaitServing("h1")
	p := w.probe("c1", webPort())
	w.awaitAnswer(p)
	h1 := w.lab.Host("h1")
	fresh := filepath.Join(w.lab.Dir(), "new-secret")
	_, err = h1.Output(w.limit(), "nightporter", "keygen", "--out", fresh)
	w.must(err)
	old := w.secrets(nil)[0]
	oldKeys := w.keysIn(filepath.Join(h1.Dir(), "secret"))

	newID := w.added("h1", fresh)
	w.secret("h1", "add", fresh) // once more undoes nothing
	w.reload("h1")
	w.secrets(func(has []string) bool { return len(has) == 2 || len(has) == 1 && has[0] == old })
	if _, err := h1.Output(w.limit(), w.secretCommand("h1", "use", newID)...); err == nil || !strings.Contains(err.Error(), "h2 (has "+old+"), h3 (has "+old+"), h4 (has "+old+") would be locked out") {
		t.Errorf("the second round began before the first was over: %v", err)
	}
	for _, h := range []string{"h2", "h3", "h4"} {
		w.secret(h, "add", fresh)
		w.reload(h)
	}
	w.secrets(func(has []string) bool { return len(has) == 2 && has[0] == old && has[1] == newID })
	w.secret("h2", "use", newID)
	w.secret("h2", "use", newID)
	if _, err := h1.Output(w.limit(), w.secretCommand("h2", "drop", newID)...); err == nil || !strings.Contains(err.Error(), newID+" is the secret that is in use here") {
		t.Errorf("the new secret may be forgotten: %v", err)
	}
	w.reload("h2")
	w.secrets(func(has []string) bool { return len(has) == 2 })
	if _, err := w.lab.Host("h2").Output(w.limit(), w.secretCommand("h2", "drop", old)...); err == nil || !strings.Contains(err.Error(), "would be locked out") {
		t.Errorf("the third round began before the second was over: %v", err)
	}
	for _, h := range []string{"h1", "h3", "h4"} {
		w.secret(h, "use", newID)
		w.reload(h)
	}
	w.secrets(func(has []string) bool { return slices.Equal(has, []string{newID, old}) })
	w.letsIn(oldKeys, true)
	for _, h := range []string{"h4", "h3", "h1", "h2"} {
		w.secret(h, "drop", old)
		w.reload(h)
	}
	w.secrets(func(has []string) bool { return slices.Equal(has, []string{newID}) })

	w.settled(nil, 3)
	w.awaitAnswer(p)
	if now := w.awaitServing("h1"); now.Epoch != before.Epoch {
		t.Errorf("the epoch went from %d to %d", before.Epoch, now.Epoch)
	}
	if g := p.longest(); g.long > upgradeGap {
		t.Errorf("the change cost clients %v", g)
	}
	out, err := h1.Output(w.limit(), "nightporter", "secret", "status")
	if err != nil || !strings.Contains(out, "all hosts have one and the same secret") {
		t.Errorf("status says %q, %v", out, err)
	}

	w.letsIn(oldKeys, false)
	w.letsIn(w.keysIn(filepath.Join(h1.Dir(), "secret")), true)
	w.restart("h4", func() {
		w.copyFile(filepath.Join(w.lab.Dir(), "secret"), filepath.Join(w.lab.Host("h4").Dir(), "secret"))
	})
	w.await("h1 hears somebody with the old secret", func() string {
		if log := w.agentLog("h1"); !strings.Contains(log, "a message from 10.77.0.14 could not be decrypted") {
			return "its log does not say so"
		}
		return ""
	})
	w.awaitProblem("h4", "there is no leader")
	w.awaitProblem("h1", "node h4 is not in touch")
	w.awaitAnswer(p)
	p.end()
}

// A host sleeps through the first round. The second is refused until it is awake and has done the first. Where a person has
// forced the change all the same, it is called when it is wanted, hears nobody, and holds nothing; it serves as soon as it has the new secret.
func TestASleeperHasTheOldSecret(t *testing.T) {
	w := build(t, lab.Options{Agent: own})
	w.settled(nil, 3)
	h1, h4 := w.lab.Host("h1"), w.lab.Host("h4")
	awake := without(w.hosts, "h4")
	fresh := filepath.Join(w.lab.Dir(), "new-secret")
	_, err := h1.Output(w.limit(), "nightporter", "keygen", "--out", fresh)
	w.must(err)
	w.sleep("h4")
	for _, h := range awake {
		w.secret(h, "add", fresh)
		w.must(w.lab.Host(h).Signal(w.limit(), syscall.SIGUSR2))
		w.await(h+" accepts both", func() string {
			st, err := w.ask(h)
			if err != nil {
				return err.Error()
			}
			if n, _ := node(st, h); len(n.Secrets) != 2 || st.Leader == "" {
				return fmt.Sprint(n.Secrets, st.Leader)
			}
			return ""
		})
	}
	newID := w.added("h1", fresh) // once more: nothing changes
	if _, err := h1.Output(w.limit(), w.secretCommand("h1", "use", newID)...); err == nil || !strings.Contains(err.Error(), "h4 (") || !strings.Contains(err.Error(), "would be locked out") {
		t.Errorf("the second round began while h4 slept: %v", err)
	}
	w.connect("c1", "h4") // it comes back with the old one, and is heard
	w.awaitServing("h4")

	w.sleep("h4")
	for _, h := range awake { // by force
		w.copyFile(fresh, filepath.Join(w.lab.Host(h).Dir(), "secret"))
		w.must(w.lab.Host(h).Signal(w.limit(), syscall.SIGUSR2))
	}
	w.await("the others have the new one", func() string {
		for _, h := range awake {
			st, err := w.ask(h)
			if err != nil {
				return err.Error()
			}
			for _, n := range st.Nodes {
				if n.Name != "h4" && (!n.Alive || !slices.Equal(n.Secrets, []string{newID})) {
					return fmt.Sprintf("%s says that %s has %v", h, n.Name, n.Secrets)
				}
			}
		}
		return ""
	})
	front, _ := w.awaitHolder(web, "holding")
	answer := make(chan lab.Reply, 1)
	failed := make(chan error, 1)
	go func() {
		r, err := w.lab.Client(1).Connect(w.limit(), webPort())
		answer <- r
		failed <- err
	}()
	w.must(h4.AwaitPower(w.limit(), lab.PowerUp))
	w.await(front+" hears it, and does not understand", func() string {
		for _, h := range awake {
			if strings.Contains(w.agentLog(h), "a message from 10.77.0.14 could not be decrypted") {
				return ""
			}
		}
		return "no log says so"
	})
	w.awaitProblem("h4", "there is no leader")
	if st, err := w.ask("h4"); err != nil {
		t.Error(err)
	} else if s, _ := service(st, web); s.Fence.State == "open" {
		t.Errorf("it holds: %+v", s)
	}
	if now, _ := w.awaitHolder(web, "holding"); now != front {
		t.Logf("%s holds now, %s did", now, front)
	}
	w.restart("h4", func() { w.copyFile(fresh, filepath.Join(h4.Dir(), "secret")) })
	if r, err := <-answer, <-failed; err != nil || r.Host != "h4" {
		t.Errorf("the client that waited got %+v, %v", r, err)
	}
	if all := w.wire.refused(); len(all) > 0 {
		t.Errorf("clients were turned away: %v", all)
	}
}

func (w *world) copyFile(from, to string) {
	w.Helper()
	text, err := os.ReadFile(from)
	w.must(err)
	w.must(os.WriteFile(to, text, 0o600))
}

// added gives a host the secret of a file as its second one, and that one's short name.
func (w *world) added(host, file string) string {
	w.Helper()
	said := w.secret(host, "add", file)
	_, name, found := strings.Cut(said, ", then ")
	name, _, _ = strings.Cut(name, " ")
	if !found {
		w.Fatalf("secret add says %q", said)
	}
	return name
}

func (w *world) secretCommand(host string, words ...string) []string {
	return append(append([]string{"nightporter", "secret"}, words...), "--config", filepath.Join(w.lab.Host(host).Dir(), "own.yaml"), "--node", host)
}

func (w *world) secret(host string, words ...string) string {
	w.Helper()
	said, err := w.lab.Host(host).Output(w.limit(), w.secretCommand(host, words...)...)
	w.must(err)
	return said
}

// reload gives the agents the file as it is now.
func (w *world) reload(hosts ...string) {
	w.Helper()
	for _, h := range hosts {
		from := len(w.agentLog(h))
		w.must(w.lab.Host(h).Signal(w.limit(), syscall.SIGUSR2))
		w.await(h+" goes on", func() string {
			_, next, made := strings.Cut(w.agentLog(h)[from:], "this program makes way")
			if !made || !strings.Contains(next, "entering follower state") {
				return "its log says: " + next
			}
			return ""
		})
		w.settled(nil, 3)
	}
}

// secrets waits until every host says of every host that it has what is wanted, and gives what h1 has.
func (w *world) secrets(is func(has []string) bool) (has []string) {
	w.Helper()
	w.await("the secrets are as they should be", func() string {
		for _, h := range w.hosts {
			st, err := w.ask(h)
			if err != nil {
				return err.Error()
			}
			for _, n := range st.Nodes {
				if len(n.Secrets) == 0 || is != nil && !is(n.Secrets) {
					return fmt.Sprintf("%s says that %s has %v", h, n.Name, n.Secrets)
				}
				if n.Name == "h1" {
					has = n.Secrets
				}
			}
		}
		return ""
	})
	return has
}
