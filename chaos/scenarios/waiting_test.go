package scenarios

import (
	"bufio"
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nightporter/chaos/lab"
	"nightporter/config"
	"nightporter/fsm"
)

// slowPort is where the program of h4 is this test itself, and answers when the test wants.
const slowPort = 2225

// A client's question came before the fence was closed, and the server has no answer by the time at which the host would sleep. The client has
// nothing more to say to the front. The host stays awake for it, the client gets its answer on the connection that it has, and then the host sleeps.
func TestAClientThatHasAskedIsNotLeftBehind(t *testing.T) {
	sv := held(config.HoldDrop)
	sv.Ports = append(sv.Ports, config.Port{Protocol: "tcp", Number: slowPort})
	w := build(t, lab.Options{Hosts: 4, Services: []config.Service{sv}})
	slow := w.listenIn("h4", slowPort)
	w.settled(nil, 3)
	for _, read := range []bool{false, true} {
		for !w.asksAndWaits(slow, read) {
			t.Log("the sleep came too long after the question: once more")
		}
	}
	w.sleep("h4")
	if all := w.wire.refused(); len(all) > 0 {
		t.Errorf("clients were turned away: %v", all)
	}
}

// asksAndWaits has a client ask, h4 ordered to sleep, and h4's program answer after that. read: the program had the question before. It says
// false when the host need not have seen the client wait, since this machine took seconds to come to the sleep.
func (w *world) asksAndWaits(slow *net.TCPListener, read bool) bool {
	w.Helper()
	const question, answer = "a question\n", "an answer\n"
	w.awaitServing("h4")
	asked := time.Now()
	client := w.dial(slowPort)
	w.must(client.SetDeadline(asked.Add(patience)))
	_, err := client.Write([]byte(question))
	w.must(err)
	w.must(slow.SetDeadline(time.Now().Add(patience)))
	server, err := slow.Accept()
	w.must(err)
	defer server.Close()
	take := func() {
		w.must(server.SetDeadline(time.Now().Add(patience)))
		got, err := bufio.NewReader(server).ReadString('\n')
		w.must(err)
		if got != question {
			w.Fatalf("the question is %q", got)
		}
	}
	if read {
		take()
	} else {
		w.await("the question is at h4", func() string {
			if n := unacknowledged(w, client); n > 0 {
				return fmt.Sprintf("%d bytes are not acknowledged", n)
			}
			return ""
		})
	}
	_, err = w.api("h1").Sleep(w.limit(), "h4")
	took := time.Since(asked)
	late := err == nil && took > 4*time.Second
	if !late && !w.cancelled(err) {
		w.Fatalf("h4 sleeps, and the client that asked it %v ago is left behind (the question was read: %v)", took, read)
	}
	if late {
		w.must(w.lab.Host("h4").Wake(w.limit()))
	} else {
		w.await("h1 knows why h4 is awake", func() string {
			if a := w.why("h1", "h4"); a.Power != "awake" || a.PowerReason != string(fsm.SleepCancelled) {
				return fmt.Sprintf("%+v", a)
			}
			return ""
		})
	}
	if !read {
		take()
	}
	_, err = server.Write([]byte(answer))
	w.must(err)
	if got, err := bufio.NewReader(client).ReadString('\n'); err != nil || got != answer {
		w.Fatalf("the client got %q, %v", got, err)
	}
	w.Logf("read before: %v; the sleep was called off %v after the question, and the answer was there after %v", read, took, time.Since(asked))
	w.awaitServing("h4")
	return !late
}

// listenIn opens a listener of this process in a host.
func (w *world) listenIn(host string, port int) *net.TCPListener {
	w.Helper()
	f, err := w.lab.Host(host).Socket(w.limit(), unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	w.must(err)
	defer f.Close()
	raw, err := f.SyscallConn()
	w.must(err)
	w.must(raw.Control(func(fd uintptr) {
		if err = unix.Bind(int(fd), &unix.SockaddrInet4{Port: port}); err == nil {
			err = unix.Listen(int(fd), 16)
		}
	}))
	w.must(err)
	l, err := net.FileListener(f)
	w.must(err)
	w.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// unacknowledged is how many bytes of a connection the other side's kernel has not acknowledged.
func unacknowledged(w *world, c *net.TCPConn) (n int) {
	w.Helper()
	raw, err := c.SyscallConn()
	w.must(err)
	var ierr error
	w.must(raw.Control(func(fd uintptr) { n, ierr = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }))
	w.must(ierr)
	return n
}
