package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// reaper collects the dead. As the first process of a PID namespace the supervisor inherits every orphan of the hosts,
// so it waits for all children and hands their status on, instead of waiting for single ones as os/exec does.
type reaper struct {
	mu    sync.Mutex
	procs map[int]*process
}

// process is a child of the supervisor. Its status may be read once done is closed.
type process struct {
	pid    int
	reaper *reaper
	done   chan struct{}
	status syscall.WaitStatus
}

func newReaper() *reaper { return &reaper{procs: map[int]*process{}} }

// run collects until ctx ends.
func (r *reaper) run(ctx context.Context) {
	deaths := make(chan os.Signal, 1)
	signal.Notify(deaths, syscall.SIGCHLD)
	defer signal.Stop(deaths)
	for {
		r.collect()
		select {
		case <-deaths:
		case <-ctx.Done():
			return
		}
	}
}

func (r *reaper) collect() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		r.mu.Lock()
		if p := r.procs[pid]; p != nil {
			delete(r.procs, pid)
			p.status = status
			close(p.done)
		}
		r.mu.Unlock()
	}
}

// start starts a program from the thread it is called on and so in that thread's namespaces. The lock is held across
// the fork, so that not even a child that dies at once is collected before it is known.
func (r *reaper) start(path string, argv []string, attr *syscall.ProcAttr) (*process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	p := &process{pid: pid, reaper: r, done: make(chan struct{})}
	r.procs[pid] = p
	return p, nil
}

// signal sends a signal to the process, or with group to its whole process group; never to a number that was reused.
func (p *process) signal(sig syscall.Signal, group bool) error {
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	if p.reaper.procs[p.pid] != p {
		return os.ErrProcessDone
	}
	pid := p.pid
	if group {
		pid = -pid
	}
	return unix.Kill(pid, sig)
}

// running tells whether the process has not been collected yet.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// code is the exit status as a shell gives it.
func (p *process) code() int {
	if p.status.Signaled() {
		return 128 + int(p.status.Signal())
	}
	return p.status.ExitStatus()
}

// ended says how the process ended.
func (p *process) ended() string {
	if p.status.Signaled() {
		return "killed: " + p.status.Signal().String()
	}
	return fmt.Sprintf("exited with %d", p.status.ExitStatus())
}
