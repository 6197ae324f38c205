package cluster

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A host that answers a SYN takes so long for it, and one that is asleep until some moment loses all that come before. The kernel of the
// caller repeats a SYN after 1, 3 and 7 seconds.
func TestReachAgain(t *testing.T) {
	for _, tt := range []struct {
		name          string
		asleep, takes time.Duration
		refuses       bool
		limit         time.Duration
		within        time.Duration // of its waking
		err           error
	}{
		{"up", 0, time.Millisecond, false, 5 * time.Second, time.Millisecond, nil},
		{"awake at once", 30 * time.Millisecond, time.Millisecond, false, 5 * time.Second, 71 * time.Millisecond, nil},
		{"awake after a fraction", 320 * time.Millisecond, time.Millisecond, false, 5 * time.Second, 161 * time.Millisecond, nil},
		{"awake after a second", time.Second, time.Millisecond, false, 5 * time.Second, 501 * time.Millisecond, nil},
		{"awake after three", 3 * time.Second, time.Millisecond, false, 5 * time.Second, 1501 * time.Millisecond, nil},
		{"far away", 0, 700 * time.Millisecond, false, 5 * time.Second, 3100 * time.Millisecond, nil},
		{"refuses", 0, time.Millisecond, true, 5 * time.Second, time.Millisecond, syscall.ECONNREFUSED},
		{"never awake", time.Hour, time.Millisecond, false, 5 * time.Second, 0, context.DeadlineExceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				reach := func(ctx context.Context, _, _ string) (net.Conn, error) {
					for _, sent := range []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second} {
						select {
						case <-time.After(sent):
						case <-ctx.Done():
							return nil, &net.OpError{Op: "dial", Err: errors.New("i/o timeout")}
						}
						if time.Since(began) < tt.asleep {
							continue
						}
						select {
						case <-time.After(tt.takes):
						case <-ctx.Done():
							return nil, &net.OpError{Op: "dial", Err: errors.New("i/o timeout")}
						}
						if tt.refuses {
							return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
						}
						a, b := net.Pipe()
						b.Close()
						return a, nil
					}
					<-ctx.Done()
					return nil, &net.OpError{Op: "dial", Err: errors.New("i/o timeout")}
				}
				ctx, cancel := context.WithTimeout(t.Context(), tt.limit)
				defer cancel()
				conn, err := reachAgain(ctx, reach, "tcp", "192.0.2.1:1")
				if conn != nil {
					conn.Close()
				}
				took := time.Since(began)
				if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
					t.Fatalf("ended with %v, want %v", err, tt.err)
				}
				if want := tt.asleep + tt.within; tt.err == nil && took > want {
					t.Errorf("connected after %v, want at most %v", took, want)
				}
				if tt.err == context.DeadlineExceeded && took != tt.limit {
					t.Errorf("given up after %v, want %v", took, tt.limit)
				}
			})
		})
	}
}
