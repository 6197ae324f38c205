package cluster

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"nightporter/fsm"
)

func entry(t testing.TB, index, term uint64, c fsm.Command) *raft.Log {
	t.Helper()
	raw, err := fsm.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	return &raft.Log{Index: index, Term: term, Type: raft.LogCommand, Data: raw}
}

func configAt(index, term uint64, names ...string) *raft.Log {
	return &raft.Log{Index: index, Term: term, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(raft.Configuration{Servers: serversOf(names...)})}
}

func serversOf(names ...string) []raft.Server {
	var out []raft.Server
	for _, n := range names {
		out = append(out, raft.Server{ID: raft.ServerID(n), Address: raft.ServerAddress(n)})
	}
	return out
}

// weakStore is a log store whose disk can fail.
type weakStore struct {
	raft.LogStore
	write, read error
}

func (w *weakStore) StoreLogs(l []*raft.Log) error {
	if w.write != nil {
		return w.write
	}
	return w.LogStore.StoreLogs(l)
}

func (w *weakStore) GetLog(i uint64, l *raft.Log) error {
	if w.read != nil {
		return w.read
	}
	return w.LogStore.GetLog(i, l)
}

func sampleLog(t testing.TB) []*raft.Log {
	return []*raft.Log{
		configAt(1, 1, "a"),
		entry(t, 2, 1, fsm.Found{Failover: 3 * time.Second}),
		entry(t, 3, 1, fsm.Assign{Service: "web", Owner: "a", Planned: 0}),
		configAt(4, 1, "a", "b"),
		entry(t, 5, 2, fsm.Assign{Service: "web", Owner: "b", Planned: 6}),
		entry(t, 6, 2, fsm.SetFailover{Failover: 9 * time.Second}),
		configAt(7, 2, "a", "b", "c"),
	}
}

// TestJournalDigest: appends count at once, a suffix that was cut off counts no longer, a snapshot's configuration always.
func TestJournalDigest(t *testing.T) {
	tests := []struct {
		name          string
		do            func(*Journal) error
		config, epoch uint64
		longest       time.Duration
	}{
		{"all", func(*Journal) error { return nil }, 7, 7, 9 * time.Second},
		{"the end is cut off", func(j *Journal) error { return j.DeleteRange(5, 7) }, 4, 1, 3 * time.Second},
		{"cut off and replaced", func(j *Journal) error {
			return errors.Join(j.DeleteRange(5, 7), j.StoreLog(entry(t, 5, 3, fsm.Assign{Service: "web", Planned: 1})))
		}, 4, 2, 3 * time.Second},
		{"cut off below the snapshot's configuration", func(j *Journal) error {
			j.NoteSnapshot(6)
			return j.DeleteRange(4, 7)
		}, 6, 1, 3 * time.Second},
		{"compacted", func(j *Journal) error {
			j.NoteSnapshot(7)
			return j.DeleteRange(1, 7)
		}, 7, 0, 0},
		{"an older snapshot takes nothing back", func(j *Journal) error {
			j.NoteSnapshot(1)
			return nil
		}, 7, 7, 9 * time.Second},
		{"behind a gap the log is a new one", func(j *Journal) error {
			j.NoteSnapshot(8)
			return j.StoreLog(entry(t, 50, 4, fsm.Assign{Service: "web", Planned: 2}))
		}, 8, 3, 0},
		{"unreadable entries are passed over", func(j *Journal) error {
			return j.StoreLog(&raft.Log{Index: 8, Term: 2, Type: raft.LogCommand, Data: []byte("rubbish")})
		}, 7, 7, 9 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inner := raft.NewInmemStore()
			j, err := NewJournal(inner)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(j.StoreLogs(sampleLog(t)), tt.do(j)); err != nil {
				t.Fatal(err)
			}
			again, err := NewJournal(inner)
			if err != nil {
				t.Fatal(err)
			}
			again.NoteSnapshot(j.snapshot)
			for when, j := range map[string]*Journal{"running": j, "restarted": again} {
				if c, e, l := j.NewestConfig(), j.Epoch("web", 0), j.LargestFailover(); c != tt.config || e != tt.epoch || l != tt.longest {
					t.Errorf("%s: config %d, epoch %d, failover %s; want %d, %d, %s", when, c, e, l, tt.config, tt.epoch, tt.longest)
				}
			}
		})
	}
}

// TestAppliedAssignsCountNoLonger: the state has them, but for those that were refused.
func TestAppliedAssignsCountNoLonger(t *testing.T) {
	j, err := NewJournal(raft.NewInmemStore())
	if err != nil {
		t.Fatal(err)
	}
	if err := j.StoreLogs(sampleLog(t)); err != nil {
		t.Fatal(err)
	}
	for applied, want := range map[uint64]uint64{0: 7, 3: 7, 4: 7, 5: 0, 7: 0} {
		if got := j.Epoch("web", applied); got != want {
			t.Errorf("%d entries applied: epoch %d, want %d", applied, got, want)
		}
	}
	if got := j.Epoch("db", 0); got != 0 {
		t.Errorf("a service that is in no entry has epoch %d", got)
	}
}

// TestALiftCountsForEveryService: also for one that is in no entry, until it is applied or cut off.
func TestALiftCountsForEveryService(t *testing.T) {
	j, err := NewJournal(raft.NewInmemStore())
	if err != nil {
		t.Fatal(err)
	}
	lift := entry(t, 8, 3, fsm.LiftEpochs{From: "00112233445566778899aabbccddeeff", Floor: 9 << 24})
	if err := errors.Join(j.StoreLogs(sampleLog(t)), j.StoreLog(lift)); err != nil {
		t.Fatal(err)
	}
	for _, service := range []string{"web", "db"} {
		if before, after := j.Epoch(service, 7), j.Epoch(service, 8); before != 9<<24 || after != 0 {
			t.Errorf("%s: epoch %d before the lift is applied, %d after", service, before, after)
		}
	}
	if err := j.DeleteRange(8, 8); err != nil || j.Epoch("db", 0) != 0 || j.Epoch("web", 0) != 7 {
		t.Errorf("cut off it still counts: %v", err)
	}
}

// TestJournalStaysStrict: a disk that fails takes nothing back of what the voter must refuse.
func TestJournalStaysStrict(t *testing.T) {
	disk := &weakStore{LogStore: raft.NewInmemStore()}
	j, err := NewJournal(disk)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.StoreLogs(sampleLog(t)); err != nil {
		t.Fatal(err)
	}
	<-j.Stored()
	full := errors.New("no space left")
	next := []*raft.Log{configAt(8, 2, "a"), entry(t, 9, 2, fsm.Assign{Service: "web", Planned: 20})}

	disk.write = full
	if err := j.StoreLogs(next); !errors.Is(err, full) {
		t.Fatalf("error is %v", err)
	}
	if j.NewestConfig() != 7 || j.Epoch("web", 0) != 7 || len(j.Stored()) != 0 {
		t.Fatalf("entries that were not written count: config %d, epoch %d", j.NewestConfig(), j.Epoch("web", 0))
	}
	disk.read = full
	if err := j.StoreLogs(next); !errors.Is(err, full) {
		t.Fatalf("error is %v", err)
	}
	if err := j.DeleteRange(5, 7); !errors.Is(err, full) {
		t.Fatalf("error is %v", err)
	}
	if j.NewestConfig() < 7 || j.Epoch("web", 0) < 7 {
		t.Fatalf("with an unreadable log: config %d, epoch %d", j.NewestConfig(), j.Epoch("web", 0))
	}
	if _, err := NewJournal(disk); !errors.Is(err, full) {
		t.Fatalf("an unreadable log was accepted: %v", err)
	}
}

func TestJournalReads(t *testing.T) {
	j, err := NewJournal(raft.NewInmemStore())
	if err != nil {
		t.Fatal(err)
	}
	if err := j.StoreLogs(sampleLog(t)); err != nil {
		t.Fatal(err)
	}
	if term, ok := j.Term(5); !ok || term != 2 {
		t.Errorf("term of 5 is %d, %v", term, ok)
	}
	if _, ok := j.Term(8); ok {
		t.Error("an entry beyond the end has a term")
	}
	got, err := j.Entries(3, 5)
	if err != nil || len(got) != 3 || got[0].Index != 3 || got[2].Index != 5 {
		t.Errorf("entries 3 to 5: %v, %v", got, err)
	}
	if _, err := j.Entries(6, 8); !errors.Is(err, raft.ErrLogNotFound) {
		t.Errorf("entries beyond the end: %v", err)
	}
}

// TestCompactionOnDisk: raft-boltdb deletes a range whole; a hole would look like a gap.
func TestCompactionOnDisk(t *testing.T) {
	store, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(t.TempDir(), dbFile), NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	j, err := NewJournal(store)
	if err != nil {
		t.Fatal(err)
	}
	var logs []*raft.Log
	for i := uint64(1); i <= 2000; i++ {
		logs = append(logs, entry(t, i, 1, fsm.Assign{Service: "web", Planned: i}))
	}
	if err := errors.Join(j.StoreLogs(logs), j.DeleteRange(1, 1500), j.DeleteRange(1900, 2000)); err != nil {
		t.Fatal(err)
	}
	first, _ := j.FirstIndex()
	last, _ := j.LastIndex()
	if got, err := j.Entries(first, last); err != nil || first != 1501 || last != 1899 || len(got) != 399 || j.Epoch("web", 0) != 1900 {
		t.Fatalf("%d to %d, %d entries, epoch %d: %v", first, last, len(got), j.Epoch("web", 0), err)
	}
}
