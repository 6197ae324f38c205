package scenarios

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// What a backup has comes back into a cluster that has gone on; epochs only rise.
func TestABackupIsRestored(t *testing.T) {
	w := build(t, lab.Options{Hosts: 2})
	w.settled(nil, 1)
	w.awaitServing("h2")
	h1 := w.lab.Host("h1")
	file := filepath.Join(w.lab.Dir(), "state.backup")
	_, err := h1.Output(w.limit(), "nightporter", "backup", "--out", file)
	w.must(err)

	sv, err := w.api("h1").Services(w.limit())
	w.must(err)
	sv[0].Ports, sv[0].Targets = append(sv[0].Ports, api.Port{Protocol: "tcp", Number: 9}), []string{"h1", "h2"}
	_, err = w.api("h1").Apply(w.limit(), sv)
	w.must(err)
	w.must(w.api("h1").Set(w.limit(), api.Settings{Failover: api.Duration(2 * time.Second)}))
	said, err := h1.Output(w.limit(), "nightporter", "restore", "--diff", file)
	w.must(err)
	if said != "service web would be changed\nfailover would be set to 1s\n" {
		t.Errorf("the difference is %q", said)
	}
	before := w.awaitServing("h2")
	said, err = h1.Output(w.limit(), "nightporter", "restore", file)
	w.must(err)
	if said != "service web was changed\nfailover was set to 1s\n" {
		t.Errorf("restored: %q", said)
	}
	if after := w.awaitServing("h2"); after.Epoch < before.Epoch || len(after.Ports) != 1 || len(after.Targets) != 1 {
		t.Errorf("after %+v it is %+v", before.Service, after)
	}

	// A host whose agent does not run still has it.
	w.must(h1.Signal(w.limit(), syscall.SIGKILL))
	_, err = h1.AwaitAgentExit(w.limit())
	w.must(err)
	raw, err := h1.Output(w.limit(), "nightporter", "backup", "--offline", "--config", filepath.Join(w.lab.Dir(), "nightporter.yaml"), "--node", "h1")
	w.must(err)
	if !strings.HasPrefix(raw, "nightporter-backup 1 ") || !strings.Contains(raw, `"by": "h1"`) {
		t.Errorf("offline: %q", raw)
	}
	offline := filepath.Join(w.lab.Dir(), "offline.backup")
	w.must(os.WriteFile(offline, []byte(raw), 0o600))
	w.must(h1.Start(w.limit()))
	w.awaitServing("h2")
	said, err = w.lab.Host("h2").Output(w.limit(), "nightporter", "restore", "--diff", offline)
	if err != nil || !strings.HasPrefix(said, "everything is as in the backup of ") {
		t.Errorf("the offline backup: %q, %v", said, err)
	}

	w.settled(nil, 1)

	// One of another cluster is refused, one that is cut short is, and on a full disk none is left behind that is.
	_, doc, _ := strings.Cut(strings.Replace(raw, `"name": "lab"`, `"name": "office"`, 1), "\n")
	foreign, short := filepath.Join(w.lab.Dir(), "foreign.backup"), filepath.Join(w.lab.Dir(), "short.backup")
	w.must(os.WriteFile(foreign, fmt.Appendf(nil, "nightporter-backup 1 %x\n%s", sha256.Sum256([]byte(doc)), doc), 0o600))
	w.must(os.WriteFile(short, []byte(raw[:len(raw)/2]), 0o600))
	full := filepath.Join(w.lab.Dir(), "full")
	w.must(os.Mkdir(full, 0o700))
	_, err = h1.Output(w.limit(), "mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", full)
	w.must(err)
	for _, c := range []struct {
		words []string
		want  string
	}{
		{[]string{"restore", foreign}, "the backup is of the cluster office, and this host belongs to lab"},
		{[]string{"restore", short}, "its checksum is wrong: it is cut short"},
		{[]string{"backup", "--out", filepath.Join(full, "state")}, "no space left on device"},
	} {
		if _, err := h1.Output(w.limit(), append([]string{"nightporter"}, c.words...)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.words, err, c.want)
		}
	}
	if left, err := h1.Output(w.limit(), "ls", "-A", full); err != nil || left != "" {
		t.Errorf("on the full disk there is %q, %v", left, err)
	}
	said, err = h1.Output(w.limit(), "nightporter", "restore", "--diff", "--other-cluster", foreign)
	if err != nil || !strings.Contains(said, "everything is as in the backup of ") && !strings.Contains(said, "web") {
		t.Errorf("one of another cluster that is meant: %q, %v", said, err)
	}
}

// A backup comes into a cluster that was founded anew: the epochs of that one begin at 1, and come above all that the former one can have used before
// anything is defined, while web is held. A second time nothing is left to be done.
func TestARestoreInANewClusterLiftsItsEpochs(t *testing.T) {
	former := build(t, lab.Options{Hosts: 2})
	former.settled(nil, 1)
	former.awaitServing("h2")
	sv, err := former.api("h1").Services(former.limit())
	former.must(err)
	sv[0].Ports = append(sv[0].Ports, api.Port{Protocol: "tcp", Number: 9})
	_, err = former.api("h1").Apply(former.limit(), sv)
	former.must(err)
	file := filepath.Join(former.lab.Dir(), "state.backup")
	_, err = former.lab.Host("h1").Output(former.limit(), "nightporter", "backup", "--out", file)
	former.must(err)

	w := build(t, lab.Options{Hosts: 2})
	w.settled(nil, 1)
	before := w.awaitServing("h2")
	h1 := w.lab.Host("h1")
	said, err := h1.Output(w.limit(), "nightporter", "restore", "--diff", file)
	w.must(err)
	if said != "service web would be changed\nevery epoch would be lifted above those in the backup\n" {
		t.Errorf("the difference is %q", said)
	}
	said, err = h1.Output(w.limit(), "nightporter", "restore", file)
	w.must(err)
	if said != "service web was changed\nevery epoch was lifted above those in the backup\n" {
		t.Errorf("restored: %q", said)
	}
	after := w.awaitServing("h2")
	minute := uint64(time.Since(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)) / time.Minute)
	if gen := after.Epoch >> 24; before.Epoch>>24 != 0 || gen > minute || gen+5 < minute || len(after.Ports) != 2 {
		t.Errorf("after %+v it is %+v, in minute %d", before.Service, after, minute)
	}
	w.connect("c1", "h2")
	said, err = h1.Output(w.limit(), "nightporter", "restore", file)
	if err != nil || !strings.HasPrefix(said, "everything is as in the backup of ") {
		t.Errorf("a second time: %q, %v", said, err)
	}
	_, err = w.api("h1").Move(w.limit(), web, "h1")
	w.must(err)
	if at, s := w.awaitHolder(web, ""); s.Epoch <= after.Epoch || s.Epoch>>24 != after.Epoch>>24 {
		t.Errorf("%s has it under epoch %d, after %d", at, s.Epoch, after.Epoch)
	}
	told, err := h1.Output(w.limit(), "nightporter", "history", web)
	if err != nil || !strings.Contains(strings.Join(strings.Fields(told), " "), " h2 -> h2 epochs-lifted ") {
		t.Errorf("the story is %q, %v", told, err)
	}
}
