package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func (n *node) signal(sig syscall.Signal) error {
	if n.agent == nil || !n.agent.running() {
		return fmt.Errorf("no agent runs in %s", n.name)
	}
	if err := n.agent.signal(sig, false); err != nil {
		return fmt.Errorf("send %s to the agent of %s: %w", sig, n.name, err)
	}
	return nil
}

func (n *node) awaitAgent(ctx context.Context) (int, error) {
	var p *process
	err := n.do(ctx, func() error {
		if p = n.agent; p == nil {
			return fmt.Errorf("no agent was started in %s", n.name)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	select {
	case <-p.done:
		return p.code(), nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// exec runs a program with the caller's files and waits for its end. It is killed when the caller goes away.
func (n *node) exec(ctx context.Context, q request, files []*os.File) (int, error) {
	if len(q.Argv) == 0 || len(files) != 3 {
		return 0, errors.New("say which program to run: `nightporter lab exec HOST -- PROGRAM ...`")
	}
	var p *process
	err := n.do(ctx, func() (err error) { p, err = n.launch(q.Argv, q.Env, files); return err })
	if err != nil {
		return 0, err
	}
	return awaitProcess(ctx, p)
}

func awaitProcess(ctx context.Context, p *process) (int, error) {
	select {
	case <-p.done:
		return p.code(), nil
	case <-ctx.Done():
	}
	if err := p.signal(syscall.SIGKILL, true); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, fmt.Errorf("kill a program whose caller went away: %w", err)
	}
	return 0, context.Cause(ctx)
}

// socket makes a socket in the host's network namespace, where it stays.
func (n *node) socket(ctx context.Context, family, kind, protocol int) ([]*os.File, error) {
	fd := -1
	err := n.inside(ctx, func() (err error) {
		fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make a socket in %s: %w", n.name, err)
	}
	return []*os.File{os.NewFile(uintptr(fd), "socket in "+n.name)}, nil
}

// dialUnix connects to a unix socket by its path in the host.
func (n *node) dialUnix(ctx context.Context, path string) ([]*os.File, error) {
	fd := -1
	err := n.inside(ctx, func() (err error) {
		if n.power != PowerUp { // the kernel would accept for the sleeping program, which never answers
			return fmt.Errorf("the host is %s", n.power)
		}
		fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		if err = unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
			unix.Close(fd)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to %s in %s: %w", path, n.name, err)
	}
	return []*os.File{os.NewFile(uintptr(fd), path+" in "+n.name)}, nil
}

// inside carries f out on the thread that lives in the host.
func (n *node) inside(ctx context.Context, f func() error) error {
	return n.do(ctx, func() error {
		if n.space == nil {
			return errors.New("the host is off")
		}
		return n.space.do(f)
	})
}

// inSwitch runs a program in the switch's namespace, such as tcpdump.
func (s *supervisor) inSwitch(ctx context.Context, q request, files []*os.File) (response, []*os.File, error) {
	if q.Verb != "exec" || len(q.Argv) == 0 || len(files) != 3 {
		return response{}, nil, fmt.Errorf("the switch knows no %q; only programs can be run in it", q.Verb)
	}
	path, err := lookPath(q.Argv[0], s.bench.env)
	if err != nil {
		return response{}, nil, err
	}
	attr := &syscall.ProcAttr{
		Dir: s.bench.options.Dir, Env: append(append([]string(nil), s.bench.env...), q.Env...),
		Sys: &syscall.SysProcAttr{Setsid: true},
	}
	for _, f := range files {
		attr.Files = append(attr.Files, f.Fd())
	}
	p, err := s.bench.reaper.start(path, q.Argv, attr)
	if err != nil {
		return response{}, nil, err
	}
	code, err := awaitProcess(ctx, p)
	return response{Code: code}, nil, err
}
