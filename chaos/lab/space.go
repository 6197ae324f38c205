package lab

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// space is one host's view of the machine: a network, a mount and a UTS namespace, which one locked thread lives in. The
// thread carries out what has to be done inside, and every program of the host is started from it.
type space struct {
	name   string
	net    string // as /proc shows the network namespace: "net:[4026532226]"
	fd     *os.File
	limits []string // what could not be had, as sentences
	calls  chan func()
	done   chan struct{}
}

// newSpace makes the namespaces. The thread ends with close, and so do all programs that were started from it, since
// they get SIGKILL when their parent thread ends.
func newSpace(name string) (*space, error) {
	s := &space{name: name, calls: make(chan func()), done: make(chan struct{})}
	made := make(chan error)
	go s.live(made)
	if err := <-made; err != nil {
		<-s.done
		return nil, fmt.Errorf("make the namespaces of %s: %w", name, err)
	}
	return s, nil
}

func (s *space) live(made chan<- error) {
	runtime.LockOSThread() // for ever: a thread that changed its namespaces must not serve another goroutine
	if unix.Gettid() == unix.Getpid() {
		// The main thread stands for the process in /proc and must stay where it is. While this goroutine holds it,
		// the next one gets another.
		s.liveElsewhere(made)
		return
	}
	defer close(s.done)
	err := s.unshare()
	made <- err
	if err != nil {
		return
	}
	for f := range s.calls {
		f()
	}
}

func (s *space) liveElsewhere(made chan<- error) {
	end := make(chan struct{})
	go func() {
		defer close(end)
		s.live(made)
	}()
	<-end
	runtime.UnlockOSThread() // nothing was changed here
}

func (s *space) unshare() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Sethostname([]byte(s.name)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	// /sys shows the network cards of the namespace it was mounted in.
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		s.limits = append(s.limits, fmt.Sprintf("/sys does not show the hosts' own network cards: it cannot be mounted here (%v)", err))
	}
	// The agents pin what must outlive them there. It can be had where BPF can.
	_ = unix.Mount("bpf", "/sys/fs/bpf", "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700")
	// An own /run is empty after a start as on a real machine, and hides the machine's own daemons: a mistaken
	// `systemctl suspend` in a lab that runs as root finds nobody who would do it.
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=64m"); err != nil {
		return fmt.Errorf("mount an own /run: %w", err)
	}
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the network namespace: %w", err)
	}
	s.fd = os.NewFile(uintptr(fd), "network namespace of "+s.name)
	s.net, err = os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return errors.Join(fmt.Errorf("read the network namespace's number: %w", err), s.fd.Close())
	}
	return nil
}

// do carries f out on the space's thread and waits for it. f must not call do.
func (s *space) do(f func() error) error {
	result := make(chan error, 1)
	s.calls <- func() { result <- f() }
	return <-result
}

// close ends the thread. Nobody may call do any more. The network namespace is deleted when its last socket is closed.
func (s *space) close() {
	close(s.calls)
	<-s.done
	s.fd.Close() // read only: nothing to lose
}

// resident is a program that is in a host's network namespace.
type resident struct {
	entry string // in /proc
	pid   int    // in this PID namespace
}

// residents lists the programs that are in the network namespace called net. Where /proc is an outer PID namespace's,
// its numbers are translated. Programs that end meanwhile are left out.
func residents(net string) ([]resident, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list the processes of a host: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list the processes of a host: %w", err)
	}
	var found []resident
	for _, name := range names {
		if name[0] < '1' || name[0] > '9' {
			continue
		}
		if link, err := os.Readlink("/proc/" + name + "/ns/net"); err != nil || link != net {
			continue
		}
		if pid, ok := innerPid(name); ok {
			found = append(found, resident{entry: "/proc/" + name, pid: pid})
		}
	}
	return found, nil
}

func innerPid(name string) (int, bool) {
	status, err := os.ReadFile("/proc/" + name + "/status")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(status)) {
		if list, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(list)
			pid, err := strconv.Atoi(fields[len(fields)-1])
			return pid, err == nil
		}
	}
	return 0, false
}

// ended tells whether nothing of the program is left but what its parent is to be told of it.
func (r resident) ended() bool {
	tasks, err := os.ReadDir(r.entry + "/task")
	if err != nil {
		return true
	}
	for _, t := range tasks {
		stat, err := os.ReadFile(r.entry + "/task/" + t.Name() + "/stat")
		if err != nil {
			continue
		}
		after := stat[strings.LastIndexByte(string(stat), ')')+1:] // the name in front may contain anything
		if len(after) < 2 || !strings.ContainsRune("ZX", rune(after[1])) {
			return false
		}
	}
	return true
}

// still tells whether no thread of the program can run an instruction: stopped, dead, or inside the kernel in a wait
// that ends in the stop (a parent waits there for its child of vfork, which is stopped itself).
func (r resident) still() bool {
	threads, err := os.ReadDir(r.entry + "/task")
	if err != nil {
		return true // it has ended
	}
	for _, t := range threads {
		stat, err := os.ReadFile(r.entry + "/task/" + t.Name() + "/stat")
		if err != nil {
			continue
		}
		after := stat[strings.LastIndexByte(string(stat), ')')+1:] // the name in front may contain anything
		if len(after) < 2 || !strings.ContainsRune("TtZXD", rune(after[1])) {
			return false
		}
	}
	return true
}
