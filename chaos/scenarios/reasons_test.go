package scenarios

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nightporter/chaos/lab"
)

// published is a port of h4 that leads to a container, inside another one there: the host has no socket for its clients, only connection tracking.
const published, inside = 9090, 9091

// Each reason to be awake that comes from other programs, by the real thing: somebody logs in by ssh (PAM tells logind), a unit of systemd runs, a
// program runs, a client uses a container, the interface carries much. `why` names it while it is there, and not after it. The reasons that have scenarios of their
// own are a connection, a command, a program that blocks sleep, and the quorum.
func TestEachReasonToBeAwake(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skipf("NOT RUN: %s needs root: nobody else can log somebody in", t.Name())
	}
	program := fmt.Sprint("np", os.Getpid(), "-backup") // others may run this test at the same time
	w := build(t, lab.Options{Hosts: 4, Idle: idleFor, StayAwake: append([]string{
		"units: [np-backup.service]", fmt.Sprintf("processes: [%s]", program), fmt.Sprintf("ports: [%d/tcp]", published),
	}, busyUnlessFree...)})
	w.settled(nil, 3)
	w.startSuspendable("h4")
	for _, c := range []struct {
		name, sentence string
		begin          func() (end func())
	}{
		{"users", "root is logged in on ", w.logsIn},
		{"unit", "np-backup.service is active", w.runsUnit},
		{"process", program + " runs", func() func() { return w.runsProgram(program) }},
		{"flows", fmt.Sprintf("port %d/tcp", published), w.usesContainer},
		{"network", "eth0 carries ", w.floods},
	} {
		if r, ok := reason(w.why("h4", "h4"), c.name); ok {
			t.Errorf("before anything is so it is awake for %+v", r)
		}
		end := c.begin()
		w.await("h4 tells of "+c.name, func() string {
			a := w.why("h1", "h4")
			if r, ok := reason(a, c.name); !ok || r.Kind != "use" || !strings.Contains(r.Sentence, c.sentence) {
				return fmt.Sprintf("%+v", a)
			}
			return ""
		})
		end()
		w.await("h4 tells of "+c.name+" no more", func() string {
			a := w.why("h1", "h4")
			if r, ok := reason(a, c.name); ok || a.State == "" {
				return fmt.Sprintf("%+v", r)
			}
			return ""
		})
	}
	for _, r := range w.why("h1", "h4").Reasons { // on a quick machine it has not been awake for as long as it is to be
		if r.Name != "command" && r.Name != "minimum" {
			t.Errorf("at last it is awake for %+v", r)
		}
	}
	_, err := w.lab.Host("h4").Output(w.limit(), "touch", free)
	w.must(err)
	w.fallsAsleep("h4")
	w.connect("c1", "h4") // programs of a host that sleeps do not end
	_, err = w.lab.Host("h4").Output(w.limit(), "rm", free)
	w.must(err)
}

// logsIn is somebody at a terminal, by the host's own address.
func (w *world) logsIn() (end func()) {
	w.Helper()
	s := newShell(w, "UsePAM yes")
	argv := s.login("sleep 1000")
	for i, word := range argv {
		argv[i] = strings.Replace(word, lab.ServiceAddr().String(), w.lab.Host("h4").Addr().String(), 1)
	}
	return w.background("c1", append([]string{argv[0], "-tt"}, argv[1:]...)...)
}

// runsUnit has the systemd of h4 run a unit.
func (w *world) runsUnit() (end func()) {
	w.Helper()
	manager := func(method string, args ...string) {
		w.Helper()
		_, err := w.lab.Host("h4").Output(w.limit(), append([]string{"busctl", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", method}, args...)...)
		w.must(err)
	}
	manager("StartTransientUnit", "ssa(sv)a(sa(sv))", "np-backup.service", "replace", "1", "ExecStart", "a(sasb)", "1", "/bin/sleep", "2", "/bin/sleep", "1000", "false", "0")
	return func() { manager("StopUnit", "ss", "np-backup.service", "replace") }
}

// runsProgram is a copy of sleep(1) under a name of its own.
func (w *world) runsProgram(name string) (end func()) {
	w.Helper()
	sleep, err := exec.LookPath("sleep")
	w.must(err)
	body, err := os.ReadFile(sleep)
	w.must(err)
	path := filepath.Join(w.TempDir(), name)
	w.must(os.WriteFile(path, body, 0o755))
	return w.background("h4", path, "1000")
}

// usesContainer talks to a program behind a translated address, as Docker publishes one.
func (w *world) usesContainer() (end func()) {
	w.Helper()
	rules := fmt.Sprintf("ip addr add 10.88.0.2/32 dev lo; sysctl -qw net.netfilter.nf_conntrack_acct=1; "+
		"nft 'table ip docker { chain prerouting { type nat hook prerouting priority dstnat; tcp dport %d dnat to 10.88.0.2:%d; }; }'", published, inside)
	_, err := w.lab.Host("h4").Output(w.limit(), "sh", "-ec", rules)
	w.must(err)
	stop := w.background("h4", "nightporter", "lab", "serve", "--name", "container", "--port", fmt.Sprint(inside))
	to := netip.AddrPortFrom(w.lab.Host("h4").Addr(), published)
	w.await("the container answers", func() string {
		c, err := w.lab.Client(1).Dial(w.limit(), "tcp", to)
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		_, err = fmt.Fprintln(c, "hello")
		line, err2 := bufio.NewReader(c).ReadString('\n')
		if line != "container hello\n" {
			return fmt.Sprint(line, err, err2)
		}
		return ""
	})
	c, err := w.lab.Client(1).Dial(w.limit(), "tcp", to)
	w.must(err)
	quiet := talks(w, c)
	return func() {
		w.Helper()
		quiet()
		w.must(c.Close())
		stop()
	}
}

// floods sends far more than the configuration lets pass for nothing, to a port at which nobody listens.
func (w *world) floods() (end func()) {
	w.Helper()
	c, err := w.lab.Client(1).Dial(w.limit(), "udp", netip.AddrPortFrom(w.lab.Host("h4").Addr(), 9))
	w.must(err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(15 * time.Millisecond) // 4 MB in a second: who watches the wire must not lose a frame
		defer tick.Stop()
		for body := make([]byte, 60_000); ctx.Err() == nil; <-tick.C {
			_, _ = c.Write(body) // it is refused
		}
	}()
	return func() {
		stop()
		<-ended
		c.Close()
	}
}
