package wake

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// The unit's real control group: not there, with a process in it, left behind by it.
func TestHalfway(t *testing.T) {
	root := t.TempDir()
	if err := unix.Mount("cgroup2", root, "cgroup2", 0, ""); err != nil {
		t.Fatal(err)
	}
	slice := filepath.Join(root, "system.slice")
	_, err := os.Stat(slice)
	mine := errors.Is(err, os.ErrNotExist)
	unit := filepath.Join(root, filepath.Dir(twoSleeps))
	roots := []string{filepath.Join(root, "absent"), root}
	if halfway(roots) {
		t.Fatal("without such a unit")
	}
	must(t, os.MkdirAll(unit, 0o755))
	child := exec.Command("sleep", "1000")
	t.Cleanup(func() {
		must(t, os.Remove(unit))
		if mine {
			must(t, os.Remove(slice))
		}
		must(t, unix.Unmount(root, unix.MNT_DETACH))
	})
	if halfway(roots) {
		t.Error("nobody is at it")
	}
	must(t, child.Start())
	must(t, os.WriteFile(filepath.Join(unit, "cgroup.procs"), []byte(strconv.Itoa(child.Process.Pid)), 0))
	if !halfway(roots) {
		t.Error("a process is at it")
	}
	must(t, child.Process.Kill())
	_ = child.Wait() // it was killed
	if halfway(roots) {
		t.Error("it has ended")
	}
}
