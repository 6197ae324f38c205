package agent

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/cluster"
	"nightporter/fsm"
)

// notedDisk keeps the mark in memory.
type notedDisk struct {
	Disk
	mark   cluster.Mark
	writes int
}

func (d *notedDisk) LoadApplied() (cluster.Mark, error) { return d.mark, nil }
func (d *notedDisk) SaveApplied(m cluster.Mark) error   { d.mark = m; d.writes++; return nil }

// command is one entry of the log.
func command(t *testing.T, index uint64, c fsm.Command) *raft.Log {
	t.Helper()
	raw, err := fsm.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	return &raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: raw}
}

// TestTheNextLifeKnowsWhatThisOneApplied: without any leader; not what stands behind it in the log, which may not be committed.
func TestTheNextLifeKnowsWhatThisOneApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		store, disk := raft.NewInmemStore(), &notedDisk{}
		journal, err := cluster.NewJournal(store)
		if err != nil {
			t.Fatal(err)
		}
		machine := fsm.NewMachine(log)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			(&applied{machine: machine, journal: journal, disk: disk, log: log}).run(ctx)
		}()
		entries := []*raft.Log{
			command(t, 1, fsm.Found{Cluster: fsm.Cluster{ID: "00112233445566778899aabbccddeeff", Name: "home"}, Failover: time.Second}),
			command(t, 2, fsm.PutNode{Node: fsm.Node{Name: "a", Key: "k", Policy: fsm.AlwaysOn}}),
			command(t, 3, fsm.PutNode{Node: fsm.Node{Name: "b", Key: "k2", Policy: fsm.AlwaysOn}}),
		}
		if err := journal.StoreLogs(entries); err != nil {
			t.Fatal(err)
		}
		for _, l := range entries[:2] {
			machine.Apply(l)
			synctest.Wait()
		}
		stop()
		<-done
		if disk.mark != (cluster.Mark{Index: 2, Term: 1}) || disk.writes != 2 {
			t.Errorf("kept %+v with %d writes", disk.mark, disk.writes)
		}

		_, trans := raft.NewInmemTransport("a")
		next := fsm.NewMachine(log)
		node, err := cluster.StartRaft(cluster.RaftConfig{
			Node: "a", Timing: cluster.Derive(time.Second), Machine: next, Transport: trans, Log: log,
			Stores: cluster.Stores{Log: store, Stable: store, Snapshots: raft.NewInmemSnapshotStore()},
		})
		if err != nil {
			t.Fatal(err)
		}
		(&parts{deps: Deps{Disk: disk, Log: log}}).recall(node)
		if v := next.View(); v.Index != 2 || v.State.Cluster.Name != "home" || len(v.State.Nodes) != 1 {
			t.Errorf("the next life knows %+v", v)
		}
		if err := node.Shutdown(); err != nil {
			t.Error(err)
		}
	})
}

func TestTheMarkIsKept(t *testing.T) {
	d := systemDisk{data: t.TempDir()}
	if m, err := d.LoadApplied(); err != nil || m != (cluster.Mark{}) {
		t.Errorf("at first: %+v, %v", m, err)
	}
	want := cluster.Mark{Index: 1 << 40, Term: 7}
	if err := d.SaveApplied(want); err != nil {
		t.Fatal(err)
	}
	if m, err := d.LoadApplied(); err != nil || m != want {
		t.Errorf("%+v, %v", m, err)
	}
	if err := d.Forget(); err != nil {
		t.Fatal(err)
	}
	if m, err := d.LoadApplied(); err != nil || m != (cluster.Mark{}) {
		t.Errorf("after a leave: %+v, %v", m, err)
	}
	if left, _ := filepath.Glob(filepath.Join(d.data, "left-applied")); len(left) != 1 {
		t.Error("it was not put away")
	}
}
