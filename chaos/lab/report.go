package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Supervise is the supervisor, the first process of the lab's namespaces. It returns when the keeper's life pipe ends or
// somebody calls `lab down`; whatever it started dies with it.
func Supervise(ctx context.Context, dir, outside, group string, log *slog.Logger) error {
	runtime.LockOSThread() // the main goroutine stays on one thread, in the namespaces of the process
	life := os.NewFile(lifeFD, "the keeper's life")
	ready := os.NewFile(readyFD, "the report")
	unix.CloseOnExec(lifeFD)
	unix.CloseOnExec(readyFD)
	o, err := readOptions(dir)
	if err != nil {
		return errors.Join(report(ready, begun{Error: err.Error()}), err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	noted := make(chan struct{})
	go func() { // ends with the process at the latest
		if n, _ := life.Read(make([]byte, 1)); n == 1 {
			close(noted)
		}
		_, _ = io.Copy(io.Discard, life)
		cancel()
	}()
	s, err := build(o, outside, group, log)
	if err != nil {
		b := begun{Error: err.Error()}
		if rootless() && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)) {
			b = begun{Refused: refusal(err)}
		}
		return errors.Join(report(ready, b), err)
	}
	select {
	case <-noted: // whoever is told of the lab finds its processes
	case <-ctx.Done():
	}
	if err := report(ready, begun{}); err != nil {
		log.Warn("the lab's owner does not listen", "err", err)
	}
	err = s.run(ctx)
	s.close()
	// The keeper does this too; it is done here for the case that the keeper was killed.
	return errors.Join(err, sweep(dir, o.Keep))
}

// reportRefusal tells the owner why there are no namespaces.
func reportRefusal(ready *os.File, cause error) error {
	b := begun{Error: cause.Error()}
	if refused(cause) {
		b = begun{Refused: refusal(cause)}
	}
	return report(ready, b)
}

func report(ready *os.File, b begun) error {
	defer ready.Close()
	body, err := json.Marshal(b)
	if err == nil {
		_, err = ready.Write(append(body, '\n'))
	}
	if err != nil {
		return fmt.Errorf("report to the lab's owner: %w", err)
	}
	return nil
}

// refused tells a kernel that forbids namespaces from other failures. ENOSPC and EUSERS: the limits of user namespaces;
// EINVAL: a kernel without them.
func refused(err error) bool {
	for _, e := range []error{unix.EPERM, unix.EACCES, unix.ENOSPC, unix.EUSERS, unix.EINVAL, unix.ENOSYS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// refusal names the setting that forbids them, where it is one of the known ones.
func refusal(cause error) string {
	for _, s := range []struct{ path, bad string }{
		{"kernel/apparmor_restrict_unprivileged_userns", "1"},
		{"kernel/unprivileged_userns_clone", "0"},
		{"user/max_user_namespaces", "0"},
	} {
		value, err := os.ReadFile("/proc/sys/" + s.path)
		if err == nil && strings.TrimSpace(string(value)) == s.bad {
			return strings.ReplaceAll(s.path, "/", ".") + " is " + s.bad
		}
	}
	return cause.Error()
}

// rootless tells whether this process is in a user namespace that a plain user made: it knows one user only. There a
// refusal is the machine's policy (AppArmor lets the namespace be made and takes its rights away).
func rootless() bool {
	body, err := os.ReadFile("/proc/self/uid_map")
	fields := strings.Fields(string(body))
	return err == nil && len(fields) == 3 && fields[2] == "1"
}

func readOptions(dir string) (Options, error) {
	var o Options
	body, err := os.ReadFile(filepath.Join(dir, optionsName))
	if err == nil {
		err = json.Unmarshal(body, &o)
	}
	if err != nil {
		return o, fmt.Errorf("read the lab's options: %w", err)
	}
	return o, nil
}
