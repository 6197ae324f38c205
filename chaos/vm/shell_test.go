//go:build vm

package vm

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
)

// shell is root's in the guest, at its second serial line, so that nothing of it goes over the network that is watched.
type shell struct {
	conn  net.Conn
	lines chan string
	done  chan struct{}
	one   sync.Mutex
}

// What the guest's unit of the shell says first, and what it says after each command, before the status.
const (
	shellReady = "@ready@"
	shellEnd   = "@end@"
)

// openShell connects to the serial line of a machine that may just be starting.
func openShell(ctx context.Context, path string) (*shell, error) {
	conn, err := dialUnix(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("reach the guest's serial line: %w", err)
	}
	s := &shell{conn: conn, lines: make(chan string, 1024), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for in := bufio.NewScanner(conn); in.Scan(); {
			select {
			case s.lines <- strings.TrimSpace(in.Text()):
			default: // nobody asked for so much
			}
		}
	}()
	return s, nil
}

func (s *shell) line(ctx context.Context) (string, error) {
	select {
	case l := <-s.lines:
		return l, nil
	case <-s.done:
		return "", fmt.Errorf("the machine has ended")
	case <-ctx.Done():
		return "", fmt.Errorf("wait for the guest's shell: %w", context.Cause(ctx))
	}
}

// ready waits until the guest has come so far that it runs its shell.
func (s *shell) ready(ctx context.Context) error {
	for {
		if l, err := s.line(ctx); err != nil || l == shellReady {
			return err
		}
	}
}

// run runs a command and gives what it wrote. A status other than 0 is an error.
func (s *shell) run(ctx context.Context, command string) (string, error) {
	s.one.Lock()
	defer s.one.Unlock()
	if _, err := fmt.Fprintf(s.conn, "{ %s ; } 2>&1; status=$?; echo; echo %s $status\n", command, shellEnd); err != nil {
		return "", fmt.Errorf("`%s` in the guest: %w", command, err)
	}
	var out []string
	for {
		l, err := s.line(ctx)
		if err != nil {
			return "", fmt.Errorf("`%s` in the guest: %w", command, err)
		}
		status, ended := strings.CutPrefix(l, shellEnd)
		if !ended {
			out = append(out, l)
			continue
		}
		text := strings.TrimSpace(strings.Join(out, "\n"))
		if code, err := strconv.Atoi(strings.TrimSpace(status)); err != nil || code != 0 {
			return text, fmt.Errorf("`%s` in the guest ended with status %s: %s", command, status, text)
		}
		return text, nil
	}
}

func (s *shell) close() {
	s.conn.Close() // what the guest was told was answered, or nobody waits for it
	<-s.done
}
