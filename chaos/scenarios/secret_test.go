package scenarios

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// The cluster's secret is changed in three rounds, host by host; nobody loses a lease, a round that would lock somebody out is refused, and in the end
// the old secret lets nobody in.
func TestTheSecretIsChangedWithoutDowntime(t *testing.T) {
	w := pairOf(t, slowFailover)
	w.settled(nil, 3)
	holder, before := w.awaitHolder(web, "serving")
	p := w.probe("c1", webPort())
	w.awaitAnswer(p)
	h1 := w.lab.Host("h1")
	fresh := filepath.Join(w.lab.Dir(), "new-secret")
	_, err := h1.Output(w.limit(), "nightporter", "keygen", "--out", fresh)
	w.must(err)
	old := w.secrets(nil)[0]

	// All hosts of a lab have the same file: it is changed once in a round, and taken over by one agent after the other.
	said := w.secret("add", fresh)
	_, said, _ = strings.Cut(said, old+", then ")
	newID, _, _ := strings.Cut(said, " ")
	w.reload("h1")
	w.secrets(func(has []string) bool { return len(has) == 2 || len(has) == 1 && has[0] == old })
	if _, err := h1.Output(w.limit(), w.secretCommand("use", newID)...); err == nil || !strings.Contains(err.Error(), "h2 (has "+old+"), h3 (has "+old+"), h4 (has "+old+") would be locked out") {
		t.Errorf("the second round began before the first was over: %v", err)
	}
	w.reload("h2", "h3", "h4")
	w.secrets(func(has []string) bool { return len(has) == 2 && has[0] == old && has[1] == newID })
	w.secret("use", newID)
	w.secret("use", newID) // once more undoes nothing
	if _, err := h1.Output(w.limit(), w.secretCommand("drop", newID)...); err == nil || !strings.Contains(err.Error(), newID+" is the secret that is in use here") {
		t.Errorf("the new secret may be forgotten: %v", err)
	}
	w.reload("h2")
	w.secrets(func(has []string) bool { return len(has) == 2 })
	if _, err := h1.Output(w.limit(), w.secretCommand("drop", old)...); err == nil || !strings.Contains(err.Error(), "would be locked out") {
		t.Errorf("the third round began before the second was over: %v", err)
	}
	w.reload("h1", "h3", "h4")
	w.secrets(func(has []string) bool { return slices.Equal(has, []string{newID, old}) })
	w.secret("drop", old)
	w.reload("h4", "h3", "h1", "h2")
	w.secrets(func(has []string) bool { return slices.Equal(has, []string{newID}) })

	w.settled(nil, 3)
	w.awaitAnswer(p)
	p.end()
	if now := w.awaitServing(holder); now.Epoch != before.Epoch {
		t.Errorf("the epoch went from %d to %d", before.Epoch, now.Epoch)
	}
	if g := p.longest(); g.long > upgradeGap {
		t.Errorf("the change cost clients %v", g)
	}
	out, err := h1.Output(w.limit(), "nightporter", "secret", "status")
	if err != nil || !strings.Contains(out, "all hosts have one and the same secret") {
		t.Errorf("status says %q, %v", out, err)
	}
}

func (w *world) secretCommand(words ...string) []string {
	return append(append([]string{"nightporter", "secret"}, words...), "--config", filepath.Join(w.lab.Dir(), "nightporter.yaml"), "--node", "h1")
}

func (w *world) secret(words ...string) string {
	w.Helper()
	said, err := w.lab.Host("h1").Output(w.limit(), w.secretCommand(words...)...)
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
