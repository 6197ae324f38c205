package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// talk is a conversation with whoever started the command. Reading cannot be called off, so it is done beside, and a command that was told to
// end does so without the answer.
type talk struct {
	err      io.Writer
	in       *bufio.Reader
	file     *os.File // nil = standard input is no file
	terminal bool
	restore  func()
}

func newTalk(sh *shell) *talk {
	t := &talk{err: sh.err, in: bufio.NewReader(sh.in), restore: func() {}}
	if f, ok := sh.in.(*os.File); ok {
		t.file, t.terminal = f, isTerminal(f)
	}
	return t
}

func isTerminal(x any) bool {
	f, ok := x.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// close leaves the terminal as it was.
func (t *talk) close() { t.restore() }

// errCalledOff is what Ctrl-C at a question comes to.
var errCalledOff = errors.New("called off; nothing was written")

// read gives what f reads, unless the command is told to end before.
func (t *talk) read(ctx context.Context, f func() (string, error)) (string, error) {
	type answer struct {
		s   string
		err error
	}
	got := make(chan answer, 1)
	go func() {
		s, err := f()
		got <- answer{s, err}
	}()
	select {
	case a := <-got:
		return a.s, a.err
	case <-ctx.Done():
		fmt.Fprintln(t.err)
		return "", errCalledOff
	}
}

// line asks and gives one line.
func (t *talk) line(ctx context.Context, ask string) (string, error) {
	fmt.Fprint(t.err, plainLines(ask))
	return t.read(ctx, func() (string, error) {
		s, err := t.in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return "", errCalledOff
		}
		if err != nil {
			return "", fmt.Errorf("read the answer: %w", err)
		}
		return s, nil
	})
}

// secretly gives a line that a terminal does not show, or all of standard input where that is no terminal.
func (t *talk) secretly(ctx context.Context, ask string) (string, error) {
	if !t.terminal {
		return t.read(ctx, func() (string, error) {
			all, err := io.ReadAll(io.LimitReader(t.in, 1<<20))
			if err == nil && strings.TrimSpace(string(all)) == "" {
				err = errors.New("it is empty; give it the line that `nightporter setup --invite` prints on a host of the cluster")
			}
			if err != nil {
				return "", fmt.Errorf("read the invitation from standard input: %w", err)
			}
			return string(all), nil
		})
	}
	if err := t.hide(); err != nil {
		return "", err
	}
	defer func() { t.restore(); fmt.Fprintln(t.err) }()
	return t.line(ctx, ask)
}

// hide has the terminal show nothing. It also takes a line byte by byte: as a whole it takes no more than 4095 (termios(3)).
func (t *talk) hide() error {
	fd := int(t.file.Fd())
	was, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("look at the terminal: %w", err)
	}
	hidden := *was
	hidden.Lflag &^= unix.ECHO | unix.ICANON
	hidden.Lflag |= unix.ISIG
	hidden.Iflag |= unix.ICRNL
	hidden.Cc[unix.VMIN], hidden.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &hidden); err != nil {
		return fmt.Errorf("have the terminal show nothing: %w", err)
	}
	t.restore = func() {
		_ = unix.IoctlSetTermios(fd, unix.TCSETS, was) // it is the one that was there
		t.restore = func() {}
	}
	return nil
}
