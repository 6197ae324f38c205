package cluster

import (
	"io"

	"github.com/hashicorp/raft"

	"nightporter/fsm"
)

// snapshots tells the machine and the journal which configuration a snapshot was taken under: hashicorp/raft does not call
// StoreConfiguration on a restore, and a snapshot lets the log be cut where that configuration's entry stands.
type snapshots struct {
	raft.SnapshotStore
	machine *fsm.Machine
	journal *Journal
}

// Create implements raft.SnapshotStore: for this node's own snapshots and for those that a leader sends. The configuration
// is a committed one, so that it counts (rule 2) even when the snapshot comes to nothing.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, configIndex uint64, t raft.Transport) (raft.SnapshotSink, error) {
	s.journal.NoteSnapshot(configIndex)
	return s.SnapshotStore.Create(version, index, term, c, configIndex, t)
}

// Open implements raft.SnapshotStore. It also runs when a snapshot is only read to be sent: a note about an older
// configuration changes nothing.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, r, err := s.SnapshotStore.Open(id)
	if err == nil {
		s.machine.NoteSnapshot(meta.ConfigurationIndex, meta.Configuration.Servers)
		s.journal.NoteSnapshot(meta.ConfigurationIndex)
	}
	return meta, r, err
}
