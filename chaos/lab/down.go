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

// Down ends the lab in dir, whoever started it, or removes what a lab left whose processes were all killed at once.
func Down(ctx context.Context, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, markName)); err != nil {
		return fmt.Errorf("there is no lab in %s; name its directory with --dir: %w", dir, err)
	}
	keep := false
	if o, err := readOptions(dir); err == nil {
		keep = o.Keep
	}
	p, err := readPids(dir)
	if err != nil {
		return sweep(dir, keep) // it was killed before it began
	}
	// The supervisor ends with the keeper, or by itself when the keeper has been killed.
	if err := end(ctx, p.Keeper, "keep", dir, unix.SIGTERM); err != nil {
		return err
	}
	if err := end(ctx, p.Supervisor, "supervise", dir, 0); err != nil {
		return err
	}
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
	if err != nil || len(line) > 0 && !strings.Contains(string(line), "\x00"+verb+"\x00--dir\x00"+dir) {
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
