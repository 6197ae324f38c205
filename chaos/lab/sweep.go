package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sweep removes a lab's directory and control groups after its processes have ended. Doing it twice does no harm. With
// keep only the socket and the notes about processes go.
func sweep(dir string, keep bool) error {
	if _, err := os.Stat(filepath.Join(dir, markName)); errors.Is(err, fs.ErrNotExist) {
		return nil // gone already, or not ours
	}
	var errs []error
	if p, err := readPids(dir); err == nil {
		if err := removeCgroup(p.Cgroup); err != nil {
			return err // and keep the note of it
		}
	}
	if keep {
		for _, name := range []string{socketName, pidsName, markName} {
			if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, fmt.Errorf("tidy the lab's directory: %w", err))
			}
		}
		return errors.Join(errs...)
	}
	// The mark goes last, so that a removal that was interrupted can be taken up again.
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, fmt.Errorf("remove the lab's directory: %w", err))
	}
	for _, e := range entries {
		if e.Name() == markName {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			errs = append(errs, fmt.Errorf("remove the lab's directory: %w", err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the lab's directory: %w", err)
	}
	return nil
}

// cgroupRoots are where version 2 of control groups may be mounted: alone, or beside version 1. The freezer of version 1
// is not used although it would do: a process that it froze cannot be killed, so that a lab whose keeper and supervisor
// were both killed would leave its sleeping hosts behind for ever.
var cgroupRoots = [...]string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}

const cgroupPrefix = "nightporter-lab-"

// makeCgroup makes the control group that the hosts' groups go in; "" where this user may not, and SIGSTOP has to do. It belongs to this
// process until that ends. Groups of labs that were killed together with their keepers are removed on this occasion.
func makeCgroup() string {
	for _, root := range cgroupRoots {
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, "cgroup.max.depth")); err != nil {
			continue // version 1
		}
		for _, at := range []string{root, filepath.Join(root, ownCgroup())} {
			removeDeadCgroups(at)
			group, err := os.MkdirTemp(at, cgroupPrefix) // a name that no lab had before: notes of former ones are about others
			if err != nil {
				continue
			}
			_, err = os.Stat(filepath.Join(group, "cgroup.freeze"))
			if err == nil && mayMoveInto(at) && lock(group, unix.LOCK_EX) != nil {
				return group // it stays locked: the kernel closes the descriptor with the process
			}
			os.Remove(group) // it is empty and ours; a failure leaves an empty group for the next lab to remove
		}
	}
	return ""
}

// lock locks a group, and gives what unlocks it; nil = it could not, or there is no such group any more. Nobody who holds the lock is asked
// who he is: he may be in another PID namespace.
func lock(group string, how int) (unlock func()) {
	fd, err := unix.Open(filepath.Join(group, "cgroup.procs"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	err = unix.Flock(fd, how)
	if err == nil {
		_, err = os.Stat(group) // somebody may have taken it for a dead one's, and removed it
	}
	if err != nil {
		unix.Close(fd)
		return nil
	}
	return func() { unix.Close(fd) }
}

// mayMoveInto tells whether processes can be brought into groups beneath at: that takes the right to write there.
func mayMoveInto(at string) bool {
	f, err := os.OpenFile(filepath.Join(at, "cgroup.procs"), os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// ownCgroup is the path of this process's group in version 2.
func ownCgroup() string {
	body, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(body)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path
		}
	}
	return ""
}

// removeDeadCgroups removes the groups of labs whose keeper has ended, and in which no process is left.
func removeDeadCgroups(at string) {
	old, err := filepath.Glob(filepath.Join(at, cgroupPrefix+"*"))
	if err != nil {
		return
	}
	for _, group := range old {
		unlock := lock(group, unix.LOCK_EX|unix.LOCK_NB)
		if unlock == nil {
			continue
		}
		if deserted(group) {
			_ = removeCgroup(group) // the next lab tries again
		}
		unlock()
	}
}

// deserted says whether no process is in a group or below it.
func deserted(group string) bool {
	events, err := os.ReadFile(filepath.Join(group, "cgroup.events"))
	return err == nil && strings.Contains(string(events), "populated 0")
}

// removeCgroup removes a lab's group and the hosts' groups in it, with those that a service manager in a host has left in its host's.
func removeCgroup(group string) error {
	if group == "" {
		return nil
	}
	inner, err := filepath.Glob(filepath.Join(group, "*", "cgroup.freeze"))
	if err != nil {
		return fmt.Errorf("remove the lab's control group: %w", err)
	}
	for _, g := range inner {
		if err := removeCgroup(filepath.Dir(g)); err != nil {
			return err
		}
	}
	return removeGroup(group)
}

// removeGroup removes one group. The kernel takes a process out of its group only some time after its end.
func removeGroup(group string) error {
	for end := time.Now().Add(2 * time.Second); ; time.Sleep(time.Millisecond) {
		err := unix.Rmdir(group)
		switch {
		case err == nil || errors.Is(err, fs.ErrNotExist):
			return nil
		case !errors.Is(err, unix.EBUSY) || time.Now().After(end):
			return fmt.Errorf("remove the control group %s: %w", group, err)
		}
	}
}
