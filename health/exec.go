package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// Exec runs the executable of that name in dir, which must end with 0. The name comes from the replicated state, so it decides nothing
// but which of this host's own executables is run: it is no path, and both the file and the directory must be root's alone.
//
// It gets env and nothing of the agent's environment, no input, and / as its directory. When ctx is done it is killed with its
// process group, and so it is when the agent dies.
func Exec(ctx context.Context, dir, name string, env []string) error {
	path, err := trusted(dir, name)
	if err != nil {
		return err
	}
	return Command(ctx, []string{path}, env)
}

// Command runs a program with its arguments in the same way as Exec. No shell reads them. The words come from this host's own
// configuration.
func Command(ctx context.Context, argv, env []string) error {
	var said first
	return run(ctx, argv, env, &said, &said)
}

// Output runs a program like Command, and gives the first line that it prints; "" = it prints none.
func Output(ctx context.Context, argv []string) (string, error) {
	var out, said first
	if err := run(ctx, argv, nil, &out, &said); err != nil {
		return "", err
	}
	return out.line(), nil
}

func run(ctx context.Context, argv, env []string, out, said *first) error {
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Dir, c.Env = "/", append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}, env...)
	c.Stdout, c.Stderr = out, said
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 100 * time.Millisecond // for what it left behind with its output still open
	runtime.LockOSThread()               // the death signal comes with the end of the thread that started it
	defer runtime.UnlockOSThread()
	err := c.Start()
	if err == nil {
		ordinary(c.Process.Pid)
		err = c.Wait()
	}
	switch {
	case ctx.Err() != nil:
		return errLate
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return nil
	case said.line() != "":
		return fmt.Errorf("%w: %s", err, said.line())
	}
	return err
}

// ordinary takes from a program what its agent has before others: a renewal must not come late, and the agent is the last to be killed when
// memory is short. Neither is for what it starts. Where that is refused the program runs all the same.
func ordinary(pid int) {
	_ = syscall.Setpriority(syscall.PRIO_PGRP, pid, 0)
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("0"), 0)
}

// trusted gives the path of an executable that nobody but root can have put there.
func trusted(dir, name string) (string, error) {
	if name == "" || name != filepath.Base(name) || name[0] == '.' {
		return "", fmt.Errorf("%q is not the name of an executable in %s", name, dir)
	}
	path := filepath.Join(dir, name)
	for _, p := range []string{dir, path} {
		info, err := os.Lstat(p)
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("there is no %s on this host", p)
		}
		if err != nil {
			return "", fmt.Errorf("looking at the executable of the check: %w", err)
		}
		owner := uint32(1)
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			owner = st.Uid
		}
		switch mode := info.Mode(); {
		case p == dir && !mode.IsDir():
			return "", fmt.Errorf("%s is no directory (a link to one is not followed)", p)
		case p == path && !mode.IsRegular():
			return "", fmt.Errorf("%s is no regular file (links are not followed), so it is not run", p)
		case owner != 0:
			return "", fmt.Errorf("%s does not belong to root, so it is not run", p)
		case mode.Perm()&0o022 != 0:
			return "", fmt.Errorf("%s can be written by others than root (mode %#o), so it is not run", p, mode.Perm())
		case p == path && mode.Perm()&0o100 == 0:
			return "", fmt.Errorf("%s is not executable", p)
		}
	}
	return path, nil
}

// first keeps the beginning of what a program says.
type first struct{ bytes.Buffer }

// Write implements io.Writer.
func (f *first) Write(b []byte) (int, error) {
	const most = 512
	if left := most - f.Len(); left > 0 {
		f.Buffer.Write(b[:min(left, len(b))])
	}
	return len(b), nil
}

func (f *first) line() string {
	line, _, _ := strings.Cut(strings.TrimSpace(f.String()), "\n")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) { // C0, DEL, C1: the sentence is shown at terminals
			return ' '
		}
		return r
	}, strings.ToValidUTF8(line, "?"))
}
