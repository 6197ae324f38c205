package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Down ends the lab and waits until its processes, namespaces, control groups and directory are gone. Doing it twice
// does no harm.
func (l *Lab) Down(ctx context.Context) error {
	l.down.Lock()
	defer l.down.Unlock()
	if l.keeper != nil && l.keeper.ProcessState == nil {
		if l.owner != nil {
			l.owner.Close()
			l.owner = nil
		}
		if err := l.keeper.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("end the lab: %w", err)
		}
		err := l.keeper.Wait()
		if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !(ok && exit.ExitCode() == -1) {
			return fmt.Errorf("end the lab in %s: its keeper failed (%w); its log says: %s", l.dir, err, tail(l.path(logName)))
		}
	}
	if _, err := os.Stat(l.path(markName)); l.keeper != nil && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return Down(ctx, l.dir) // somebody else's lab, or one whose keeper was killed
}

// locate gives a directory the one name that the lab's processes have it by, however the caller spells it.
func locate(dir string) (string, error) {
	real, err := filepath.Abs(dir)
	if err == nil {
		real, err = filepath.EvalSymlinks(real)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", noLab(dir)
	case err != nil:
		return "", fmt.Errorf("find the lab's directory %s: %w", dir, err)
	}
	return real, nil
}

// noLab says what to do where no lab is.
func noLab(dir string) error {
	return fmt.Errorf("no lab runs in %s; start one with `nightporter lab up`, or name the directory of another with --dir", dir)
}

// Down ends the lab in dir, whoever started it, or removes what a lab left whose processes were all killed at once.
func Down(ctx context.Context, dir string) error {
	dir, err := locate(dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, markName)); errors.Is(err, fs.ErrNotExist) {
		return noLab(dir)
	} else if err != nil {
		return fmt.Errorf("look for the lab in %s: %w", dir, err)
	}
	keep := false
	if o, err := readOptions(dir); err == nil {
		keep = o.Keep
	}
	p, err := readPids(dir)
	if err != nil {
		return sweepDead(dir, keep) // it was killed before it began
	}
	// The supervisor ends with the keeper, or by itself when the keeper has been killed.
	if err := end(ctx, p.Keeper, "keep", dir, unix.SIGTERM); err != nil {
		return err
	}
	if err := end(ctx, p.Supervisor, "supervise", dir, 0); err != nil {
		return err
	}
	return sweepDead(dir, keep)
}

// hold makes the lock that a keeper has on its lab's mark for as long as it lives: a directory under a live lab is never
// removed by somebody else.
func hold(dir string) (*os.File, error) {
	f, err := os.Open(filepath.Join(dir, markName))
	if err != nil {
		return nil, fmt.Errorf("lock the lab's directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the lab's directory %s: %w", dir, err)
	}
	return f, nil
}

// sweepDead is sweep for a lab of which all processes are thought to have ended.
func sweepDead(dir string, keep bool) error {
	f, err := hold(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // the lab has removed everything itself
	case errors.Is(err, unix.EWOULDBLOCK):
		return fmt.Errorf("the lab in %s still runs, and nothing of it was removed: its keeper does not end; try again", dir)
	case err != nil:
		return err
	}
	defer f.Close()
	return sweep(dir, keep)
}

// end sends a signal to a process of the lab, if it still runs, and waits for its end.
func end(ctx context.Context, pid int, verb, dir string, sig unix.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("watch process %d of the lab in %s: %w", pid, dir, err)
	}
	defer unix.Close(fd)
	// The number may have been given to another program since. One that is ending has no command line any more.
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(line) > 0 && !strings.Contains(string(line), "\x00"+verb+"\x00--dir\x00"+dir+"\x00") {
		return nil
	}
	if sig != 0 {
		if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end the lab in %s: %w", dir, err)
		}
	}
	return awaitExit(ctx, fd)
}

// awaitExit waits for the process behind a pidfd, looking at ctx every 100 ms.
func awaitExit(ctx context.Context, fd int) error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100)
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for the lab's end: %w", err)
		case ctx.Err() != nil:
			return fmt.Errorf("wait for the lab's end: %w", context.Cause(ctx))
		}
	}
}
