package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"nightporter/agent"
	"nightporter/config"
)

// replacement is the upgrade in place: SIGUSR2 makes the agent give its process to the program that its file has by now, with
// everything left open that is open.
type replacement struct {
	program string       // where this program came from
	check   []string     // the arguments with which the new one shows that it runs and understands the configuration
	stays   func() error // why the next program could not go on with what is open; nil = it always can
	log     *slog.Logger
	tell    func(state string) // tells the service manager: the reload itself has succeeded long before
}

// firstLine is all that a status has room for.
func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return strings.TrimRight(line, ": ")
}

// checkTime bounds the new program's proof.
const checkTime = 20 * time.Second

// watch asks for the replacement whenever the signal comes and the new program is good, unless stop is closed before the end; it ends
// with ctx. The first life of a process must have it before anybody can send the signal, whose default is to kill.
func (r *replacement) watch(ctx context.Context, stop <-chan struct{}, replace context.CancelCauseFunc) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR2)
	defer signal.Stop(asked)
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
		}
		if err := r.proof(ctx); err != nil {
			r.log.Error("the program is not replaced: the new one does not run, or cannot go on under the configuration", "program", r.program, "err", err)
			r.tell("STATUS=The program was not replaced: " + firstLine(err.Error()))
			continue
		}
		signal.Ignore(syscall.SIGUSR2) // until the new program watches
		replace(agent.ReplacedUnless(stop))
		return
	}
}

// proof runs the new program before the old one gives anything up.
func (r *replacement) proof(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	var said bytes.Buffer
	c := exec.CommandContext(ctx, r.program, r.check...)
	c.Stdout, c.Stderr = &said, &said
	if err := c.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String()))
	}
	if r.stays == nil {
		return nil
	}
	return r.stays()
}

// samePlace says why what is open cannot be gone on with under another configuration: it is on one interface, and the others know this host
// by its address. A configuration that only the next program understands is for that to judge.
func samePlace(now *config.Config, path string, m *config.Machine) error {
	next, err := config.Load(path, now.Node, m)
	if err != nil {
		return nil //nolint:nilerr // the next program has read it
	}
	for _, one := range []struct {
		key       string
		was, will any
	}{
		{"cluster", now.Cluster, next.Cluster},
		{"interface", now.Interface, next.Interface},
		{"address", now.Address, next.Address},
		{"gossip_port", now.GossipPort, next.GossipPort},
		{"peer_port", now.PeerPort, next.PeerPort},
	} {
		if one.was != one.will {
			return fmt.Errorf("%s was %v and is %v, which takes a restart: `nightporter drain --wait %s`, then `systemctl restart nightporter`", one.key, one.was, one.will, now.Node)
		}
	}
	return nil
}

// exec gives the process to the new program. It returns only with an error: then the kernel closes what is open, as after a crash.
func (r *replacement) exec() error {
	err := syscall.Exec(r.program, os.Args, os.Environ())
	return fmt.Errorf("starting %s in the place of this program: %w", r.program, err)
}

// run is runAgent with the replacement around it.
func (r *replacement) run(parent context.Context, life func(context.Context) error) error {
	ctx, replace := context.WithCancelCause(parent)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.watch(ctx, parent.Done(), replace)
	}()
	err := life(ctx)
	replace(nil)
	<-ended
	if !errors.Is(err, agent.ErrReplaced) {
		return err
	}
	signal.Reset(syscall.SIGINT, syscall.SIGTERM) // nobody listens from here on: they end this process, or the next program's start
	if parent.Err() != nil {
		r.log.Warn("asked to stop when all was left to the next program: it is not started, and the kernel closes what is open")
		return nil
	}
	return r.exec()
}
