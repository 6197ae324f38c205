package nstest

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Group makes a control group (version 2) for a service manager that a test starts: one that ends removes all empty groups beneath its own,
// and others would miss theirs. It is for syscall.SysProcAttr.CgroupFD.
func Group(t testing.TB) *os.File {
	t.Helper()
	own := ""
	body, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			own = path
		}
	}
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.max.depth")); err != nil {
			continue // version 1, or not mounted
		}
		group, err := os.MkdirTemp(filepath.Join(root, own), "nightporter-test-")
		if err != nil {
			t.Fatalf("make a control group: %v", err)
		}
		f, err := os.Open(group)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			f.Close()
			removeGroups(t, group)
		})
		return f
	}
	t.Fatal("no control groups of version 2 are mounted, which this test needs")
	return nil
}

// removeGroups removes a group and what is in it. The kernel takes a process out of its group only some time after its end.
func removeGroups(t testing.TB, group string) {
	_ = os.WriteFile(filepath.Join(group, "cgroup.kill"), []byte("1"), 0) // what a manager that was told to end at once has left (Linux 5.14)
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var dirs []string
		_ = filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		slices.Reverse(dirs)
		for _, d := range dirs {
			_ = os.Remove(d) // again, if it fails
		}
		if _, err := os.Stat(group); os.IsNotExist(err) {
			return
		}
		if time.Now().After(end) {
			t.Errorf("the control group %s stays", group)
			return
		}
	}
}
