package lease

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func sampleTable() Table {
	v := NewVoter("v", 3*sec)
	v.Request(10*sec, usual, ask(nil))
	v.Release(10*sec, Release{Service: service, Epoch: 5, Node: "a", Incarnation: 3, Seq: 11})
	v.Request(11*sec, usual, ask(func(r *Request) { r.Node, r.Epoch = "b", 6 }))
	v.Release(11*sec, Release{Service: "db", Epoch: 1 << 40, Node: "c", Incarnation: 1, Seq: 1})
	t := v.Table()
	t.BootID, t.Offset = "c0ffee", -7*time.Millisecond
	return t
}

// tableFixture is sampleTable in format 1. A daemon is restarted into a newer version within one boot: what this version
// wrote must stay readable, or the format's number must be raised (then the voter waits, rule 1).
const tableFixture = "4e504c540106633066666565ffbed60680f882ad1601020264628080808080200001016300000101808080808020010103776562060601620380e08bb4590080b8b5fa51020161018090dfc04a030b05030b01620180b8b5fa51030a000000b4be49bc"

func TestTableFixture(t *testing.T) {
	if got := hex.EncodeToString(sampleTable().Marshal()); got != tableFixture {
		t.Errorf("format 1 is written differently:\n%s\n%s", got, tableFixture)
	}
	fixture, err := hex.DecodeString(tableFixture)
	if err != nil {
		t.Fatal(err)
	}
	back, err := UnmarshalTable(fixture)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sampleTable(), back, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	restored := RestoreVoter("v", back).Table()
	restored.BootID, restored.Offset = back.BootID, back.Offset
	if diff := cmp.Diff(back, restored, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if empty := NewVoter("v", 0).Table().Marshal(); len(empty) > 20 {
		t.Errorf("an empty table takes %d bytes", len(empty))
	}
}

func TestDamagedTables(t *testing.T) {
	good := sampleTable().Marshal()
	for n := range good {
		if _, err := UnmarshalTable(good[:n]); !errors.Is(err, ErrTable) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	for bit := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := UnmarshalTable(bad); !errors.Is(err, ErrTable) {
			t.Fatalf("bit %d turned over: %v", bit, err)
		}
	}
	for name, change := range map[string]func(*Table){
		"services out of order": func(t *Table) { t.Services[0], t.Services[1] = t.Services[1], t.Services[0] },
		"a service twice":       func(t *Table) { t.Services[0] = t.Services[1] },
		"marks out of order":    func(t *Table) { m := t.Services[1].Marks; m[0], m[1] = m[1], m[0] },
	} {
		table := sampleTable()
		change(&table)
		if _, err := UnmarshalTable(table.Marshal()); !errors.Is(err, ErrTable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzUnmarshalTable: no bytes crash it, and what it accepts is what Marshal writes. The checksum is put right, so that
// the fuzzer gets past it.
func FuzzUnmarshalTable(f *testing.F) {
	f.Add(sampleTable().Marshal())
	f.Add(NewVoter("v", 0).Table().Marshal())
	f.Add(sampleTable().Marshal()[:len(sampleTable().Marshal())-tableSumSize])
	f.Add([]byte(tableMagic + "\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, in := range [][]byte{b, withSum(b)} {
			table, err := UnmarshalTable(in)
			if err != nil {
				if !errors.Is(err, ErrTable) {
					t.Fatal(err)
				}
				continue
			}
			if out := table.Marshal(); !bytes.Equal(in, out) {
				t.Fatalf("read %x, wrote %x", in, out)
			}
			RestoreVoter("v", table).Request(10*sec, usual, ask(nil))
		}
	})
}
