package idle

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// await repeats a look until it is satisfied, at most ten seconds.
func await(t *testing.T, what string, look func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !look() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

// pair is a connection of the client to the host.
func pair(t *testing.T, host, client *space, to string) (server, remote *net.TCPConn) {
	t.Helper()
	var l net.Listener
	must(t, host.do(func() (err error) { l, err = net.Listen("tcp", to); return err }))
	defer l.Close()
	must(t, client.do(func() error {
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			remote = c.(*net.TCPConn)
		}
		return err
	}))
	c, err := l.Accept()
	must(t, err)
	server = c.(*net.TCPConn)
	t.Cleanup(func() { server.Close(); remote.Close() })
	return server, remote
}

func openSockets(t *testing.T, host *space) *Sockets {
	t.Helper()
	var s *Sockets
	must(t, host.do(func() (err error) { s, err = OpenSockets(); return err }))
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// read looks for the connection to a server's end.
func read(t *testing.T, host *space, s *Sockets, local net.Addr) (c Conn, found bool) {
	t.Helper()
	must(t, host.do(func() error {
		all, missed, err := s.Read()
		if missed {
			err = errors.New("some were missed")
		}
		i := slices.IndexFunc(all, func(c Conn) bool { return c.Local == netip.MustParseAddrPort(local.String()) })
		if found = i >= 0; found {
			c = all[i]
		}
		return err
	}))
	return c, found
}

// What real connections carry is counted on both ways; what the kernel sends to ask whether the other side is alive is not.
func TestSocketsCountWhatIsCarried(t *testing.T) {
	host, client := lan(t)
	for _, at := range []string{"10.77.0.200:0", "[fd77::200]:0"} {
		s := openSockets(t, host)
		server, remote := pair(t, host, client, at)
		first, ok := read(t, host, s, server.LocalAddr())
		if !ok || first.Remote.String() != remote.LocalAddr().String() || first.Received != 0 || first.Ended {
			t.Fatalf("%s: %+v, %v", at, first, ok)
		}
		for _, c := range []*net.TCPConn{server, remote} {
			must(t, c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 9}))
		}
		asked := func(c *net.TCPConn) (n uint32) {
			raw, err := c.SyscallConn()
			must(t, err)
			must(t, raw.Control(func(fd uintptr) {
				info, ierr := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
				must(t, ierr)
				n = info.Segs_in
			}))
			return n
		}
		before := asked(server)
		await(t, "keepalives have arrived", func() bool { return asked(server) >= before+2 })
		if quiet, ok := read(t, host, s, server.LocalAddr()); !ok || quiet.Received != first.Received || quiet.Sent != first.Sent || quiet.Cookie != first.Cookie || quiet.Quiet < time.Second {
			t.Errorf("%s: after keepalives %+v, before %+v", at, quiet, first)
		}
		_, err := remote.Write(make([]byte, 100))
		must(t, err)
		_, err = io.ReadFull(server, make([]byte, 100))
		must(t, err)
		_, err = server.Write(make([]byte, 50_000))
		must(t, err)
		_, err = io.ReadFull(remote, make([]byte, 50_000))
		must(t, err)
		await(t, "all of it is acknowledged", func() bool {
			c, ok := read(t, host, s, server.LocalAddr())
			return ok && c.Received == first.Received+100 && c.Sent == first.Sent+50_000 && c.Quiet < time.Second
		})
		must(t, remote.CloseWrite())
		_, err = server.Read(make([]byte, 1))
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if c, ok := read(t, host, s, server.LocalAddr()); !ok || c.Ended { // half closed: it can carry more
			t.Errorf("%s: half closed %+v, %v", at, c, ok)
		}
	}
}

// A connection that came and went between two looks is told with what it carried, whichever side closed it.
func TestSocketsSeeWhatHasEnded(t *testing.T) {
	host, client := lan(t)
	for i, serverFirst := range []bool{true, false, true, false} {
		at := []string{"10.77.0.200:0", "[fd77::200]:0"}[i/2]
		s := openSockets(t, host)
		if _, missed, err := s.Read(); missed || err != nil {
			t.Fatal(missed, err)
		}
		server, remote := pair(t, host, client, at)
		_, err := remote.Write(make([]byte, 77))
		must(t, err)
		_, err = io.ReadFull(server, make([]byte, 77))
		must(t, err)
		_, err = server.Write(make([]byte, 999))
		must(t, err)
		_, err = io.ReadFull(remote, make([]byte, 999))
		must(t, err)
		first, second := server, remote
		if !serverFirst {
			first, second = remote, server
		}
		must(t, first.Close())
		_, err = second.Read(make([]byte, 1))
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		must(t, second.Close())
		var seen []Conn
		await(t, "the kernel says that it has ended", func() bool {
			var all []Conn
			must(t, host.do(func() (err error) { all, _, err = s.Read(); return err }))
			for _, c := range all {
				if c.Ended && c.Local.String() == server.LocalAddr().String() {
					seen = append(seen, c)
				}
			}
			return len(seen) > 0
		})
		// The word and its acknowledgement, and one for the FIN where this side sent it first.
		if c := seen[0]; c.Remote.String() != remote.LocalAddr().String() || c.Received < 77 || c.Received > 78 || c.Sent < 999 || c.Sent > 1000 {
			t.Errorf("at %s, server closes first: %v; the end is %+v", at, serverFirst, c)
		}
	}
}

// When more connections have ended than the kernel could keep, that is said, and the next look is a plain one.
func TestSocketsThatMissed(t *testing.T) {
	host, client := lan(t)
	s := openSockets(t, host)
	must(t, unix.SetsockoptInt(s.ended, unix.SOL_SOCKET, unix.SO_RCVBUF, 1)) // the kernel's least
	missed := false
	await(t, "there were too many", func() bool {
		server, remote := pair(t, host, client, "10.77.0.200:0")
		must(t, remote.SetLinger(0))
		must(t, remote.Close())
		_, _ = server.Read(make([]byte, 1)) // a reset
		must(t, server.Close())
		for range 20 { // each attempt that nobody takes ends a socket
			must(t, host.do(func() error {
				if c, err := net.Dial("tcp", server.LocalAddr().String()); err == nil {
					return c.Close()
				}
				return nil
			}))
		}
		var err error
		must(t, host.do(func() error { _, missed, err = s.Read(); return err }))
		return missed
	})
	must(t, unix.SetsockoptInt(s.ended, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20))
	must(t, host.do(func() error {
		if _, _, err := s.Read(); err != nil { // the last of them may have ended after the Read above, with no room for it
			return err
		}
		_, missed, err := s.Read()
		if missed {
			t.Error("it is said again")
		}
		return err
	}))
}

func TestMessagesThatAreCutOff(t *testing.T) {
	if _, err := parseMessages([]byte{200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}); err == nil {
		t.Error("a message that is cut off is taken")
	}
	if out, err := parseMessages([]byte{1, 2, 3}); len(out) != 0 || err != nil {
		t.Error(out, err)
	}
	if _, ok := readConn(make([]byte, diagAnswer)); ok {
		t.Error("a socket without counters is taken")
	}
}

func FuzzReadConn(f *testing.F) {
	f.Add(make([]byte, diagAnswer+16))
	f.Fuzz(func(_ *testing.T, b []byte) {
		all, err := parseMessages(b)
		if err == nil {
			for _, m := range all {
				readConn(m)
			}
		}
		readConn(b)
	})
}

// One look costs next to nothing, also with a thousand connections.
func BenchmarkSocketsRead(b *testing.B) {
	host, client := lan(b)
	var l net.Listener
	must(b, host.do(func() (err error) { l, err = net.Listen("tcp", "10.77.0.200:0"); return err }))
	defer l.Close()
	var all []net.Conn
	for range 1000 {
		must(b, client.do(func() error {
			c, err := net.Dial("tcp", l.Addr().String())
			all = append(all, c)
			return err
		}))
		c, err := l.Accept()
		must(b, err)
		all = append(all, c)
	}
	defer func() {
		for _, c := range all {
			c.Close()
		}
	}()
	var s *Sockets
	must(b, host.do(func() (err error) { s, err = OpenSockets(); return err }))
	defer s.Close()
	b.ResetTimer()
	must(b, host.do(func() error {
		for b.Loop() {
			if conns, _, err := s.Read(); err != nil || len(conns) != 1000 {
				return errors.Join(err, errors.New("not all of them"))
			}
		}
		return nil
	}))
}
