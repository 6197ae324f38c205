package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"nightporter/lease"
)

// mirrorSlot is the room for one copy of the table. A table of 200 services has about 40 KiB.
const mirrorSlot = 256 << 10

// bootIDFile tells this boot from every other one.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// mirror is the voter's table in a file on tmpfs, written before each answer. It has two slots that are written in turn, each
// with its own number and checksum: a write that a kill cuts short leaves the other one, which then is not the whole
// truth, so the newer slot must be sound or the table counts as lost.
type mirror struct {
	file *os.File
	boot string
	seq  uint64
}

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// Mirror opens the file in the run directory.
func (d systemDisk) Mirror() (Mirror, error) {
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(d.run, "leases")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the mirror of the lease table: %w", err)
	}
	return &mirror{file: f, boot: boot}, nil
}

// Load gives the table that this boot's former life left, if it is whole.
func (m *mirror) Load() (lease.Table, bool) {
	var best []byte
	torn := uint64(0)
	for slot := range int64(2) {
		seq, body, sound := m.read(slot)
		if !sound {
			torn = max(torn, seq)
			continue
		}
		if seq > m.seq {
			m.seq, best = seq, body
		}
	}
	if best == nil || torn > m.seq {
		return lease.Table{}, false
	}
	t, err := lease.UnmarshalTable(best)
	if err != nil || t.BootID != m.boot {
		return lease.Table{}, false
	}
	return t, true
}

// header: sequence number, length, checksum of the body.
const mirrorHeader = 8 + 4 + 4

func (m *mirror) read(slot int64) (seq uint64, body []byte, sound bool) {
	head := make([]byte, mirrorHeader)
	if _, err := m.file.ReadAt(head, slot*mirrorSlot); err != nil {
		return 0, nil, false
	}
	seq = binary.LittleEndian.Uint64(head)
	n := binary.LittleEndian.Uint32(head[8:])
	if seq == 0 || n > mirrorSlot-mirrorHeader {
		return seq, nil, false
	}
	body = make([]byte, n)
	if _, err := m.file.ReadAt(body, slot*mirrorSlot+mirrorHeader); err != nil && !errors.Is(err, io.EOF) {
		return seq, nil, false
	}
	return seq, body, crc32.Checksum(body, crcTable) == binary.LittleEndian.Uint32(head[12:])
}

// Save writes the table.
func (m *mirror) Save(t lease.Table) error {
	t.BootID = m.boot
	body := t.Marshal()
	if len(body) > mirrorSlot-mirrorHeader {
		return fmt.Errorf("the lease table has %d bytes, more than its mirror can take", len(body))
	}
	m.seq++
	out := make([]byte, mirrorHeader, mirrorHeader+len(body))
	binary.LittleEndian.PutUint64(out, m.seq)
	binary.LittleEndian.PutUint32(out[8:], uint32(len(body)))
	binary.LittleEndian.PutUint32(out[12:], crc32.Checksum(body, crcTable))
	if _, err := m.file.WriteAt(append(out, body...), int64(m.seq%2)*mirrorSlot); err != nil {
		return fmt.Errorf("writing the mirror of the lease table: %w", err)
	}
	return nil
}

// Close closes the file; the table stays.
func (m *mirror) Close() error { return m.file.Close() }

// blankMirror is a mirror whose former content does not count.
type blankMirror struct{ Mirror }

// Load gives nothing.
func (blankMirror) Load() (lease.Table, bool) { return lease.Table{}, false }
