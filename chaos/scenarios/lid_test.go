package scenarios

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nightporter/chaos/lab"
	"nightporter/internal/nstest"
)

// lidDelay is far above what a hand-over takes, on a busy machine too: these tests are about the order.
const lidDelay = 40 * time.Second

// startSuspendable runs a real logind and a real systemd in a host, on a bus where its agent looks for one. What systemd does for a suspend
// there is what a lab has for it: all processes of the host are frozen, logind and systemd among them. restart starts logind anew.
func (w *world) startSuspendable(host string) (restart func()) {
	w.Helper()
	argv, err := nstest.Logind{
		Dir: w.TempDir(), Bus: "/run/dbus/system_bus_socket", Own: true, DelayMax: lidDelay,
		Sleep: strings.Join([]string{filepath.Join(w.lab.Dir(), "bin", "nightporter"), "lab", "suspend-self", "--dir", w.lab.Dir(), "--host", host}, " "),
	}.Write()
	w.must(err)
	in, end, err := os.Pipe()
	w.must(err)
	ctx, kill := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer in.Close()
		_, _ = w.lab.Host(host).Exec(ctx, lab.Stdio{In: in, Err: os.Stderr}, argv...) // it ends with its input, or is killed
	}()
	w.Cleanup(func() {
		end.Close()
		late := time.AfterFunc(patience, kill)
		defer late.Stop()
		<-ended
		kill()
	})
	w.awaitLock(host)
	return func() {
		w.Helper()
		before := w.logindOf(host)
		_, err := end.WriteString("again\n")
		w.must(err)
		w.await("logind is another one", func() string {
			if now := w.logindOf(host); now == "" || now == before {
				return now
			}
			return ""
		})
		w.awaitLock(host)
	}
}

// logindOf is the process that is logind in a host, "" = none.
func (w *world) logindOf(host string) string {
	out, err := w.lab.Host(host).Output(w.limit(), "busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetConnectionUnixProcessID", "s", "org.freedesktop.login1")
	if err != nil {
		return ""
	}
	return out
}

// awaitLock waits until the agent of a host delays what its logind does.
func (w *world) awaitLock(host string) {
	w.Helper()
	w.await("the agent of "+host+" holds the lock of its logind", func() string {
		out, err := w.lab.Host(host).Output(w.limit(), "systemd-inhibit", "--list")
		if err != nil || strings.Count(out, "\nnightporter ") != 1 { // one line
			return fmt.Sprint(out, err)
		}
		if st, err := w.ask(host); err != nil || st.Sleep.Delay != "held" || time.Duration(st.Sleep.DelayMax) != lidDelay {
			return fmt.Sprintf("%+v, %v", st.Sleep, err)
		}
		return ""
	})
}

// suspendByOthers has logind suspend a host, as a lid, a desktop or `systemctl suspend` does, and waits until it sleeps.
func (w *world) suspendByOthers(host string) {
	w.Helper()
	_, err := w.lab.Host(host).Output(w.limit(), "busctl", "call", "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager", "Suspend", "b", "false")
	w.must(err)
	w.must(w.lab.Host(host).AwaitPower(w.limit(), lab.PowerAsleep))
}

// Somebody suspends hosts past the agent, with the real logind and the real systemd. The hand-over comes first: nobody waits for a lease.
func TestASuspendByOthersWaitsForTheHandOver(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4})
	w.settled(nil, 3)
	w.awaitServing("h4")
	restart := w.startSuspendable("h4")
	restart()
	for range 2 { // again after the resume
		began := time.Now()
		w.suspendByOthers("h4")
		t.Logf("asleep %v after somebody closed its lid", time.Since(began))
		st, err := w.ask("h1")
		n, _ := node(st, "h4")
		if sv, _ := service(st, web); err != nil || n.Power != "asleep" || n.PowerReason != "suspended-by-others" || sv.Owner == "h4" || sv.Reason != "owner-sleeps" {
			t.Fatalf("when h4 slept, its record was %+v, and web's %+v (%v)", n, sv, err)
		}
		w.connect("c1", "h4")
		w.awaitServing("h4")
		w.awaitLock("h4")
	}

	// Its own sleep waits for nothing.
	began := time.Now()
	front := w.sleep("h4")
	t.Logf("asleep %v after it was told to", time.Since(began))

	// A host that may not sleep, and votes, hands over all the same, and says so when it is back.
	w.startSuspendable(front)
	w.suspendByOthers(front)
	st, err := w.ask(without(without(w.hosts, "h4"), front)[0])
	n, _ := node(st, front)
	if sv, _ := service(st, web); err != nil || n.Power != "asleep" || n.PowerReason != "suspended-by-others" || sv.Owner == front || sv.Reason != "owner-sleeps" {
		t.Fatalf("when %s slept, its record was %+v, and web's %+v (%v)", front, n, sv, err)
	}
	w.connect("c1", "h4")
	w.must(w.lab.Host(front).PressPower(w.limit()))
	w.await(front+" says what happened", func() string {
		st, err := w.ask(front)
		if n, ok := node(st, front); err != nil || !ok || !n.Alive || !n.Fit || st.Sleep.Delay != "held" || !strings.Contains(strings.Join(st.Problems, "\n"), "was suspended by others") {
			return fmt.Sprintf("%+v, %+v, %q, %v", n, st.Sleep, st.Problems, err)
		}
		return ""
	})
	if all := w.wire.refused(); len(all) > 0 {
		t.Errorf("a client was turned away: %v", all)
	}
}
