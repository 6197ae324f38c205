package lab_test

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"nightporter/chaos/lab"
)

// standIn is a program in the agent's place: it says who it is and waits.
var standIn = []string{"sh", "-c", "echo {node} {config} {dir}; touch /run/me; exec sleep 100000"}

// A host that loses its power closes no connection and says nothing; when it is switched on again, its disk is as it was
// and everything else is new.
func TestLossOfPower(t *testing.T) {
	l := up(t, lab.Options{Hosts: 2, Agent: standIn})
	ctx := limit(t)
	h2 := l.Host("h2")
	to := netip.AddrPortFrom(h2.Addr(), lab.ServerPort)
	conn, err := l.Client(1).Dial(ctx, "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 100)
	if _, err := conn.Write([]byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(buf); err != nil || string(buf[:n]) != "h2 hello\n" {
		t.Fatalf("the echo is %q (%v)", buf[:n], err)
	}
	if _, err := h2.Output(ctx, "sh", "-c", "ip link add dummy type veth; echo 1 >data/disk; echo 1 >/run/memory"); err != nil {
		t.Fatal(err)
	}
	c, err := l.Capture(ctx, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	at, err := h2.Kill(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s := newSender(t, l.Client(1))
	s.send(s.ping(h2))
	s.send(s.ping(l.Host("h1")))
	for _, f := range watch(ctx, t, c, "h2", func(f lab.Frame) bool { return s.answers(f, l.Host("h1"), unix.ETH_P_IP) }) {
		if f.Time.After(at) {
			t.Errorf("a host without power sent %x", f.Data)
		}
		if bytes.Contains(f.Data, []byte{0x1f, 0x90}) { // port 8080
			t.Errorf("the dying host told its client: %x", f.Data)
		}
	}
	if _, err := h2.Output(ctx, "true"); err == nil || !strings.Contains(err.Error(), "off") {
		t.Errorf("a host without power ran a program (%v)", err)
	}
	if err := h2.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if out, err := h2.Output(ctx, "sh", "-c", "cat data/disk; ls /run/memory /sys/class/net/dummy 2>/dev/null; true"); err != nil || out != "1\n" {
		t.Errorf("after the start: %q (%v), want only the disk's content", out, err)
	}
	if r, err := l.Client(1).Connect(ctx, to); err != nil || r.Host != "h2" {
		t.Errorf("after the start: %+v, %v", r, err)
	}
}

func TestASleepingHostCanLoseItsPower(t *testing.T) {
	l := up(t, lab.Options{Hosts: 1, Agent: standIn})
	ctx := limit(t)
	h := l.Host("h1")
	for range 3 {
		if err := h.Freeze(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Kill(ctx); err != nil {
			t.Fatal(err)
		}
		if err := h.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Output(ctx, "true"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheAgentAlone(t *testing.T) {
	l := up(t, lab.Options{Hosts: 1, Agent: standIn})
	ctx := limit(t)
	h := l.Host("h1")
	log := filepath.Join(h.Dir(), "agent.log")
	want := "h1 " + filepath.Join(l.Dir(), "nightporter.yaml") + " " + h.Dir() + "\n"
	eventually(t, "the agent's log has its own words", func() bool {
		body, err := os.ReadFile(log)
		return err == nil && string(body) == want
	})
	if err := h.Start(ctx); err == nil {
		t.Error("a host that runs was started")
	}
	if err := h.Signal(ctx, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code, err := h.AwaitAgentExit(ctx); err != nil || code != 128+9 {
		t.Fatalf("the agent ended with %d (%v)", code, err)
	}
	if err := h.Signal(ctx, syscall.SIGTERM); err == nil {
		t.Error("a dead agent took a signal")
	}
	st, err := l.Status(ctx)
	if err != nil || st.Hosts[0].Agent != "killed: killed" || st.Hosts[0].Power != lab.PowerUp {
		t.Errorf("status says %+v (%v)", st.Hosts, err)
	}
	if err := h.Start(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the agent runs again in the same host", func() bool {
		body, err := os.ReadFile(log)
		return err == nil && string(body) == want+want
	})
	if _, err := h.Output(ctx, "test", "-e", "/run/me"); err != nil {
		t.Error(err)
	}
}

func TestExec(t *testing.T) {
	l := up(t, lab.Options{Hosts: 1, NoAgent: true})
	ctx := limit(t)
	code, err := l.Host("h1").Exec(ctx, lab.Stdio{}, "sh", "-c", "exit 7")
	if err != nil || code != 7 {
		t.Errorf("exit 7 gave %d (%v)", code, err)
	}
	if _, err := l.Host("h1").Output(ctx, "sh", "-c", "echo the cause >&2; exit 1"); err == nil || !strings.Contains(err.Error(), "the cause") {
		t.Errorf("a failure gave the error %v", err)
	}
	if _, err := l.Host("h1").Output(ctx, "no-such-program"); err == nil {
		t.Error("a missing program ran")
	}
	if _, err := l.Host("h7").Output(ctx, "true"); err == nil || !strings.Contains(err.Error(), "h1 to h1") {
		t.Errorf("a missing host gave the error %v", err)
	}
	if out, err := l.Host("switch").Output(ctx, "cat", "/proc/net/dev"); err != nil || !strings.Contains(out, "h1:") || !strings.Contains(out, "c1:") {
		t.Errorf("the switch has the ports %q (%v)", out, err)
	}
	if _, err := l.Host("h1").DialAgent(ctx); err == nil || !strings.Contains(err.Error(), "nightporter.sock") {
		t.Errorf("an agent that does not run was reached (%v)", err)
	}
	if conn, err := l.Client(1).Dial(ctx, "tcp", netip.AddrPortFrom(l.Host("h1").Addr(), 1)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a closed port gave %v, %v", conn, err)
	}
	u, err := l.Client(1).Dial(ctx, "udp", netip.AddrPortFrom(l.Host("h1").Addr(), lab.ServerPort))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	buf := make([]byte, 100)
	if _, err := u.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if n, err := u.Read(buf); err != nil || string(buf[:n]) != "h1 ping" {
		t.Errorf("UDP gave %q, %v", buf[:n], err)
	}
}
