package lab

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Reply is what one client saw: how long connect() took, how long until the first answer, and which host gave it.
type Reply struct {
	Began     time.Time     `json:"began"`
	Connected time.Duration `json:"connected_ns"` // from Began
	Answered  time.Duration `json:"answered_ns"`  // from Began
	Host      string        `json:"host"`
	Local     string        `json:"local"`
}

// Connect connects from the host to a lab server and asks it once for its name, as a client does: one connect(2) and
// whatever the kernel makes of it, without a retry of its own.
func (h *Host) Connect(ctx context.Context, to netip.AddrPort) (Reply, error) {
	f, err := h.dialSocket(ctx, "tcp", to)
	if err != nil {
		return Reply{}, err
	}
	defer f.Close()
	return Visit(ctx, to, func(ctx context.Context) (net.Conn, error) { return connectFile(ctx, f, to) })
}

// Visit is Connect over any dial: `nightporter lab connect` uses it from inside a host.
func Visit(ctx context.Context, to netip.AddrPort, dial func(context.Context) (net.Conn, error)) (Reply, error) {
	r := Reply{Began: time.Now()}
	c, err := dial(ctx)
	if err != nil {
		return r, fmt.Errorf("after %v: %w", time.Since(r.Began).Round(time.Millisecond), err)
	}
	defer c.Close()
	r.Connected = time.Since(r.Began)
	r.Local = c.LocalAddr().String()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	fail := func(err error) (Reply, error) {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return r, fmt.Errorf("connected to %s after %v, but no answer came in %v: %w", to, r.Connected.Round(time.Millisecond),
			time.Since(r.Began).Round(time.Millisecond), err)
	}
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", to); err != nil {
		return fail(err)
	}
	in := bufio.NewReader(c)
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		return fail(err)
	}
	defer answer.Body.Close()
	name, err := bufio.NewReader(answer.Body).ReadString('\n')
	if err != nil {
		return fail(err)
	}
	r.Answered = time.Since(r.Began)
	r.Host = strings.TrimSpace(name)
	return r, nil
}
