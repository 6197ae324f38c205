package api

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSocketModeIsForOwnerAndGroup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v; want 0660", info.Mode(), err)
	}
	if _, err := Listen(path, ""); err == nil || !strings.Contains(err.Error(), "another daemon already answers there") {
		t.Errorf("a second daemon: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestSocketOfAKilledDaemonIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false) // as after SIGKILL
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestListenSaysWhatIsInTheWay(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, path, group, want string }{
		{"a file", file, "", "something that is no socket is there"},
		{"no directory", filepath.Join(dir, "absent", "s"), "", "its directory must exist"},
		{"no group", filepath.Join(dir, "s"), "no-such-group", "correct socket_group"},
		{"long path", filepath.Join(dir, strings.Repeat("x", 120)), "", "choose a shorter run_dir"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := Listen(tc.path, tc.group); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "precious" {
		t.Errorf("the file was touched: %q, %v", data, err)
	}
}

func TestClientSaysWhyNobodyAnswers(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{stale, filepath.Join(dir, "absent")} {
		err := client(t, path).Leave(t.Context())
		want := "cannot leave the cluster: nobody answers as the daemon at " + path + "; start it with `systemctl start nightporter` (`journalctl -u nightporter` tells why it ended), or name another socket with --socket"
		if CodeOf(err) != CodeNotRunning || err.Error() != want {
			t.Errorf("got %v", err)
		}
	}
	c := NewClientFunc("x", func(context.Context) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", os.ErrPermission)}
	})
	if err := c.Leave(t.Context()); CodeOf(err) != CodePermission || !strings.Contains(err.Error(), "this user may not talk to x; run it as root") {
		t.Errorf("got %v", err)
	}
}

func TestClientOfSomethingElse(t *testing.T) {
	for _, tc := range []struct {
		name, says string
		want       Code
	}{
		{"another server", "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", CodeVersion},
		{"another language", "220 smtp ready\r\n", CodeUnavailable},
		{"half an answer", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{", CodeUnavailable},
		{"no JSON", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{", CodeVersion},
		{"hang-up", "", CodeUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			near, far := net.Pipe()
			done := make(chan struct{})
			go func() {
				defer close(done)
				buf := make([]byte, 4096)
				_, _ = far.Read(buf)
				_, _ = far.Write([]byte(tc.says))
				_ = far.Close()
			}()
			c := NewClientFunc("it", func(context.Context) (net.Conn, error) { return near, nil })
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			err := c.Leave(ctx)
			if CodeOf(err) != tc.want {
				t.Errorf("got %v (%s), want %s", err, CodeOf(err), tc.want)
			}
			<-done
		})
	}
}
