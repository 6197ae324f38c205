package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Descriptors that the keeper and the supervisor inherit.
const (
	lifeFD  = 3 // ends when the process that wants the lab has ended
	readyFD = 4 // takes the supervisor's report
)

// Keep is the keeper: it starts the supervisor in new namespaces, waits for its end and removes what it leaves. The
// owner's end of the life pipe, SIGTERM and SIGINT end the lab; a detached lab has no owner.
func Keep(dir string, detached bool, log *slog.Logger) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	life := os.NewFile(lifeFD, "the owner's life")
	ready := os.NewFile(readyFD, "the report")
	unix.CloseOnExec(lifeFD)
	unix.CloseOnExec(readyFD)
	held, err := hold(dir)
	if err != nil {
		return err
	}
	defer held.Close() // last, after the sweep
	o, err := readOptions(dir)
	if err != nil {
		return err
	}
	sup, lifeW, err := startSupervisor(o, ready)
	if err != nil {
		err = reportRefusal(ready, err)
		return errors.Join(err, sweep(dir, o.Keep))
	}
	ready.Close()
	gone := make(chan error, 1)
	go func() { gone <- sup.Wait() }()
	orphaned := make(chan struct{})
	if !detached {
		go func() { // ends with the process at the latest
			_, _ = io.Copy(io.Discard, life)
			close(orphaned)
		}()
	}
	select {
	case err = <-gone:
		log.Info("the supervisor has ended by itself", "err", err)
	case <-signals:
		err = stopSupervisor(lifeW, gone)
	case <-orphaned:
		err = stopSupervisor(lifeW, gone)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil // how it died is no failure of the keeper, as long as nothing is left
	}
	return errors.Join(err, sweep(dir, o.Keep))
}

// stopSupervisor closes the supervisor's life pipe and waits until it, and with it its PID namespace, is gone.
func stopSupervisor(lifeW *os.File, gone <-chan error) error {
	lifeW.Close()
	return <-gone
}

// startSupervisor starts it as the first process of new namespaces: a plain user first needs a user namespace, in which
// the user is root over all the others. Root in a container without CAP_SYS_ADMIN is a plain user here.
func startSupervisor(o Options, ready *os.File) (*exec.Cmd, *os.File, error) {
	const spaces = syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS
	plain := &syscall.SysProcAttr{
		Cloneflags: spaces | syscall.CLONE_NEWUSER, Setsid: true,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if os.Geteuid() != 0 {
		return launchSupervisor(o, ready, plain)
	}
	cmd, w, err := launchSupervisor(o, ready, &syscall.SysProcAttr{Cloneflags: spaces, Setsid: true})
	if errors.Is(err, unix.EPERM) {
		return launchSupervisor(o, ready, plain)
	}
	return cmd, w, err
}

func launchSupervisor(o Options, ready *os.File, attr *syscall.SysProcAttr) (*exec.Cmd, *os.File, error) {
	life, lifeW, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("make a pipe to the supervisor: %w", err)
	}
	defer life.Close()
	outside, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		lifeW.Close()
		return nil, nil, fmt.Errorf("look at the machine's own network namespace: %w", err)
	}
	group := ""
	if !o.NoCgroup {
		group = makeCgroup()
	}
	cmd := exec.Command("/proc/self/exe", "lab", "supervise", "--dir", o.Dir, "--outside", outside, "--cgroup", group)
	cmd.Args[0] = o.Binary
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{life, ready}
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		lifeW.Close()
		return nil, nil, errors.Join(err, removeCgroup(group))
	}
	body, err := json.Marshal(pids{Keeper: os.Getpid(), Supervisor: cmd.Process.Pid, Cgroup: group})
	if err == nil {
		err = os.WriteFile(filepath.Join(o.Dir, pidsName), body, 0o600)
	}
	if err == nil {
		_, _ = lifeW.Write([]byte{'\n'}) // says that they are noted; one that has ended already is reported by its end
	}
	if err != nil {
		lifeW.Close()
		return nil, nil, errors.Join(fmt.Errorf("note the supervisor's process: %w", err), cmd.Wait(), removeCgroup(group))
	}
	return cmd, lifeW, nil
}
