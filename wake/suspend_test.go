package wake

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func shell(script string) Suspender { return Suspender{Command: []string{"sh", "-c", script}} }

func TestSuspendErrors(t *testing.T) {
	tests := []struct {
		name string
		s    Suspender
		want []string // parts of the sentence; none = success
	}{
		{"success", shell("echo fine; exit 0"), nil},
		{"exit status and output", shell("echo Failed to suspend: no such unit >&2; exit 3"), []string{"exit status 3", ": Failed to suspend: no such unit"}},
		{"last lines only", shell("seq 1 5000; echo; exit 1"), []string{"exit status 1: 4998 | 4999 | 5000"}},
		{"silent failure", shell("exit 1"), []string{"exit status 1", "printed nothing", "by hand"}},
		{"killed", shell("kill -9 $$"), []string{"signal: killed"}},
		{"control characters", shell(`printf '\033[31mred\007\n\377'; exit 1`), []string{"exit status 1: [31mred | ?"}},
		{"one endless line", shell("head -c 100000 /dev/zero | tr '\\0' x; exit 1"), []string{"...xxxx"}},
		{"no such program", Suspender{Command: []string{"/nonexistent/suspend", "-f"}}, []string{`"/nonexistent/suspend -f"`, "could not be started", "suspend_command"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.s.Suspend(context.Background())
			if len(tt.want) == 0 {
				must(t, err)
				return
			}
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not contain %q", err, part)
				}
			}
			if n := len(err.Error()); n > 600 || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("no sentence for a person (%d bytes): %q", n, err)
			}
		})
	}
}

func TestSuspendRefusesDeadline(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if err := shell("touch " + ran).Suspend(ctx); err == nil || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("got %v", err)
	}
	cancelled, stop := context.WithCancel(context.Background())
	stop()
	if err := shell("touch " + ran).Suspend(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the command was run")
	}
}

// A child that the command leaves behind holds its output open, and must not hold Suspend.
func TestSuspendLeavesChildBehind(t *testing.T) {
	pidfile := filepath.Join(t.TempDir(), "pid")
	must(t, shell("sleep 600 & echo $! >"+pidfile).Suspend(context.Background()))
	b, err := os.ReadFile(pidfile)
	must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	must(t, err)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the child was ended by Suspend: %v", err)
	}
}

func TestSuspendCancelled(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	must(t, syscall.Mkfifo(ready, 0o600))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	result := make(chan error, 1)
	go func() {
		result <- shell(`trap 'echo told to stop; kill $!; exit 7' TERM; sleep 600 & echo >` + ready + `; wait`).Suspend(ctx)
	}()
	_, err := os.ReadFile(ready) // returns when the command has opened and closed the fifo
	must(t, err)
	cancel()
	err = <-result
	if err == nil || !strings.Contains(err.Error(), "exit status 7: told to stop") {
		t.Errorf("got %v", err)
	}
}

// frozenEnv makes the test binary be the process that is frozen.
const frozenEnv = "NIGHTPORTER_TEST_FROZEN"

// runFrozen suspends by a command that stops the calling process itself, as a freezer would, in the middle of the command.
func runFrozen() {
	err := shell(fmt.Sprintf("kill -STOP %d; echo resumed; exit 5", os.Getpid())).Suspend(context.Background())
	fmt.Println(err)
	os.Exit(0)
}

func TestSuspendSurvivesFreeze(t *testing.T) {
	exe, err := os.Executable()
	must(t, err)
	var out strings.Builder
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), frozenEnv+"=1")
	cmd.Stdout, cmd.Stderr = &out, &out
	must(t, cmd.Start())
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if info.Code != cldStopped {
		t.Errorf("the process was not stopped (code %d): the test shows nothing", info.Code)
	}
	must(t, cmd.Process.Signal(syscall.SIGCONT))
	must(t, cmd.Wait())
	if got := out.String(); !strings.Contains(got, "exit status 5: resumed") {
		t.Errorf("got %q", got)
	}
}

const cldStopped = 5 // si_code of a SIGCHLD: CLD_STOPPED

// TestSuspendKilled: a command that does not listen ends all the same.
func TestSuspendKilled(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	must(t, syscall.Mkfifo(ready, 0o600))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	result := make(chan error, 1)
	go func() {
		result <- shell(`trap '' TERM; echo >` + ready + `; while :; do :; done`).Suspend(ctx)
	}()
	_, err := os.ReadFile(ready)
	must(t, err)
	cancel()
	if err = <-result; err == nil || !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("got %v", err)
	}
}
