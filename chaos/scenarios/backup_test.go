package scenarios

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// What a backup has comes back, into a cluster that has gone on and into one that was founded anew; epochs only rise.
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
}
