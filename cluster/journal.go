package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/fsm"
)

// Journal is the Raft log as the lease rules need to read it: with its uncommitted end. It wraps the log store, sees every
// append and every cut, and keeps what rules 1 to 3 ask for (hashicorp/raft v1.8.0 tells none of it: the index of
// GetConfiguration and Stats()["latest_configuration_index"] are always 0).
type Journal struct {
	inner raft.LogStore

	write sync.Mutex // one append or cut at a time: a scan must not miss entries that are on their way to disk

	mu       sync.Mutex
	known    digest
	snapshot uint64 // index of the newest configuration that a snapshot has
	stored   chan struct{}
}

// digest is what a log says, in short.
type digest struct {
	last    uint64                  // index of the last entry
	assigns map[string][]assignment // by service, in the order of the log
	lifts   []assignment            // of all services
	config  uint64                  // index of the newest configuration in the log
	longest time.Duration           // largest failover setting in the log
	cluster string                  // the ID in its first Found
}

// assignment is an Assign or LiftEpochs in the log: it gives this epoch, if the state machine does not refuse it.
type assignment struct{ index, epoch uint64 }

var _ raft.MonotonicLogStore = (*Journal)(nil)

// NewJournal reads the log once.
func NewJournal(inner raft.LogStore) (*Journal, error) {
	j := &Journal{inner: inner, stored: make(chan struct{}, 1)}
	if err := j.scan(); err != nil {
		return nil, err
	}
	return j, nil
}

// scan reads the log anew. When it cannot be read, what was known stays: the rules may be too strict, never too lax. The
// caller holds mu, or is the only one yet.
func (j *Journal) scan() error {
	d := digest{assigns: make(map[string][]assignment)}
	first, err := j.inner.FirstIndex()
	if err != nil {
		return fmt.Errorf("reading the log's first index: %w", err)
	}
	last, err := j.inner.LastIndex()
	if err != nil {
		return fmt.Errorf("reading the log's last index: %w", err)
	}
	for i := first; first != 0 && i <= last; i++ {
		var l raft.Log
		switch err := j.inner.GetLog(i, &l); {
		case errors.Is(err, raft.ErrLogNotFound):
			continue // see knows what a gap means
		case err != nil:
			return fmt.Errorf("reading log entry %d: %w", i, err)
		}
		d.see(&l)
	}
	j.known = d
	return nil
}

// see takes one entry in. Behind a gap stands what followed a snapshot that the leader sent; what stands before the gap is
// older than the snapshot and was never cut, and its uncommitted end may be false.
func (d *digest) see(l *raft.Log) {
	if d.last != 0 && l.Index > d.last+1 {
		*d = digest{assigns: make(map[string][]assignment)}
	}
	d.last = l.Index
	switch l.Type {
	case raft.LogConfiguration:
		d.config = max(d.config, l.Index)
	case raft.LogCommand:
		c, err := fsm.Decode(l.Data)
		if err != nil {
			return // the state machine judges it
		}
		switch c := c.(type) {
		case fsm.Assign:
			d.assigns[c.Service] = append(d.assigns[c.Service], assignment{l.Index, c.Planned + 1})
		case fsm.LiftEpochs:
			d.lifts = append(d.lifts, assignment{l.Index, c.Floor})
		case fsm.SetFailover:
			d.longest = max(d.longest, c.Failover)
		case fsm.Found:
			d.longest = max(d.longest, c.Failover)
			d.cluster = cmp.Or(d.cluster, c.Cluster.ID)
		}
	}
}

// NewestConfig is the index of the newest configuration in this node's log or snapshot, committed or not (rule 2).
func (j *Journal) NewestConfig() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return max(j.known.config, j.snapshot)
}

// NoteSnapshot tells the index of a snapshot's configuration.
func (j *Journal) NoteSnapshot(configIndex uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.snapshot = max(j.snapshot, configIndex)
}

// Epoch is the highest epoch of a service in the log behind the entry that is applied, committed or not (rule 3). What is applied is
// in the state, a deletion too, which names no epoch; an Assign that the state machine refused (its owner has left, say) gave none,
// and must not stand against the owner that remains.
func (j *Journal) Epoch(service string, applied uint64) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	highest := uint64(0)
	for _, list := range [][]assignment{j.known.assigns[service], j.known.lifts} {
		for _, a := range slices.Backward(list) {
			if a.index <= applied {
				break
			}
			highest = max(highest, a.epoch)
		}
	}
	return highest
}

// LargestFailover is the largest failover setting in the log: what may have been granted before a restart (rule 1).
func (j *Journal) LargestFailover() time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.known.longest
}

// Cluster is the ID of the cluster that this log is of, also where nobody has said yet how much of it is committed; "" = the entry that
// says so is not in the log: it is in the snapshot, or there is none.
func (j *Journal) Cluster() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.known.cluster
}

// Term is the term of an entry, false when the log does not have it.
func (j *Journal) Term(index uint64) (uint64, bool) {
	var l raft.Log
	if err := j.inner.GetLog(index, &l); err != nil {
		return 0, false
	}
	return l.Term, true
}

// Entries reads the entries from to to, both included.
func (j *Journal) Entries(from, to uint64) ([]*raft.Log, error) {
	var out []*raft.Log
	for i := from; i <= to; i++ {
		l := new(raft.Log)
		if err := j.inner.GetLog(i, l); err != nil {
			return nil, fmt.Errorf("reading log entry %d: %w", i, err)
		}
		out = append(out, l)
	}
	return out, nil
}

// Stored gives a token after entries were appended.
func (j *Journal) Stored() <-chan struct{} { return j.stored }

// IsMonotonic implements raft.MonotonicLogStore: after a snapshot that the leader sent, Raft removes the log that it replaces,
// instead of leaving a gap behind it.
func (*Journal) IsMonotonic() bool { return true }

// FirstIndex implements raft.LogStore.
func (j *Journal) FirstIndex() (uint64, error) { return j.inner.FirstIndex() }

// LastIndex implements raft.LogStore.
func (j *Journal) LastIndex() (uint64, error) { return j.inner.LastIndex() }

// GetLog implements raft.LogStore.
func (j *Journal) GetLog(index uint64, l *raft.Log) error { return j.inner.GetLog(index, l) }

// StoreLog implements raft.LogStore.
func (j *Journal) StoreLog(l *raft.Log) error { return j.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore. What is being written counts before it is on disk: the rules only get stricter.
func (j *Journal) StoreLogs(logs []*raft.Log) error {
	j.write.Lock()
	defer j.write.Unlock()
	j.mu.Lock()
	for _, l := range logs {
		j.known.see(l)
	}
	j.mu.Unlock()
	if err := j.inner.StoreLogs(logs); err != nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		return errors.Join(fmt.Errorf("writing the log (disk full or read-only?): %w", err), j.scan())
	}
	select {
	case j.stored <- struct{}{}:
	default:
	}
	return nil
}

// DeleteRange implements raft.LogStore. A cut end no longer counts; a compacted beginning still does, through the state.
func (j *Journal) DeleteRange(from, to uint64) error {
	j.write.Lock()
	defer j.write.Unlock()
	if err := j.inner.DeleteRange(from, to); err != nil {
		return fmt.Errorf("cutting the log: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.scan()
}
