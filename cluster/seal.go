package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
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

// sealedStable does the same for the term and the vote: a node that forgets or mistakes them could vote twice in a term.
type sealedStable struct{ raft.StableStore }

// Set implements raft.StableStore.
func (s sealedStable) Set(key, value []byte) error {
	return s.StableStore.Set(key, binary.BigEndian.AppendUint32(bytes.Clone(value), valueChecksum(key, value)))
}

// Get implements raft.StableStore.
func (s sealedStable) Get(key []byte) ([]byte, error) {
	raw, err := s.StableStore.Get(key)
	if err != nil {
		return nil, err
	}
	n := len(raw) - 4
	if n < 0 || binary.BigEndian.Uint32(raw[n:]) != valueChecksum(key, raw[:n]) {
		return nil, errSeal
	}
	return raw[:n:n], nil
}

// SetUint64 implements raft.StableStore.
func (s sealedStable) SetUint64(key []byte, value uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// GetUint64 implements raft.StableStore.
func (s sealedStable) GetUint64(key []byte) (uint64, error) {
	value, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("%s has %d bytes instead of 8", key, len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}

func valueChecksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, key), castagnoli, value)
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
