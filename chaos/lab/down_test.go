package lab_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"nightporter/chaos/lab"
)

// A directory has many names, and each of them means the lab in it.
func TestDownTakesEverySpelling(t *testing.T) {
	for what, spell := range map[string]func(t *testing.T, dir string) string{
		"a slash at the end": func(_ *testing.T, dir string) string { return dir + "/" },
		"relative": func(t *testing.T, dir string) string {
			t.Chdir(filepath.Dir(dir))
			return filepath.Base(dir)
		},
		"a symbolic link": func(t *testing.T, dir string) string {
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(dir, link); err != nil {
				t.Fatal(err)
			}
			return link
		},
	} {
		t.Run(what, func(t *testing.T) {
			l := up(t, lab.Options{Dir: filepath.Join(t.TempDir(), "l"), Hosts: 2, NoAgent: true, Detached: true})
			dir := spell(t, l.Dir())
			other, err := lab.Attach(limit(t), dir)
			if err != nil {
				t.Fatal(err)
			}
			tr := note(t, other)
			if tr.dir != l.Dir() {
				t.Errorf("the lab in %s says that it is in %s", l.Dir(), tr.dir)
			}
			if err := lab.Down(limit(t), dir); err != nil {
				t.Fatal(err)
			}
			if left := tr.left(t); len(left) != 0 {
				t.Errorf("Down returned while there still was %q", left)
			}
		})
	}
}

// When the processes of a lab cannot be found, but its keeper lives, nothing is taken away from under them.
func TestDownSparesALivingLab(t *testing.T) {
	l := up(t, lab.Options{Hosts: 1, NoAgent: true, Detached: true})
	ctx := limit(t)
	notes := filepath.Join(l.Dir(), "pids.json")
	right, err := os.ReadFile(notes)
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{`{"keeper":1,"supervisor":1}`, "no JSON"} {
		if err := os.WriteFile(notes, []byte(wrong), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := lab.Down(ctx, l.Dir()); err == nil || !strings.Contains(err.Error(), "still runs") {
			t.Errorf("Down with the notes %q: %v; want that the lab still runs", wrong, err)
		}
		if _, err := l.Status(ctx); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	}
	if err := os.WriteFile(notes, right, 0o600); err != nil {
		t.Fatal(err)
	}
}

// What was under way when a lab is killed ends with a sentence about the lab, and so does what comes later.
func TestAKilledLabIsNamed(t *testing.T) {
	l, err := lab.Up(limit(t), lab.Options{Hosts: 1, NoAgent: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx := limit(t)
	keeper, _, err := l.Pids()
	if err != nil {
		t.Fatal(err)
	}
	began := filepath.Join(l.Host("h1").Dir(), "began")
	ended := make(chan error, 1)
	go func() {
		_, err := l.Host("h1").Exec(ctx, lab.Stdio{}, "sh", "-c", "touch "+began+"; exec sleep 1000")
		ended <- err
	}()
	eventually(t, "the program runs", func() bool { _, err := os.Stat(began); return err == nil })
	if err := syscall.Kill(keeper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || err.Error() != "the lab ended during `lab exec`" {
		t.Errorf("the program's caller is told %v", err)
	}
	if err := l.Down(ctx); err != nil {
		t.Errorf("Down after that: %v", err)
	}
	for what, err := range map[string]error{"Attach": failure(lab.Attach(ctx, l.Dir())), "Down": lab.Down(ctx, l.Dir())} {
		if err == nil || !strings.HasPrefix(err.Error(), "no lab runs in "+l.Dir()+"; start one with ") {
			t.Errorf("%s where no lab is any more: %v", what, err)
		}
	}
}

func failure(_ *lab.Lab, err error) error { return err }
