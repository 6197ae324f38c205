package fsm

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// A state is "NPS", a version byte and JSON. The version is 1, or 2 where a service has checks or a unit, wakes were measured, there is a witness, or nodes
// have said whether they can be woken. A snapshot, as Raft keeps it, is "NPX", a version byte, the index of the
// last entry in it (8 bytes, big endian) and a state.
const (
	stateMagic      = "NPS"
	stateVersion    = Format
	snapshotMagic   = "NPX"
	snapshotVersion = 1
	snapshotHeader  = len(snapshotMagic) + 1 + 8
)

// ErrNewerFormat means that a state or snapshot was written by a newer version.
var ErrNewerFormat = errors.New("written by a newer version of nightporter: upgrade this node")

// EncodeState gives the bytes of a state. Equal states give equal bytes.
func EncodeState(s *State) ([]byte, error) {
	if s == nil {
		s = Empty()
	}
	payload, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encoding the state: %w", err)
	}
	return append(append([]byte(stateMagic), stateFormat(s)), payload...), nil
}

// stateFormat is the oldest format that says all of a state.
func stateFormat(s *State) uint8 {
	if len(s.WakeTimes) > 0 || len(s.Fitness) > 0 || len(s.Drains) > 0 || len(s.Recoveries) > 0 || s.Lifted != nil || s.Inrush != 0 || slices.ContainsFunc(s.Wakes, func(w Wake) bool { return w.Phases != Phases{} || w.Note != "" }) {
		return 2
	}
	for _, n := range s.Nodes {
		if n.Role != Member {
			return 2
		}
	}
	return formatOfServices(maps.Values(s.Services))
}

// DecodeState reads the bytes of a state. Its errors match ErrNewerFormat or ErrMalformed.
func DecodeState(b []byte) (*State, error) {
	payload, err := cutHeader(b, stateMagic, stateVersion)
	if err != nil {
		return nil, fmt.Errorf("decoding a state: %w", err)
	}
	s := Empty()
	if err := json.Unmarshal(payload, s); err != nil {
		return nil, fmt.Errorf("decoding a state: %w: %w", ErrMalformed, err)
	}
	if err := checkNames(s); err != nil {
		return nil, fmt.Errorf("decoding a state: %w: %w", ErrMalformed, err)
	}
	return s, nil
}

// checkNames holds up a state that was edited by hand into nonsense, and one that says "null".
func checkNames(s *State) error {
	if s.Services == nil || s.Ownerships == nil || s.Nodes == nil || s.History == nil {
		return errors.New("a table is missing")
	}
	if s.Events != nil && slices.ContainsFunc(s.Events.Pages, func(p EventPage) bool { return len(p.Events) == 0 || p.First == 0 }) {
		return errors.New("a page of the story is empty or has no number")
	}
	for key, sv := range s.Services {
		if key != sv.Name {
			return fmt.Errorf("service %q stands under the name %q", sv.Name, key)
		}
	}
	for key, n := range s.Nodes {
		if key != n.Name {
			return fmt.Errorf("node %q stands under the name %q", n.Name, key)
		}
	}
	return nil
}

func encodeSnapshot(index uint64, s *State) ([]byte, error) {
	state, err := EncodeState(s)
	if err != nil {
		return nil, err
	}
	b := append([]byte(snapshotMagic), snapshotVersion)
	return append(binary.BigEndian.AppendUint64(b, index), state...), nil
}

func decodeSnapshot(b []byte) (uint64, *State, error) {
	rest, err := cutHeader(b, snapshotMagic, snapshotVersion)
	if err != nil {
		return 0, nil, fmt.Errorf("decoding a snapshot: %w", err)
	}
	if len(b) < snapshotHeader {
		return 0, nil, fmt.Errorf("decoding a snapshot of %d bytes: %w: cut short", len(b), ErrMalformed)
	}
	s, err := DecodeState(rest[8:])
	if err != nil {
		return 0, nil, fmt.Errorf("decoding a snapshot: %w", err)
	}
	return binary.BigEndian.Uint64(rest), s, nil
}

func cutHeader(b []byte, magic string, version byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(b, []byte(magic))
	switch {
	case !ok || len(rest) == 0 || rest[0] == 0:
		return nil, fmt.Errorf("%w: no header", ErrMalformed)
	case rest[0] > version:
		return nil, fmt.Errorf("format %d, this version reads up to %d: %w", rest[0], version, ErrNewerFormat)
	}
	return rest[1:], nil
}
