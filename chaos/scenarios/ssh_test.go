package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
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

// newShell makes keys and configuration, and starts the daemon.
func newShell(w *world) shell {
	w.Helper()
	s := shell{w, w.TempDir()}
	for _, key := range []string{"host", "client"} {
		if r := w.run(w.limit(), "c1", "", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(s.dir, key)); r.code != 0 {
			w.Fatalf("ssh-keygen: %s", r.err)
		}
	}
	conf := fmt.Sprintf("Port %d\nHostKey %s/host\nAuthorizedKeysFile %s/client.pub\nPermitRootLogin prohibit-password\nUsePAM no\nStrictModes no\nPidFile none\n",
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
	return s.run(s.limit(), "c1", in, "ssh", "-q", "-F", "none", "-p", fmt.Sprint(shellPort), "-i", filepath.Join(s.dir, "client"), "-o", "BatchMode=yes",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=1",
		"root@"+lab.ServiceAddr().String(), command)
}

// ssh with a connect time-out of a second comes to a target that sleeps, by way of the front, and all that is said arrives.
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
