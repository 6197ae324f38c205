package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"nightporter/api"
)

// agentSocket is where an agent listens, as the host's programs see it: /run is the host's own.
const agentSocket = "/run/nightporter/nightporter.sock"

// Host is one host or client of a lab.
type Host struct {
	lab *Lab
	plug
}

// Host gives a host (h1, h2, ...) or a client (c1, ...) by name; a name that the lab does not have fails at the first use.
func (l *Lab) Host(name string) *Host {
	h := &Host{lab: l, plug: plug{name: name}}
	if p, ok := plugOf(name); ok {
		h.plug = p
	}
	return h
}

// Client gives client number k, from 1: a plain machine on the same switch, without an agent.
func (l *Lab) Client(k int) *Host { return l.Host(clientName(k)) }

func plugOf(name string) (plug, bool) {
	if len(name) < 2 {
		return plug{}, false
	}
	k, err := strconv.Atoi(name[1:])
	switch {
	case err != nil || k < 1:
		return plug{}, false
	case name[0] == 'h' && k <= maxHosts:
		return hostPlug(k), true
	case name[0] == 'c' && k <= maxClients:
		return clientPlug(k), true
	}
	return plug{}, false
}

// Lab is the host's lab.
func (h *Host) Lab() *Lab { return h.lab }

// Name is the host's name in the lab and in the cluster.
func (h *Host) Name() string { return h.name }

// MAC is the address of the host's network card.
func (h *Host) MAC() net.HardwareAddr { return h.mac }

// Addr is the host's own IPv4 address.
func (h *Host) Addr() netip.Addr { return h.addr }

// Addr6 is the host's own IPv6 address.
func (h *Host) Addr6() netip.Addr { return h.addr6 }

// Dir is the host's directory: agent.log, server.log and data.
func (h *Host) Dir() string { return h.lab.path("hosts", h.name) }

func (h *Host) do(ctx context.Context, q request) (response, error) {
	q.Host = h.name
	r, files, err := h.lab.ask(ctx, q)
	closeAll(files)
	return r, err
}

// Kill is a loss of power: in one instant the host sends nothing more, and every process of it is gone. The time is that
// of the instant. Its data directory stays, as a disk would.
func (h *Host) Kill(ctx context.Context) (time.Time, error) {
	r, err := h.do(ctx, request{Verb: "kill"})
	return r.At, err
}

// Signal sends a signal to the agent alone; the host stays on.
func (h *Host) Signal(ctx context.Context, sig syscall.Signal) error {
	_, err := h.do(ctx, request{Verb: "signal", Signal: int(sig)})
	return err
}

// AwaitAgentExit waits until the agent's process has ended and gives its exit status (128 + the signal that killed it).
func (h *Host) AwaitAgentExit(ctx context.Context) (int, error) {
	r, err := h.do(ctx, request{Verb: "await-agent"})
	return r.Code, err
}

// Start switches the host on, or starts the agent of a host that is on and whose agent has ended.
func (h *Host) Start(ctx context.Context) error {
	_, err := h.do(ctx, request{Verb: "start"})
	return err
}

// Freeze suspends the host without asking its agent, as closing the lid of a laptop does. `nightporter sleep` is the
// polite way; it ends in the same state.
func (h *Host) Freeze(ctx context.Context) error {
	_, err := h.do(ctx, request{Verb: "freeze"})
	return err
}

// Wake sends one real magic packet for this host from the first client. It says nothing about the effect.
func (h *Host) Wake(ctx context.Context) error {
	_, err := h.do(ctx, request{Verb: "wake"})
	return err
}

// WakeSecure does so with a SecureOn password.
func (h *Host) WakeSecure(ctx context.Context, password net.HardwareAddr) error {
	_, err := h.do(ctx, request{Verb: "wake", Card: Card{Password: password}})
	return err
}

// PressPower wakes the host without the network, as its power button does.
func (h *Host) PressPower(ctx context.Context) error {
	_, err := h.do(ctx, request{Verb: "press"})
	return err
}

// AwaitPower waits until the host is in the given power state.
func (h *Host) AwaitPower(ctx context.Context, p Power) error {
	_, err := h.do(ctx, request{Verb: "await-power", Address: string(p)})
	return err
}

// Cut breaks paths through the switch; cuts add up until they are healed.
func (l *Lab) Cut(ctx context.Context, c Cut) error {
	_, _, err := l.ask(ctx, request{Verb: "cut", Cut: c})
	return err
}

// Heal mends every cut that names the place, as From or To; "" mends all.
func (l *Lab) Heal(ctx context.Context, place string) error {
	_, _, err := l.ask(ctx, request{Verb: "heal", Host: place})
	return err
}

// Stdio are the files that a program in a host reads and writes; nil stands for /dev/null.
type Stdio struct{ In, Out, Err *os.File }

// Exec runs a program in the host and gives its exit status (128 + the signal that killed it). PATH begins with a
// directory that has nightporter in it. When ctx ends first, the program is killed.
func (h *Host) Exec(ctx context.Context, io Stdio, argv ...string) (int, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return -1, fmt.Errorf("run %s in %s: %w", strings.Join(argv, " "), h.name, err)
	}
	defer null.Close()
	files := []*os.File{io.In, io.Out, io.Err}
	for i, f := range files {
		if f == nil {
			files[i] = null
		}
	}
	r, got, err := h.lab.ask(ctx, request{Verb: "exec", Host: h.name, Argv: argv}, files...)
	closeAll(got)
	if err != nil {
		return -1, err
	}
	return r.Code, nil
}

// Output runs a program in the host and gives what it wrote to its standard output. An exit status other than 0 is an
// error that quotes what it wrote to the other one.
func (h *Host) Output(ctx context.Context, argv ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	out, waitOut, err := drain(&stdout)
	if err != nil {
		return "", err
	}
	errs, waitErr, err := drain(&stderr)
	if err != nil {
		out.Close()
		return "", errors.Join(err, waitOut())
	}
	code, err := h.Exec(ctx, Stdio{Out: out, Err: errs}, argv...)
	out.Close()
	errs.Close()
	err = errors.Join(err, waitOut(), waitErr())
	if err == nil && code != 0 {
		err = fmt.Errorf("`%s` in %s ended with status %d: %s", strings.Join(argv, " "), h.name, code, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), err
}

// drain gives a file to write to; wait returns when every copy of it is closed and everything is in to.
func drain(to io.Writer) (w *os.File, wait func() error, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("make a pipe for a program's output: %w", err)
	}
	done := make(chan error, 1)
	go func() {
		defer r.Close()
		_, err := io.Copy(to, r)
		done <- err
	}()
	return w, func() error { return <-done }, nil
}

// DialAgent connects to the socket of the host's agent.
func (h *Host) DialAgent(ctx context.Context) (net.Conn, error) {
	_, files, err := h.lab.ask(ctx, request{Verb: "dial-unix", Host: h.name, Address: agentSocket})
	if err != nil {
		return nil, err
	}
	defer closeAll(files)
	if len(files) != 1 {
		return nil, fmt.Errorf("connect to the agent of %s: the lab sent no connection", h.name)
	}
	c, err := net.FileConn(files[0])
	if err != nil {
		return nil, fmt.Errorf("connect to the agent of %s: %w", h.name, err)
	}
	return c, nil
}

// API asks the host's agent as `nightporter` in the host would. The caller closes it.
func (h *Host) API() *api.Client { return api.NewClientFunc("the agent of "+h.name, h.DialAgent) }
