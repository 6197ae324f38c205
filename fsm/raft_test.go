package fsm

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// disk is what a node keeps over a restart.
type disk struct {
	*raft.InmemStore
	snapshots *noting
}

// noting is the snapshot store as package cluster wraps it: it tells the machine of the configuration.
type noting struct {
	*raft.InmemSnapshotStore
	machine *Machine
}

func (n *noting) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, r, err := n.InmemSnapshotStore.Open(id)
	if err == nil {
		n.machine.NoteSnapshot(meta.ConfigurationIndex, meta.Configuration.Servers)
	}
	return meta, r, err
}

// startNode runs a Raft of one voter over the disk and waits until it leads.
func startNode(t *testing.T, d disk) (*raft.Raft, *Machine) {
	t.Helper()
	c := raft.DefaultConfig()
	c.LocalID, c.Logger, c.TrailingLogs = "a", hclog.NewNullLogger(), 1
	_, transport := raft.NewInmemTransport("a")
	m := NewMachine(quiet())
	d.snapshots.machine = m
	r, err := raft.NewRaft(c, m, d, d, d.snapshots, transport)
	if err != nil {
		t.Fatal(err)
	}
	if known, err := raft.HasExistingState(d, d, d.snapshots); err != nil {
		t.Fatal(err)
	} else if !known {
		if err := r.BootstrapCluster(servers("a")).Error(); err != nil {
			t.Fatal(err)
		}
	}
	for range r.LeaderCh() {
		break
	}
	if err := r.Barrier(time.Second).Error(); err != nil {
		t.Fatal(err)
	}
	return r, m
}

// The real library drives the machine: results come back to the proposer, and a restart from snapshot and log gives
// the same View as before, configuration included, although Raft does not call StoreConfiguration for it.
func TestUnderRaft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := disk{raft.NewInmemStore(), &noting{InmemSnapshotStore: raft.NewInmemSnapshotStore()}}
		r, m := startNode(t, d)
		ch, cancel := m.Watch()
		defer cancel()
		log := history()
		for i, c := range log {
			f := r.Apply(mustEncode(t, c), time.Second)
			if err := f.Error(); err != nil {
				t.Fatal(err)
			}
			if res := f.Response().(Result); res.Refused != "" || res.Index != f.Index() {
				t.Fatalf("%+v", res)
			}
			if i == 4 {
				if err := r.Snapshot().Error(); err != nil {
					t.Fatal(err)
				}
			}
		}
		f := r.Apply(mustEncode(t, Assign{Service: "web", Owner: "b", Reason: OwnerFailed}), time.Second)
		if err := f.Error(); err != nil || f.Response().(Result).Refused != StaleEpoch {
			t.Fatalf("%v, %+v", err, f.Response())
		}
		<-ch
		before := m.View()
		if err := r.Shutdown().Error(); err != nil {
			t.Fatal(err)
		}
		if first, err := d.FirstIndex(); err != nil || first <= 2 {
			t.Fatalf("the log was not cut: it begins at %d, %v", first, err)
		}

		r, m = startNode(t, d)
		after := m.View()
		if after.Index != before.Index || after.ConfigIndex != before.ConfigIndex || after.ConfigIndex == 0 || len(after.Servers) != 1 {
			t.Fatalf("before %+v\nafter %+v", before, after)
		}
		sameState(t, "after the restart", after.State, before.State)
		if err := r.Shutdown().Error(); err != nil {
			t.Fatal(err)
		}
	})
}
