package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
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

// makeCgroup makes the control group that the hosts' groups go in; "" where this user may not, and SIGSTOP has to do.
// Groups of labs that were killed together with their keepers are removed on this occasion.
func makeCgroup(keeper int) string {
	for _, root := range cgroupRoots {
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, "cgroup.max.depth")); err != nil {
			continue // version 1
		}
		for _, at := range []string{root, filepath.Join(root, ownCgroup())} {
			removeDeadCgroups(at)
			group := filepath.Join(at, cgroupPrefix+strconv.Itoa(keeper))
			if err := os.Mkdir(group, 0o755); err != nil {
				continue
			}
			if _, err := os.Stat(filepath.Join(group, "cgroup.freeze")); err == nil && mayMoveInto(at) {
				return group
			}
			os.Remove(group) // it is empty and ours; a failure leaves an empty group for the next lab to remove
		}
	}
	return ""
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

// removeDeadCgroups removes the groups of labs whose keeper does not run any more. Where this process sees another /proc than the keeper, a
// number would say nothing, and a host that is switched off has an empty group: so there must be no process in any of the lab's groups, and
// the lab must not be at its beginning.
func removeDeadCgroups(at string) {
	old, err := filepath.Glob(filepath.Join(at, cgroupPrefix+"*"))
	if err != nil {
		return
	}
	for _, group := range old {
		pid := strings.TrimPrefix(filepath.Base(group), cgroupPrefix)
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, fs.ErrNotExist) && deserted(group) {
			_ = removeCgroup(group) // the next lab tries again
		}
	}
}

// buildTime is more than a lab takes to put its first process into its group.
const buildTime = time.Minute

// deserted says whether no process is in a group or below it, and has not been about to be.
func deserted(group string) bool {
	made, err := os.Stat(group)
	if err != nil || time.Since(made.ModTime()) < buildTime {
		return false
	}
	events, err := os.ReadFile(filepath.Join(group, "cgroup.events"))
	return err == nil && strings.Contains(string(events), "populated 0")
}

// removeCgroup removes a lab's group and the hosts' groups in it.
func removeCgroup(group string) error {
	if group == "" {
		return nil
	}
	hosts, err := filepath.Glob(filepath.Join(group, "*", "cgroup.freeze"))
	if err != nil {
		return fmt.Errorf("remove the lab's control group: %w", err)
	}
	for _, h := range hosts {
		if err := removeGroup(filepath.Dir(h)); err != nil {
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
