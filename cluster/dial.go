package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// dialFirst is how long the first attempt to open a connection has. On a LAN the other kernel answers within a millisecond.
const dialFirst = 100 * time.Millisecond

// reachAgain opens a connection in several attempts, until ctx ends or the kernel says that nobody is there. A SYN that finds its host asleep is lost, and the kernel repeats it a
// second later only (RFC 6298); a host that wakes meanwhile would not get the log for that long, nor say that it is back. So an attempt
// is given up and begun anew: after dialFirst, and later when it has taken half as long as all of them before. The wait for a host that
// is there again is never longer than that, and one that is slow to answer gets its time.
func reachAgain(ctx context.Context, reach Dial, network, address string) (net.Conn, error) {
	began := time.Now()
	for {
		conn, err := reachOnce(ctx, max(dialFirst, time.Since(began)/2), reach, network, address)
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return conn, err
		}
	}
}

// reachOnce is one attempt. Its error is context.DeadlineExceeded when its time was up.
func reachOnce(ctx context.Context, limit time.Duration, reach Dial, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := reach(ctx, network, address)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w (%w)", err, ctx.Err()) // net.Dialer has an error of its own for it
	}
	return conn, err
}
