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

// freezeLimit is how long the processes of a host may take to stop. The kernel needs a few milliseconds.
const freezeLimit = 10 * time.Second

// freezer stops and continues all processes of one host.
type freezer struct {
	net   func() string // the host's network namespace
	group string        // the host's control group; "" = signals
	dir   *os.File      // of the group, for programs that are started in it
}

// newFreezer makes the host's control group beneath parent; without a parent it uses signals.
func newFreezer(parent, name string, net func() string) (*freezer, error) {
	f := &freezer{net: net}
	if parent == "" {
		return f, nil
	}
	f.group = filepath.Join(parent, name)
	if err := os.Mkdir(f.group, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the control group of %s: %w", name, err)
	}
	dir, err := os.Open(f.group)
	if err != nil {
		return nil, fmt.Errorf("open the control group of %s: %w", name, err)
	}
	f.dir = dir
	return f, nil
}

func (f *freezer) close() {
	if f.dir != nil {
		f.dir.Close() // read only: nothing to lose
	}
}

// freeze returns when no process of the host can run an instruction.
func (f *freezer) freeze() error {
	end := time.Now().Add(freezeLimit)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		done, err := f.freezeRound()
		switch {
		case err != nil:
			return errors.Join(err, f.thaw())
		case done:
			return nil
		case time.Now().After(end):
			return errors.Join(fmt.Errorf("the processes of the host did not stop within %v", freezeLimit), f.thaw())
		}
		time.Sleep(wait)
	}
}

// freezeRound stops everything once more and tells whether everything had stopped before: a process that was just being
// born while the others were stopped is caught in the next round.
func (f *freezer) freezeRound() (bool, error) {
	all, err := residents(f.net())
	if err != nil {
		return false, err
	}
	if f.group != "" {
		return f.freezeGroup(all)
	}
	still := true
	for _, r := range all {
		if r.still() {
			continue
		}
		still = false
		if err := unix.Kill(r.pid, unix.SIGSTOP); err != nil && !errors.Is(err, unix.ESRCH) {
			return false, fmt.Errorf("stop process %d: %w", r.pid, err)
		}
	}
	return still, nil
}

// freezeGroup freezes the group. Programs that came into the namespace from outside are brought into the group first.
func (f *freezer) freezeGroup(all []resident) (bool, error) {
	members, err := f.members()
	if err != nil {
		return false, err
	}
	complete := true
	for _, r := range all {
		if members[r.pid] {
			continue
		}
		complete = false
		err := os.WriteFile(filepath.Join(f.group, "cgroup.procs"), []byte(strconv.Itoa(r.pid)), 0o644)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return false, fmt.Errorf("bring process %d into the control group of its host: %w", r.pid, err)
		}
	}
	if err := f.write("1"); err != nil {
		return false, err
	}
	events, err := os.ReadFile(filepath.Join(f.group, "cgroup.events"))
	if err != nil {
		return false, fmt.Errorf("look at a host's control group: %w", err)
	}
	return complete && (len(all) == 0 || strings.Contains(string(events), "frozen 1")), nil
}

// members are the processes of the group and of those that a host's own service manager has made in it, which freeze with it.
func (f *freezer) members() (map[int]bool, error) {
	members := map[int]bool{}
	err := filepath.WalkDir(f.group, func(dir string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			return nil
		}
		var body []byte
		if err == nil {
			body, err = os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		}
		if dir != f.group && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)) {
			return nil // a group that has just gone
		}
		for _, field := range strings.Fields(string(body)) {
			if pid, err := strconv.Atoi(field); err == nil {
				members[pid] = true
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look at a host's control group: %w", err)
	}
	return members, nil
}

func (f *freezer) write(state string) error {
	if err := os.WriteFile(filepath.Join(f.group, "cgroup.freeze"), []byte(state), 0o644); err != nil {
		return fmt.Errorf("set a host's control group to freeze=%s: %w", state, err)
	}
	return nil
}

// thaw lets everything run on.
func (f *freezer) thaw() error {
	if f.group != "" {
		return f.write("0")
	}
	all, err := residents(f.net())
	if err != nil {
		return err
	}
	for _, r := range all {
		if err := unix.Kill(r.pid, unix.SIGCONT); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("continue process %d: %w", r.pid, err)
		}
	}
	return nil
}

// kill ends every process of the host and returns when all are gone. Frozen and stopped processes die as well.
func (f *freezer) kill() error {
	end := time.Now().Add(freezeLimit)
	killed := make(map[string]resident)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		all, err := residents(f.net())
		if err != nil {
			return err
		}
		for entry, r := range killed { // a process leaves its namespaces before its files, and the next life's locks are among these
			if r.ended() {
				delete(killed, entry)
			}
		}
		if len(all)+len(killed) == 0 {
			break
		}
		for _, r := range all {
			killed[r.entry] = r
			if err := unix.Kill(r.pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("kill process %d: %w", r.pid, err)
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d processes of the host did not end within %v", len(killed), freezeLimit)
		}
		time.Sleep(wait)
	}
	if f.group != "" {
		return f.write("0") // for the programs that run after the next start
	}
	return nil
}
