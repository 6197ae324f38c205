package cluster

import (
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
	snapCount = 2 // snapshots that are kept
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
		return Stores{}, fmt.Errorf("making the data directory: %w", diskHint(err))
	}
	bolt, err := openBolt(path)
	if err != nil {
		return Stores{}, err
	}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, snapCount, bridge("snapshots", discard(), nil))
	if err != nil {
		return Stores{}, errors.Join(fmt.Errorf("opening the snapshots in %s: %w", dir, diskHint(err)), bolt.Close())
	}
	return Stores{Log: bolt, Stable: bolt, Snapshots: snaps, Close: bolt.Close}, nil
}

// openBolt opens the database and reads all of it once, with faults turned into errors: a truncated file is mapped beyond
// its end, and the first touch there would end the process.
func openBolt(path string) (store *raftboltdb.BoltStore, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			store, err = nil, damaged(path, fmt.Errorf("%v", p))
		}
	}()
	store, err = raftboltdb.New(raftboltdb.Options{
		Path:        path,
		BoltOptions: &bbolt.Options{Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType},
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%s is in use by another process: is an agent running already?", path)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOSPC):
		return nil, fmt.Errorf("opening %s: %w", path, diskHint(err))
	case err != nil:
		return nil, damaged(path, err)
	}
	if err := readAll(store); err != nil {
		return nil, errors.Join(damaged(path, err), store.Close())
	}
	return store, nil
}

// readAll touches every entry.
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
		if err := s.GetLog(i, &l); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if l.Index != i {
			return fmt.Errorf("entry %d says that it is number %d", i, l.Index)
		}
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
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: free some space, the agent goes on by itself when it is started again", err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: mount it read-write, or set data_dir to a directory that can be written", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: the agent must run as root, or own its data directory", err)
	}
	return err
}
