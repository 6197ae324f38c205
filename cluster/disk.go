package cluster

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// disk passes on what Raft writes and remembers whether the newest write failed. hashicorp/raft goes on after that without
// a word to anybody; but a host that cannot write the log does not learn what it is given and what is taken from it.
type disk struct {
	failed atomic.Pointer[error]
	stuck  atomic.Bool // a write that Raft does not survive is being tried again
	unlogs atomic.Bool // the newest write of entries failed
	turned func()      // told when that has changed, before Raft goes on
	quit   <-chan struct{}
}

// logs notes what became of a write of entries.
func (d *disk) logs(err error) error {
	if failed := err != nil; d.unlogs.Swap(failed) != failed && d.turned != nil {
		d.turned()
	}
	return d.note(err)
}

// diskPatience is by how much longer than the others a host waits for a leader before it stands for election while it cannot write entries. It
// could still win, since its log may be the newest and a vote is a small write, and would lose the leadership with its first entry: again and
// again, with nobody there to take its services from it.
const diskPatience = 4

// retime gives hashicorp/raft the timing that is in force.
func (r *Raft) retime() error {
	r.timing.Lock()
	defer r.timing.Unlock()
	c := r.raft.ReloadableConfig()
	c.HeartbeatTimeout, c.ElectionTimeout = r.heartbeat, r.election
	if r.disk.unlogs.Load() {
		c.HeartbeatTimeout, c.ElectionTimeout = diskPatience*r.heartbeat, diskPatience*r.election
	}
	if err := r.raft.ReloadConfig(c); err != nil {
		return fmt.Errorf("changing Raft's timing: %w", err)
	}
	return nil
}

// again waits before such a write is tried again. A node that ends does not come back from it: Raft's own goroutine, which
// is waited for, must not go on with what is not written.
func (d *disk) again() {
	d.stuck.Store(true)
	select {
	case <-d.quit:
		runtime.Goexit()
	case <-time.After(diskRetry):
	}
}

func (d *disk) note(err error) error {
	if err == nil {
		d.failed.Store(nil)
	} else {
		d.failed.Store(&err)
	}
	return err
}

// DiskTrouble says why the log cannot be written, or "". It is over with the next write that succeeds; where one failed, the
// leader repeats it.
func (r *Raft) DiskTrouble() string {
	err := r.disk.failed.Load()
	if err == nil {
		return ""
	}
	return fmt.Sprintf("the cluster's log cannot be written on this host: %v", diskHint(*err))
}

// watchedLog is a log store whose writes are noted.
type watchedLog struct {
	raft.LogStore
	disk *disk
}

// StoreLog implements raft.LogStore.
func (w watchedLog) StoreLog(l *raft.Log) error { return w.disk.logs(w.LogStore.StoreLog(l)) }

// StoreLogs implements raft.LogStore. A leader of hashicorp/raft that could not write a configuration counts in it all the
// same, and goes on to when it leads again: in a set of voters that is in no log. So that write waits for the disk, as if this
// node were cut off, and its heartbeats stop meanwhile (pace.go), so that another one leads.
func (w watchedLog) StoreLogs(l []*raft.Log) error {
	err := w.disk.logs(w.LogStore.StoreLogs(l))
	for err != nil && slices.ContainsFunc(l, func(e *raft.Log) bool { return e.Type == raft.LogConfiguration }) {
		w.disk.again()
		err = w.disk.logs(w.LogStore.StoreLogs(l))
	}
	w.disk.stuck.Store(false)
	return err
}

// watchedStable is a stable store whose writes are noted.
type watchedStable struct {
	raft.StableStore
	disk *disk
}

// Set implements raft.StableStore.
func (w watchedStable) Set(key, value []byte) error {
	return w.disk.note(w.StableStore.Set(key, value))
}

// diskRetry is the pause between two attempts to write what Raft must not go on without.
const diskRetry = 200 * time.Millisecond

// SetUint64 implements raft.StableStore. hashicorp/raft ends the process when the term cannot be written. Here it waits
// instead, as if this node were cut off: it may not take part under a term that it could forget.
func (w watchedStable) SetUint64(key []byte, value uint64) error {
	for {
		err := w.disk.note(w.StableStore.SetUint64(key, value))
		if err == nil || string(key) != termKey {
			w.disk.stuck.Store(false)
			return err
		}
		w.disk.again()
	}
}

// termKey is what hashicorp/raft writes its term under.
const termKey = "CurrentTerm"
