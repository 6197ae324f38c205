package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Socket makes a socket(2) in the host's network namespace. It stays there whoever uses it; the caller closes it.
func (h *Host) Socket(ctx context.Context, family, kind, protocol int) (*os.File, error) {
	_, files, err := h.lab.ask(ctx, request{Verb: "socket", Host: h.name, Family: family, Kind: kind, Signal: protocol})
	if err != nil {
		return nil, err
	}
	if len(files) != 1 {
		closeAll(files)
		return nil, fmt.Errorf("make a socket in %s: the lab sent none", h.name)
	}
	return files[0], nil
}

// Dial connects from the host with a plain connect(2), which this process itself calls, so that no time of the lab's
// own is in what a caller measures around the part from connect on: see Connect for that. network is tcp or udp.
func (h *Host) Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	f, err := h.dialSocket(ctx, network, to)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return connectFile(ctx, f, to)
}

func (h *Host) dialSocket(ctx context.Context, network string, to netip.AddrPort) (*os.File, error) {
	kind := unix.SOCK_STREAM
	switch network {
	case "tcp":
	case "udp":
		kind = unix.SOCK_DGRAM
	default:
		return nil, fmt.Errorf("dial %s from %s: network %q is neither tcp nor udp", to, h.name, network)
	}
	family := unix.AF_INET
	if to.Addr().Is6() {
		family = unix.AF_INET6
	}
	return h.Socket(ctx, family, kind|unix.SOCK_NONBLOCK, 0)
}

// connectFile connects a socket that does not block and waits for the outcome until ctx ends.
func connectFile(ctx context.Context, f *os.File, to netip.AddrPort) (net.Conn, error) {
	wrap := func(err error) error { return fmt.Errorf("connect to %s: %w", to, err) }
	polled, err := pollable(f)
	if err != nil {
		return nil, wrap(err)
	}
	defer polled.Close()
	raw, err := polled.SyscallConn()
	if err != nil {
		return nil, wrap(err)
	}
	var outcome error
	err = raw.Control(func(fd uintptr) { outcome = unix.Connect(int(fd), sockaddr(to)) })
	if err = errors.Join(err, outcome); errors.Is(err, unix.EINPROGRESS) {
		err = awaitConnected(ctx, polled, raw)
	}
	if err != nil {
		return nil, wrap(err)
	}
	c, err := net.FileConn(polled)
	if err != nil {
		return nil, wrap(err)
	}
	return c, nil
}

func awaitConnected(ctx context.Context, f *os.File, raw syscall.RawConn) error {
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()
	var outcome error
	err := raw.Write(func(fd uintptr) bool {
		if _, e := unix.Getpeername(int(fd)); e == nil {
			return true
		}
		code, e := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case e != nil:
			outcome = e
			return true
		case code != 0:
			outcome = unix.Errno(code)
			return true
		}
		return false // not yet
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(outcome, err)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// pollable gives a second descriptor of a socket that does not block and that the runtime's poller knows.
func pollable(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate %s: %w", f.Name(), err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make %s not block: %w", f.Name(), err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}
