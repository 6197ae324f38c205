package lab

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOnlyDeadGroupsAreSwept: the groups of a lab stay for as long as its keeper lives, wherever that is and however empty they are, and
// go when it has ended.
func TestOnlyDeadGroupsAreSwept(t *testing.T) {
	group := makeCgroup()
	if group == "" {
		t.Skip("this user may make no control groups")
	}
	t.Cleanup(func() { _ = removeCgroup(group) }) // it may be gone
	there := func(g string) bool {
		_, err := os.Stat(g)
		return !errors.Is(err, fs.ErrNotExist)
	}
	host := filepath.Join(group, "h1")
	if err := os.Mkdir(host, 0o755); err != nil {
		t.Fatal(err)
	}
	removeDeadCgroups(filepath.Dir(group))
	if !there(host) {
		t.Fatal("the group of a host that is switched off, in a lab that lives, is gone")
	}
	dead, err := os.MkdirTemp(filepath.Dir(group), cgroupPrefix) // as a keeper leaves it that was killed
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = removeCgroup(dead) })
	if err := os.Mkdir(filepath.Join(dead, "h1"), 0o755); err != nil {
		t.Fatal(err)
	}
	busy := lock(dead, unix.LOCK_EX|unix.LOCK_NB)
	removeDeadCgroups(filepath.Dir(group))
	if busy == nil || !there(dead) {
		t.Fatal("a group that somebody holds is gone")
	}
	busy()
	removeDeadCgroups(filepath.Dir(group))
	if there(dead) || !there(group) {
		t.Errorf("the dead one is there: %v; the living one: %v", there(dead), there(group))
	}
}
