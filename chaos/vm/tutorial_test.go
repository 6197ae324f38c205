//go:build vm

package vm

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The tutorial is walked as it is written: its commands, in its order, at three machines with Debian and systemd, whose network is that of its
// reader, with the package that its own commands have made; and what it shows of their answers is compared with them.
//
// What is not as at its reader's: the Pi is a PC too (so the package's architecture is another), the file server is a program that says who it is, the switch is the kernel's, somebody
// has put the hosts' names and an ssh key in place, and the cards' wake logic is that of nic_test.go. Emulated machines are slow, so the cluster is given a longer failover. Plugs are pulled by
// QEMU: the page has comments, which say when.
func TestTheTutorial(t *testing.T) {
	page, err := os.ReadFile("../../docs/tutorial.md")
	if err != nil {
		t.Fatal(err)
	}
	all, err := steps(string(page))
	if err != nil {
		t.Fatal("docs/tutorial.md, ", err)
	}
	k := &walk{T: t, hosts: map[string]*appliance{}, began: time.Now()}
	t.TempDir() // what it removes is looked at before that
	t.Cleanup(k.end)
	k.source()
	k.switchOn()
	for _, s := range all {
		k.do(s)
		if t.Failed() {
			return
		}
	}
	k.look()
	k.install()
}

// walk is a reader of the tutorial.
type walk struct {
	*testing.T
	home    *home
	hosts   map[string]*appliance
	began   time.Time
	sources string // a repository of this tree as it stands
	desk    string // the directory in which the reader builds
	windows []*appliance
}

// addresses are those of the page.
var addresses = map[string]string{"nas": "192.168.1.20", "desk": "192.168.1.30", "pi": "192.168.1.10"}

// slow is the failover of emulated machines.
const slow = "10s"

func (k *walk) limit() context.Context {
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, fmt.Errorf("not within %v", patience))
	k.Cleanup(cancel)
	return ctx
}

func (k *walk) must(err error) {
	k.Helper()
	if err != nil {
		k.Fatal(err)
	}
}

// source makes a repository of this tree as it stands, for the page's `git clone`.
func (k *walk) source() {
	k.sources, k.desk = filepath.Join(k.TempDir(), "sources"), k.TempDir()
	out, err := exec.CommandContext(k.limit(), "bash", "-c", `set -e
mkdir "$1"; cd "$(git rev-parse --show-toplevel)"
git ls-files -z -co --exclude-standard | tar -c --null -T - --ignore-failed-read | tar -x -C "$1"
cd "$1"; git init -q; git add -A
git -c user.name=reader -c user.email=reader@home.example commit -q -m sources`, "sources", k.sources).CombinedOutput()
	if err != nil {
		k.Fatalf("make a repository of the sources: %v\n%s", err, out)
	}
}

// switchOn starts all machines, with what is on them before the first step.
func (k *walk) switchOn() {
	dir := k.TempDir()
	var err error
	k.home, err = newHome(dir)
	k.must(err)
	key := filepath.Join(dir, "id_ed25519")
	if out, err := exec.CommandContext(k.limit(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		k.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	private, err := os.ReadFile(key)
	k.must(err)
	public, err := os.ReadFile(key + ".pub")
	k.must(err)
	hostsFile := "127.0.0.1 localhost\n"
	for name, addr := range addresses {
		hostsFile += addr + " " + name + "\n"
	}
	config := "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\nUser reader\nIdentityFile " + key + "\n"
	for name, addr := range addresses {
		config += "Host " + name + "\nHostName " + addr + "\n"
	}
	k.must(write(filepath.Join(k.desk, "config"), config, 0o600))
	for i, name := range []string{"nas", "desk", "pi"} {
		m := plain
		if name != "pi" {
			m = machine{kernel: "vmlinuz-cards", archives: withCard.archives, card: "rtl8139", armed: realtekArmed}
		}
		a := &appliance{machine: m, name: name, mac: net.HardwareAddr{0x52, 0x54, 0, 0, 1, byte(i + 1)}, dir: filepath.Join(dir, name)}
		k.must(os.Mkdir(a.dir, 0o755))
		files := map[string]string{
			"etc/hostname":                         name + "\n",
			"etc/hosts":                            hostsFile,
			"etc/machine-id":                       fmt.Sprintf("6e69676874706f7274657200000000%02x\n", i+16),
			"etc/fstab":                            "",
			"etc/systemd/network/10-lan.network":   "[Match]\nName=eth0\n[Network]\nAddress=" + addresses[name] + "/24\nGateway=192.168.1.99\n",
			"etc/systemd/system/shell.service":     guestFiles["etc/systemd/system/shell.service"],
			"etc/sudoers.d/reader":                 "reader ALL=(ALL) NOPASSWD: ALL\n",
			"root/.ssh/authorized_keys":            string(public),
			"srv/.ssh/authorized_keys":             string(public),
			"srv/.ssh/id_ed25519":                  string(private),
			"srv/.ssh/config":                      "StrictHostKeyChecking accept-new\n",
			"etc/systemd/logind.conf.d/delay.conf": "[Login]\nInhibitDelayMaxSec=30s\n",
		}
		links := map[string]string{
			"etc/systemd/system/multi-user.target.wants/shell.service": "/etc/systemd/system/shell.service",
			"etc/systemd/system/multi-user.target.wants/ssh.service":   "/lib/systemd/system/ssh.service",
		}
		if name == "nas" {
			files["etc/systemd/system/files.service"] = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/usr/bin/nightporter lab serve --name nas --port 445\nRestart=always\nRestartSec=1\n"
			links["etc/systemd/system/multi-user.target.wants/files.service"] = "/etc/systemd/system/files.service"
		}
		k.must(a.furnish(system, files, links))
		k.must(a.switchOn(k.limit(), k.home))
		k.hosts[name] = a
	}
	for name, a := range k.hosts {
		k.must(a.shell.ready(k.limit()))
		_, err := a.shell.run(k.limit(), "stty cols 80 rows 24; useradd -m -s /bin/bash reader && cp -r /srv/. /home/reader && chown -R reader: /home/reader && systemctl is-system-running --wait")
		k.must(err)
		k.Logf("%s is up after %v", name, since(k.began))
	}
}

// end shows what happened where the walk failed, and switches all off.
func (k *walk) end() {
	for name, a := range k.hosts {
		if k.Failed() && a.shell != nil {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			text, err := a.shell.run(ctx, "systemctl --failed --no-legend; nightporter status; journalctl -b -u nightporter -n 60 -o short-precise --no-pager")
			cancel()
			k.Logf("%s (%v):\n%s", name, err, text)
			for _, file := range []string{"console.log", "qemu.log"} {
				said, err := os.ReadFile(filepath.Join(a.dir, file))
				k.Logf("%s's %s (%v):\n%s", name, file, err, said[max(0, len(said)-4_000):])
			}
		}
		a.switchOff()
		if a.ended != nil {
			k.Error(a.ended)
		}
	}
	if k.home != nil {
		if err := k.home.close(); err != nil {
			k.Error(err)
		}
	}
}

// do does one step, and wants its answer to be that of the page.
func (k *walk) do(s step) {
	k.Helper()
	began := time.Now()
	switch {
	case s.host == "":
		k.physically(s)
	case s.host == "build":
		k.build(s)
	case s.host == "client":
		out, err := k.home.command(k.limit(), "bash", "-c", s.command).CombinedOutput()
		k.compare(s, string(out), err)
	case k.hosts[s.host] == nil:
		k.Fatalf("%v: there is no host %s", s, s.host)
	case strings.Contains(s.command, "--watch"):
		k.watch(s)
	case asks.MatchString(s.command):
		k.until(s)
	default:
		out, err := k.hosts[s.host].shell.run(k.limit(), k.asReader(s))
		k.compare(s, out, err)
	}
	k.Logf("%v (%v)", s, since(began))
}
