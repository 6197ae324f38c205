package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// divert listens in a room as a front's program does, says what it is reached at, and gives the port.
func (r *room) divert(network, addr string) uint16 {
	r.t.Helper()
	config := net.ListenConfig{Control: func(network, _ string, raw syscall.RawConn) (err error) {
		control := raw.Control(func(fd uintptr) {
			level, option := unix.SOL_IP, unix.IP_TRANSPARENT
			if network == "tcp6" {
				level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
			}
			err = unix.SetsockoptInt(int(fd), level, option, 1)
		})
		return errors.Join(control, err)
	}}
	var l net.Listener
	r.do(func() (err error) {
		l, err = config.Listen(context.Background(), network, addr)
		return err
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, c.LocalAddr().String()) // whoever went away does not want it
			c.Close()
		}
	}()
	r.t.Cleanup(func() {
		l.Close()
		<-ended
	})
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// TestAnswers: a front refuses some ports, has others taken by a program, and swallows the rest. What does not begin there, it
// swallows everywhere: a segment of a connection that a sleeping target knows.
func TestAnswers(t *testing.T) {
	l := newLAN(t, "a", "c")
	h := l.kernel("a")
	p := l.prepare("a", h, dual)
	a, c := l.host["a"], l.host["c"]
	a.serve("0.0.0.0:81") // this host's own, which must not be reached by way of the service's address
	four, six := a.divert("tcp4", "127.0.0.1:0"), a.divert("tcp6", "[::1]:0")
	a.do(func() error { return p.openFor(time.Hour) })
	a.do(func() error {
		return p.Answer([]Answer{{Port: 22}, {Port: 53, UDP: true}, {Port: 80, Divert4: four, Divert6: six}, {Port: 81, Divert4: four, Divert6: six}})
	})
	reads := func(to string) (string, error) {
		conn, err := c.dial("tcp", to, 5*time.Second)
		if err != nil {
			return "", err
		}
		defer conn.Close()
		b, err := io.ReadAll(conn)
		return string(b), err
	}
	for _, ip := range []string{"10.200.0.100", "[fd00:200::100]"} {
		for _, port := range []string{":80", ":81"} {
			if said, err := reads(ip + port); err != nil || said != ip+port {
				t.Errorf("%s%s: %q, %v; want the program that it is diverted to", ip, port, said, err)
			}
		}
		if _, err := reads(ip + ":22"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s:22: %v, want refused", ip, err)
		}
		if _, err := c.dial("tcp", ip+":8080", 200*time.Millisecond); !timedOut(err) {
			t.Errorf("%s:8080: %v, want silence", ip, err)
		}
		asks, err := c.dial("udp", ip+":53", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = asks.Write([]byte("?"))
		_ = asks.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := asks.Read(make([]byte, 9)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s:53/udp: %v, want refused", ip, err)
		}
		asks.Close()
	}
	if drift, err := p.Check(); err != nil || len(drift) != 0 {
		t.Errorf("the guard with answers drifted: %v, %v", drift, err)
	}
	a.do(func() error { return p.Answer(nil) })
	if _, err := c.dial("tcp", "10.200.0.100:80", 200*time.Millisecond); !timedOut(err) {
		t.Errorf("after the answers were taken back: %v, want silence", err)
	}
}

// TestAnswersLeaveOldConnectionsAlone: a connection whose server is asleep somewhere else sends a segment to ports that the
// front answers; nothing may come back.
func TestAnswersLeaveOldConnectionsAlone(t *testing.T) {
	for _, port := range []uint16{22, 80} {
		l := newLAN(t, "a", "b", "c")
		a, b, c := l.host["a"], l.host["b"], l.host["c"]
		pa, pb := l.prepare("a", l.kernel("a"), spec), l.prepare("b", l.kernel("b"), spec)
		var server net.Listener
		b.do(func() (err error) {
			server, err = net.Listen("tcp", fmt.Sprintf("0.0.0.0:%d", port))
			return err
		})
		defer server.Close()
		b.do(func() error { return errors.Join(pb.Guard(false), pb.openFor(time.Hour)) })
		b.do(func() error { return pb.Announce(func() bool { return true }) })
		conn, err := c.dial("tcp", fmt.Sprintf("10.200.0.100:%d", port), 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		old, err := server.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer old.Close()
		b.do(pb.Close)
		answer := Answer{Port: port}
		if port == 80 {
			answer.Divert4 = a.divert("tcp4", "127.0.0.1:0")
		}
		a.do(func() error { return errors.Join(pa.Answer([]Answer{answer}), pa.openFor(time.Hour)) })
		a.do(func() error { return pa.Announce(func() bool { return true }) })
		if _, err := conn.Write([]byte("data")); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := conn.Read(make([]byte, 9)); !timedOut(err) {
			t.Errorf("port %d: an old connection heard %d bytes and %v from the front, want silence", port, n, err)
		}
	}
}

func timedOut(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}
