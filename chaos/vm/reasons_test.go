//go:build vm

package vm

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// published is a port of the machine that leads to a container, inside another one there: its host has no socket for its clients, only connection tracking.
const published, inside = 9090, 9091

// inUse is a machine that other programs use. Nobody counts as a user who is called courier, so that his connection stands for itself.
var inUse = machine{
	kernel: "vmlinuz", archives: []string{"root.cpio"}, card: "virtio-net-pci", awake: true, idle: 10 * time.Second,
	stayAwake: fmt.Sprintf("units: [np-backup.service], processes: [np-copy], ports: [22/tcp, %d/tcp], ignore_users: [courier]", published),
	files: map[string]string{
		"etc/systemd/system/getty@tty2.service.d/autologin.conf": "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --noclear %I linux\n",
		"usr/local/bin/published": fmt.Sprintf(`set -e
ip addr add 10.88.0.2/32 dev lo
nft 'table ip docker { chain prerouting { type nat hook prerouting priority dstnat; tcp dport %d dnat to 10.88.0.2:%d; }; }'
echo 1 >/proc/sys/net/netfilter/nf_conntrack_acct
systemd-run --quiet --unit=container nightporter lab serve --name container --port %[2]d
`, published, inside),
	},
}

// Each reason to be awake that other programs are, by the real thing: while it is there the host tells of it, and of nothing else, and stays awake for
// longer than `idle`; when it is over the host goes to sleep by itself, and a client wakes it. That client uses it until the next reason is there, so the host cannot fall asleep in between.
func TestEachReasonToBeAwakeInAMachine(t *testing.T) {
	w := build(t, inUse)
	w.sound()
	key := w.keys()
	w.await("a client is served", func() string {
		if _, err := w.lab.Client(1).Connect(w.limit(), door); err != nil { // it has the identity by the log, and may not use it yet
			return err.Error()
		}
		return ""
	})
	talk := w.talks(door, self)
	w.unit("true", "stay")()
	all := []struct {
		what, name, sentence string
		begin                func() (end func())
	}{
		{"a client of its service", "flows", "web", func() func() { return w.talks(door, self) }},
		{"a login at a terminal", "users", "root is logged in on tty2", func() func() { return w.unit("systemctl start getty@tty2", "getty@tty2") }},
		// sshd does not name the terminal to PAM: logind knows the kind of the session.
		{"a login by ssh at which nobody types", "users", "root is logged in on tty from " + w.lab.Client(1).Addr().String(), func() func() { return w.ssh(key, "root", "sleep infinity") }},
		{"an ssh connection that carries something", "flows", "a client uses port 22/tcp: ", func() func() { return w.ssh(key, "courier", "while sleep 0.2; do printf %02000d; done") }},
		{"a client of a container", "flows", fmt.Sprintf("a client uses port %d/tcp: ", published), func() func() {
			return w.talks(netip.AddrPortFrom(w.place.Addr(), published), "container")
		}},
		{"a unit", "unit", "np-backup.service is active", func() func() { return w.unit("systemd-run --quiet --unit=np-backup sleep infinity", "np-backup") }},
		{"a program", "process", "np-copy runs", func() func() {
			return w.unit("cp /bin/sleep /run/np-copy; systemd-run --quiet --unit=other /run/np-copy infinity", "other")
		}},
		{"a program that blocks sleep", "inhibitor", "test blocks idle: test", func() func() {
			w.inhibit()
			return w.unit("true", "stay")
		}},
	}
	for _, c := range all {
		end := c.begin()
		w.await("the host tells of "+c.what, func() string {
			a := w.why()
			if !slices.ContainsFunc(a.Reasons, func(r api.AwakeReason) bool { return r.Name == c.name && strings.Contains(r.Sentence, c.sentence) }) {
				return fmt.Sprintf("%+v", a)
			}
			return ""
		})
		before, _ := w.count()
		talk()
		w.keptAwake(c.name, c.sentence)
		if n, _ := w.count(); n != before {
			t.Errorf("the machine slept during %s", c.what)
		}
		w.story("after "+c.what, func() <-chan error {
			end()
			return over
		}, func() string {
			w.await("the host sleeps since nobody needs it", func() string {
				if a := w.why(); a.Power != "asleep" || a.PowerReason != "idle" {
					return fmt.Sprintf("%+v", a)
				}
				return ""
			})
			began := time.Now()
			talk = w.talks(door, self)
			return fmt.Sprintf("answered after %v", time.Since(began).Round(time.Millisecond))
		})
	}
	w.throughSystemd(len(all)) // while it is in use, and can tell
	talk()
	w.judge(2*len(all) + 1)
}

// over is of what has ended.
var over = func() <-chan error {
	c := make(chan error)
	close(c)
	return c
}()

// why is `nightporter why h3`, asked at another host, which has the answer from the machine's agent while that is awake.
func (w *world) why() api.Why {
	w.Helper()
	a, err := w.lab.Host("h1").API().Why(w.limit(), place)
	w.must(err)
	return a
}

// keptAwake waits until a reason alone has kept the host awake for longer than it would take to go to sleep.
func (w *world) keptAwake(name, sentence string) {
	w.Helper()
	w.await("the host is kept awake by "+name, func() string {
		a := w.why()
		if len(a.Reasons) != 1 || a.State != "busy" || time.Duration(a.Idle) != w.machine.idle {
			return fmt.Sprintf("%+v", a)
		}
		r := a.Reasons[0]
		if r.Name != name || r.Kind != "use" || !strings.Contains(r.Sentence, sentence) || r.Until.Sub(r.Since) < w.machine.idle+time.Second {
			return fmt.Sprintf("%+v", a)
		}
		return ""
	})
}

// unit has the machine's systemd begin something that ends when a unit does.
func (w *world) unit(command, unit string) (end func()) {
	w.Helper()
	_, err := w.shell.run(w.limit(), command)
	w.must(err)
	return func() {
		w.Helper()
		_, err := w.shell.run(w.limit(), "systemctl stop "+unit)
		w.must(err)
	}
}

// keys has the machine's ssh know a key of the client's, starts it, and the container.
func (w *world) keys() (key string) {
	w.Helper()
	key = filepath.Join(w.TempDir(), "key")
	_, err := w.lab.Client(1).Output(w.limit(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	w.must(err)
	public, err := os.ReadFile(key + ".pub")
	w.must(err)
	_, err = w.shell.run(w.limit(), "( set -e; useradd -m -s /bin/bash courier; for h in /root /home/courier; do mkdir -p $h/.ssh; echo '"+strings.TrimSpace(string(public))+
		"' >$h/.ssh/authorized_keys; done; chown -R courier: /home/courier; systemctl start ssh; bash /usr/local/bin/published )")
	w.must(err)
	return key
}

// ssh is somebody at a client's terminal who has a command run on the machine, by its own address.
func (w *world) ssh(key, user, command string) (end func()) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = w.lab.Client(1).Exec(ctx, lab.Stdio{Err: os.Stderr}, "ssh", "-q", "-tt", "-F", "none", "-i", key, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
			"-o", "UserKnownHostsFile=/dev/null", user+"@"+w.place.Addr().String(), command) // it is killed
	}()
	end = func() { cancel(); <-ended }
	w.Cleanup(end)
	return end
}

// talks sends lines to a server and reads what comes back, some 10 kB in a second each way, from its first answer until stop is called.
func (w *world) talks(to netip.AddrPort, server string) (stop func()) {
	w.Helper()
	c, err := w.lab.Client(1).Dial(w.limit(), "tcp", to)
	w.must(err)
	line, in := strings.Repeat("x", 1000), bufio.NewReader(c)
	say := func() error {
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(c, line); err != nil {
			return err
		}
		back, err := in.ReadString('\n')
		if err == nil && back != server+" "+line+"\n" {
			err = fmt.Errorf("%s says %q", to, back)
		}
		return err
	}
	w.must(say())
	end, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		defer c.Close()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if err := say(); err != nil {
					ended <- err
					return
				}
			case <-end:
				ended <- nil
				return
			}
		}
	}()
	return func() {
		w.Helper()
		close(end)
		w.must(<-ended)
	}
}
