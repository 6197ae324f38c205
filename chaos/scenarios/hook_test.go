package scenarios

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"nightporter/chaos/lab"
)

// A host whose card does not hear the magic packets (its cable is out) is woken by the hook, the last resort: here a management
// controller, that the test plays. The client that asked is served, and before that everybody is told.
func TestAHostThatDoesNotWakeIsWokenByTheHook(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4, Lines: []string{"wake_timeout: 2s", "wake_hook: bmc"}})
	told := filepath.Join(t.TempDir(), "told")
	for _, h := range w.hosts {
		dir := filepath.Join(w.lab.Host(h).Dir(), lab.ChecksDir)
		w.must(os.MkdirAll(dir, 0o755))
		script := fmt.Sprintf("#!/bin/sh\nenv | grep ^NIGHTPORTER_ | sort > %q.new && mv %q.new %q\n", told, told, told)
		w.must(os.WriteFile(filepath.Join(dir, "bmc"), []byte(script), 0o755))
	}
	w.settled(nil, 3)
	front := w.sleep("h4")
	w.must(w.lab.Cut(w.limit(), lab.Cut{From: "h4", Cable: true}))
	connected := make(chan error, 1)
	go func() {
		r, err := w.lab.Host("c1").Connect(w.limit(), webPort())
		if err == nil && r.Host != "h4" {
			err = errors.New(r.Host + " answered")
		}
		connected <- err
	}()
	w.await("the hook is run", func() string {
		if _, err := os.Stat(told); errors.Is(err, fs.ErrNotExist) {
			return "nobody has run it"
		}
		return ""
	})
	if h := w.power()["h4"]; h.Power != lab.PowerAsleep {
		t.Fatalf("h4 is %s before its hook did anything", h.Power)
	}
	env, err := os.ReadFile(told)
	w.must(err)
	want := fmt.Sprintf("NIGHTPORTER_ADDRESS=%s\nNIGHTPORTER_CAUSE=demand\nNIGHTPORTER_NODE=h4\nNIGHTPORTER_POWER=asleep\nNIGHTPORTER_SERVICE=web\nNIGHTPORTER_WAKE=%s\n", w.lab.Host("h4").Addr(), w.lab.Host("h4").MAC())
	if string(env) != want {
		t.Errorf("the hook was told\n%swant\n%s", env, want)
	}
	w.await("the front says so", func() string {
		s, err := w.api(front).Status(w.limit())
		if err != nil {
			return err.Error()
		}
		if problems := strings.Join(s.Problems, "; "); !strings.Contains(problems, "h4 did not wake after 4 calls: the wake hook was run") {
			return "its problems are: " + problems
		}
		return ""
	})
	w.await("all who are awake have called it, in each form", func() string {
		sent := w.wire.magicForms()
		for _, h := range without(w.hosts, "h4") {
			if !slices.Equal(sent[h], []string{"UDP to port 7", "UDP to port 9", "raw to all", "raw to the card"}) {
				return fmt.Sprint(sent)
			}
		}
		return ""
	})
	w.must(w.lab.Host("h4").PressPower(w.limit()))
	w.must(w.lab.Heal(w.limit(), "h4"))
	select {
	case err := <-connected:
		w.must(err)
	case <-time.After(time.Minute):
		t.Fatal("the client was not served")
	}
	w.awaitServing("h4")
	w.await("nobody complains any more", func() string {
		s, err := w.api(front).Status(w.limit())
		if err != nil {
			return err.Error()
		}
		if problems := strings.Join(s.Problems, "; "); strings.Contains(problems, "h4") {
			return problems
		}
		return ""
	})
}
