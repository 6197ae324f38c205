package front

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// again is the pause between two attempts to reach a target.
	again = 100 * time.Millisecond
	// dialTime is how long one attempt may take.
	dialTime = 2 * time.Second
	// refusedMost is for how long a target that is up may refuse connections: its program is about to start.
	refusedMost = 10 * time.Second
	// knockEvery is the pause between two words to the desk that a client waits: that of a wake's calls, when they have grown seldom.
	knockEvery = 5 * time.Second
	// probeIdle and probeEvery keep the guard's entry of an idle connection alive, and find out that a client is gone.
	probeIdle  = time.Minute
	probeEvery = 15 * time.Second
)

func unmapped(p netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), p.Port())
}

// pass waits for a target and passes the connection on to it, until both sides have closed. What a client says meanwhile waits
// in its socket.
func (d *Door) pass(ctx context.Context, v *visit) {
	keep := net.KeepAliveConfig{Enable: true, Idle: probeIdle, Interval: probeEvery, Count: 4}
	_ = v.conn.SetKeepAliveConfig(keep) // at worst nobody notices that a client is gone
	d.engaged(v.service, 1)             // from now on: who waits here can only be served by way of this host
	defer d.engaged(v.service, -1)
	waiting, enough := context.WithTimeoutCause(ctx, d.patience, errNobody)
	defer enough()
	up, err := d.reach(waiting, v)
	if err != nil {
		d.log.Info("a waiting client is sent away: no target came up", "service", v.service, "client", v.client.Addr(), "err", err)
		return
	}
	defer up.Close()
	_ = up.SetKeepAliveConfig(keep)
	stop := context.AfterFunc(ctx, func() { up.Close(); v.conn.Close() })
	defer stop()
	splice(v.conn, up)
}

// Why a client's wait ends without a target.
var (
	errNobody = errors.New("no target came up in time")
	errGone   = errors.New("the client gave up")
)

// reach dials until a target takes the connection, and knocks for the client.
func (d *Door) reach(ctx context.Context, v *visit) (*net.TCPConn, error) {
	tick := time.NewTicker(again)
	defer tick.Stop()
	var last error
	var since time.Time   // the first refusal of a target that is up
	knocked := time.Now() // its first packet did
	for !gone(v.conn) {
		if time.Since(knocked) >= d.knocks {
			knocked = time.Now()
			d.desk.Knock(v.service, v.client, v.dest)
		}
		if at, ok := d.desk.Upstream(v.service, v.dest.Port()); ok {
			dialer := net.Dialer{Timeout: dialTime}
			conn, err := dialer.DialContext(ctx, "tcp", at.String())
			if err == nil {
				return conn.(*net.TCPConn), nil
			}
			if last = err; since.IsZero() {
				since = time.Now()
			}
			if time.Since(since) > refusedMost {
				d.desk.Refused(v.service)
				return nil, err
			}
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), last)
		case <-tick.C:
		}
	}
	return nil, errGone
}

// tcpClose is TCP_CLOSE of linux/net/tcp_states.h.
const tcpClose = 7

// gone says whether the client has reset the connection. One that has only closed its side may still want an answer.
func gone(conn *net.TCPConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true // closed here
	}
	closed := false
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO)
		closed = err == nil && info.State == tcpClose
	})
	return closed || err != nil
}

// splice copies both ways; an end that is closed for writing on one side is closed on the other.
func splice(a, b *net.TCPConn) {
	var both sync.WaitGroup
	one := func(to, from *net.TCPConn) {
		if _, err := io.Copy(to, from); err != nil { // the kernel's splice(2) where it can be had
			to.Close() // half of a broken connection helps nobody
			from.Close()
			return
		}
		_ = to.CloseWrite() // an error means that it is closed already
	}
	both.Go(func() { one(a, b) })
	both.Go(func() { one(b, a) })
	both.Wait()
}
