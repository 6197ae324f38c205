package scenarios

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nightporter/chaos/lab"
	"nightporter/config"
)

// sessions is a lab whose target h4 serves sessions, of which only the echo's port is guarded.
func sessions(t *testing.T) *world {
	w := build(t, lab.Options{Hosts: 4, Services: []config.Service{{
		Name: web, Addresses: []netip.Addr{lab.ServiceAddr()}, Targets: []string{"h4"}, Hold: config.HoldDrop,
		Ports: []config.Port{{Protocol: "tcp", Number: lab.ServerPort}, {Protocol: "tcp", Number: echoPort}},
	}}})
	w.serveSessions()
	w.settled(nil, 3)
	return w
}

// serveSessions starts the server of sessions in h4, and returns when it listens.
func (w *world) serveSessions() {
	w.Helper()
	self, err := os.Executable()
	w.must(err)
	r, out, err := os.Pipe()
	w.must(err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer out.Close()
		_, _ = w.lab.Host("h4").Exec(w.Context(), lab.Stdio{Out: out, Err: os.Stderr}, self, sessionWord) // ends with the test
	}()
	w.Cleanup(func() { <-ended; r.Close() })
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil || line != "ready\n" {
		w.Fatalf("the server of sessions said %q, %v", line, err)
	}
}

// dial connects the client to a port of the service.
func (w *world) dial(port uint16) *net.TCPConn {
	w.Helper()
	return w.dialTo(netip.AddrPortFrom(lab.ServiceAddr(), port))
}

func (w *world) dialTo(to netip.AddrPort) *net.TCPConn {
	w.Helper()
	c, err := w.lab.Client(1).Dial(w.limit(), "tcp", to)
	w.must(err)
	w.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// listener counts what a talker says, as long as every byte is the right one.
type listener struct {
	heard atomic.Int64
	end   chan error
}

func listenTo(c net.Conn) *listener {
	l := &listener{end: make(chan error, 1)}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			for i, b := range buf[:n] {
				if at := int(l.heard.Load()) + i; b != talked(at) {
					l.end <- fmt.Errorf("byte %d is %#x, not %#x", at, b, talked(at))
					return
				}
			}
			l.heard.Add(int64(n))
			if err != nil {
				l.end <- err
				return
			}
		}
	}()
	return l
}

// Connections live through sleep and wake, as often as it happens: one that is idle and wakes the target with its next word, and one
// on which the target always has something under way. Nothing is lost, doubled or reset, and nobody needs a new connection.
func TestConnectionsSurviveSleep(t *testing.T) {
	w := sessions(t)
	echo := tls.Client(w.dial(echoPort), &tls.Config{InsecureSkipVerify: true}) // a session that notices each wrong byte is wanted, not a name
	w.must(echo.Handshake())
	talk := w.dial(talkPort)
	heard := listenTo(talk)
	w.say(echo, []byte("before"))
	for cycle := range 3 {
		w.sleep("h4")
		before, began := heard.heard.Load(), time.Now()
		w.say(echo, fmt.Appendf(nil, "is anybody there? %d", cycle))
		answered := time.Since(began)
		w.say(echo, []byte(strings.Repeat("0123456789abcdef", 200<<10/16)))
		w.await("the talker goes on", func() string {
			if now := heard.heard.Load(); now < before+10*lineSize {
				return fmt.Sprintf("%d bytes, %d when the target slept", now, before)
			}
			return ""
		})
		t.Logf("cycle %d: answered %v after the client's word, the talker went on within %v", cycle+1, answered, time.Since(began))
		w.awaitServing("h4")
	}
	w.must(talk.CloseWrite())
	if err := <-heard.end; err != io.EOF {
		t.Errorf("the talker's connection ended with %v", err)
	}
	w.must(echo.Close())
	if all := w.wire.refused(); len(all) > 0 {
		t.Errorf("a client was turned away: %v", all)
	}
	h, err := w.api("h1").History(w.limit(), web)
	w.must(err)
	if n := len(h.Wakes); n != 3 || h.Wakes[2].Cause != "demand" || h.Wakes[2].Port != fmt.Sprint("tcp/", echoPort) {
		t.Errorf("the wakes are %+v, want three by the session", h.Wakes)
	}
}

// say sends and wants the same back.
func (w *world) say(c net.Conn, text []byte) {
	w.Helper()
	w.must(c.SetDeadline(time.Now().Add(patience)))
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(text)
		sent <- err
	}()
	got := make([]byte, len(text))
	_, err := io.ReadFull(c, got)
	w.must(err)
	w.must(<-sent)
	if !slices.Equal(got, text) {
		w.Fatalf("%d bytes came back, and differ", len(got))
	}
}

// A client that asks every second whether the other side is alive does not find out that it sleeps, and does not wake it.
func TestKeepalivesOfASleepersConnections(t *testing.T) {
	const idle, interval, count = 1, 1, 3
	w := sessions(t)
	st, err := w.ask("h4")
	w.must(err)
	if s, _ := service(st, web); s.Fence.Kind != "bpf" {
		t.Skipf("NOT RUN: %s needs BPF on this machine", t.Name())
	}
	c := w.dial(echoPort)
	echo := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	w.must(echo.Handshake())
	w.say(echo, []byte("before"))
	raw, err := c.SyscallConn()
	w.must(err)
	set := func(what, v int) {
		var serr error
		w.must(raw.Control(func(fd uintptr) { serr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, what, v) }))
		w.must(serr)
	}
	set(unix.TCP_KEEPIDLE, idle)
	set(unix.TCP_KEEPINTVL, interval)
	set(unix.TCP_KEEPCNT, count)
	w.must(c.SetKeepAlive(true))
	w.sleep("h4")
	from := len(w.wire.pulses())
	w.await("the client has asked three times as often as it would have given up after", func() string {
		if n := len(w.wire.pulses()) - from; n < 3*count {
			return fmt.Sprintf("%d answers to keepalives", n)
		}
		return ""
	})
	if h := w.power()["h4"]; h.Power != lab.PowerAsleep {
		t.Fatalf("h4 is %s: a keepalive has woken it", h.Power)
	}
	w.say(echo, []byte("after"))
	w.awaitServing("h4")
	if all := w.wire.refused(); len(all) > 0 {
		t.Errorf("a client was turned away: %v", all)
	}
}

// pulses gives the acknowledgements without data that came to the client from the echo's port.
func (x *wire) pulses() []time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.acks)
}

// seePulse notes one.
func (x *wire) seePulse(f lab.Frame) {
	if f.EtherType() != typeIPv4 || len(f.Data) < atPayload+40 || f.Data[atProto] != 6 {
		return
	}
	header := int(f.Data[atPayload]&15) * 4
	body := f.Data[atPayload+header:]
	length := int(binary.BigEndian.Uint16(f.Data[atPayload+2:])) - header
	if len(body) >= 20 && binary.BigEndian.Uint16(body) == echoPort && body[13] == 0x10 && length == int(body[12]>>4)*4 {
		x.acks = append(x.acks, f.Time)
	}
}
