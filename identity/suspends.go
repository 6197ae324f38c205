package identity

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// suspends counts the suspends of this host, in the kernel, at the moment at which each begins. Where the counter cannot be pinned
// it ends with this process, and so must what relies on it: see living.
type suspends struct {
	count  *ebpf.Map
	link   link.Link
	pin    string // the link's file in a BPF file system; "" = it ends with this process
	limits []string
}

// pinRoot is a directory in the machine's BPF file system.
const pinRoot = "/sys/fs/bpf/nightporter"

// pinDir is this host's own in a root: hosts that are namespaces of one machine may share the file system.
func pinDir(root string) (string, error) {
	var own unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &own); err != nil {
		return "", fmt.Errorf("finding out the network namespace: %w", err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(root), &fs); err != nil || uint32(fs.Type) != unix.BPF_FS_MAGIC {
		return "", fmt.Errorf("no BPF file system is mounted at %s", filepath.Dir(root))
	}
	return filepath.Join(root, "net-"+strconv.FormatUint(own.Ino, 10)), nil
}

func openSuspends(root string) (_ *suspends, err error) {
	s := &suspends{}
	if s.count, err = ebpf.NewMap(&ebpf.MapSpec{Name: countName, Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1}); err != nil {
		return nil, fmt.Errorf("making a BPF map (root in the machine's own user namespace, or CAP_BPF, is needed; and Linux 5.8): %w", err)
	}
	if err := s.watch(); err != nil {
		s.limits = append(s.limits, "a suspend is noticed by the clocks and the deadline only: "+err.Error())
	} else if err := s.keep(root); err != nil {
		s.limits = append(s.limits, mortalLimit+": "+err.Error())
	}
	return s, nil
}

const mortalLimit = "it closes at once when this daemon is killed, as the count of suspends ends with it"

// countName tells a count of suspends from other maps.
const countName = "np_suspends"

// watch attaches the counter.
func (s *suspends) watch() error {
	p, err := countProgram(s.count)
	if err != nil {
		return fmt.Errorf("the counter of suspends cannot be loaded (CAP_PERFMON is needed): %w", err)
	}
	defer p.Close()
	if s.link, err = link.AttachRawTracepoint(link.RawTracepointOptions{Name: "suspend_resume", Program: p}); err != nil {
		return fmt.Errorf("this kernel has no tracepoint suspend_resume: %w", err)
	}
	return nil
}

// keep pins the counter, so that it outlives this process. What an earlier life pinned stays: fences of that life may still be open.
func (s *suspends) keep(root string) error {
	dir, err := pinDir(root)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	now, _, err := clocks()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "suspends-"+strconv.FormatInt(int64(now), 10))
	if err := s.link.Pin(path); err != nil {
		return err
	}
	s.pin = path
	return nil
}

// mortal says whether the counter ends with this process although there is one.
func (s *suspends) mortal() bool { return s.link != nil && s.pin == "" }

// dropPins ends the counters of earlier lives, whose fences must be closed; keep is the one to leave.
func dropPins(root, keep string) error {
	dir, err := pinDir(root)
	if err != nil {
		return nil // there are none
	}
	all, err := filepath.Glob(filepath.Join(dir, "suspends*"))
	for _, one := range all {
		if one != keep {
			err = errors.Join(err, os.Remove(one))
		}
	}
	if keep == "" {
		if rerr := os.Remove(dir); rerr != nil && !errors.Is(rerr, os.ErrNotExist) && !errors.Is(rerr, syscall.ENOTEMPTY) {
			err = errors.Join(err, rerr)
		}
	}
	return err
}

func (s *suspends) now() (uint64, error) {
	var n uint64
	if err := s.count.Lookup(uint32(0), &n); err != nil {
		return 0, fmt.Errorf("reading the count of suspends: %w", err)
	}
	return n, nil
}

func (s *suspends) close() error {
	err := s.count.Close()
	if s.link != nil {
		err = errors.Join(err, s.link.Close())
	}
	return err
}
