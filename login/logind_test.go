package login

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"nightporter/internal/nstest"
)

// logind runs a real one (internal/nstest).
func logind(t testing.TB) *Logind { return newMachine(t).Logind }

// delayMax is short: one test waits for it.
const delayMax = 3 * time.Second

// machine is where that logind runs.
type machine struct {
	*Logind
	slept   string // a file that systemd writes a line to when it carries out a suspend
	restart func() // ends logind and starts it anew
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	dir := t.TempDir()
	slept := filepath.Join(dir, "slept")
	real := nstest.Logind{Dir: dir, DelayMax: delayMax, Sleep: "/bin/sh -c 'echo slept >>" + slept + "'"}
	argv, err := real.Write()
	must(t, err)
	var said bytes.Buffer
	c := exec.Command(argv[0], argv[1:]...)
	c.Stdout, c.Stderr = &said, &said
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	in, err := c.StdinPipe()
	must(t, err)
	if err := c.Start(); errors.Is(err, unix.EPERM) && os.Getenv("CI") != "true" {
		t.Skipf("NOT RUN: %s needs root to make a mount namespace", t.Name())
	} else if err != nil {
		t.Fatalf("systemd-logind, which this test needs, cannot be started: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	t.Cleanup(func() {
		_ = in.Close()
		<-ended
	})
	l := &Logind{Address: real.Address()}
	t.Cleanup(func() { must(t, l.Close()) })
	m := &machine{Logind: l, slept: slept, restart: func() {
		_, err := in.Write([]byte("again\n"))
		must(t, err)
	}}
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	for {
		_, err := l.Sessions(t.Context())
		if err == nil {
			return m
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("systemd-logind, which this test needs (with dbus-daemon and busctl), ended: %v: %s", err, said.String())
		case <-limit.C:
			t.Fatalf("systemd-logind does not answer: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// inhibit takes a lock as any program does. It lasts until it is closed.
func inhibit(t testing.TB, l *Logind, what, who, why, mode string) *os.File {
	t.Helper()
	var fd dbus.UnixFD
	must(t, l.ask(t.Context(), login1Path, login1Manager+".Inhibit", []any{what, who, why, mode}, &fd))
	f := os.NewFile(uintptr(fd), who)
	t.Cleanup(func() { f.Close() })
	return f
}

// Which locks of a real logind keep the host awake: those that block sleep or idle, for as long as they are held.
func TestInhibitions(t *testing.T) {
	l := logind(t)
	blocked := func() []string {
		all, err := l.Inhibitions(t.Context())
		must(t, err)
		var out []string
		for _, i := range all {
			out = append(out, i.String())
		}
		slices.Sort(out)
		return out
	}
	if b := blocked(); len(b) != 0 {
		t.Fatalf("at first there are %v", b)
	}
	inhibit(t, l, "sleep", "network", "it says goodbye", "delay")
	inhibit(t, l, "shutdown:handle-lid-switch", "installer", "it writes", "block")
	idle := inhibit(t, l, "idle", "player", "a film", "block")
	inhibit(t, l, "sleep:shutdown", "backup", "", "block")
	want := []string{"backup blocks shutdown and sleep: it does not say why", "player blocks idle: a film"}
	if b := blocked(); !slices.Equal(b, want) {
		t.Errorf("there are %v, want %v", b, want)
	}
	must(t, idle.Close())
	await(t, "the film is over", func() bool { return slices.Equal(blocked(), want[:1]) })
}

// Who is logged in, as a real logind knows it.
func TestSessions(t *testing.T) {
	l := logind(t)
	session := func(class, kind, tty, from string) (*os.File, dbus.ObjectPath) {
		child := exec.Command("sleep", "1000") // logind wants to know a process of each session
		must(t, child.Start())
		t.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
		type property struct {
			Name  string
			Value dbus.Variant
		}
		l.mu.Lock()
		call := l.conn.Object(login1, login1Path).Call(login1Manager+".CreateSession", 0, uint32(0), uint32(child.Process.Pid), "sshd", kind, class, "", "", uint32(0), tty, "", from != "", "", from, []property{})
		l.mu.Unlock()
		var id, runtime, seat string
		var path dbus.ObjectPath
		var fifo dbus.UnixFD
		var user, vt uint32
		var existed bool
		must(t, call.Store(&id, &path, &runtime, &fifo, &user, &seat, &vt, &existed))
		f := os.NewFile(uintptr(fifo), id)
		t.Cleanup(func() { f.Close() })
		return f, path
	}
	logins := func() []string {
		all, err := l.Sessions(t.Context())
		must(t, err)
		var out []string
		for _, s := range all {
			out = append(out, fmt.Sprintf("%s on %s from %q idle=%v graphical=%v", s.User, s.Where, s.From, s.Idle, s.Graphical))
		}
		slices.Sort(out)
		return out
	}
	if all := logins(); len(all) != 0 {
		t.Fatalf("at first there are %v", all)
	}
	ssh, _ := session("user", "tty", "pts/9", "192.0.2.7")
	session("greeter", "tty", "pts/8", "")
	session("background", "unspecified", "", "")
	want := []string{"root on pts/9 from \"192.0.2.7\" idle=false graphical=false"}
	if all := logins(); !slices.Equal(all, want) {
		t.Errorf("there are %v, want %v", all, want)
	}
	desktop, path := session("user", "x11", "", "") // whose desktop says after a while that nobody is there
	want = []string{want[0], "root on x11 from \"\" idle=false graphical=true"}
	if all := logins(); !slices.Equal(all, want) {
		t.Errorf("there are %v, want %v", all, want)
	}
	l.mu.Lock()
	err := l.conn.Object(login1, path).Call(login1Session+".SetIdleHint", 0, true).Err
	l.mu.Unlock()
	must(t, err)
	want[1] = "root on x11 from \"\" idle=true graphical=true"
	if all := logins(); !slices.Equal(all, want) {
		t.Errorf("there are %v, want %v", all, want)
	}
	must(t, ssh.Close())
	await(t, "the session is over", func() bool { return slices.Equal(logins(), want[1:]) })
	must(t, desktop.Close())
	await(t, "both are over", func() bool { return len(logins()) == 0 })
}

// A host without a bus has no logind, which is no failure. One whose bus does not answer is one: nobody knows what is so there.
func TestNoLogind(t *testing.T) {
	l := &Logind{Address: "unix:path=" + filepath.Join(t.TempDir(), "absent")}
	if _, err := l.Inhibitions(t.Context()); !errors.Is(err, ErrNoLogind) {
		t.Errorf("without a bus: %v", err)
	}
	silent := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: silent}))
	must(t, unix.Listen(fd, 1))
	l = &Logind{Address: "unix:path=" + silent}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := l.Sessions(ctx); err == nil || errors.Is(err, ErrNoLogind) {
		t.Errorf("of a bus that says nothing: %v", err)
	}
	must(t, l.Close())
}

// A bus without logind on it, and a bus that is started anew: the next question makes a new connection.
func TestBusesComeAndGo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bus")
	start := func() (stop func()) {
		c := exec.Command("dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1", "--address=unix:path="+path)
		out, err := c.StdoutPipe()
		must(t, err)
		must(t, c.Start())
		_, err = out.Read(make([]byte, 256))
		must(t, err)
		stopped := false
		stop = func() {
			if !stopped {
				stopped = true
				_ = c.Process.Kill()
				_ = c.Wait() // it was killed
			}
		}
		t.Cleanup(stop)
		return stop
	}
	stop := start()
	l := &Logind{Address: "unix:path=" + path}
	defer l.Close()
	if _, err := l.Sessions(t.Context()); !errors.Is(err, ErrNoLogind) {
		t.Errorf("on a bus without logind: %v", err)
	}
	stop()
	_ = os.Remove(path) // the new one would find it in use
	await(t, "the end of the connection is noticed", func() bool {
		_, err := l.Sessions(t.Context())
		return err != nil && !strings.Contains(err.Error(), "ServiceUnknown") && !strings.Contains(err.Error(), "not provided")
	})
	start()
	if _, err := l.Sessions(t.Context()); !errors.Is(err, ErrNoLogind) {
		t.Errorf("on the new bus: %v", err)
	}
}

// BenchmarkLogind is what asking a real logind costs, both sides of it together.
func BenchmarkLogind(b *testing.B) {
	l := logind(b)
	inhibit(b, l, "sleep", "player", "a film", "block")
	for b.Loop() {
		_, err := l.Sessions(b.Context())
		must(b, err)
		_, err = l.Inhibitions(b.Context())
		must(b, err)
	}
}
