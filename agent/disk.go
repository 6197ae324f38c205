package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"

	"github.com/hashicorp/raft"

	"nightporter/cluster"
)

// systemDisk keeps the agent's files.
//
//	data directory   raft/           the log and the snapshots
//	                 node.key        this host's own key
//	                 incarnation     of the daemon, raised at each start
//	                 peers.json      where the others were last reached
//	                 applied         how far the log is applied
//	                 past.json       what a log had acknowledged that was put away
//	                 hooks.json      which hooks were run for what this host holds, since the boot
//	                 superseded.json a recovery has left this host behind
//	                 promise         to whom this host promised to found a cluster
//	run directory    lock            one daemon per host
//	                 leases          the voter's table
//	                 estate.json     what this process left open while it replaces its program; read once
type systemDisk struct {
	data, run string
	self      life      // what the configuration says of it
	lock      io.Closer // taken already
	waits     func() (end func())
}

func newSystemDisk(data, run string) systemDisk { return systemDisk{data: data, run: run} }

func (d systemDisk) inData(name string) string { return filepath.Join(d.data, name) }

// Lock keeps a second daemon away: two on one host would be two holders that know nothing of each other.
func (d systemDisk) Lock() (io.Closer, error) {
	if d.lock != nil {
		return d.lock, nil
	}
	for dir, mode := range map[string]fs.FileMode{d.data: 0o700, d.run: 0o755} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return nil, fmt.Errorf("making the directory %s: %w", dir, err)
		}
	}
	path := filepath.Join(d.run, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 32))
		f.Close()
		return nil, fmt.Errorf("another agent is running on this host (process %s holds %s); stop it first", strings.TrimSpace(string(holder)), path)
	}
	// Another run directory must not help: what a second daemon sweeps away first is the first one's.
	state, err := os.Open(d.data)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the data directory: %w", err), f.Close())
	}
	if err := syscall.Flock(int(state.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another agent uses the data directory %s; stop it first, or give this one another", d.data), state.Close(), f.Close())
	}
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0) // only for the sentence above: the lock counts without it
	}
	return closeFunc(func() error { return errors.Join(state.Close(), f.Close()) }), nil
}

// Idle takes the lock that every agent with this data directory takes, and makes nothing: where there is no directory, none
// has ever run.
func (d systemDisk) Idle() (io.Closer, error) {
	state, err := os.Open(d.data)
	if errors.Is(err, fs.ErrNotExist) {
		return closeFunc(func() error { return nil }), nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening the data directory: %w", err)
	}
	if err := syscall.Flock(int(state.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("an agent with the data directory %s is running; stop it first", d.data), state.Close())
	}
	return state, nil
}

// Incarnation raises the counter and syncs it before it is used. It is never below the wall clock, so that a lost data
// directory does not repeat one.
func (d systemDisk) Incarnation(wall time.Time) (uint64, error) {
	path := d.inData("incarnation")
	var last uint64
	raw, err := os.ReadFile(path)
	if err == nil {
		last, err = strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("reading the incarnation from %s: %w; remove the file if this host's clock is right", path, err)
	}
	next := max(last+1, uint64(max(wall.UnixNano(), 1)))
	if err := d.write("incarnation", []byte(strconv.FormatUint(next, 10)+"\n")); err != nil {
		return 0, err
	}
	return next, nil
}

// write replaces a file in the data directory, synced.
func (d systemDisk) write(name string, data []byte) error {
	if err := renameio.WriteFile(d.inData(name), data, 0o600, renameio.WithTempDir(d.data)); err != nil {
		return fmt.Errorf("writing %s (disk full or read-only?): %w", d.inData(name), err)
	}
	return nil
}

func (d systemDisk) Identity(keys cluster.Keys, node string) (*cluster.Identity, error) {
	return cluster.LoadIdentity(d.data, keys, node)
}

func (d systemDisk) Stores(c *cluster.RaftConfig) error {
	s, err := cluster.OpenStores(d.inData("raft"))
	c.Stores = s
	if err == nil && d.waits != nil {
		c.Stores.Log = waitingLog{s.Log, d.waits}
	}
	return err
}

// waitingLog says when the log waits for the disk.
type waitingLog struct {
	raft.LogStore
	waits func() (end func())
}

// StoreLog implements raft.LogStore.
func (l waitingLog) StoreLog(one *raft.Log) error { return l.StoreLogs([]*raft.Log{one}) }

// StoreLogs implements raft.LogStore.
func (l waitingLog) StoreLogs(logs []*raft.Log) error {
	defer l.waits()()
	return l.LogStore.StoreLogs(logs)
}

func (d systemDisk) LoadPeers() ([]netip.AddrPort, error) {
	raw, err := os.ReadFile(d.inData("peers.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the remembered peers: %w", err)
	}
	var list []netip.AddrPort
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("reading the remembered peers from %s: %w", d.inData("peers.json"), err)
	}
	return list, nil
}

func (d systemDisk) SavePeers(list []netip.AddrPort) error {
	raw, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return d.write("peers.json", append(raw, '\n'))
}

func (d systemDisk) LoadPromise() (string, error) {
	raw, err := os.ReadFile(d.inData("promise"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the founding promise: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}

func (d systemDisk) SavePromise(to string) error { return d.write("promise", []byte(to+"\n")) }

func (d systemDisk) LoadApplied() (m cluster.Mark, err error) {
	raw, err := os.ReadFile(d.inData("applied"))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		_, err = fmt.Sscanf(string(raw), "%d %d\n", &m.Index, &m.Term)
	}
	if err != nil {
		return cluster.Mark{}, fmt.Errorf("reading how far the log was applied: %w", err)
	}
	return m, nil
}

func (d systemDisk) SaveApplied(m cluster.Mark) error {
	return d.write("applied", fmt.Appendf(nil, "%d %d\n", m.Index, m.Term))
}

func (d systemDisk) LoadPast() (*cluster.Past, error) {
	raw, err := os.ReadFile(d.inData("past.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	past := new(cluster.Past)
	if err == nil {
		err = json.Unmarshal(raw, past)
	}
	if err != nil {
		return nil, fmt.Errorf("reading what this host had acknowledged before it left: %w", err)
	}
	return past, nil
}

func (d systemDisk) SavePast(p cluster.Past) error {
	raw, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return d.write("past.json", append(raw, '\n'))
}

// LoadSuperseded reads it.
func (d systemDisk) LoadSuperseded() (*Superseded, error) {
	raw, err := os.ReadFile(d.inData("superseded.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	s := new(Superseded)
	if err == nil {
		err = json.Unmarshal(raw, s)
	}
	if err != nil {
		return nil, fmt.Errorf("reading whether a recovery has left this host behind: %w", err)
	}
	return s, nil
}

// SaveSuperseded writes it.
func (d systemDisk) SaveSuperseded(s Superseded) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return d.write("superseded.json", append(raw, '\n'))
}

// Forget puts the Raft state of the cluster that this node left out of the way; the next start joins anew.
func (d systemDisk) Forget() error {
	for _, name := range []string{"raft", "promise", "peers.json", "applied", "superseded.json"} {
		old := d.inData(name)
		gone := d.inData("left-" + name)
		if err := os.RemoveAll(gone); err != nil {
			return fmt.Errorf("removing %s: %w", gone, err)
		}
		if err := os.Rename(old, gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("putting %s away: %w", old, err)
		}
	}
	return nil
}
