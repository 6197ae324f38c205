package health

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"nightporter/internal/nstest"
)

// manager runs a real systemd as a user's manager, with units of its own, and gives its private socket. It runs without the one that
// this machine may have: in a mount namespace in which /run says that the machine was booted with systemd, which is all that it asks.
func manager(t *testing.T, units map[string]string) Systemd {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "conf", "systemd", "user")
	if err := os.MkdirAll(conf, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range units {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(conf, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(conf, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := filepath.Join(dir, "run")
	if err := os.Mkdir(run, 0o700); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	c := exec.Command("sh", "-c", "mount --make-rprivate / && mount -t tmpfs tmpfs /run && mkdir /run/systemd /run/systemd/system && exec /usr/lib/systemd/systemd --user --log-target=console")
	c.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+run, "XDG_CONFIG_HOME="+filepath.Join(dir, "conf"), "HOME="+dir)
	c.Stdout, c.Stderr = &said, &said
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
		UseCgroupFD: true, CgroupFD: int(nstest.Group(t).Fd()),
	}
	if err := c.Start(); err != nil {
		t.Fatalf("systemd, which this test needs, cannot be started: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.Signal(34 + 24)) // exit at once
		<-ended
	})
	s := Systemd{Socket: filepath.Join(run, "systemd", "private")}
	for {
		err := s.Active(t.Context(), "basic.target")
		if err == nil {
			return s
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("systemd, which this test needs, ended: %v: %s", err, said.String())
		case <-t.Context().Done():
			t.Fatalf("systemd does not answer: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestSystemd(t *testing.T) {
	out := t.TempDir()
	s := manager(t, map[string]string{
		"web.service":  "[Service]\nExecStart=/bin/sh -c 'echo $$$$ >" + out + "/pid; exec sleep infinity'\n",
		"bad.service":  "[Service]\nType=oneshot\nExecStart=/bin/false\n",
		"slow.service": "[Service]\nType=oneshot\nExecStart=/bin/sleep infinity\nTimeoutStartSec=infinity\n",
	})
	active := func(unit string) string {
		return says(t, 10*time.Second, func(ctx context.Context) error { return s.Active(ctx, unit) })
	}
	want(t, active("web.service"), "it: it is inactive (dead)")
	state := func(unit, want string) {
		t.Helper()
		if got, err := s.State(t.Context(), unit); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", unit, got, err, want)
		}
	}
	state("web.service", "inactive")
	state("absent.service", "inactive")
	want(t, active("absent.service"), "it: there is no such unit on this host")
	for range 2 { // what runs stays as it is
		if err := s.Start(t.Context(), "web.service"); err != nil {
			t.Fatal(err)
		}
	}
	want(t, active("web.service"), "")
	state("web.service", "active")
	pid := awaitPID(t, filepath.Join(out, "pid"))
	for range 2 {
		if err := s.Stop(t.Context(), "web.service"); err != nil {
			t.Fatal(err)
		}
	}
	awaitGone(t, pid)
	want(t, active("web.service"), "it: it is inactive (dead)")
	err := s.Start(t.Context(), "bad.service")
	want(t, fmtErr(err), `the job ended as "failed"`)
	want(t, active("bad.service"), "it: it is failed (failed)")
	want(t, fmtErr(s.Start(t.Context(), "absent.service")), "systemd does not start absent.service")
	short, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Start(short, "slow.service") }()
	for said := ""; said != "it: it is activating (start)"; said = active("slow.service") {
		pause(t, "it does not start: "+said)
	}
	cancel()
	want(t, fmtErr(<-ended), "has not managed to start slow.service yet")
	want(t, active("slow.service"), "it: it is activating (start)")
}

// A unit that is part of the target that the package brings starts and ends with it.
func TestAUnitFollowsTheTargetOfAnIdentity(t *testing.T) {
	target, err := os.ReadFile("../packaging/nightporter-held@.target")
	if err != nil {
		t.Fatal(err)
	}
	s := manager(t, map[string]string{
		"nightporter-held@.target":                    string(target),
		"nightporter-held@my-web.target.d/wants.conf": "[Unit]\nWants=follows.service\n", // as enabling it does
		"nightporter.service":                         "[Service]\nExecStart=/bin/sleep infinity\nRestart=on-failure\nRestartSec=1h\n",
		"follows.service":                             "[Unit]\nPartOf=nightporter-held@my-web.target\nAfter=nightporter-held@my-web.target\n[Service]\nExecStart=/bin/sleep infinity\n",
	})
	is := func(want string) {
		t.Helper()
		if got, err := s.State(t.Context(), "follows.service"); err != nil || got != want {
			t.Errorf("the unit is %q, %v; want %q", got, err, want)
		}
	}
	for range 2 {
		if err := s.Start(t.Context(), "nightporter-held@my-web.target"); err != nil {
			t.Fatal(err)
		}
		for said := "activating"; said != "active"; {
			if said, err = s.State(t.Context(), "follows.service"); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Stop(t.Context(), "nightporter-held@my-web.target"); err != nil {
			t.Fatal(err)
		}
		is("inactive")
	}
	// The agent is killed.
	if err := s.Start(t.Context(), "nightporter-held@my-web.target"); err != nil {
		t.Fatal(err)
	}
	is("active")
	c, err := s.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.KillUnitWithTarget(t.Context(), "nightporter.service", dbus.All, 9); err != nil {
		t.Fatal(err)
	}
	for said := "active"; said != "inactive"; {
		if said, err = s.State(t.Context(), "follows.service"); err != nil {
			t.Fatal(err)
		}
	}
}

// Where there is no systemd, a unit is not active.
func TestSystemdThatIsNotThere(t *testing.T) {
	s := Systemd{Socket: filepath.Join(t.TempDir(), "private")}
	want(t, says(t, 10*time.Second, func(ctx context.Context) error { return s.Active(ctx, "web.service") }), "it: systemd cannot be reached on this host")
}

func fmtErr(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
