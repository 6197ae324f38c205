package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var local = []netip.Addr{netip.MustParseAddr("127.0.0.1")}

// says asks with a limit and gives what came of it.
func says(t *testing.T, most time.Duration, ask func(context.Context) error) string {
	t.Helper()
	return Limited(t.Context(), "it", most, ask)
}

func want(t *testing.T, got, part string) {
	t.Helper()
	if (got == "") != (part == "") || !strings.Contains(got, part) {
		t.Errorf("it says %q, want %q", got, part)
	}
}

// freePort is one that nobody listens on.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := netip.MustParseAddrPort(l.Addr().String()).Port()
	ask := func(ctx context.Context) error { return TCP(ctx, local, port) }
	want(t, says(t, 10*time.Second, ask), "")
	both := append(local, netip.MustParseAddr("127.0.0.2"))
	want(t, says(t, 10*time.Second, func(ctx context.Context) error { return TCP(ctx, both, port) }), "it: 127.0.0.2: connection refused")
	l.Close()
	want(t, says(t, 10*time.Second, ask), "it: connection refused")

	// A listener whose queue is full: the kernel answers no SYN, as with a program that hangs.
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	full := uint16(name.(*syscall.SockaddrInet4).Port)
	for {
		c, err := net.DialTimeout("tcp", fmt.Sprint("127.0.0.1:", full), 200*time.Millisecond)
		if err != nil {
			break
		}
		defer c.Close()
	}
	want(t, says(t, 50*time.Millisecond, func(ctx context.Context) error { return TCP(ctx, local, full) }), "no answer within 50ms")
}

func TestHTTP(t *testing.T) {
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hang":
			<-hang
		case "/cut":
			panic(http.ErrAbortHandler)
		case "/there":
			http.Redirect(w, r, "/bad", http.StatusFound)
		case "/bad":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/name":
			if r.Host != "www.example.net" {
				w.WriteHeader(http.StatusMisdirectedRequest)
			}
		}
	}))
	port := netip.MustParseAddrPort(srv.Listener.Addr().String()).Port()
	ask := func(path, host string, least, most int) string {
		h := HTTP{Port: port, Path: path, Host: host, StatusMin: least, StatusMax: most}
		return says(t, 10*time.Second, func(ctx context.Context) error { return h.Ask(ctx, local) })
	}
	want(t, ask("/?a=1", "", 200, 200), "")
	want(t, ask("/bad", "", 200, 399), "it: status 503, not 200 to 399")
	want(t, ask("/bad", "", 503, 503), "")
	want(t, ask("/there", "", 200, 399), "")
	want(t, ask("/there", "", 200, 200), "status 302, not 200")
	want(t, ask("/name", "www.example.net", 200, 200), "")
	want(t, ask("/name", "", 200, 200), "status 421")
	want(t, ask("/cut", "", 200, 200), "the connection was closed without an answer")
	h := HTTP{Port: port, Path: "/hang", StatusMin: 200, StatusMax: 200}
	want(t, says(t, 50*time.Millisecond, func(ctx context.Context) error { return h.Ask(ctx, local) }), "no answer within 50ms")
	close(hang)
	srv.Close()
	want(t, ask("/", "", 200, 200), "it: connection refused")
	h.Port = freePort(t)
	t.Setenv("HTTP_PROXY", srv.URL) // nobody else is asked
	want(t, says(t, 10*time.Second, func(ctx context.Context) error { return h.Ask(ctx, local) }), "it: connection refused")
}

// scripts is a checks directory.
func scripts(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "checks.d")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestExec(t *testing.T) {
	t.Setenv("NIGHTPORTER_CANARY", "of the agent")
	dir := scripts(t, map[string]string{
		"good": "exit 0", "bad": "echo 'the disk is full' >&2; echo more; exit 3", "mute": "exit 1",
		"env":   `test "$NIGHTPORTER_SERVICE" = web && test -z "$NIGHTPORTER_CANARY" && test "$PWD" = / && ! read line`,
		"loud":  "yes | head -c 10000000; exit 1",
		"leave": "sleep 2 &", // which keeps the output open
	})
	ask := func(name string) string {
		return says(t, 10*time.Second, func(ctx context.Context) error { return Exec(ctx, dir, name, []string{"NIGHTPORTER_SERVICE=web"}) })
	}
	want(t, ask("good"), "")
	want(t, ask("bad"), "it: exit status 3: the disk is full")
	want(t, ask("mute"), "it: exit status 1")
	want(t, ask("env"), "")
	want(t, ask("loud"), "exit status 1: y")
	want(t, ask("leave"), "")
	want(t, ask("absent"), "there is no "+dir+"/absent")
	want(t, ask("../checks.d/good"), "is not the name of an executable")
	want(t, ask(".."), "is not the name of an executable")
}

// A check that hangs is killed, with all that it started.
func TestExecThatHangs(t *testing.T) {
	out := t.TempDir()
	dir := scripts(t, map[string]string{"hang": "mkfifo " + out + "/fifo; echo $$ >" + out + "/pid; sh -c 'echo $$ >" + out + "/child; cat " + out + "/fifo'; true"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- Exec(ctx, dir, "hang", nil) }()
	var pids []int
	for _, file := range []string{"pid", "child"} {
		pids = append(pids, awaitPID(t, filepath.Join(out, file)))
	}
	cancel()
	if err := <-ended; !errors.Is(err, errLate) {
		t.Errorf("it ended with %v", err)
	}
	for _, pid := range pids {
		awaitGone(t, pid)
	}
}

func awaitPID(t *testing.T, path string) (pid int) {
	t.Helper()
	for {
		raw, err := os.ReadFile(path)
		if n, _ := fmt.Sscan(string(raw), &pid); err == nil && n == 1 && strings.HasSuffix(string(raw), "\n") {
			return pid
		}
		pause(t, path+" is not there")
	}
}

func awaitGone(t *testing.T, pid int) {
	t.Helper()
	for {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(raw), ") Z ") { // nobody may be there to reap it
			return
		}
		pause(t, fmt.Sprintf("process %d is left", pid))
	}
}

// pause is one look of a wait, which ends with the test.
func pause(t *testing.T, missing string) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal(missing)
	case <-time.After(5 * time.Millisecond):
	}
}

// What somebody else than root could have put there is not run.
func TestExecTrustsNobodyButRoot(t *testing.T) {
	for _, tc := range []struct {
		name   string
		spoil  func(dir, file string) error
		reason string
	}{
		{"as it should be", func(string, string) error { return nil }, ""},
		{"another owner", func(_, f string) error { return os.Chown(f, 65534, 0) }, "does not belong to root"},
		{"another owner of the directory", func(d, _ string) error { return os.Chown(d, 65534, 0) }, "does not belong to root"},
		{"writable by the group", func(_, f string) error { return os.Chmod(f, 0o775) }, "can be written by others"},
		{"writable by all", func(_, f string) error { return os.Chmod(f, 0o757) }, "can be written by others"},
		{"in a directory that all write to", func(d, _ string) error { return os.Chmod(d, 0o777) }, "can be written by others"},
		{"not executable", func(_, f string) error { return os.Chmod(f, 0o644) }, "is not executable"},
		{"a link", func(d, f string) error {
			return errors.Join(os.Rename(f, filepath.Join(d, "else")), os.Symlink("/bin/true", f))
		}, "is no regular file"},
		{"a link to the directory", func(d, _ string) error {
			return errors.Join(os.Rename(d, d+".real"), os.Symlink(d+".real", d))
		}, "is no directory"},
		{"a directory", func(_, f string) error { return errors.Join(os.Remove(f), os.Mkdir(f, 0o755)) }, "is no regular file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := scripts(t, map[string]string{"good": "exit 0"})
			if err := tc.spoil(dir, filepath.Join(dir, "good")); err != nil {
				t.Fatal(err)
			}
			want(t, says(t, 10*time.Second, func(ctx context.Context) error { return Exec(ctx, dir, "good", nil) }), tc.reason)
		})
	}
}
