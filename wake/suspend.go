package wake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
)

const (
	tailBytes = 4096 // of the command's output that are kept
	tailLines = 3    // of these that stand in the error
	tailRunes = 400  // longest quotation in the error
	// drainWait is how long the output is still read after the command itself has ended: a child that it left
	// behind may hold the pipe for ever. It runs only after the exit, so a suspend in the middle does not count.
	drainWait = 2 * time.Second
	// killAfter is what a command that is stopped has to end by itself.
	killAfter = 2 * time.Second
)

// DefaultSuspendCommand suspends a host that runs systemd.
func DefaultSuspendCommand() []string { return []string{"systemctl", "suspend"} }

// Suspender puts this host to sleep by a command.
type Suspender struct {
	Command []string // program and arguments, no shell; empty = DefaultSuspendCommand
}

// Suspend runs the command and waits until it has ended. The host may sleep for hours in the middle of that, or only
// after it (systemctl returns before the host is asleep): nil means that the command exited with 0, and only a later
// tick of an Edge says that the host was away.
//
// There is no time limit, since any would count the sleep: a context with a deadline is refused. When ctx is cancelled
// before the start, nothing is run; afterwards the command gets SIGTERM, two seconds later
// SIGKILL, and is waited for.
//
// The error is one sentence with the command, how it ended and the last lines that it printed.
func (s Suspender) Suspend(ctx context.Context) error {
	argv := s.Command
	if len(argv) == 0 {
		argv = DefaultSuspendCommand()
	}
	name := strings.Join(argv, " ")
	if _, limited := ctx.Deadline(); limited {
		return fmt.Errorf("the suspend command %q was not run: its context has a deadline, which would pass while the host sleeps", name)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("the suspend command %q was not run: %w", name, err)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C") // messages that can be searched for
	var kill *time.Timer
	cmd.Cancel = func() error {
		kill = time.AfterFunc(killAfter, func() { _ = cmd.Process.Kill() }) // of a process that has ended: nothing
		return cmd.Process.Signal(syscall.SIGTERM)
	}
	output, err := runQuoted(cmd)
	if kill != nil { // set before cmd.Wait returned
		kill.Stop()
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case cmd.Process == nil:
		return fmt.Errorf("the suspend command %q could not be started (correct suspend_command in the configuration): %w", name, err)
	case errors.As(err, &exit):
		return &SuspendError{Command: name, Output: output, Err: err}
	default:
		return fmt.Errorf("the suspend command %q was interrupted: %w", name, err)
	}
}

// resumesFile is where Linux (from 5.4 on) counts the suspends that this machine has come back from. One that failed does not count.
const resumesFile = "/sys/power/suspend_stats/success"

// Resumes reads that count; false: this kernel does not keep it. The clocks tell nothing of a sleep of a moment: CLOCK_BOOTTIME is
// put right after it from a clock that may be off by as much.
func Resumes() (n uint64, counted bool) { return readCount(resumesFile) }

func readCount(path string) (uint64, bool) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64)
	return n, err == nil
}

// runQuoted runs cmd to its end and gives the last lines that it printed. The pipe is read here and not by exec, whose
// WaitDelay counts from a cancellation too and then kills the command.
func runQuoted(cmd *exec.Cmd) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", fmt.Errorf("make a pipe for its output: %w", err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	w.Close() // the command has its own copy
	if err != nil {
		r.Close()
		return "", err
	}
	out := &tail{limit: tailBytes}
	read := make(chan struct{})
	go func() {
		defer close(read)
		io.Copy(out, r) // ends at the end of the output, or when r is closed below
	}()
	err = cmd.Wait()
	drain := time.NewTimer(drainWait)
	defer drain.Stop()
	select {
	case <-read:
	case <-drain.C:
	}
	r.Close()
	<-read
	return out.String(), err
}

// SuspendError says how the suspend command failed.
type SuspendError struct {
	Command string // as it was run
	Output  string // the last lines of its output on one line, "" if it printed nothing
	Err     error  // an *exec.ExitError
}

// Error is one sentence.
func (e *SuspendError) Error() string {
	how := e.Err.Error() // "exit status 3", "signal: killed"
	if e.Output == "" {
		return fmt.Sprintf("the suspend command %q failed with %s and printed nothing; run it by hand on this host to see why", e.Command, how)
	}
	return fmt.Sprintf("the suspend command %q failed with %s: %s", e.Command, how, e.Output)
}

// Unwrap gives the cause.
func (e *SuspendError) Unwrap() error { return e.Err }

// tail keeps the last bytes that were written to it.
type tail struct {
	limit int
	buf   []byte
}

// Write never fails: a chatty command must not be ended by a broken pipe.
func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - t.limit; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

// String gives the last lines that are not empty, joined by " | ", without control characters.
func (t *tail) String() string {
	var lines []string
	for line := range strings.Lines(strings.ToValidUTF8(string(t.buf), "?")) {
		line = strings.TrimSpace(strings.Map(printable, line))
		if line != "" {
			lines = append(lines, line)
		}
	}
	lines = lines[max(0, len(lines)-tailLines):]
	text := []rune(strings.Join(lines, " | "))
	if over := len(text) - tailRunes; over > 0 {
		text = append([]rune("..."), text[over:]...)
	}
	return string(text)
}

func printable(r rune) rune {
	if unicode.IsControl(r) {
		return ' '
	}
	return r
}
