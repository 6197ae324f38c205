package scenarios

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"nightporter/chaos/lab"
	"nightporter/config"
)

const shellPort = 2222

// shell is an sshd on h4 that a client can log in to, in a folder of its own.
type shell struct {
	*world
	dir string
}

// newShell makes keys and configuration, and starts the daemon. Of a setting that stands there twice sshd takes the first.
func newShell(w *world, settings ...string) shell {
	w.Helper()
	s := shell{w, w.TempDir()}
	for _, key := range []string{"host", "client"} {
		if r := w.run(w.limit(), "c1", "", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(s.dir, key)); r.code != 0 {
			w.Fatalf("ssh-keygen: %s", r.err)
		}
	}
	conf := strings.Join(append(settings, ""), "\n") + fmt.Sprintf("Port %d\nHostKey %s/host\nAuthorizedKeysFile %s/client.pub\nPermitRootLogin prohibit-password\nUsePAM no\nStrictModes no\nPidFile none\n",
		shellPort, s.dir, s.dir)
	w.must(os.WriteFile(filepath.Join(s.dir, "conf"), []byte(conf), 0o600))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// The daemon wants its directory for the separation of privileges, in the host's own /run.
		_, _ = w.lab.Host("h4").Exec(ctx, lab.Stdio{}, "sh", "-c", "mkdir -p /run/sshd && exec /usr/sbin/sshd -D -f "+filepath.Join(s.dir, "conf"))
	}()
	w.Cleanup(func() { cancel(); <-ended })
	w.await("sshd listens on h4", func() string {
		if r := w.run(w.limit(), "h4", "", "nc", "-z", "127.0.0.1", fmt.Sprint(shellPort)); r.code != 0 {
			return r.err + "nobody listens"
		}
		return ""
	})
	return s
}

// ssh runs a command on the service's address.
func (s shell) ssh(in, command string) result {
	s.Helper()
	return s.run(s.limit(), "c1", in, s.login(command)...)
}

// login is what a client types.
func (s shell) login(command string) []string {
	return []string{
		"ssh", "-q", "-F", "none", "-p", fmt.Sprint(shellPort), "-i", filepath.Join(s.dir, "client"), "-o", "BatchMode=yes",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=5",
		"root@" + lab.ServiceAddr().String(), command,
	}
}

// ssh comes to a target that sleeps, by way of the front, and all that is said arrives. (Its ConnectTimeout includes the server's
// greeting: it must be longer than a wake takes, with every hold.)
func TestSSHToASleepingTarget(t *testing.T) {
	sv := held("")
	sv.Ports = []config.Port{{Protocol: "tcp", Number: shellPort}, {Protocol: "tcp", Number: lab.ServerPort}}
	sv.Holds = map[string]string{fmt.Sprintf("%d/tcp", shellPort): config.HoldProxy}
	sv.Addresses = []netip.Addr{lab.ServiceAddr()}
	w := build(t, lab.Options{Hosts: 4, Services: []config.Service{sv}})
	w.settled(nil, 3)
	s := newShell(w)
	if r := s.ssh("", "hostname"); r.code != 0 {
		t.Fatalf("ssh to a target that is up ended with status %d: %s", r.code, r.err)
	}
	w.sleep("h4")
	text := strings.Repeat("every word of it\n", 20000)
	r := s.ssh(text, "cat")
	if r.code != 0 || r.out != text {
		t.Errorf("ssh ended with status %d after %v, with %d of %d bytes: %s", r.code, r.took, len(r.out), len(text), r.err)
	}
	w.awaitServing("h4")
}

// An ssh session that is idle while its target sleeps goes on when its user types again: three times, byte-exact both ways, with
// something that the server had to say all the while. (TCP timestamps are on, as they are by default.)
func TestAnSSHSessionSurvivesSleep(t *testing.T) {
	sv := held(config.HoldDrop)
	sv.Ports = []config.Port{{Protocol: "tcp", Number: shellPort}, {Protocol: "tcp", Number: lab.ServerPort}}
	w := build(t, lab.Options{Hosts: 4, Services: []config.Service{sv}})
	w.settled(nil, 3)
	s := newShell(w)
	in, typed, err := os.Pipe()
	w.must(err)
	shown, out, err := os.Pipe()
	w.must(err)
	defer shown.Close()
	said, errs, err := os.Pipe()
	w.must(err)
	defer said.Close()
	ended := make(chan int, 1)
	go func() {
		// A word every 50 ms by itself, counted, and each line back.
		code, _ := w.lab.Host("c1").Exec(w.Context(), lab.Stdio{In: in, Out: out, Err: errs},
			s.login("(i=0; while sleep 0.05; do i=$((i+1)); echo tick $i >&2; done) & cat; kill $!")...)
		in.Close()
		out.Close()
		errs.Close()
		ended <- code
	}()
	lines := make(chan string)
	go func() {
		defer close(lines)
		r := bufio.NewReader(shown)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			lines <- line
		}
	}()
	var ticks atomic.Int64
	strange := make(chan string, 1)
	go func() {
		defer close(strange)
		for r := bufio.NewReader(said); ; ticks.Add(1) {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if want := fmt.Sprintf("tick %d\n", ticks.Load()+1); line != want {
				strange <- fmt.Sprintf("%q instead of %q", line, want)
				return
			}
		}
	}()
	echoes := func(line string) {
		w.Helper()
		_, err := typed.WriteString(line)
		w.must(err)
		select {
		case back := <-lines:
			if back != line {
				w.Fatalf("%d bytes came back otherwise: %.60q", len(line), back)
			}
		case <-w.limit().Done():
			w.Fatalf("%.60q never came back", line)
		}
	}
	echoes("before\n")
	for cycle := range 3 {
		w.sleep("h4")
		echoes(fmt.Sprintf("is anybody there? %d\n", cycle))
		echoes(strings.Repeat("0123456789abcdef", 4096) + "\n")
		w.awaitServing("h4")
		heard := ticks.Load()
		w.await("the server's own words go on", func() string {
			if n := ticks.Load(); n < heard+5 {
				return fmt.Sprintf("%d of them, %d before", n, heard)
			}
			return ""
		})
	}
	w.must(typed.Close())
	if code := <-ended; code != 0 {
		t.Errorf("the session ended with status %d", code)
	}
	for line := range lines {
		t.Errorf("and then %.60q", line)
	}
	if s := <-strange; s != "" {
		t.Errorf("of the server's own words, %s", s)
	}
	if all := w.wire.refused(); len(all) > 0 {
		t.Errorf("a client was turned away: %v", all)
	}
}
