package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Names in the data directory.
const (
	dbFile    = "raft.db"
	snapDir   = "snapshots" // made by hashicorp/raft
	snapCount = 2           // snapshots that are kept
)

// Stores are where Raft keeps what must survive.
type Stores struct {
	Log       raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore
	Close     func() error
}

// OpenStores opens the Raft state in dir. Every way in which a disk disappoints is one sentence.
func OpenStores(dir string) (s Stores, err error) {
	path := filepath.Join(dir, dbFile)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Stores{}, fmt.Errorf("making the data directory %s: %w", dir, diskHint(err))
	}
	bolt, err := openBolt(dir, path)
	if err != nil {
		return Stores{}, err
	}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, snapCount, bridge("snapshots", discard(), nil))
	if err != nil {
		return Stores{}, errors.Join(fmt.Errorf("opening the snapshots in %s: %w", dir, diskHint(err)), bolt.Close())
	}
	return Stores{Log: sealed{bolt}, Stable: sealedStable{bolt}, Snapshots: snaps, Close: bolt.Close}, nil
}

// openBolt opens the database. All of it was read before, since bbolt panics on a damaged page, also in goroutines of its own
// where nobody could turn that into an error.
func openBolt(dir, path string) (store *raftboltdb.BoltStore, err error) {
	if err := inspect(dir, path); err != nil {
		return nil, err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			store, err = nil, damaged(path, fmt.Errorf("%v", p))
		}
	}()
	store, err = raftboltdb.New(raftboltdb.Options{
		Path:        path,
		BoltOptions: &bbolt.Options{Timeout: lockWait, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType},
	})
	if err != nil {
		return nil, openError(path, err)
	}
	if err := readAll(store); err != nil {
		return nil, errors.Join(damaged(path, err), store.Close())
	}
	return store, nil
}

// lockWait is how long another process's lock is waited for: one that is just ending.
const lockWait = time.Second

// openError is the sentence for a database that bbolt does not open.
func openError(path string, err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("%s is in use by another process: is an agent running already?", path)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("opening %s: %w", path, diskHint(err))
	}
	return damaged(path, err)
}

// inspect reads every page of the database that is in use, read-only and in this goroutine, with faults turned into errors.
func inspect(dir, path string) (err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		// bbolt would make a new one. That is right at the first start only; the snapshots' directory is made after it.
		if _, err := os.Stat(filepath.Join(dir, snapDir)); err == nil {
			return damaged(path, errors.New("it is missing or empty, though this node has been here before"))
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking at %s: %w", path, diskHint(err))
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = damaged(path, fmt.Errorf("%v", p))
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockWait})
	if err != nil {
		return openError(path, err)
	}
	tx, err := db.Begin(false)
	if err == nil {
		err = readPages(tx, info.Size())
		err = errors.Join(err, tx.Rollback())
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return damaged(path, err)
	}
	return nil
}

// readPages walks all buckets; bbolt looks at each page's header on the way.
func readPages(tx *bbolt.Tx, size int64) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	if tx.Size() > size {
		return fmt.Errorf("it is cut off at %d of %d bytes", size, tx.Size())
	}
	return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
		var last []byte
		return b.ForEach(func(k, _ []byte) error {
			if last != nil && bytes.Compare(last, k) >= 0 {
				return errors.New("its keys are out of order")
			}
			last = bytes.Clone(k)
			return nil
		})
	})
}

// readAll reads every entry, and the numbers that Raft would end the process for.
func readAll(s *raftboltdb.BoltStore) error {
	first, err := s.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.LastIndex()
	if err != nil {
		return err
	}
	for i := first; first != 0 && i <= last; i++ {
		var l raft.Log
		switch err := (sealed{s}).GetLog(i, &l); {
		case errors.Is(err, raft.ErrLogNotFound):
			continue // behind a snapshot that the leader sent; Raft itself knows whether it may be missing
		case err != nil:
			return fmt.Errorf("reading entry %d: %w", i, err)
		}
	}
	return readVote(s, last > 0)
}

// readVote reads what Raft keeps beside the log, under the names that hashicorp/raft gives it. The term is there as soon as
// there is an entry, and the vote's term before its candidate.
func readVote(s *raftboltdb.BoltStore, begun bool) error {
	stable := sealedStable{s}
	has := make(map[string]bool)
	for _, key := range []string{termKey, "LastVoteTerm"} {
		_, err := stable.GetUint64([]byte(key))
		if has[key] = err == nil; err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
			return fmt.Errorf("reading %s: %w", key, err)
		}
	}
	_, err := stable.Get([]byte("LastVoteCand"))
	switch {
	case err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound):
		return fmt.Errorf("reading LastVoteCand: %w", err)
	case err == nil && !has["LastVoteTerm"]:
		return errors.New("LastVoteTerm is missing")
	case begun && !has[termKey]:
		return errors.New("CurrentTerm is missing")
	}
	return nil
}

// damaged is what is said of a file that cannot be trusted. It is never repaired or replaced by itself: a voter that
// forgot its vote could help to elect two leaders.
func damaged(path string, err error) error {
	return fmt.Errorf("%s is damaged (%w); this node holds nothing while it is: put the data directory away, run `nightporter forget` for this node on another one, and start it again with an empty one", path, err)
}

// diskHint adds what to do about a disk.
func diskHint(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: free some space, the agent then goes on by itself", err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: mount it read-write, or set data_dir to a directory that can be written", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: the agent must run as root, or own its data directory", err)
	}
	return err
}
