package cluster

import (
	"io"

	"github.com/hashicorp/raft"

	"nightporter/fsm"
)

// snapshots tells the machine and the journal which configuration a snapshot was taken under: hashicorp/raft does not call
// StoreConfiguration on a restore.
type snapshots struct {
	raft.SnapshotStore
	machine *fsm.Machine
	journal *Journal
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
