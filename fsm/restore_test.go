package fsm

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

// A node of this version that finds a disk of the first release: the stored entries go through Raft's interface into
// one machine and the stored snapshot into another, and both then say and write the same.
func TestMachineRestoresEveryFormat(t *testing.T) {
	for format, log := range formats() {
		t.Run(format, func(t *testing.T) { machineRestores(t, format, log) })
	}
}

func machineRestores(t *testing.T, format string, log []fixture) {
	replayed, restored := NewMachine(quiet()), NewMachine(quiet())
	for i, f := range log {
		l := &raft.Log{Index: uint64(10 + i), Term: 1, Type: raft.LogCommand, Data: readFixture(t, format, f.file+".entry", mustEncode(t, f.command))}
		if res := replayed.Apply(l).(Result); res.Refused != "" {
			t.Fatalf("%s: %+v", f.file, res)
		}
	}
	if format == votedFormat {
		replayed.StoreConfiguration(uint64(10+len(log)), servers("d"))
	}
	stored := readFixture(t, format, "snapshot", takeSnapshot(t, replayed))
	if err := restored.Restore(io.NopCloser(bytes.NewReader(stored))); err != nil {
		t.Fatal(err)
	}
	if a, b := replayed.View().Index, restored.View().Index; a != b || b == 0 {
		t.Fatalf("the log ends at %d, the snapshot at %d", a, b)
	}
	sameState(t, "restored", restored.View().State, replayed.View().State)
	if got := takeSnapshot(t, restored); !bytes.Equal(got, stored) {
		t.Fatalf("a snapshot is written differently now; a new form needs a new format version:\n now %s\n was %s", got, stored)
	}
}

// A field that no fixture sets could be renamed without any test of the format noticing.
func TestFixturesSetEveryField(t *testing.T) {
	fields := map[string]bool{}
	for format, log := range formats() {
		for _, f := range log {
			noteFields(reflect.ValueOf(f.command), fields)
		}
		_, s, err := decodeSnapshot(readFixture(t, format, "snapshot", nil))
		if err != nil {
			t.Fatal(err)
		}
		noteFields(reflect.ValueOf(*s), fields)
	}
	noteFields(reflect.ValueOf(*storedRecovery(t)), fields)
	if len(fields) < 50 {
		t.Fatalf("only %d fields were found", len(fields))
	}
	for name, set := range fields {
		if !set {
			t.Errorf("no fixture sets %s", name)
		}
	}
}

// noteFields notes each field of this package's structs below v, and whether any value of it was not zero.
func noteFields(v reflect.Value, fields map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			noteFields(v.Elem(), fields)
		}
	case reflect.Slice:
		for i := range v.Len() {
			noteFields(v.Index(i), fields)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			noteFields(v.MapIndex(key), fields)
		}
	case reflect.Struct:
		if !strings.HasSuffix(v.Type().PkgPath(), "fsm") {
			return
		}
		for i := range v.NumField() {
			name := fmt.Sprint(v.Type().Name(), ".", v.Type().Field(i).Name)
			fields[name] = fields[name] || !v.Field(i).IsZero()
			noteFields(v.Field(i), fields)
		}
	}
}

// Raft's own list of servers and a caller's may change afterwards; a View does not.
func TestServersOfAViewAreItsOwn(t *testing.T) {
	m := NewMachine(quiet())
	c := servers("a", "b")
	m.StoreConfiguration(1, c)
	c.Servers[0].ID = "z"
	if got := m.View().Servers[0].ID; got != "a" {
		t.Fatalf("the view's first server became %s", got)
	}
}
