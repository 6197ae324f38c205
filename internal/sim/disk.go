package sim

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/agent"
	"nightporter/cluster"
	"nightporter/lease"
)

// files are the data directory as far as it is synced.
type files struct {
	raft *store

	mu          sync.Mutex
	key         ed25519.PrivateKey
	incarnation uint64
	peers       []netip.AddrPort
	promise     string
	applied     cluster.Mark
	past        *cluster.Past
	superseded  *agent.Superseded
}

func newFiles() *files { return &files{raft: newStore()} }

// clone is what a crash leaves.
func (f *files) clone() *files {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.rest()
	c.raft = f.raft.clone()
	c.peers, c.promise, c.applied, c.superseded = f.peers, f.promise, f.applied, f.superseded
	return c
}

// rest is what a node that left its cluster keeps. The caller holds mu.
func (f *files) rest() *files {
	return &files{raft: newStore(), key: f.key, incarnation: f.incarnation, past: f.past}
}

// disease is what a disk suffers from.
type disease struct {
	mu    sync.Mutex
	delay time.Duration
	err   error
}

func (d *disease) set(delay time.Duration, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.delay, d.err = delay, err
}

func (d *disease) now() (time.Duration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.delay, d.err
}

// fsync is what a healthy disk takes.
const fsync = 400 * time.Microsecond

var errNoSpace = fmt.Errorf("writing: %w", syscall.ENOSPC)

// lifeDisk is the disk as one life of the daemon has it: a killed life goes on writing into what nobody will read.
type lifeDisk struct {
	life *life
	*files
}

// write takes the time of a synced write. An error says that nothing was written. A dead life does not wait: it is to end.
func (d *lifeDisk) write() error {
	delay, err := d.life.machine.disease.now()
	select {
	case <-d.life.proc.Dead():
		return nil
	case <-time.After(fsync + delay):
	}
	if gate := d.life.proc.Gate(context.Background()); gate != nil {
		return nil
	}
	return err
}

// Lock implements agent.Disk.
func (d *lifeDisk) Lock() (io.Closer, error) { return d.life.machine.lock(d.life) }

// Incarnation implements agent.Disk.
func (d *lifeDisk) Incarnation(wall time.Time) (uint64, error) {
	if err := d.write(); err != nil {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.incarnation = max(d.incarnation+1, uint64(max(wall.UnixNano(), 1)))
	return d.incarnation, nil
}

// Identity implements agent.Disk.
func (d *lifeDisk) Identity(keys cluster.Keys, node string) (*cluster.Identity, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.key == nil {
		_, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			return nil, err
		}
		d.key = key
	}
	return cluster.NewIdentity(d.key, keys, node)
}

// Stores implements agent.Disk.
func (d *lifeDisk) Stores(c *cluster.RaftConfig) error {
	c.Stores = cluster.Stores{Log: slowLog{d.raft, d}, Stable: slowStable{d.raft, d}, Snapshots: d.raft.snaps, Close: func() error { return nil }}
	return nil
}

// Mirror implements agent.Disk.
func (d *lifeDisk) Mirror() (agent.Mirror, error) { return &lifeMirror{d.life}, nil }

// LoadPeers implements agent.Disk.
func (d *lifeDisk) LoadPeers() ([]netip.AddrPort, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.peers), nil
}

// SavePeers implements agent.Disk.
func (d *lifeDisk) SavePeers(list []netip.AddrPort) error {
	if err := d.write(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.peers = slices.Clone(list)
	return nil
}

// LoadPromise implements agent.Disk.
func (d *lifeDisk) LoadPromise() (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.promise, nil
}

// SavePromise implements agent.Disk.
func (d *lifeDisk) SavePromise(to string) error {
	if err := d.write(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.promise = to
	return nil
}

// LoadApplied implements agent.Disk.
func (d *lifeDisk) LoadApplied() (cluster.Mark, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.applied, nil
}

// SaveApplied implements agent.Disk.
func (d *lifeDisk) SaveApplied(m cluster.Mark) error {
	if err := d.write(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.applied = m
	return nil
}

// LoadPast implements agent.Disk.
func (d *lifeDisk) LoadPast() (*cluster.Past, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.past, nil
}

// SavePast implements agent.Disk.
func (d *lifeDisk) SavePast(p cluster.Past) error {
	if err := d.write(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.past = &p
	return nil
}

// LoadSuperseded implements agent.Disk.
func (d *lifeDisk) LoadSuperseded() (*agent.Superseded, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.superseded, nil
}

// SaveSuperseded implements agent.Disk.
func (d *lifeDisk) SaveSuperseded(s agent.Superseded) error {
	if err := d.write(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.superseded = &s
	return nil
}

// Leave implements agent.Disk: the note for the next life of this process, in the run directory.
func (d *lifeDisk) Leave(e agent.Estate) error {
	d.life.machine.leaveEstate(d.life, e)
	return nil
}

// Forget implements agent.Disk. The agent still runs on the old state until it ends.
func (d *lifeDisk) Forget() error {
	if err := d.write(); err != nil {
		return err
	}
	d.life.machine.forget(d.life)
	return nil
}

// slowLog is the log with the time that a disk takes.
type slowLog struct {
	*store
	disk *lifeDisk
}

// StoreLog implements raft.LogStore.
func (s slowLog) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (s slowLog) StoreLogs(logs []*raft.Log) error {
	if err := s.disk.write(); err != nil {
		return err
	}
	if !s.disk.life.dead() {
		s.disk.life.machine.w.rec.stored(logs)
	}
	return s.store.StoreLogs(logs)
}

// DeleteRange implements raft.LogStore.
func (s slowLog) DeleteRange(from, to uint64) error {
	if err := s.disk.write(); err != nil {
		return err
	}
	return s.store.DeleteRange(from, to)
}

// slowStable is the term and the vote with the time that a disk takes.
type slowStable struct {
	*store
	disk *lifeDisk
}

// Set implements raft.StableStore.
func (s slowStable) Set(key, value []byte) error {
	if err := s.disk.write(); err != nil {
		return err
	}
	return s.store.Set(key, value)
}

// SetUint64 implements raft.StableStore.
func (s slowStable) SetUint64(key []byte, value uint64) error {
	if err := s.disk.write(); err != nil {
		return err
	}
	return s.store.SetUint64(key, value)
}

// lifeMirror is the voter's table in the run directory: it outlives the daemon, not a boot.
type lifeMirror struct{ life *life }

var errMirror = errors.New("the run directory is full")

// Load implements agent.Mirror.
func (m *lifeMirror) Load() (lease.Table, bool) { return m.life.machine.loadTable() }

// Save implements agent.Mirror. It is called with a lock held, so it takes no time.
func (m *lifeMirror) Save(t lease.Table) error { return m.life.machine.saveTable(m.life, t) }

// Close implements agent.Mirror.
func (m *lifeMirror) Close() error { return nil }
