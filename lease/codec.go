package lease

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// The mirrored table: magic, format version, body, CRC-32C of all before it. Numbers are uvarints, times zig-zag
// varints, strings have their length in front. Writing is deterministic and reading accepts only what writing gives, so
// that equal tables are equal bytes.
const (
	tableMagic   = "NPLT"
	tableVersion = 1
	tableSumSize = 4
	flagBit      = 1
)

// ErrTable is wrapped by every error of UnmarshalTable: the table is not whole, so the voter starts without one and
// waits (rule 1).
var ErrTable = errors.New("lease table is damaged or of another version")

// Marshal gives the table's bytes.
func (t Table) Marshal() []byte {
	b := append(make([]byte, 0, 256), tableMagic...)
	b = append(b, tableVersion)
	b = appendString(b, t.BootID)
	b = binary.AppendVarint(b, int64(t.Offset))
	b = binary.AppendVarint(b, int64(t.Since))
	b = appendFlag(b, t.Settled)
	b = binary.AppendUvarint(b, uint64(len(t.Services)))
	for _, r := range t.Services {
		b = r.append(b)
	}
	return withSum(b)
}

func withSum(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

func (r Record) append(b []byte) []byte {
	b = appendString(b, r.Service)
	b = binary.AppendUvarint(b, r.Highest)
	b = binary.AppendUvarint(b, r.Entry.Epoch)
	if r.Entry.Epoch != 0 {
		b = appendString(b, r.Entry.Holder)
		b = binary.AppendUvarint(b, r.Entry.Incarnation)
		b = binary.AppendVarint(b, int64(r.Entry.Expires))
		b = appendFlag(b, r.Entry.Released)
		b = binary.AppendVarint(b, int64(r.Entry.LastSeen))
	}
	b = binary.AppendUvarint(b, uint64(len(r.Marks)))
	for _, m := range r.Marks {
		b = appendString(b, m.Node)
		b = appendFlag(b, m.Asked)
		b = binary.AppendVarint(b, int64(m.LastSeen))
		for _, n := range []uint64{m.Incarnation, m.Seq, m.ReleasedEpoch, m.ReleasedInc, m.ReleasedSeq} {
			b = binary.AppendUvarint(b, n)
		}
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendFlag(b []byte, set bool) []byte {
	if set {
		return append(b, flagBit)
	}
	return append(b, 0)
}

// UnmarshalTable reads what Marshal wrote. Anything else is an error that wraps ErrTable; it never panics, and what it
// allocates is bounded by len(b).
func UnmarshalTable(b []byte) (Table, error) {
	head := len(tableMagic) + 1
	if len(b) < head+tableSumSize || string(b[:len(tableMagic)]) != tableMagic {
		return Table{}, fmt.Errorf("%w: %d bytes that do not begin with %q", ErrTable, len(b), tableMagic)
	}
	if got := b[len(tableMagic)]; got != tableVersion {
		return Table{}, fmt.Errorf("%w: format %d, this program reads %d", ErrTable, got, tableVersion)
	}
	body, sum := b[:len(b)-tableSumSize], binary.BigEndian.Uint32(b[len(b)-tableSumSize:])
	if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != sum {
		return Table{}, fmt.Errorf("%w: checksum differs", ErrTable)
	}
	d := &decoder{b: body[head:]}
	t := Table{
		BootID: d.text(), Offset: time.Duration(d.signed()), Since: Boot(d.signed()), Settled: d.flag(),
	}
	n := d.count()
	t.Services = make([]Record, 0, n)
	for i := 0; i < n && !d.bad; i++ {
		r := d.record()
		if i > 0 && r.Service <= t.Services[i-1].Service {
			d.bad = true
		}
		t.Services = append(t.Services, r)
	}
	if d.bad || len(d.b) != 0 {
		return Table{}, fmt.Errorf("%w: body does not parse", ErrTable)
	}
	return t, nil
}

// decoder takes values from the front of b; after the first that is wrong it gives zeros and bad stays true.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) record() Record {
	r := Record{Service: d.text(), Highest: d.number()}
	if epoch := d.number(); epoch != 0 {
		r.Entry = Entry{
			Service: r.Service, Epoch: epoch, Holder: d.text(), Incarnation: d.number(),
			Expires: Boot(d.signed()), Released: d.flag(), LastSeen: Boot(d.signed()),
		}
	}
	n := d.count()
	r.Marks = make([]Mark, 0, n)
	for i := 0; i < n && !d.bad; i++ {
		m := Mark{
			Node: d.text(), Asked: d.flag(), LastSeen: Boot(d.signed()), Incarnation: d.number(), Seq: d.number(),
			ReleasedEpoch: d.number(), ReleasedInc: d.number(), ReleasedSeq: d.number(),
		}
		if i > 0 && m.Node <= r.Marks[i-1].Node {
			d.bad = true
		}
		r.Marks = append(r.Marks, m)
	}
	return r
}

func (d *decoder) number() uint64 {
	n, size := binary.Uvarint(d.b)
	if d.bad || size <= 0 || size > 1 && d.b[size-1] == 0 { // a last byte of zero is a longer spelling of the number
		d.bad = true
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) signed() int64 {
	n := d.number()
	return int64(n>>1) ^ -int64(n&1)
}

// count is a number of things that take at least one byte each.
func (d *decoder) count() int {
	n := d.number()
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) text() string {
	n := d.count()
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) flag() bool {
	n := d.number()
	if n > flagBit {
		d.bad = true
	}
	return n == flagBit
}
