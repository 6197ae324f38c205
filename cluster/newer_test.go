package cluster

import (
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"nightporter/fsm"
)

// A host that was taken back too far has a snapshot that only the newer version reads. It says so: its state is not damaged, and with the older
// snapshot that is there as well it does not begin.
func TestASnapshotOfANewerVersionEndsTheStart(t *testing.T) {
	dir := t.TempDir()
	_, trans := raft.NewInmemTransport("a")
	save := func(index uint64, newer bool, logs ...*raft.Log) {
		t.Helper()
		body, err1 := fsm.EncodeSnapshot(index, fsm.Empty())
		state, err2 := fsm.EncodeState(fsm.Empty())
		if newer {
			body = append(body[:len(body)-len(state)], "NPS\xff{}"...)
		}
		stores, err3 := OpenStores(dir)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		sink, err := stores.Snapshots.Create(raft.SnapshotVersionMax, index, 1, raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "a"}}}, 1, trans)
		if err != nil {
			t.Fatal(err)
		}
		_, err = sink.Write(body)
		if err = errors.Join(err, sink.Close(), stores.Stable.SetUint64([]byte(termKey), 1), stores.Log.StoreLogs(logs), stores.Close()); err != nil {
			t.Fatal(err)
		}
	}
	start := func() error {
		stores, err := OpenStores(dir)
		if err != nil {
			t.Fatal(err)
		}
		r, err := StartRaft(RaftConfig{Node: "a", Timing: Derive(fsm.FailoverMin), Machine: fsm.NewMachine(discard()), Stores: stores, Transport: trans, Log: discard()})
		if err != nil {
			return err
		}
		return r.Shutdown()
	}
	save(2, false, configAt(1, 1, "a"), &raft.Log{Index: 2, Term: 1, Type: raft.LogNoop}, &raft.Log{Index: 3, Term: 1, Type: raft.LogNoop})
	if err := start(); err != nil {
		t.Fatal(err)
	}
	save(30, true)
	for range 2 { // the first one changed nothing
		if err := start(); !errors.Is(err, fsm.ErrNewerFormat) || strings.Contains(err.Error(), "put the data directory away") {
			t.Errorf("it says: %v", err)
		}
	}
	save(40, false) // as the version does that reads it
	if err := start(); err != nil {
		t.Error(err)
	}
}
