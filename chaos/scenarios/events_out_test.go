package scenarios

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"nightporter/chaos/lab"
)

// receiverWord has the test binary receive events on receiverAt, in the client.
const (
	receiverWord = "receive-events"
	receiverAt   = "10.77.0.101:8099"
)

// receiveEvents writes a line for each event to a file. The first one it does not want, to see that it comes again.
func receiveEvents(path string) error {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	var any atomic.Bool
	return http.ListenAndServe(receiverAt, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || !any.Swap(true) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = out.Write(append(body, '\n')) // the test misses it
	}))
}

// posted is what the webhook gets, as far as this test looks.
type posted struct {
	ID, Cluster, Leader string
	Event               struct{ Kind, What, Service, Node, From, To, Reason string }
}

// What becomes of hosts is told by hooks of the host that leads, and all of it by a webhook, which is asked again when it does not want an event.
func TestEventsAreTold(t *testing.T) {
	received, moments := filepath.Join(t.TempDir(), "received"), filepath.Join(t.TempDir(), "moments")
	w := build(t, lab.Options{Hosts: 4, Lines: []string{
		"wake_timeout: 2s", "hooks: {asleep: moment, wake: [moment], failed_wake: [moment]}", "webhook: http://" + receiverAt + "/events",
	}})
	for _, h := range w.hosts {
		dir := filepath.Join(w.lab.Host(h).Dir(), lab.ChecksDir)
		w.must(os.MkdirAll(dir, 0o755))
		script := fmt.Sprintf("#!/bin/sh\necho \"$NIGHTPORTER_ID $NIGHTPORTER_EVENT $NIGHTPORTER_NODE\" >>%q\n", moments)
		w.must(os.WriteFile(filepath.Join(dir, "moment"), []byte(script), 0o755))
	}
	self, err := os.Executable()
	w.must(err)
	w.background("c1", self, receiverWord, received)
	w.settled(nil, 3)
	lines := func(path string) []string {
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		w.must(err)
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}
	// Around a change of leaders a moment may come twice, with the same ID; and who goes on asking for a host that does not wake has it called again.
	told := func(want ...string) {
		w.Helper()
		w.await(fmt.Sprintf("the moments %q", want), func() string {
			var got []string
			seen := map[string]bool{}
			for _, line := range lines(moments) {
				id, moment, _ := strings.Cut(line, " ")
				again := len(got) >= len(want) && moment == "failed_wake h4"
				if !seen[id] && !again {
					got = append(got, moment)
				}
				seen[id] = true
			}
			if !slices.Equal(got, want) {
				return fmt.Sprintf("%q", got)
			}
			return ""
		})
	}
	w.sleep("h4")
	w.connect("c1", "h4")
	told("asleep h4", "wake h4")
	// The call is on record, even where the host came up faster than that got into the log.
	w.await("h4 woke because it was called", func() string {
		for from, st := range w.running() {
			if n, _ := node(st, "h4"); n.PowerReason != "woke-up" {
				return fmt.Sprintf("%s says %s because of %s", from, n.Power, n.PowerReason)
			}
		}
		return ""
	})
	w.sleep("h4")
	w.must(w.lab.Cut(w.limit(), lab.Cut{From: "h4", Cable: true}))
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = w.lab.Host("c1").Connect(w.limit(), webPort()) // it is served when h4 is back
	}()
	told("asleep h4", "wake h4", "asleep h4", "failed_wake h4")
	w.must(w.lab.Host("h4").PressPower(w.limit()))
	w.must(w.lab.Heal(w.limit(), "h4"))
	w.awaitServing("h4")
	<-gone

	// The webhook has had the same, and who owned the service, each event once and in the order of the log.
	w.await("the webhook hears of the owner after the last wake", func() string {
		var got []string
		seen := map[string]bool{}
		for _, line := range lines(received) {
			var p posted
			if err := json.Unmarshal([]byte(line), &p); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if p.Cluster != "lab" || p.Leader == "" || seen[p.ID] {
				t.Errorf("%s", line)
			}
			seen[p.ID] = true
			switch e := p.Event; {
			case e.Kind == "power" && e.Node == "h4":
				got = append(got, e.From+">"+e.To)
			case e.Kind == "owner" && e.Service == web && (e.To == "h4" || e.From == "h4"):
				got = append(got, "web:"+e.From+">"+e.To)
			}
		}
		// A host may be up before the log shows it as waking.
		if n := len(got); n < 2 || !strings.HasSuffix(got[n-2], ">awake") || !strings.HasPrefix(got[n-1], "web:") || !strings.HasSuffix(got[n-1], ">h4") || !slices.Contains(got, "suspending>asleep") {
			return fmt.Sprintf("%q", got)
		}
		return ""
	})
}
