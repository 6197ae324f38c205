package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"nightporter/internal/labpage"
)

// launch starts a program in the host. files are its descriptors from 0 on.
func (n *node) launch(argv, env []string, files []*os.File) (*process, error) {
	if n.power == PowerAsleep || n.power == PowerResuming {
		return nil, fmt.Errorf("%s is %s and runs nothing; wake it with `nightporter lab wake %s`", n.name, n.power, n.name)
	}
	if n.space == nil {
		return nil, fmt.Errorf("%s is off; switch it on with `nightporter lab start %s`", n.name, n.name)
	}
	path, err := lookPath(argv[0], n.bench.env)
	if err != nil {
		return nil, err
	}
	attr := &syscall.ProcAttr{
		Dir: n.dir(), Env: slices.Concat(n.bench.env, n.ownEnv(), env),
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	}
	for _, f := range files {
		attr.Files = append(attr.Files, f.Fd())
	}
	if n.freezer.dir != nil {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(n.freezer.dir.Fd())
	}
	var p *process
	err = n.space.do(func() (err error) {
		p, err = n.bench.reaper.start(path, argv, attr)
		return err
	})
	return p, err
}

// ownEnv names the host's page to its programs, also to an agent that is started by hand.
func (n *node) ownEnv() []string {
	if n.page == nil {
		return nil
	}
	return []string{labpage.Env + "=" + labpage.Path}
}

func (n *node) dir() string { return filepath.Join(n.bench.options.Dir, "hosts", n.name) }

// background starts one of the host's own programs, with a log file in the host's directory. more follows descriptor 2.
func (n *node) background(logName string, argv []string, more ...*os.File) (*process, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	defer null.Close()
	log, err := os.OpenFile(filepath.Join(n.dir(), logName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", argv[0], err)
	}
	defer log.Close()
	return n.launch(argv, nil, append([]*os.File{null, log, log}, more...))
}

// startServer returns when the server listens.
func (n *node) startServer() error {
	ready, readyW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start the server of %s: %w", n.name, err)
	}
	defer ready.Close()
	argv := []string{n.bench.program(), "lab", "serve", "--name", n.name, "--port", strconv.Itoa(ServerPort), "--ready-fd", "3"}
	if n.bench.options.Talk {
		argv = append(argv, "--talk")
	}
	n.server, err = n.background("server.log", argv, readyW)
	readyW.Close()
	if err != nil {
		return err
	}
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("the server of %s did not start; its log says: %s", n.name, tail(filepath.Join(n.dir(), "server.log")))
	}
	return nil
}

func (n *node) startAgent() (err error) {
	o := n.bench.options
	argv := o.Agent
	if argv == nil {
		argv = []string{n.bench.program(), "agent", "--config", "{config}", "--node", "{node}"}
	}
	fill := strings.NewReplacer("{node}", n.name, "{config}", filepath.Join(o.Dir, configName), "{dir}", n.dir())
	filled := make([]string, len(argv))
	for i, word := range argv {
		filled[i] = fill.Replace(word)
	}
	n.agent, err = n.background("agent.log", filled)
	n.starved = false
	return err
}

// program is the link by which the hosts know the nightporter program.
func (b *bench) program() string { return filepath.Join(b.options.Dir, "bin", "nightporter") }

// status describes the node.
func (n *node) status() HostStatus {
	h := HostStatus{
		Name: n.name, Power: n.power, MAC: n.mac.String(), Addr: n.addr, Addr6: n.addr6, Sleeper: n.sleeper,
		Agent: "none", Sleeps: n.sleeps, Since: n.since, WokenBy: n.wokenBy, Card: n.card, Ignored: n.ignored.Load(),
		Clock: n.clock, Slept: n.slept, Disk: n.disk, Claims: slices.Clone(n.claims),
	}
	if n.duty != nil {
		h.Starved = n.duty.Starvation
	}
	if n.agent != nil {
		h.Agent = "running"
		if !n.agent.running() {
			h.Agent = n.agent.ended()
		}
	}
	if n.space != nil {
		if all, err := residents(n.space.net); err == nil {
			h.Processes = len(all)
		}
	}
	return h
}

// lookPath finds a program in the PATH of the hosts.
func lookPath(name string, env []string) (string, error) {
	if strings.ContainsRune(name, '/') {
		return name, nil
	}
	for _, entry := range env {
		list, ok := strings.CutPrefix(entry, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(list) {
			path := filepath.Join(dir, name)
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("there is no program %q in the hosts' PATH", name)
}
