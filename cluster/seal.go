package cluster

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/hashicorp/raft"
)

// sealed puts a checksum (CRC-32C) into every entry that it stores and looks at it when it reads: bbolt has none for its
// data, and an entry with one wrong bit would make this node's state differ from the others' without a word.
type sealed struct{ raft.LogStore }

// sealMark begins the Extensions of a sealed entry; the checksum follows, and then what the entry's Extensions were.
var sealMark = []byte("NP1")

const sealSize = 3 + 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errSeal = errors.New("its checksum is wrong")

// StoreLogs implements raft.LogStore. The entries themselves are left as they are: Raft goes on using them.
func (s sealed) StoreLogs(logs []*raft.Log) error {
	out := make([]*raft.Log, len(logs))
	for i, l := range logs {
		one := *l
		one.Extensions = binary.BigEndian.AppendUint32(append([]byte(nil), sealMark...), checksum(l))
		one.Extensions = append(one.Extensions, l.Extensions...)
		out[i] = &one
	}
	return s.LogStore.StoreLogs(out)
}

// StoreLog implements raft.LogStore.
func (s sealed) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// GetLog implements raft.LogStore.
func (s sealed) GetLog(index uint64, l *raft.Log) error {
	if err := s.LogStore.GetLog(index, l); err != nil {
		return err
	}
	seal := l.Extensions
	if len(seal) < sealSize || string(seal[:3]) != string(sealMark) {
		return errSeal
	}
	if l.Extensions = seal[sealSize:]; len(l.Extensions) == 0 {
		l.Extensions = nil
	}
	if binary.BigEndian.Uint32(seal[3:]) != checksum(l) || l.Index != index {
		return errSeal
	}
	return nil
}

// checksum is over everything that decides what an entry means.
func checksum(l *raft.Log) uint32 {
	var head [17]byte
	binary.BigEndian.PutUint64(head[:], l.Index)
	binary.BigEndian.PutUint64(head[8:], l.Term)
	head[16] = byte(l.Type)
	sum := crc32.Update(0, castagnoli, head[:])
	sum = crc32.Update(sum, castagnoli, l.Data)
	return crc32.Update(sum, castagnoli, l.Extensions)
}
