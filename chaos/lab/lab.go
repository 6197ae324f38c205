package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// Files in a lab's directory.
const (
	markName    = "nightporter-lab" // says that the directory may be removed
	optionsName = "lab.json"
	pidsName    = "pids.json"
	logName     = "lab.log"
	configName  = "nightporter.yaml"
	secretName  = "secret"
)

// Lab is a running lab as its owner sees it. Its methods may be called from several goroutines.
type Lab struct {
	dir    string
	keeper *exec.Cmd // nil for a lab that somebody else started
	owner  *os.File  // while it is open, the lab lives; nil for a detached lab
	down   sync.Mutex
}

// NotAllowed says that the machine does not let this user make namespaces.
type NotAllowed struct {
	Command string // what to run instead
	Cause   string // what was refused
}

// Error is one sentence with the command that works.
func (e *NotAllowed) Error() string {
	return fmt.Sprintf("this machine does not let a plain user make network namespaces (%s); run: %s", e.Cause, e.Command)
}

// begun is what the supervisor reports through the keeper when it has built the lab, or why it has not.
type begun struct {
	Error   string `json:"error,omitempty"`
	Refused string `json:"refused,omitempty"` // the kernel's word, where namespaces are not allowed
}

// pids are the lab's two outer processes as the owner's PID namespace numbers them.
type pids struct {
	Keeper     int    `json:"keeper"`
	Supervisor int    `json:"supervisor"`
	Cgroup     string `json:"cgroup,omitempty"`
}

// Up builds a lab and returns when all hosts have been switched on; their agents may still be looking for each other.
// Cancelling ctx while Up works ends the lab; afterwards it has no influence.
func Up(ctx context.Context, o Options) (*Lab, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := o.makeDir(); err != nil {
		return nil, err
	}
	l := &Lab{dir: o.Dir}
	if err := l.start(ctx, o); err != nil {
		return nil, errors.Join(err, l.abandon())
	}
	return l, nil
}

func (l *Lab) start(ctx context.Context, o Options) error {
	body, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return fmt.Errorf("write down the lab's options: %w", err)
	}
	if err := os.WriteFile(l.path(optionsName), append(body, '\n'), 0o600); err != nil {
		return fmt.Errorf("write down the lab's options: %w", err)
	}
	log, err := os.OpenFile(l.path(logName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the lab's log: %w", err)
	}
	defer log.Close()
	ready, readyW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe to the lab: %w", err)
	}
	defer ready.Close()
	life, lifeW, err := os.Pipe()
	if err != nil {
		readyW.Close()
		return fmt.Errorf("make a pipe to the lab: %w", err)
	}
	l.keeper = exec.Command(o.Binary, "lab", "keep", "--dir", l.dir)
	l.keeper.Stdout, l.keeper.Stderr = log, log
	l.keeper.ExtraFiles = []*os.File{life, readyW} // 3 and 4
	l.keeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if o.Detached {
		l.keeper.Args = append(l.keeper.Args, "--detached")
	}
	err = l.keeper.Start()
	readyW.Close()
	life.Close()
	if err != nil {
		l.keeper = nil
		lifeW.Close()
		return fmt.Errorf("start the lab's keeper: %w", err)
	}
	l.owner = lifeW
	if err := awaitBegun(ctx, ready, o); err != nil {
		return err
	}
	if o.Detached {
		l.owner = nil
		lifeW.Close()
	}
	return nil
}

// awaitBegun waits for the supervisor's report. The pipe ends without one when the supervisor or the keeper has died.
func awaitBegun(ctx context.Context, ready *os.File, o Options) error {
	stop := context.AfterFunc(ctx, func() { ready.Close() })
	defer stop()
	line, err := bufio.NewReader(ready).ReadBytes('\n')
	var b begun
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("build the lab: %w", context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("the lab's supervisor ended before the lab was built; its log says: %s", tail(filepath.Join(o.Dir, logName)))
	}
	if err := json.Unmarshal(line, &b); err != nil {
		return fmt.Errorf("read the report of the lab's supervisor: %w", err)
	}
	switch {
	case b.Refused != "":
		return &NotAllowed{Command: sudoCommand(o.Binary), Cause: b.Refused}
	case b.Error != "":
		return fmt.Errorf("build the lab: %s", b.Error)
	}
	return nil
}

// sudoCommand is the command line of this process under sudo.
func sudoCommand(binary string) string {
	words := []string{"sudo", binary}
	if exe, err := os.Executable(); err == nil && exe == binary {
		words = append(words, os.Args[1:]...)
	} else {
		words = append(words, "lab", "up")
	}
	return strings.Join(words, " ")
}

// tail gives the last 600 bytes of a log on one line.
func tail(path string) string {
	body, err := os.ReadFile(path)
	if err != nil || len(body) == 0 {
		return "(nothing)"
	}
	if len(body) > 600 {
		body = body[len(body)-600:]
	}
	return strings.Join(strings.Split(strings.TrimSpace(string(body)), "\n"), " | ")
}

// abandon ends a lab that was not built.
func (l *Lab) abandon() error {
	if l.owner != nil {
		l.owner.Close()
		l.owner = nil
	}
	if l.keeper != nil {
		// A detached keeper that still builds must be told; one that has ended cannot be.
		_ = l.keeper.Process.Signal(syscall.SIGTERM)
		_ = l.keeper.Wait() // its own failure has been reported already
	}
	return sweep(l.dir, false)
}

// Attach finds the lab that runs in dir.
func Attach(ctx context.Context, dir string) (*Lab, error) {
	dir, err := locate(dir)
	if err != nil {
		return nil, err
	}
	l := &Lab{dir: dir}
	if _, err := l.Status(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// Dir is the lab's directory: configuration, logs and data. It is gone after Down unless Options.Keep is set.
func (l *Lab) Dir() string { return l.dir }

func (l *Lab) path(elem ...string) string {
	return filepath.Join(append([]string{l.dir}, elem...)...)
}

func (l *Lab) ask(ctx context.Context, q request, files ...*os.File) (response, []*os.File, error) {
	return ask(ctx, l.path(socketName), q, files...)
}

// Status tells what every host does.
func (l *Lab) Status(ctx context.Context) (Status, error) {
	r, _, err := l.ask(ctx, request{Verb: "status"})
	if err != nil {
		return Status{}, err
	}
	if r.Status == nil {
		return Status{}, errors.New("the lab gave no status: it was started by another version of nightporter")
	}
	return *r.Status, nil
}

// Pids are the process ids of the keeper and of the supervisor, for tests that kill them.
func (l *Lab) Pids() (keeper, supervisor int, err error) {
	p, err := readPids(l.dir)
	return p.Keeper, p.Supervisor, err
}

func readPids(dir string) (pids, error) {
	var p pids
	body, err := os.ReadFile(filepath.Join(dir, pidsName))
	if err != nil {
		return p, fmt.Errorf("find the lab's processes: %w", err)
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return p, fmt.Errorf("find the lab's processes: %w", err)
	}
	return p, nil
}
