package fsm

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// entries makes a log from commands, the first at index from, all of one term.
func entries(t testing.TB, from, term uint64, commands ...Command) []*raft.Log {
	t.Helper()
	var logs []*raft.Log
	for i, c := range commands {
		logs = append(logs, &raft.Log{Index: from + uint64(i), Term: term, Type: raft.LogCommand, Data: mustEncode(t, c)})
	}
	return logs
}

func servers(ids ...raft.ServerID) raft.Configuration {
	var c raft.Configuration
	for _, id := range ids {
		c.Servers = append(c.Servers, raft.Server{ID: id, Address: raft.ServerAddress(id)})
	}
	return c
}

func configEntry(index, term uint64, ids ...raft.ServerID) *raft.Log {
	return &raft.Log{Index: index, Term: term, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(servers(ids...))}
}

func token(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// sink is a raft.SnapshotSink in memory.
type sink struct {
	bytes.Buffer
	fail              error
	closed, cancelled bool
}

func (s *sink) Write(b []byte) (int, error) {
	if s.fail != nil {
		return 0, s.fail
	}
	return s.Buffer.Write(b)
}
func (s *sink) ID() string    { return "7-9" }
func (s *sink) Close() error  { s.closed = true; return nil }
func (s *sink) Cancel() error { s.cancelled = true; return nil }

func takeSnapshot(t testing.TB, m *Machine) []byte {
	t.Helper()
	snap, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	var s sink
	if err := snap.Persist(&s); err != nil || !s.closed || s.cancelled {
		t.Fatalf("%v, closed %v, cancelled %v", err, s.closed, s.cancelled)
	}
	return s.Bytes()
}

func TestMachineAppliesAndTells(t *testing.T) {
	m := NewMachine(quiet())
	if v := m.View(); v.State == nil || v.Index != 0 || v.ConfigIndex != 0 {
		t.Fatalf("first view %+v", v)
	}
	ch, cancel := m.Watch()
	m.StoreConfiguration(1, servers("a"))
	for _, l := range entries(t, 3, 2, history()...) {
		if res := m.Apply(l).(Result); res.Refused != "" || res.Index != l.Index {
			t.Fatalf("%+v", res)
		}
	}
	v := m.View()
	if v.Index != 9 || v.ConfigIndex != 1 || len(v.Servers) != 1 {
		t.Fatalf("view %+v", v)
	}
	sameState(t, "view", v.State, play(t, nil, 3, history()...))
	if !token(ch) || token(ch) {
		t.Fatal("many changes make one token")
	}
	cancel()
	m.StoreConfiguration(10, servers("a", "b"))
	if token(ch) {
		t.Fatal("a token after cancel")
	}
}

func TestUnreadableEntries(t *testing.T) {
	var out bytes.Buffer
	m := NewMachine(slog.New(slog.NewTextHandler(&out, nil)))
	for i, c := range []struct {
		data string
		want Refusal
	}{{"rubbish", Malformed}, {"NP\x01\xc8\x00{}", UnknownCommand}} {
		index := uint64(i + 1)
		if res := m.Apply(&raft.Log{Index: index, Data: []byte(c.data)}).(Result); res.Refused != c.want || res.Index != index {
			t.Fatalf("%q: %+v", c.data, res)
		}
		if m.View().Index != index || !strings.Contains(out.String(), string(c.want)) {
			t.Fatalf("view at %d, log %s", m.View().Index, out.String())
		}
	}
	newer := &raft.Log{Index: 3, Data: []byte("NP\x01\xc8\x01{}")}
	m.Foresee([]*raft.Log{newer})
	if m.View().Index != 2 {
		t.Fatal("an entry that was not understood was foreseen")
	}
	if said := panics(func() { m.Apply(newer) }); !strings.Contains(said, "upgrade it") {
		t.Fatalf("panic says %q", said)
	}
	if m.View().Index != 2 { // the lock is free too
		t.Fatal("the view went on")
	}
}

// panics gives what f panicked with.
func panics(f func()) (said string) {
	defer func() {
		if r := recover(); r != nil {
			said = r.(string)
		}
	}()
	f()
	return ""
}

func TestForeseeBounds(t *testing.T) {
	log := entries(t, 1, 1, history()...)
	log = append(log, &raft.Log{Index: 8, Term: 1, Type: raft.LogNoop}, configEntry(9, 1, "a", "b"))
	m := NewMachine(quiet())
	ch, cancel := m.Watch()
	defer cancel()
	m.Foresee(log[1:])
	if m.View().Index != 0 || token(ch) {
		t.Fatal("entries behind a gap were used")
	}
	m.Foresee([]*raft.Log{log[0], log[1], log[3]})
	if m.View().Index != 2 || !token(ch) {
		t.Fatalf("view at %d", m.View().Index)
	}
	m.Foresee(log[:2])
	if m.View().Index != 2 || token(ch) {
		t.Fatal("known entries are no change")
	}
	m.Foresee(log)
	if v := m.View(); v.Index != 9 || v.ConfigIndex != 9 || len(v.Servers) != 2 {
		t.Fatalf("view %+v", v)
	}
	token(ch)
	for _, l := range log[:7] {
		m.Apply(l)
	}
	m.StoreConfiguration(9, servers("a", "b"))
	if m.View().Index != 9 || token(ch) {
		t.Fatal("what was foreseen came true: that is no change")
	}
	if len(m.foreseen) != 0 {
		t.Fatalf("%d marks are kept for ever", len(m.foreseen))
	}
}

func TestAFalseForesightStopsTheNode(t *testing.T) {
	log := entries(t, 1, 1, history()...)
	m := NewMachine(quiet())
	m.Foresee(log)
	m.Apply(log[0])
	other := entries(t, 2, 2, RemoveNode{Name: "a"})
	if said := panics(func() { m.Apply(other[0]) }); !strings.Contains(said, "entry 2 of term 1 was taken for committed") {
		t.Fatalf("panic says %q", said)
	}
}

func TestSnapshotHoldsOnlyWhatRaftApplied(t *testing.T) {
	log := entries(t, 1, 1, history()...)
	m := NewMachine(quiet())
	m.Apply(log[0])
	m.Foresee(log)
	index, s, err := decodeSnapshot(takeSnapshot(t, m))
	if err != nil || index != 1 {
		t.Fatalf("snapshot of %d: %v", index, err)
	}
	sameState(t, "snapshot", s, play(t, nil, 1, history()[0]))
}

func TestRestore(t *testing.T) {
	log := entries(t, 1, 1, history()...)
	old := NewMachine(quiet())
	for _, l := range log[:5] {
		old.Apply(l)
	}
	snap := takeSnapshot(t, old)
	restore := func(m *Machine, b []byte) error { return m.Restore(io.NopCloser(bytes.NewReader(b))) }

	fresh := NewMachine(quiet())
	ch, cancel := fresh.Watch()
	defer cancel()
	fresh.NoteSnapshot(4, servers("a", "b").Servers)
	if fresh.View().ConfigIndex != 0 || token(ch) {
		t.Fatal("a note alone changed the view")
	}
	fresh.NoteSnapshot(2, servers("a").Servers) // an older snapshot is opened, to be sent
	if err := restore(fresh, snap); err != nil {
		t.Fatal(err)
	}
	if v := fresh.View(); v.Index != 5 || v.ConfigIndex != 4 || len(v.Servers) != 2 || !token(ch) {
		t.Fatalf("view %+v", v)
	}
	sameState(t, "restored", fresh.View().State, play(t, nil, 1, history()[:5]...))

	ahead := NewMachine(quiet())
	ahead.Foresee(log)
	before := ahead.View()
	if err := restore(ahead, snap); err != nil {
		t.Fatal(err)
	}
	if v := ahead.View(); v.Index != before.Index || v.State != before.State {
		t.Fatalf("the view went back to %d", v.Index)
	}
	if index, _, _ := decodeSnapshot(takeSnapshot(t, ahead)); index != 5 {
		t.Fatalf("Raft's own state is at %d", index)
	}

	if err := restore(fresh, []byte("NPX\x02")); !errors.Is(err, ErrNewerFormat) {
		t.Fatalf("error is %v", err)
	}
	if err := fresh.Restore(io.NopCloser(&broken{})); !errors.Is(err, errBroken) {
		t.Fatalf("error is %v", err)
	}
	if fresh.View().Index != 5 {
		t.Fatal("a bad snapshot changed the view")
	}
}

var errBroken = errors.New("disk on fire")

type broken struct{}

func (*broken) Read([]byte) (int, error) { return 0, errBroken }

func TestPersistCancels(t *testing.T) {
	snap, _ := NewMachine(quiet()).Snapshot()
	s := sink{fail: errBroken}
	if err := snap.Persist(&s); !errors.Is(err, errBroken) || !s.cancelled || s.closed {
		t.Fatalf("%v, closed %v, cancelled %v", err, s.closed, s.cancelled)
	}
}

// Whatever is foreseen in whatever pieces, and whatever snapshots are restored in between: the View is always what
// the log up to its index gives, it never goes back, and a snapshot is always what Raft has applied.
func TestForeseeEqualsApply(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		log, states, configs := drawLog(t, rt)
		at := func(m *Machine, lastIndex, lastConfig uint64) (uint64, uint64) {
			v := m.View()
			if v.Index < lastIndex || v.ConfigIndex < lastConfig {
				rt.Fatalf("the view went back from %d/%d to %d/%d", lastIndex, lastConfig, v.Index, v.ConfigIndex)
			}
			if !bytes.Equal(bytesOf(t, v.State), states[v.Index]) || v.ConfigIndex > v.Index || v.ConfigIndex != configs[v.Index] {
				rt.Fatalf("the view at %d (configuration %d) is not what the log gives", v.Index, v.ConfigIndex)
			}
			return v.Index, v.ConfigIndex
		}
		m := NewMachine(quiet())
		var index, config uint64
		raftAt := 0
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 3).Draw(rt, "step") {
			case 0:
				from := rapid.IntRange(0, len(log)).Draw(rt, "from")
				to := rapid.IntRange(from, len(log)).Draw(rt, "to")
				m.Foresee(log[from:to])
			case 1, 2:
				for ; raftAt < len(log) && rapid.Bool().Draw(rt, "go on"); raftAt++ {
					applyAsRaft(m, log[raftAt])
				}
			case 3:
				raftAt = restoreSomething(t, rt, m, log, raftAt, configs)
			}
			index, config = at(m, index, config)
		}
		i, s, err := decodeSnapshot(takeSnapshot(t, m))
		if err != nil || int(i) > raftAt || !bytes.Equal(bytesOf(t, s), states[raftAt]) {
			rt.Fatalf("snapshot at %d, Raft at %d: %v", i, raftAt, err)
		}
	})
}

// drawLog gives a log from index 1, the state's bytes at each index and the index of its configuration.
func drawLog(t testing.TB, rt *rapid.T) (log []*raft.Log, states [][]byte, configs []uint64) {
	s := Empty()
	states, configs = [][]byte{bytesOf(t, s)}, []uint64{0}
	first := history()
	for n := range rapid.IntRange(1, 30).Draw(rt, "entries") {
		l := &raft.Log{Index: uint64(n + 1), Term: uint64(1 + n/5), Type: raft.LogNoop}
		config := configs[n]
		switch rapid.IntRange(0, 9).Draw(rt, "type") {
		case 0:
		case 1:
			l.Type = raft.LogBarrier
		case 2:
			l = configEntry(l.Index, l.Term, "a", "b")
			config = l.Index
		case 3:
			l.Type, l.Data = raft.LogCommand, []byte("rubbish")
		default:
			c := drawCommand(rt, s, n)
			if len(first) > 0 {
				c, first = first[0], first[1:]
			}
			l.Type, l.Data = raft.LogCommand, mustEncode(t, c)
			s, _ = Apply(s, l.Index, c)
		}
		log, states, configs = append(log, l), append(states, bytesOf(t, s)), append(configs, config)
	}
	return log, states, configs
}

// applyAsRaft gives an entry to the machine as raft's runFSM does: no-ops and barriers do not reach it.
func applyAsRaft(m *Machine, l *raft.Log) {
	switch l.Type {
	case raft.LogCommand:
		m.Apply(l)
	case raft.LogConfiguration:
		m.StoreConfiguration(l.Index, raft.DecodeConfiguration(l.Data))
	}
}

// restoreSomething restores a snapshot that another node made after any number of entries, also of fewer than m has
// (a late InstallSnapshot), and gives Raft's position afterwards.
func restoreSomething(t testing.TB, rt *rapid.T, m *Machine, log []*raft.Log, raftAt int, configs []uint64) int {
	to := rapid.IntRange(0, len(log)).Draw(rt, "snapshot")
	other := NewMachine(quiet())
	for _, l := range log[:to] {
		applyAsRaft(other, l)
	}
	if to == 0 || other.index == 0 {
		return raftAt // Raft takes no empty snapshot
	}
	m.NoteSnapshot(configs[to], servers("a", "b").Servers)
	if err := m.Restore(io.NopCloser(bytes.NewReader(takeSnapshot(t, other)))); err != nil {
		rt.Fatal(err)
	}
	return int(other.index)
}
