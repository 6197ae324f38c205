package wake

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a kernel offers, and what is said of what it does not.
func TestCannot(t *testing.T) {
	for _, c := range []struct{ kind, state, memSleep, want string }{
		{"suspend", "freeze mem disk\n", "s2idle [deep]\n", ""},
		{"suspend", "freeze\n", "", ""},
		{"suspend", "disk\n", "", "cannot suspend this machine (it offers disk in"},
		{"suspend", "\n", "", "cannot suspend this machine (it offers nothing in"},
		{"s2idle", "freeze mem\n", "s2idle [deep]\n", ""},
		{"s2idle", "freeze mem\n", "[s2idle]\n", ""},
		{"deep", "freeze mem\n", "[s2idle] deep\n", ""},
		{"deep", "freeze mem\n", "[s2idle]\n", "does not offer the suspend deep, only s2idle"},
		{"deep", "freeze mem\n", "[s2idle] shallow\n", "only s2idle and shallow"},
		{"deep", "freeze mem\n", "", "offers no choice of suspends"},
		{"s2idle", "\n", "[s2idle] deep\n", "cannot suspend"},
		{"hibernate", "freeze mem disk\n", "", ""},
		{"hibernate", "disk\n", "", ""},
		{"hibernate", "freeze mem\n", "", "cannot hibernate this machine (it offers freeze, mem in"},
		{"hybrid-sleep", "mem disk\n", "", ""},
		{"hybrid-sleep", "mem\n", "", "cannot hibernate"},
		{"suspend-then-hibernate", "disk\n", "", "cannot suspend"},
	} {
		if got := cannot(c.kind, c.state, c.memSleep); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s of %q, %q: %q, want %q", c.kind, c.state, c.memSleep, got, c.want)
		}
	}
}

// memSleepFile is a file like the kernel's, but that it keeps the very text that was written: what is there is told by putting the brackets
// in by hand. The real one is looked at where a machine really suspends.
func memSleepFile(t *testing.T, text string) (m *MemSleep, write func(string), read func() string) {
	t.Helper()
	m = &MemSleep{Dir: t.TempDir()}
	path := filepath.Join(m.Dir, "mem_sleep")
	write = func(s string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	read = func() string {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	write(text)
	return m, write, read
}

// What was chosen before a sleep is chosen again after it, unless somebody else has chosen meanwhile.
func TestMemSleepIsPutBack(t *testing.T) {
	for _, c := range []struct{ name, before, word, meanwhile, want string }{
		{"another", "s2idle [deep]", S2idle, "[s2idle] deep", "deep"},
		{"the same", "s2idle [deep]", Deep, "s2idle [deep]", "s2idle [deep]"},
		{"somebody else's choice", "s2idle shallow [deep]", S2idle, "s2idle [shallow] deep", "s2idle [shallow] deep"},
		{"somebody has chosen the former one again", "s2idle [deep]", S2idle, "s2idle [deep]", "s2idle [deep]"},
	} {
		m, write, read := memSleepFile(t, c.before)
		if err := m.Choose(c.word); err != nil {
			t.Fatal(c.name, err)
		}
		if got := read(); c.before != c.meanwhile && got != c.word && c.name != "the same" {
			t.Errorf("%s: %q was written, want %q", c.name, got, c.word)
		}
		write(c.meanwhile)
		if err := m.Restore(); err != nil {
			t.Error(c.name, err)
		}
		if got := read(); got != c.want {
			t.Errorf("%s: after the sleep there is %q, want %q", c.name, got, c.want)
		}
		write(c.meanwhile)
		if err := m.Restore(); err != nil || read() != c.meanwhile {
			t.Errorf("%s: it is put back twice: %q, %v", c.name, read(), err)
		}
	}
}

// A sleep that could not put its choice back leaves the first one to the next.
func TestMemSleepRemembersTheFirst(t *testing.T) {
	m, write, read := memSleepFile(t, "s2idle [deep]")
	if err := m.Choose(S2idle); err != nil {
		t.Fatal(err)
	}
	write("s2idle [deep] shallow") // somebody's
	if err := m.Choose(S2idle); err != nil {
		t.Fatal(err)
	}
	write("[s2idle] deep shallow")
	if err := m.Restore(); err != nil || read() != "deep" {
		t.Errorf("%q, %v", read(), err)
	}
}

func TestMemSleepRefuses(t *testing.T) {
	m, _, read := memSleepFile(t, "[s2idle]")
	if err := m.Choose(Deep); err == nil || !strings.Contains(err.Error(), "only s2idle") {
		t.Error(err)
	}
	if err := m.Restore(); err != nil || read() != "[s2idle]" {
		t.Errorf("%q, %v", read(), err)
	}
	m = &MemSleep{Dir: t.TempDir()}
	if err := m.Choose(Deep); err == nil || !strings.Contains(err.Error(), "no choice") {
		t.Error(err)
	}
	if _, err := os.Stat(m.path()); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it made a file:", err)
	}
	if err := canSleep(m.Dir, "suspend"); err == nil || !strings.Contains(err.Error(), "offers nothing") {
		t.Error(err)
	}
}
