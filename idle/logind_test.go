package idle

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
)

// logind runs the real systemd-logind on a bus of its own, the real dbus-daemon, with a real systemd (a user's manager, since another one
// may be this machine's process 1) to make the scopes of sessions. All of it is in a mount namespace in which /run says that the machine
// was booted with systemd, which is all that they ask.
func logind(t testing.TB) *Logind {
	t.Helper()
	dir := t.TempDir()
	if len(dir) > 60 { // the path of a socket has 108 bytes
		t.Fatalf("the directory for temporary files is too deep: %s", dir)
	}
	units := filepath.Join(dir, "conf", "systemd", "user")
	must(t, os.MkdirAll(units, 0o755))
	must(t, os.Mkdir(filepath.Join(dir, "run"), 0o700))
	bus := filepath.Join(dir, "run", "bus")
	for name, text := range map[string]string{
		filepath.Join(units, "dbus.socket"):  "[Socket]\nListenStream=" + bus + "\n",
		filepath.Join(units, "dbus.service"): "[Service]\nExecStart=/bin/sh -c 'echo $$$$ >" + dir + "/bus.pid; exec dbus-daemon --config-file=" + dir + "/bus.conf --address=systemd: --nofork --nopidfile'\n",
		filepath.Join(units, "basic.target"): "[Unit]\nWants=dbus.service dbus.socket\n",
		filepath.Join(dir, "bus.conf"): `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=` + bus + `</listen><auth>EXTERNAL</auth><policy context="default"><allow own="*"/>
<allow send_destination="*" eavesdrop="true"/><allow receive_sender="*"/><allow user="*"/></policy></busconfig>`,
		filepath.Join(dir, "run.sh"): `set -e
mount --make-rprivate / && mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/systemd/seats /run/systemd/users /run/systemd/sessions /run/systemd/inhibit
/usr/lib/systemd/systemd --user --log-target=console &
manager=$!
trap 'kill -KILL $manager $logind $bus; wait' EXIT
until busctl --address=unix:path=$BUS list 2>&1 | grep -q org.freedesktop.systemd1; do kill -0 $manager; sleep 0.05; done
bus=$(cat $HOME/bus.pid)
DBUS_SYSTEM_BUS_ADDRESS=unix:path=$BUS /lib/systemd/systemd-logind &
logind=$!
read end || true # which comes with the end of the test, whatever that is
kill -TERM $logind
wait $logind || true
kill -TERM $manager # it ends what it runs and takes the groups of the sessions away
for i in $(seq 100); do kill -0 $manager 2>&1 || break; sleep 0.05; done >&2
`,
	} {
		must(t, os.WriteFile(name, []byte(text), 0o644))
	}
	var said bytes.Buffer
	c := exec.Command("bash", filepath.Join(dir, "run.sh"))
	c.Env = append(os.Environ(), "BUS="+bus, "XDG_RUNTIME_DIR="+filepath.Join(dir, "run"), "XDG_CONFIG_HOME="+filepath.Join(dir, "conf"), "HOME="+dir, "DBUS_SESSION_BUS_ADDRESS=unix:path="+bus)
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
	l := &Logind{Address: "unix:path=" + bus}
	t.Cleanup(func() { must(t, l.Close()) })
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	for {
		_, err := l.Sessions(t.Context())
		if err == nil {
			return l
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
	inhibit(t, l, "sleep", "nightporter", "hand-over", "delay")
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
			out = append(out, fmt.Sprintf("%v idle=%v graphical=%v", s, s.Idle, s.Graphical))
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
	want := []string{"root is logged in on pts/9 from 192.0.2.7 idle=false graphical=false"}
	if all := logins(); !slices.Equal(all, want) {
		t.Errorf("there are %v, want %v", all, want)
	}
	desktop, path := session("user", "x11", "", "") // whose desktop says after a while that nobody is there
	want = []string{want[0], "root is logged in on x11 idle=false graphical=true"}
	if all := logins(); !slices.Equal(all, want) {
		t.Errorf("there are %v, want %v", all, want)
	}
	l.mu.Lock()
	err := l.conn.Object(login1, path).Call(login1Session+".SetIdleHint", 0, true).Err
	l.mu.Unlock()
	must(t, err)
	want[1] = "root is logged in on x11 idle=true graphical=true"
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
