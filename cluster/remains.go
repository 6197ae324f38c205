package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"nightporter/fsm"
)

// Remains are what a Raft directory has whose agent does not run: the state after the last entry of its log, whether that was ever
// committed or not.
type Remains struct {
	State       *fsm.State
	Index, Term uint64 // of the last entry, in the log or in the snapshot
	CurrentTerm uint64 // the highest that this node has heard of
	Servers     []raft.Server
}

// ErrNoRemains means that a directory has no Raft state.
var ErrNoRemains = errors.New("this host has no state of a cluster")

// ReadRemains reads a Raft directory; nobody else may have it open. Nothing in it is changed.
func ReadRemains(dir string) (r Remains, err error) {
	if _, err := os.Stat(filepath.Join(dir, dbFile)); errors.Is(err, fs.ErrNotExist) {
		return r, ErrNoRemains
	}
	stores, err := OpenStores(dir)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, stores.Close()) }()
	return RemainsIn(stores)
}

// RemainsIn reads what is in stores that nobody else uses.
func RemainsIn(stores Stores) (r Remains, err error) {
	defer func() {
		if p := recover(); p != nil { // the state machine stops at an entry of a newer version
			err = fmt.Errorf("%v", p)
		}
	}()
	r.CurrentTerm, err = stores.Stable.GetUint64([]byte(termKey))
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return r, fmt.Errorf("reading the term: %w", err)
	}
	m := fsm.NewMachine(discard())
	if r.Index, r.Term, err = newestSnapshot(stores.Snapshots, m); err != nil {
		return r, err
	}
	if err := r.replay(stores.Log, m); err != nil {
		return r, err
	}
	v := m.View()
	r.State, r.Servers = v.State, v.Servers
	if r.Index == 0 {
		return r, ErrNoRemains
	}
	return r, nil
}

// newestSnapshot restores the newest snapshot that there is; index 0 = there is none.
func newestSnapshot(store raft.SnapshotStore, m *fsm.Machine) (index, term uint64, err error) {
	list, err := store.List()
	if err != nil || len(list) == 0 {
		return 0, 0, err
	}
	meta, rc, err := store.Open(list[0].ID)
	if err != nil {
		return 0, 0, fmt.Errorf("opening the snapshot %s: %w", list[0].ID, err)
	}
	m.NoteSnapshot(meta.ConfigurationIndex, meta.Configuration.Servers)
	if err := m.Restore(rc); err != nil {
		return 0, 0, err
	}
	return meta.Index, meta.Term, nil
}

// replay applies what the log has behind the snapshot.
func (r *Remains) replay(log raft.LogStore, m *fsm.Machine) error {
	last, err := log.LastIndex()
	if err != nil {
		return fmt.Errorf("reading the log's last index: %w", err)
	}
	for i := r.Index + 1; i <= last; i++ {
		var l raft.Log
		if err := log.GetLog(i, &l); err != nil {
			return fmt.Errorf("reading log entry %d: %w", i, err)
		}
		switch l.Type {
		case raft.LogCommand:
			m.Apply(&l)
		case raft.LogConfiguration:
			m.StoreConfiguration(l.Index, raft.DecodeConfiguration(l.Data))
		}
		r.Index, r.Term = l.Index, l.Term
	}
	return nil
}

// termJump is how far the first term of a recovered cluster is above all that this node has heard of. Raft refuses whoever comes with a
// lower one: elections of lost nodes among themselves need a million of them to come that far.
const termJump = 1 << 20

// Found writes a new Raft directory with one voter, node, whose log begins behind a snapshot of state at r.Index+1. The caller has made
// state for that index.
func (r Remains) Found(dir, node string, state *fsm.State) (err error) {
	stores, err := OpenStores(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stores.Close()) }()
	return r.FoundIn(stores, node, state)
}

// FoundIn does so in stores that are empty.
func (r Remains) FoundIn(stores Stores, node string, state *fsm.State) error {
	index, term := r.Index+1, max(r.CurrentTerm, r.Term)+termJump
	if err := stores.Stable.SetUint64([]byte(termKey), term); err != nil {
		return fmt.Errorf("writing the term: %w", err)
	}
	raw, err := fsm.EncodeSnapshot(index, state)
	if err != nil {
		return err
	}
	servers := []raft.Server{{Suffrage: raft.Voter, ID: raft.ServerID(node), Address: raft.ServerAddress(node)}}
	_, names := raft.NewInmemTransport("") // only for how it writes a server's address
	sink, err := stores.Snapshots.Create(raft.SnapshotVersionMax, index, term, raft.Configuration{Servers: servers}, index, names)
	if err != nil {
		return fmt.Errorf("writing the first snapshot: %w", diskHint(err))
	}
	if _, err := sink.Write(raw); err != nil {
		return errors.Join(fmt.Errorf("writing the first snapshot: %w", diskHint(err)), sink.Cancel())
	}
	return sink.Close()
}

// Hark listens for the agents of a cluster, and greets them at the given addresses, until ctx ends; it returns who was there, by name.
func Hark(ctx context.Context, c GossipConfig, addrs []string, every <-chan struct{}) (found []Member, err error) {
	c.OnChange, c.OnMessage, c.OnConflict = func() {}, func(Message) {}, func(string) {}
	g, err := StartGossip(c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.Shutdown()) }()
	for {
		_ = Greet(g.Join, addrs, func(string) {}) // nobody there is what is hoped for
		for _, m := range g.Members() {
			if m.Name != c.Node && m.Status == Alive {
				found = append(found, m)
			}
		}
		if len(found) > 0 || ctx.Err() != nil {
			return found, nil
		}
		select {
		case <-ctx.Done():
		case <-every:
		}
	}
}

// Greet joins at all the addresses at one time, so that one at which nobody answers keeps none of the others waiting. It tells of each that
// has answered, and returns when the last of them has or has not; an error is what one of them said. join is Gossip.Join.
func Greet(join func(addrs []string) (int, error), addrs []string, answered func(addr string)) error {
	type result struct {
		addr string
		err  error
	}
	results := make(chan result, len(addrs))
	for _, a := range addrs {
		go func() {
			_, err := join([]string{a})
			results <- result{a, err}
		}()
	}
	var err error
	for range addrs {
		if r := <-results; r.err != nil {
			err = r.err
		} else {
			answered(r.addr)
		}
	}
	return err
}
