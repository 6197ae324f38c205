package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/config"
	"nightporter/fsm"
)

// savedState is a state with something of everything that a backup keeps, and with a password that it must not.
func savedState() *fsm.State {
	s := fsm.Empty()
	*s = fsm.State{
		History: s.History,
		Cluster: fsm.Cluster{ID: "00112233445566778899aabbccddeeff", Name: "home"},
		Timing:  fsm.Timing{Failover: 2 * time.Second, Largest: 2 * time.Second},
		Inrush:  3,
		Nodes:   map[string]fsm.Node{"alpha": {Name: "alpha", Key: "k", Policy: fsm.Sleeps, Power: fsm.Awake, Maintenance: true}},
		Services: map[string]fsm.Service{"web": {
			Name: "web", MAC: fsm.MAC("\x02\x00\x00\x00\x00\x09"), Targets: []string{"alpha"}, Hold: fsm.HoldDrop, Ports: []fsm.Port{{Protocol: "tcp", Number: 80}},
		}},
		Ownerships: map[string]fsm.Ownership{"web": {Owner: "alpha", Epoch: 7}},
		Drains:     map[string]fsm.Drain{"alpha": {Since: time.Unix(1, 0).UTC(), By: "alpha", Text: "new disk"}},
		Fitness:    map[string]fsm.Fitness{"alpha": {Report: fsm.FitReport{Password: "02:03:04:05:06:07"}}},
	}
	return s
}

func backupOf(t *testing.T, s *fsm.State) []byte {
	t.Helper()
	raw, err := portable(s)
	if err != nil {
		t.Fatal(err)
	}
	file, err := WriteBackup(api.BackupOf{State: raw, Index: 42, By: "alpha"}, "v1", time.Unix(2, 0).UTC())
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// What a backup keeps comes back, and no password of a network card is in it.
func TestABackupGoesRound(t *testing.T) {
	s := savedState()
	file := backupOf(t, s)
	if bytes.Contains(file, []byte("02:03:04:05:06:07")) || s.Fitness["alpha"].Report.Password == "" {
		t.Error("the password of a card is in the backup, or was taken from the state itself")
	}
	got, err := ReadBackup(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.Cluster != "home" || got.Epochs != (api.Epochs{Cluster: s.Cluster.ID, Highest: 7}) || got.By != "alpha" || got.Version != "v1" || !got.Made.Equal(time.Unix(2, 0)) || got.Failover != 2*time.Second || got.Inrush != 3 ||
		len(got.Services) != 1 || got.Services[0].Name != "web" || got.Drained["alpha"].Text != "new disk" || fmt.Sprint(got.Members) != "[alpha]" {
		t.Errorf("%+v", got)
	}
}

// sealed gives a document the first line of a backup.
func sealed(form int, doc string) []byte {
	sum := sha256.Sum256([]byte(doc))
	return fmt.Appendf(nil, "%s %d %s\n%s", backupMark, form, hex.EncodeToString(sum[:]), doc)
}

// A file that is not whole, not of here, or of a later time is refused, with the reason.
func TestABadBackupIsRefused(t *testing.T) {
	file := backupOf(t, savedState())
	for n := range len(file) {
		if _, err := ReadBackup(file[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes are taken for a backup", n, len(file))
		}
	}
	for at := 0; at < len(file); at += 7 {
		bad := bytes.Clone(file)
		bad[at] ^= 4
		if _, err := ReadBackup(bad); err == nil {
			t.Fatalf("byte %d was changed, and it is taken for a backup", at)
		}
	}
	_, doc, _ := strings.Cut(string(file), "\n")
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"nothing":                      {nil, "its first line is not that of one"},
		"something else":               {[]byte("services: []\n"), "its first line is not that of one"},
		"cut short":                    {file[:len(file)-1], "cut short"},
		"something behind it":          {append(bytes.Clone(file), '\n'), "its checksum is wrong"},
		"the form of a newer version":  {sealed(backupFormat+1, doc), "use the newer version that made it"},
		"the state of a newer version": {sealed(backupFormat, strings.Replace(doc, `"format": `, `"format": 9`, 1)), "newer"},
		"no document":                  {sealed(backupFormat, "true"), "it makes no sense"},
		"no state":                     {sealed(backupFormat, "{}"), "its state makes no sense"},
		"no cluster":                   {backupOf(t, fsm.Empty()), "belongs to no cluster"},
	} {
		if _, err := ReadBackup(c.file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// Beside a running agent, and where there never was one, nothing is read.
func TestAnOfflineBackupNeedsAStateAndNoAgent(t *testing.T) {
	cfg := &config.Config{Node: "alpha", Cluster: "home", DataDir: t.TempDir(), RunDir: t.TempDir()}
	if _, err := OfflineBackup(cfg); err == nil || !strings.Contains(err.Error(), cfg.DataDir) {
		t.Errorf("of a host that was never in a cluster: %v", err)
	}
	lock, err := newSystemDisk(cfg.DataDir, cfg.RunDir).Lock()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := OfflineBackup(cfg); err == nil || strings.Contains(err.Error(), "reading the state") {
		t.Errorf("beside an agent: %v", err)
	}
}
