package sim

import (
	"errors"
	"maps"
	"sync"

	"github.com/hashicorp/raft"
)

// errKeyNotFound is spelled as hashicorp/raft looks for it.
var errKeyNotFound = errors.New("not found")

// store is the synced part of a Raft log and of what stands beside it. A killed life keeps writing into its own copy.
type store struct {
	mu      sync.Mutex
	first   uint64 // index of logs[0]
	logs    []*raft.Log
	stable  map[string][]byte
	numbers map[string]uint64
	snaps   *raft.InmemSnapshotStore
}

func newStore() *store {
	return &store{stable: make(map[string][]byte), numbers: make(map[string]uint64), snaps: raft.NewInmemSnapshotStore()}
}

// clone is what a crash leaves. Entries are never changed in place, so they are shared.
func (s *store) clone() *store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &store{
		first: s.first, logs: append([]*raft.Log(nil), s.logs...), stable: maps.Clone(s.stable), numbers: maps.Clone(s.numbers), snaps: s.snaps,
	}
}

func (s *store) last() uint64 {
	if len(s.logs) == 0 {
		return 0
	}
	return s.first + uint64(len(s.logs)) - 1
}

// FirstIndex implements raft.LogStore.
func (s *store) FirstIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.logs) == 0 {
		return 0, nil
	}
	return s.first, nil
}

// LastIndex implements raft.LogStore.
func (s *store) LastIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last(), nil
}

// GetLog implements raft.LogStore.
func (s *store) GetLog(index uint64, l *raft.Log) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.logs) == 0 || index < s.first || index > s.last() {
		return raft.ErrLogNotFound
	}
	*l = *s.logs[index-s.first]
	return nil
}

// StoreLog implements raft.LogStore.
func (s *store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (s *store) StoreLogs(logs []*raft.Log) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range logs {
		kept := *l
		switch {
		case len(s.logs) == 0 || l.Index > s.last()+1: // behind a snapshot; Journal is monotonic, so the old ones are gone
			s.first, s.logs = l.Index, []*raft.Log{&kept}
		case l.Index == s.last()+1:
			s.logs = append(s.logs, &kept)
		default:
			s.logs = append(s.logs[:l.Index-s.first:l.Index-s.first], &kept)
		}
	}
	return nil
}

// DeleteRange implements raft.LogStore.
func (s *store) DeleteRange(from, to uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.logs) == 0 {
		return nil
	}
	if from <= s.first {
		n := min(max(to+1, s.first)-s.first, uint64(len(s.logs)))
		s.logs, s.first = s.logs[n:], s.first+n
		return nil
	}
	if from <= s.last() {
		s.logs = s.logs[: from-s.first : from-s.first]
	}
	return nil
}

// Set implements raft.StableStore.
func (s *store) Set(key, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stable[string(key)] = append([]byte(nil), value...)
	return nil
}

// Get implements raft.StableStore.
func (s *store) Get(key []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.stable[string(key)]
	if !ok {
		return nil, errKeyNotFound
	}
	return v, nil
}

// SetUint64 implements raft.StableStore.
func (s *store) SetUint64(key []byte, value uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.numbers[string(key)] = value
	return nil
}

// GetUint64 implements raft.StableStore.
func (s *store) GetUint64(key []byte) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.numbers[string(key)]
	if !ok {
		return 0, errKeyNotFound
	}
	return v, nil
}

// voters reads the newest configuration of the log.
func (s *store) voters() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.logs) - 1; i >= 0; i-- {
		if s.logs[i].Type != raft.LogConfiguration {
			continue
		}
		var out []string
		for _, sv := range raft.DecodeConfiguration(s.logs[i].Data).Servers {
			if sv.Suffrage == raft.Voter {
				out = append(out, string(sv.ID))
			}
		}
		return out
	}
	return nil
}

// term is the term of an entry; 0 = it is not there.
func (s *store) term(index uint64) uint64 {
	var l raft.Log
	if err := s.GetLog(index, &l); err != nil {
		return 0
	}
	return l.Term
}
