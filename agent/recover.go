package agent

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"nightporter/cluster"
	"nightporter/fsm"
)

// Recovered tells what a recovery did.
type Recovered struct {
	Node    string   `json:"node"`
	ID      string   `json:"id"`   // of the cluster from here on
	From    string   `json:"from"` // and before
	Lost    []string `json:"lost"`
	Backup  string   `json:"backup"` // where the state of before is
	Drained bool     `json:"drained"`
}

// Recover makes this host a cluster of its own out of what is left. The state of before is not touched: it is exchanged, in one step, for the new one.
func (w *Wreck) Recover(now time.Time) (r Recovered, err error) {
	var id [16]byte
	rand.Read(id[:]) // never fails (crypto/rand)
	old := w.remains.State
	keys, err := loadKeys(w.cfg)
	if err != nil {
		return r, err
	}
	own, err := w.disk.Identity(keys, w.cfg.Node)
	if err != nil {
		return r, err
	}
	next, err := fsm.Recover(old, w.remains.Index+1, hex.EncodeToString(id[:]), own.Pin(), fsm.Recovery{At: now, By: w.cfg.Node})
	if err != nil {
		return r, err
	}
	last := next.Recoveries[len(next.Recoveries)-1]
	r = Recovered{Node: w.cfg.Node, ID: next.Cluster.ID, From: old.Cluster.ID, Lost: last.Lost, Drained: next.Nodes[w.cfg.Node].Maintenance}
	r.Backup = w.disk.inData("recovery-" + now.UTC().Format("20060102T150405Z"))
	if err := os.Mkdir(r.Backup, 0o700); err != nil {
		return r, fmt.Errorf("making the directory for the old state: %w", err)
	}
	note, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = renameio.WriteFile(filepath.Join(r.Backup, "recovery.json"), append(note, '\n'), 0o600, renameio.WithTempDir(r.Backup))
	}
	if err != nil {
		return r, fmt.Errorf("noting what is done in %s: %w", r.Backup, err)
	}
	beside := filepath.Join(r.Backup, "raft")
	if err := w.remains.Found(beside, w.cfg.Node, next); err != nil {
		return r, fmt.Errorf("writing the new state to %s: %w", beside, err)
	}
	if made, err := cluster.ReadRemains(beside); err != nil || made.State.Cluster.ID != r.ID { // what was written is what is read
		return r, fmt.Errorf("the new state in %s cannot be read back (%w); nothing was changed", beside, err)
	}
	if err := os.Remove(w.disk.inData("applied")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("putting away how far the old log was applied: %w", err)
	}
	if err := unix.Renameat2(unix.AT_FDCWD, beside, unix.AT_FDCWD, w.disk.inData("raft"), unix.RENAME_EXCHANGE); err != nil {
		return r, fmt.Errorf("exchanging the old state for the new one: %w (the file system must know renameat2 with RENAME_EXCHANGE, as ext4, xfs, btrfs and tmpfs do); nothing was changed", err)
	}
	return r, errors.Join(syncDir(w.cfg.DataDir), syncDir(r.Backup))
}

// syncDir makes renames in a directory last.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("syncing %s: %w", path, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("syncing %s: %w", path, err)
	}
	return nil
}
