package fsm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// The first release: its tag, and the commit that the tag stands for, which a full clone has also without tags.
const (
	firstRelease       = "v0.1"
	firstReleaseCommit = "c849c2f"
)

// unpackRelease gives a folder with a past release's source, out of this repository's history.
func unpackRelease(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	archive := func(what string) error {
		cmd := exec.Command("git", "-c", "safe.directory=*", "archive", "--output="+filepath.Join(dir, "source.tar"), what)
		cmd.Dir = ".."
		return cmd.Run()
	}
	if archive(firstRelease) != nil {
		if err := archive(firstReleaseCommit); err != nil {
			t.Fatalf("the source of %s is not in this clone: fetch it with `git fetch --unshallow --tags` (%v)", firstRelease, err)
		}
	}
	source := filepath.Join(dir, "source")
	if err := os.Mkdir(source, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-C", source, "-xf", source+".tar").CombinedOutput(); err != nil {
		t.Fatalf("unpack %s: %v\n%s", firstRelease, err, out)
	}
	return source
}

// released is a test that runs inside the first release, on what this version wrote.
const released = `package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(os.Getenv("NIGHTPORTER_NEWER"), name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReadsTheNewer(t *testing.T) {
	entries, err := filepath.Glob(filepath.Join(os.Getenv("NIGHTPORTER_NEWER"), "*.entry"))
	if err != nil || len(entries) == 0 {
		t.Fatal(entries, err)
	}
	m := NewMachine(quiet())
	for i, path := range entries {
		if res := m.Apply(&raft.Log{Index: uint64(10 + i), Term: 1, Data: read(t, filepath.Base(path))}).(Result); res.Refused != "" {
			t.Fatalf("%s is refused: %s: %s", path, res.Refused, res.Message)
		}
	}
	_, restored, err := decodeSnapshot(read(t, "snapshot"))
	if err != nil {
		t.Fatal(err)
	}
	got, err1 := EncodeState(restored)
	want, err2 := EncodeState(m.View().State)
	if err1 != nil || err2 != nil || !bytes.Equal(got, want) {
		t.Fatalf("the snapshot is not what the entries come to (%v, %v):\nsnapshot %s\nentries  %s", err1, err2, got, want)
	}
}

func TestRefusesWhatItHasNoWordsFor(t *testing.T) {
	if _, _, err := decodeSnapshot(read(t, "newer-snapshot")); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("of a newer snapshot it says %v", err)
	}
	m := NewMachine(quiet())
	defer func() {
		if said := fmt.Sprint(recover()); !strings.Contains(said, "upgrade it") || m.View().Index != 0 {
			t.Errorf("at a newer entry it says %q and has come to %d", said, m.View().Index)
		}
	}()
	m.Apply(&raft.Log{Index: 1, Term: 1, Data: read(t, "newer")})
}
`

// What this version writes while everything can be said in the words of the first release, that release reads to the same state, from the log and
// from a snapshot: so a host may go back. At the first word that it has not it stops, and has changed nothing.
func TestTheFirstReleaseReadsWhatThisOneWrites(t *testing.T) {
	source, newer := unpackRelease(t), t.TempDir()
	put := func(dir, name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := Empty()
	log := v1Log()
	for i, f := range log {
		if n, ok := f.command.(PutNode); ok { // as the agents of this version register: with all that a record says besides
			n.Node.Format, n.Node.Version = Format, "v9"
			f.command = n
		}
		b := mustEncode(t, f.command)
		put(newer, f.file+".entry", b)
		c, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		s = play(t, s, uint64(10+i), c)
	}
	last := uint64(10 + len(log) - 1)
	s = Reconfigured(s, last, "a,c", at(30))
	snapshot, err := encodeSnapshot(last, s)
	if err != nil {
		t.Fatal(err)
	}
	put(newer, "snapshot", snapshot)
	word := SetInrush{Limit: 2, At: at(31), By: "a"}
	put(newer, "newer", mustEncode(t, word))
	if snapshot, err = encodeSnapshot(last+1, play(t, s, last+1, word)); err != nil {
		t.Fatal(err)
	}
	put(newer, "newer-snapshot", snapshot)

	put(filepath.Join(source, "fsm"), "newer_test.go", []byte(released))
	cmd := exec.Command("go", "test", "-count=1", "-v", "-run", "TestReadsTheNewer|TestRefusesWhatItHasNoWordsFor", "./fsm")
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "NIGHTPORTER_NEWER="+newer, "GOFLAGS=", "GOWORK=off", "GOARCH=", "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if passed := bytes.Count(out, []byte("--- PASS")); err != nil || passed != 2 {
		t.Errorf("%s: %v, %s tests passed\n%s", firstRelease, err, strconv.Itoa(passed), out)
	}
}
