package fsm

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/internal/mutant"
)

// View is the newest state that is known to be committed, as one immutable value.
type View struct {
	State       *State
	Index       uint64 // of the last entry in State; a no-op that Raft does not show may stand above it
	ConfigIndex uint64 // of the newest configuration known to be committed; 0 = none yet
	Servers     []raft.Server
}

// Machine drives the state by hashicorp/raft's log. It keeps two states: the one that Raft has applied, which alone
// goes into snapshots, and the View, which may be ahead of it by entries that Foresee was told are committed. The
// View never goes back. All methods are safe for concurrent use.
type Machine struct {
	log *slog.Logger

	mu       sync.Mutex
	applied  *State // what Raft has applied
	index    uint64 // of the last entry in applied
	view     View
	foreseen []mark // entries in the view that are not in applied yet, ascending
	noted    View   // ConfigIndex and Servers of the snapshot that may be restored next
	watchers map[chan struct{}]struct{}
	appended func(index uint64) time.Time // when the leader appended an entry, zero = not known; nil = nobody can tell
}

// mark names an entry: by Log Matching there is one entry of an index and term.
type mark struct{ index, term uint64 }

var _ raft.ConfigurationStore = (*Machine)(nil)

// NewMachine gives a Machine with the empty state at index 0.
func NewMachine(log *slog.Logger) *Machine {
	s := Empty()
	return &Machine{log: log, applied: s, view: View{State: s}, watchers: map[chan struct{}]struct{}{}}
}

// View gives the newest state known to be committed, applied or foreseen.
func (m *Machine) View() View {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.view
}

// Apply implements raft.FSM. It returns a Result. It panics on an entry that this version must understand and does
// not, and on one that proves that Foresee was told a falsehood: to go on would be to act on another truth than the
// rest of the cluster, and a daemon that ends is what the fence is there for (I3).
func (m *Machine) Apply(l *raft.Log) any {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checkForeseen(l)
	next, res, err := step(m.applied, l)
	if err != nil {
		panic(fmt.Sprintf("log entry %d cannot be applied: %v: this node runs an older version of nightporter than the "+
			"cluster and stops here; upgrade it", l.Index, err))
	}
	if res.Refused == Malformed || res.Refused == UnknownCommand { // nobody else sees it on a follower
		m.log.Warn("a log entry was passed over", "index", l.Index, "reason", res.Refused, "err", res.Message)
	}
	m.applied = next
	m.raftReached(l.Index)
	if l.Index >= m.view.Index { // at ==, the same content: keep one copy of it
		m.publish(View{State: next, Index: l.Index, ConfigIndex: m.view.ConfigIndex, Servers: m.view.Servers})
	}
	return res
}

// StoreConfiguration implements raft.ConfigurationStore.
func (m *Machine) StoreConfiguration(index uint64, c raft.Configuration) {
	var at time.Time
	if m.appended != nil {
		at = m.appended(index)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applied = reconfigured(m.applied, index, c.Servers, at)
	m.raftReached(index)
	v := m.view
	if index > v.Index {
		v.State, v.Index = m.applied, index
	}
	m.publish(withConfig(v, index, c.Servers))
}

// Appended has the machine ask when the leader appended an entry, for what people read. It is called before Raft starts.
func (m *Machine) Appended(at func(index uint64) time.Time) { m.appended = at }

// reconfigured writes the voters of a configuration into the story. The stamp is cut to what every store keeps of it.
func reconfigured(s *State, index uint64, servers []raft.Server, at time.Time) *State {
	var voters []string
	for _, v := range servers {
		if v.Suffrage == raft.Voter {
			voters = append(voters, string(v.ID))
		}
	}
	slices.Sort(voters)
	if !at.IsZero() {
		at = at.UTC().Truncate(time.Millisecond)
	}
	return Reconfigured(s, index, strings.Join(voters, ","), at)
}

// Foresee folds entries into the View that are known to be committed and that Raft has not applied yet. They must be
// consecutive and begin at or before View().Index+1; those at or below View().Index are passed over, and nothing
// behind a gap or behind an entry that must be understood and is not is used: Raft brings that in its time.
func (m *Machine) Foresee(entries []*raft.Log) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.view
	var marks []mark
	for _, l := range entries {
		if l.Index <= v.Index {
			continue
		}
		if l.Index != v.Index+1 {
			break
		}
		switch l.Type {
		case raft.LogCommand:
			next, _, err := step(v.State, l)
			if err != nil {
				m.foretold(v, marks)
				return
			}
			v.State = next
		case raft.LogConfiguration:
			c := raft.DecodeConfiguration(l.Data)
			v.State = reconfigured(v.State, l.Index, c.Servers, l.AppendedAt)
			v = withConfig(v, l.Index, c.Servers)
		}
		v.Index = l.Index
		marks = append(marks, mark{l.Index, l.Term})
	}
	m.foretold(v, marks)
}

func (m *Machine) foretold(v View, marks []mark) {
	m.foreseen = append(m.foreseen, marks...)
	m.publish(v)
}

// NoteSnapshot says which configuration stands in the metadata of a snapshot that is being opened: Raft does not call
// StoreConfiguration on a restore. It takes effect with the next Restore. Snapshots are opened for other reasons too
// (to send one to a follower), so an older note never replaces a newer one.
func (m *Machine) NoteSnapshot(configIndex uint64, servers []raft.Server) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.noted = withConfig(m.noted, configIndex, servers)
}

// step applies one LogCommand entry. The error is ErrMustUnderstand; any other unreadable entry is a refusal, the
// same on every node.
func step(s *State, l *raft.Log) (*State, Result, error) {
	c, err := Decode(l.Data)
	switch {
	case err == nil:
		next, res := Apply(s, l.Index, c)
		return next, res, nil
	case errors.Is(err, ErrMustUnderstand):
		return s, Result{}, err
	case errors.Is(err, ErrIgnorable):
		return s, Result{Index: l.Index, Refused: UnknownCommand, Message: err.Error()}, nil
	}
	return s, Result{Index: l.Index, Refused: Malformed, Message: err.Error()}, nil
}

func withConfig(v View, index uint64, servers []raft.Server) View {
	if index > v.ConfigIndex {
		v.ConfigIndex, v.Servers = index, slices.Clone(servers)
	}
	return v
}

// checkForeseen compares an entry that Raft applies with the one of the same index that was foreseen.
func (m *Machine) checkForeseen(l *raft.Log) {
	i := slices.IndexFunc(m.foreseen, func(f mark) bool { return f.index == l.Index })
	if i >= 0 && m.foreseen[i].term != l.Term {
		panic(fmt.Sprintf("log entry %d of term %d was taken for committed, but Raft committed one of term %d: this node "+
			"may have acted on an assignment that never was (I2) and stops here; report this", l.Index, m.foreseen[i].term, l.Term))
	}
}

// raftReached moves Raft's own position; what was foreseen up to there has come true.
func (m *Machine) raftReached(index uint64) {
	m.index = max(m.index, index)
	m.foreseen = slices.DeleteFunc(m.foreseen, func(f mark) bool { return f.index <= index })
}

// publish makes v the View and tells the watchers if that is a change.
func (m *Machine) publish(v View) {
	changed := v.Index != m.view.Index || v.ConfigIndex != m.view.ConfigIndex
	m.view = v
	if changed {
		m.tell()
	}
}

// Snapshot implements raft.FSM. The state is immutable, so that it costs nothing here.
func (m *Machine) Snapshot() (raft.FSMSnapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return frozen{state: m.applied, index: m.index}, nil
}

// Restore implements raft.FSM: Raft's own state becomes the snapshot's. The View does too, unless it is ahead of the
// snapshot already. A snapshot that cannot be read changes nothing.
func (m *Machine) Restore(r io.ReadCloser) error {
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("reading a snapshot: %w", err)
	}
	index, s, err := decodeSnapshot(b)
	if err != nil {
		return fmt.Errorf("restoring a snapshot: %w", err)
	}
	if mutant.On(mutant.EpochReuse) { // breaks I9
		maps.DeleteFunc(s.Ownerships, func(name string, _ Ownership) bool { _, defined := s.Services[name]; return !defined })
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applied, m.index = s, index // may go back: an old InstallSnapshot; Raft then applies the rest again
	m.raftReached(index)
	v := m.view
	if index >= v.Index {
		v.State, v.Index = s, index
	}
	m.publish(withConfig(v, m.noted.ConfigIndex, m.noted.Servers))
	return nil
}

// frozen is a state on its way into a snapshot.
type frozen struct {
	state *State
	index uint64
}

// Persist implements raft.FSMSnapshot.
func (f frozen) Persist(sink raft.SnapshotSink) error {
	b, err := encodeSnapshot(f.index, f.state)
	if err == nil {
		_, err = sink.Write(b)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing snapshot %s: %w", sink.ID(), err), sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (frozen) Release() {}
