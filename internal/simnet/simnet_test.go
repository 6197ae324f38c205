package simnet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	here  = netip.MustParseAddr("10.0.0.1")
	there = netip.MustParseAddr("10.0.0.2")
	port  = netip.AddrPortFrom(there, 7)
)

// pair is two hosts with a process each; the second one answers each line with the same line.
type pairOf struct {
	net      *Switch
	from, to *Host
	a, b     *Process
}

func newPair(t *testing.T, p Path) pairOf {
	t.Helper()
	n := NewSwitch(1, p)
	w := pairOf{net: n, from: n.Attach(here), to: n.Attach(there)}
	w.a, w.b = w.from.Process(), w.to.Process()
	l, err := w.b.Listen(port.Port())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for r := bufio.NewReader(c); ; {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					fmt.Fprint(c, line)
				}
			}()
		}
	}()
	return w
}

func (w pairOf) end() {
	w.a.Kill(false)
	w.b.Kill(false)
	time.Sleep(time.Minute)
}

func (w pairOf) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := w.a.DialTimeout(port.String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// echo asks once, and gives how long the answer took.
func echo(t *testing.T, c net.Conn) time.Duration {
	t.Helper()
	began := time.Now()
	fmt.Fprintln(c, "hello")
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != "hello\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return time.Since(began)
}

func TestStreamsComeLateAndNeverWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPair(t, Path{Delay: time.Millisecond})
		defer w.end()
		c := w.dial(t)
		if d := echo(t, c); d != 2*time.Millisecond {
			t.Errorf("an answer took %v, want two delays", d)
		}
		w.net.SetPath(here, there, Path{Loss: 0.5, Delay: time.Millisecond})
		longest := time.Duration(0)
		for range 30 {
			longest = max(longest, echo(t, c))
		}
		if longest < againFirst {
			t.Errorf("the longest of 30 answers with every second segment lost took %v: nothing was sent again", longest)
		}
		w.net.SetPath(here, there, Path{Cut: true})
		healed := time.AfterFunc(4*time.Second, w.net.Heal)
		defer healed.Stop()
		if d := echo(t, c); d < 4*time.Second || d > 4*time.Second+againMost+2*time.Millisecond {
			t.Errorf("over a cut of 4 s an answer took %v", d)
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil || !err.(net.Error).Timeout() {
			t.Errorf("a read past its deadline: %v", err)
		}
	})
}

// TestAStoppedProcess: the other host's kernel completes connections for it, and what it is sent waits.
func TestAStoppedProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPair(t, Path{Delay: time.Millisecond})
		defer w.end()
		w.b.Stop()
		c := w.dial(t)
		time.AfterFunc(3*time.Second, w.b.Continue)
		if d := echo(t, c); d < 2900*time.Millisecond || d > 3100*time.Millisecond {
			t.Errorf("a process that was stopped for 3 s answered after %v", d)
		}
		w.a.Stop()
		time.AfterFunc(2*time.Second, w.a.Continue)
		if d := echo(t, c); d < 1900*time.Millisecond {
			t.Errorf("a process that is stopped sent something: answered after %v", d)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		w.a.Stop()
		if err := w.a.Gate(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the gate of a stopped process: %v", err)
		}
	})
}

func TestWhatADeathTellsTheOthers(t *testing.T) {
	for name, c := range map[string]struct {
		silent bool
		dial   error
	}{
		"killed, its kernel lives": {false, syscall.ECONNREFUSED},
		"its host lost its power":  {true, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newPair(t, Path{Delay: time.Millisecond})
				defer w.end()
				conn := w.dial(t)
				echo(t, conn)
				w.b.Kill(c.silent)
				w.to.Up(!c.silent)
				_ = conn.SetReadDeadline(time.Now().Add(time.Second))
				_, err := conn.Read(make([]byte, 1))
				if reset := errors.Is(err, syscall.ECONNRESET); reset == c.silent {
					t.Errorf("the other end reads %v", err)
				}
				if _, err := w.a.DialTimeout(port.String(), 2*time.Second); !errors.Is(err, c.dial) {
					t.Errorf("dialling gives %v, want %v", err, c.dial)
				}
				if _, err := w.b.Listen(9); !errors.Is(err, ErrDead) {
					t.Errorf("a dead process listens: %v", err)
				}
				w.to.Up(true) // the host is back, and knows nothing of the connection
				fmt.Fprintln(conn, "hello")
				_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
				if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("what is sent on an old connection: %v", err)
				}
			})
		})
	}
}

func TestDatagramsFollowTheirPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewSwitch(1, Path{Delay: time.Millisecond})
		a, err := n.Attach(here).Process().Packets(7)
		if err != nil {
			t.Fatal(err)
		}
		host := n.Attach(there)
		b, err := host.Process().Packets(7)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := errors.Join(a.Shutdown(), b.Shutdown()); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}()
		count := func() (got int, order bool) {
			for i := range 200 {
				if _, err := a.WriteTo([]byte{byte(i)}, port.String()); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Second)
			order = true
			for last := -1; ; got++ {
				select {
				case p := <-b.PacketCh():
					order = order && int(p.Buf[0]) >= last
					last = int(p.Buf[0])
				default:
					return got, order
				}
			}
		}
		for name, c := range map[string]struct {
			path        Path
			up          bool
			least, most int
			order       bool
		}{
			"clean":    {Path{Delay: time.Millisecond}, true, 200, 200, true},
			"cut":      {Path{Cut: true}, true, 0, 0, true},
			"lossy":    {Path{Loss: 0.5}, true, 60, 140, true},
			"doubled":  {Path{Double: 0.5, Delay: time.Millisecond}, true, 240, 360, true},
			"jitter":   {Path{Jitter: 100 * time.Millisecond}, true, 200, 200, false},
			"host off": {Path{}, false, 0, 0, true},
		} {
			n.SetPath(here, there, c.path)
			host.Up(c.up)
			if got, order := count(); got < c.least || got > c.most || order != c.order {
				t.Errorf("%s: %d of 200 arrived, in order: %v; want %d to %d, %v", name, got, order, c.least, c.most, c.order)
			}
		}
		if p := n.Path(there, here); p.Cut || p.Loss != 0 {
			t.Errorf("the way back is %+v", p)
		}
	})
}

// TestAClosedSocketIsHeardOf: what was written before arrives, then the end.
func TestAClosedSocketIsHeardOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPair(t, Path{Delay: time.Millisecond})
		defer w.end()
		l, err := w.b.Listen(8)
		if err != nil {
			t.Fatal(err)
		}
		c, err := w.a.DialTimeout(netip.AddrPortFrom(there, 8).String(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		other, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(other, "bye")
		if err := errors.Join(other.Close(), l.Close()); err != nil {
			t.Fatal(err)
		}
		if all, err := io.ReadAll(c); err != nil || string(all) != "bye" {
			t.Errorf("%q, %v", all, err)
		}
		if _, err := w.a.DialTimeout(netip.AddrPortFrom(there, 8).String(), time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a closed port: %v", err)
		}
	})
}
