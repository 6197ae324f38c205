package cluster

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/fsm"
)

// fullStore is a store on a disk that can be full.
type fullStore struct {
	*raft.InmemStore
	errno atomic.Uintptr // 0: there is room
}

func (f *fullStore) trouble() error {
	if n := f.errno.Load(); n != 0 {
		return syscall.Errno(n)
	}
	return nil
}

func (f *fullStore) StoreLogs(l []*raft.Log) error {
	if err := f.trouble(); err != nil {
		return err
	}
	return f.InmemStore.StoreLogs(l)
}

func (f *fullStore) SetUint64(key []byte, value uint64) error {
	if err := f.trouble(); err != nil {
		return err
	}
	return f.InmemStore.SetUint64(key, value)
}

func TestAFullDiskIsToldUntilAWriteSucceeds(t *testing.T) {
	f := &fullStore{InmemStore: raft.NewInmemStore()}
	d := &disk{quit: make(chan struct{})}
	r := &Raft{disk: d}
	logs := watchedLog{f, d}
	for _, c := range []struct {
		errno syscall.Errno
		says  string
	}{{0, ""}, {syscall.ENOSPC, "free some space"}, {0, ""}, {syscall.EROFS, "mount it read-write"}} {
		f.errno.Store(uintptr(c.errno))
		if err := logs.StoreLogs([]*raft.Log{{Index: 1}}); !errors.Is(err, f.trouble()) {
			t.Errorf("a disk with %v gives %v", f.trouble(), err)
		}
		if said := r.DiskTrouble(); !strings.Contains(said, c.says) || (said == "") != (c.errno == 0) {
			t.Errorf("a disk with %v says %q", f.trouble(), said)
		}
	}
}

// Raft ends the process when it cannot write its term, and counts in a configuration that it could not write: so it is made to
// wait, without heartbeats, and ends without having gone on.
func TestSomeWritesWaitForTheDisk(t *testing.T) {
	number := func(key string) func(fullDisk) error {
		return func(d fullDisk) error { return watchedStable{d.store, d.disk}.SetUint64([]byte(key), 7) }
	}
	entry := func(kind raft.LogType) func(fullDisk) error {
		return func(d fullDisk) error {
			return watchedLog{d.store, d.disk}.StoreLogs([]*raft.Log{{Index: 1, Type: kind}})
		}
	}
	room := func(d fullDisk) { d.store.errno.Store(0) }
	shutdown := func(d fullDisk) { close(d.quit) }
	for name, c := range map[string]struct {
		write func(fullDisk) error
		waits bool
		end   func(fullDisk)
		wants string
	}{
		"term, room again":          {number(termKey), true, room, "went on"},
		"term, shutdown":            {number(termKey), true, shutdown, "ended"},
		"vote":                      {number("LastVoteTerm"), false, func(fullDisk) {}, "no space left on device"},
		"configuration, room again": {entry(raft.LogConfiguration), true, room, "went on"},
		"configuration, shutdown":   {entry(raft.LogConfiguration), true, shutdown, "ended"},
		"command":                   {entry(raft.LogCommand), false, func(fullDisk) {}, "no space left on device"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := fullDisk{store: &fullStore{InmemStore: raft.NewInmemStore()}, quit: make(chan struct{})}
				d.disk = &disk{quit: d.quit}
				d.store.errno.Store(uintptr(syscall.ENOSPC))
				outcome := make(chan string, 1)
				go func() {
					came := "ended"
					defer func() { outcome <- came }()
					err := c.write(d)
					came = "went on"
					if err != nil {
						came = err.Error()
					}
				}()
				synctest.Wait()
				if waits := len(outcome) == 0; waits != c.waits || d.disk.stuck.Load() != c.waits {
					t.Errorf("it waits: %v, without heartbeats: %v; want %v", waits, d.disk.stuck.Load(), c.waits)
				}
				c.end(d)
				if got := <-outcome; got != c.wants {
					t.Errorf("%s, want %s", got, c.wants)
				}
				if c.wants == "went on" && d.disk.stuck.Load() {
					t.Error("the heartbeats do not begin again")
				}
			})
		})
	}
}

// fullDisk is a disk that takes nothing.
type fullDisk struct {
	store *fullStore
	disk  *disk
	quit  chan struct{}
}

// Who cannot write entries lets the others stand for election first, also when the timing changes meanwhile, and no longer than that lasts.
func TestWhoCannotWriteLetsOthersLead(t *testing.T) {
	store := &fullStore{InmemStore: raft.NewInmemStore()}
	_, trans := raft.NewInmemTransport("a")
	timing := Derive(fsm.FailoverMin)
	r, err := StartRaft(RaftConfig{
		Node: "a", Timing: timing, Machine: fsm.NewMachine(discard()), Transport: trans, Log: discard(),
		Stores: Stores{Log: store, Stable: store, Snapshots: raft.NewInmemSnapshotStore()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	logs := watchedLog{store, r.disk}
	step := func(when string, errno syscall.Errno, want time.Duration) {
		t.Helper()
		store.errno.Store(uintptr(errno))
		if err := logs.StoreLogs([]*raft.Log{{Index: 1}}); !errors.Is(err, store.trouble()) {
			t.Fatal(err)
		}
		if c := r.raft.ReloadableConfig(); c.HeartbeatTimeout != want || c.ElectionTimeout != want {
			t.Errorf("%s: it waits %v, then %v; want %v", when, c.HeartbeatTimeout, c.ElectionTimeout, want)
		}
	}
	step("at first", 0, timing.RaftHeartbeat)
	step("full", syscall.ENOSPC, diskPatience*timing.RaftHeartbeat)
	longer := timing
	longer.RaftHeartbeat += timing.RaftHeartbeat / 2
	if err := r.Retime(longer); err != nil {
		t.Fatal(err)
	}
	step("full, with another timing", syscall.ENOSPC, diskPatience*longer.RaftHeartbeat)
	step("with room again", 0, longer.RaftHeartbeat)
}
