package labpage

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// firstPIDs is the PID namespace that a kernel starts with; its number is fixed (PROC_PID_INIT_INO in the kernel's
// include/linux/proc_ns.h). A lab has one of its own.
const firstPIDs = "pid:[4026531836]"

// verify tells whether this process is in the lab host that the page in f was made for: the page names the host's network
// namespace, whose number the kernel gives to one namespace at a time, and it is in memory, which no page outlives its
// host in. So neither a setting that was left over nor a copied file makes the clocks of a real host wrong.
func verify(f *os.File, text []byte) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("look at %s: %w", f.Name(), err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return fmt.Errorf("look at %s: %w", f.Name(), err)
	}
	net, ours := strings.CutPrefix(strings.TrimRight(string(text), "\x00"), magic)
	switch {
	case !ours || st.Size != size || st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("%s is not a lab page", f.Name())
	case fs.Type != unix.TMPFS_MAGIC:
		return fmt.Errorf("%s is not in a lab host's /run", f.Name())
	case int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0:
		return fmt.Errorf("%s belongs to somebody else", f.Name())
	}
	return verifySpaces(net)
}

// verifySpaces compares the namespaces of this process with those of a lab host.
func verifySpaces(net string) error {
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return err
	}
	if own != net {
		return errors.New("the page is another host's")
	}
	if pids, err := os.Readlink("/proc/self/ns/pid"); err != nil || pids == firstPIDs {
		return errors.New("a lab has a PID namespace of its own")
	}
	// The first process of a lab's PID namespace is the lab, which is in the switch. Where /proc is an outer namespace's,
	// the first process may be somebody whom this one must not look at; the rest has to do then.
	first, err := os.Readlink("/proc/1/ns/net")
	if err == nil && first == own || err != nil && !errors.Is(err, syscall.EACCES) && !errors.Is(err, syscall.EPERM) {
		return errors.New("a lab host has a network namespace of its own")
	}
	return nil
}
