package fsm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// A log entry is a header of five bytes and a JSON payload:
//
//	0-1  "NP"
//	2    format of the payload: 1, or 2 for what an older version would have to halt at (FormatOf)
//	3    kind (Kind)
//	4    flags: bit 0 = must be understood; the other bits are reserved and zero
//
// DESIGN.md has the rule by which it evolves.
//
// Format 2 is that of what version 0.1 cannot carry out: definitions of services that say more than it knows (a mode, checks, a
// unit, a hold of a port, rules for its wakes), witnesses, and what is measured, judged and set of wakes. Everything else is still written as format 1, byte for byte.
const (
	entryMagic     = "NP"
	entryVersion   = 1
	entryHeader    = 5
	flagUnderstand = 1 << 0
)

// Format is the newest format of entries and states that this version reads. A node says it in its record (Node.Format).
const Format = 2

// FormatOf is the format that a command is written in: the oldest that says all of it.
func FormatOf(c Command) uint8 {
	switch c := c.(type) {
	case Found:
		return formatOfServices(slices.Values(c.Services))
	case PutService:
		return formatOfServices(slices.Values([]Service{c.Service}))
	case MeasureWake, NoteWake, JudgeWake, SetInrush, ReportFitness, BeginCanary, EndCanary, JudgeFitness, SetDrain, LiftEpochs:
		return 2
	case PutNode:
		if c.Node.Role != Member {
			return 2
		}
	}
	return entryVersion
}

func formatOfServices(list iter.Seq[Service]) uint8 {
	for sv := range list {
		if sv.second() {
			return 2
		}
	}
	return entryVersion
}

// second says whether a definition says what format 1 has no word for.
func (sv Service) second() bool {
	return sv.Checked() || sv.Mode != ModeMAC || sv.Replay != ReplayTCP || sv.Hold != HoldDrop || !sv.Wake.zero() ||
		slices.ContainsFunc(sv.Ports, func(p Port) bool { return p.Hold != "" })
}

// readable says whether a kind exists in a format.
func readable(k Kind, format byte) bool {
	switch k {
	case KindMeasureWake, KindNoteWake, KindJudgeWake, KindSetInrush, KindReportFitness, KindBeginCanary, KindEndCanary, KindJudgeFitness, KindSetDrain, KindLiftEpochs:
		return format == 2
	}
	return format == entryVersion || format == 2 && (k == KindFound || k == KindPutService || k == KindPutNode)
}

// MaxCommand is the largest encoded command in bytes. Encode refuses a larger one; Decode does not, since what is
// committed must be applied.
const MaxCommand = 64 << 10

var (
	// ErrIgnorable means that the entry is of a kind or format that this version does not know and may skip.
	ErrIgnorable = errors.New("a newer version's entry that may be ignored")
	// ErrMustUnderstand means that the entry is of a kind or format that this version does not know and that
	// changes what nodes do: a node that cannot read it has to stop.
	ErrMustUnderstand = errors.New("a newer version's entry that must be understood")
	// ErrMalformed means that the bytes are no entry at all, or one of a known format with an unreadable payload.
	ErrMalformed = errors.New("malformed entry")
)

// Encode gives the bytes of a log entry. Each command of this version must be understood, but for the records of
// wakes, on which no decision rests.
func Encode(c Command) ([]byte, error) {
	if c == nil {
		return nil, errors.New("encoding a command: it is nil")
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encoding a %T: %w", c, err)
	}
	if n := entryHeader + len(payload); n > MaxCommand {
		return nil, fmt.Errorf("encoding a %T: it has %d bytes, more than %d: split it", c, n, MaxCommand)
	}
	flags := byte(flagUnderstand)
	if k := c.kind(); k == KindBeginWake || k == KindEndWake || k == KindNoteWake {
		flags = 0
	}
	return append([]byte{entryMagic[0], entryMagic[1], FormatOf(c), byte(c.kind()), flags}, payload...), nil
}

// Decode reads the bytes of a log entry. Its errors match ErrIgnorable, ErrMustUnderstand or ErrMalformed.
func Decode(b []byte) (Command, error) {
	if len(b) < entryHeader || !bytes.HasPrefix(b, []byte(entryMagic)) {
		return nil, fmt.Errorf("decoding a command of %d bytes: %w: no header", len(b), ErrMalformed)
	}
	version, kind, flags := b[2], Kind(b[3]), b[4]
	read := payloadReader(kind)
	if !readable(kind, version) || read == nil || flags&^flagUnderstand != 0 {
		unknown := ErrIgnorable
		if flags&flagUnderstand != 0 {
			unknown = ErrMustUnderstand
		}
		return nil, fmt.Errorf("decoding a command of kind %d, format %d, flags %#x (this version reads up to format %d): %w",
			kind, version, flags, Format, unknown)
	}
	c, err := read(b[entryHeader:])
	if err != nil {
		return nil, fmt.Errorf("decoding a command of kind %d: %w: %w", kind, ErrMalformed, err)
	}
	return c, nil
}

// payloadReader gives the function that reads a kind's payload, nil for a kind that this version does not know.
func payloadReader(k Kind) func([]byte) (Command, error) {
	switch k {
	case KindFound:
		return readPayload[Found]
	case KindPutNode:
		return readPayload[PutNode]
	case KindRemoveNode:
		return readPayload[RemoveNode]
	case KindSetPower:
		return readPayload[SetPower]
	case KindPutService:
		return readPayload[PutService]
	case KindDeleteService:
		return readPayload[DeleteService]
	case KindAssign:
		return readPayload[Assign]
	case KindSetFailover:
		return readPayload[SetFailover]
	case KindBeginWake:
		return readPayload[BeginWake]
	case KindEndWake:
		return readPayload[EndWake]
	case KindMeasureWake:
		return readPayload[MeasureWake]
	case KindNoteWake:
		return readPayload[NoteWake]
	case KindReportFitness:
		return readPayload[ReportFitness]
	case KindBeginCanary:
		return readPayload[BeginCanary]
	case KindEndCanary:
		return readPayload[EndCanary]
	case KindJudgeFitness:
		return readPayload[JudgeFitness]
	case KindJudgeWake:
		return readPayload[JudgeWake]
	case KindSetInrush:
		return readPayload[SetInrush]
	case KindSetDrain:
		return readPayload[SetDrain]
	case KindLiftEpochs:
		return readPayload[LiftEpochs]
	}
	return nil
}

func readPayload[C Command](b []byte) (Command, error) {
	var c C
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, err
	}
	return c, nil
}
