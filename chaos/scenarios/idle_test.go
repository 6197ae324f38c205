package scenarios

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
	"nightporter/config"
)

// idleFor is short, so that a host can show within a test that it does not go to sleep.
const idleFor = 3 * time.Second

// free is the file, in a host's own /run, without which the command of these labs says that the host is in use.
const free = "/run/free"

// The questions of these tests, fifty in a second over TLS, are some hundred kB of traffic themselves.
// A host that was woken stays awake for long enough to be looked at.
var busyUnlessFree = []string{"network: 2000000", "at_least: 6s", "commands: [[test, '!', -e, " + free + "]]"}

// why asks a host about another one, or itself.
func (w *world) why(asked, about string) api.Why {
	w.Helper()
	a, err := w.api(asked).Why(w.limit(), about)
	w.must(err)
	return a
}

// reason picks one out.
func reason(a api.Why, name string) (api.AwakeReason, bool) {
	i := slices.IndexFunc(a.Reasons, func(r api.AwakeReason) bool { return r.Name == name })
	if i < 0 {
		return api.AwakeReason{}, false
	}
	return a.Reasons[i], true
}

// keptAwake waits until a reason alone has kept a host awake for longer than it would take to go to sleep.
func (w *world) keptAwake(host, name string) {
	w.Helper()
	w.await(host+" is kept awake by "+name, func() string {
		a, err := w.api("h1").Why(w.limit(), host)
		if err != nil {
			return err.Error()
		}
		r, ok := reason(a, name)
		if a.State != "busy" || len(a.Reasons) != 1 || !ok || r.Until.Sub(r.Since) < idleFor+time.Second {
			return fmt.Sprintf("%+v", a)
		}
		return ""
	})
	if h := w.power()[host]; h.Power != lab.PowerUp {
		w.Fatalf("%s is %s", host, h.Power)
	}
}

// fallsAsleep waits until a host has gone to sleep by itself, and everybody can tell why.
func (w *world) fallsAsleep(host string) {
	w.Helper()
	w.must(w.lab.Host(host).AwaitPower(w.limit(), lab.PowerAsleep))
	w.awaitHolder(web, "holding")
	for _, h := range without(w.hosts, host) {
		w.await(h+" knows that "+host+" sleeps", func() string {
			a := w.why(h, host)
			if a.Power != "asleep" || a.PowerReason != "idle" || len(a.Reasons) != 0 || !strings.Contains(a.Cause, "nobody had needed it") || !strings.Contains(a.Summary, "is asleep") {
				return fmt.Sprintf("%+v", a)
			}
			return ""
		})
	}
}

// A host goes to sleep by itself, and only when nobody needs it; each time `why` says what is so.
func TestAnIdleHostGoesToSleep(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4, Idle: idleFor, StayAwake: busyUnlessFree})
	w.settled(nil, 3)
	if a := w.why("h4", "h1"); a.State != "off" || !strings.Contains(a.Summary, "never sleeps") {
		t.Errorf("of a host that is always on: %+v", a)
	}

	// A command that says so keeps it awake.
	w.keptAwake("h4", "command")
	_, err := w.lab.Host("h4").Output(w.limit(), "touch", free)
	w.must(err)
	w.await("h4 counts the time", func() string {
		if a := w.why("h2", "h4"); a.Power == "awake" && (a.State != "idle" || a.SleepsAt.IsZero() || a.LastUse.Name != "command" || time.Duration(a.Idle) != idleFor) {
			return fmt.Sprintf("%+v", a)
		}
		return ""
	})
	w.fallsAsleep("h4")
	said, err := w.lab.Host("h2").Output(w.limit(), "nightporter", "why", "h4")
	w.must(err)
	if !strings.Contains(said, "h4 is asleep") || !strings.Contains(said, "(idle)") {
		t.Errorf("`nightporter why h4` says:\n%s", said)
	}

	// It wakes on demand, serves, and sleeps again.
	r := w.connect("c1", "h4")
	t.Logf("connected after %v", r.Connected)
	w.await("h4 says who woke it", func() string {
		// A lab host wakes within the time of a commit: its own word that it is back may come before the caller's that he called.
		if a := w.why("h3", "h4"); a.PowerReason != "woke-up" && a.PowerReason != "woke-unasked" || !strings.Contains(a.Cause, w.lab.Client(1).Addr().String()) {
			return fmt.Sprintf("%+v", a)
		}
		return ""
	})
	w.fallsAsleep("h4")
	trafficAndKeepalives(w)
	shortConnections(w)
	if all := w.wire.refused(); len(all) > 0 {
		t.Errorf("a client was turned away: %v", all)
	}
}

// talks sends lines and reads what comes back, some 50 kB in a second each way, until stop is called.
func talks(w *world, c net.Conn) (stop func()) {
	w.Helper()
	w.must(c.SetDeadline(time.Time{}))
	end, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		line, in := strings.Repeat("x", 1000), bufio.NewReader(c)
		for {
			select {
			case <-tick.C:
				_, err := fmt.Fprintln(c, line)
				if err == nil {
					_, err = in.ReadString('\n')
				}
				if err != nil {
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

// trafficAndKeepalives has one connection: while it carries something the host stays awake, when only keepalives do, it sleeps, and with
// the next word it is back.
func trafficAndKeepalives(w *world) {
	w.Helper()
	c := w.dial(lab.ServerPort)
	w.must(c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 60}))
	in := bufio.NewReader(c)
	say := func(line string) {
		w.Helper()
		w.must(c.SetDeadline(time.Now().Add(patience)))
		_, err := fmt.Fprintln(c, line)
		w.must(err)
		if answer, err := in.ReadString('\n'); err != nil || answer != "h4 "+line+"\n" {
			w.Fatalf("the answer is %q, %v", answer, err)
		}
	}
	stop := talks(w, c)
	w.keptAwake("h4", "flows")
	stop()
	w.fallsAsleep("h4")
	say("are you there?")
	w.fallsAsleep("h4")
}

// shortConnections come and go between two looks of the agent, and keep the host awake all the same.
func shortConnections(w *world) {
	w.Helper()
	ctx, stop := context.WithCancel(w.limit())
	ended := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if _, err := w.lab.Client(1).Connect(ctx, webPort()); err != nil && ctx.Err() == nil {
				ended <- err
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond): // a client's pause
			}
		}
		ended <- nil
	}()
	w.keptAwake("h4", "flows")
	stop()
	w.must(<-ended)
	w.fallsAsleep("h4")
}

// startLogind runs the real systemd-logind on a bus of the host's own, where its agent looks for them.
func (w *world) startLogind(host string) {
	w.Helper()
	conf := filepath.Join(w.TempDir(), "bus.conf")
	w.must(os.WriteFile(conf, []byte(`<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth><policy context="default"><allow own="*"/>
<allow send_destination="*" eavesdrop="true"/><allow receive_sender="*"/><allow user="*"/></policy></busconfig>`), 0o644))
	_, err := w.lab.Host(host).Output(w.limit(), "mkdir", "-p", "/run/dbus", "/run/systemd/system", "/run/systemd/seats", "/run/systemd/users", "/run/systemd/sessions", "/run/systemd/inhibit")
	w.must(err)
	w.background(host, "dbus-daemon", "--config-file="+conf, "--nofork", "--nopidfile")
	w.await("the bus is up", func() string {
		out, err := w.lab.Host(host).Output(w.limit(), "busctl", "list")
		if err != nil {
			return fmt.Sprint(out, err)
		}
		return ""
	})
	w.background(host, "/lib/systemd/systemd-logind")
	w.await("logind answers", func() string {
		out, err := w.lab.Host(host).Output(w.limit(), "systemd-inhibit", "--list")
		if err != nil {
			return fmt.Sprint(out, err)
		}
		return ""
	})
}

// background runs a program in a host until the function that it gives is called, or the test ends.
func (w *world) background(host string, argv ...string) (stop func()) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = w.lab.Host(host).Exec(ctx, lab.Stdio{Err: os.Stderr}, argv...) // it is killed
	}()
	stop = func() {
		cancel()
		<-ended
	}
	w.Cleanup(stop)
	return stop
}

// A program that asked logind to let nothing send the host to sleep is heard, by the real tool and the real logind.
func TestAnInhibitorKeepsAHostAwake(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4, Idle: idleFor, StayAwake: busyUnlessFree})
	w.settled(nil, 3)
	w.startLogind("h4")
	let := w.background("h4", "systemd-inhibit", "--what=sleep", "--who=backup", "--why=it is not done yet", "sleep", "1000")
	w.await("h4 knows of the backup", func() string {
		a := w.why("h1", "h4")
		if r, ok := reason(a, "inhibitor"); !ok || r.Sentence != "backup blocks sleep: it is not done yet" {
			return fmt.Sprintf("%+v", a)
		}
		return ""
	})
	_, err := w.lab.Host("h4").Output(w.limit(), "touch", free)
	w.must(err)
	w.keptAwake("h4", "inhibitor")
	let()
	w.fallsAsleep("h4")
}

// A connection that a front has taken and passes on is use of its target, though the target has not got the service's address.
func TestAPassedOnConnectionKeepsItsTargetAwake(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4, Idle: idleFor, StayAwake: busyUnlessFree, Services: []config.Service{held(config.HoldProxy)}})
	w.settled(nil, 3)
	_, err := w.lab.Host("h4").Output(w.limit(), "touch", free)
	w.must(err)
	w.fallsAsleep("h4")
	front, _ := w.awaitHolder(web, "holding")
	stop := talks(w, w.dial(lab.ServerPort))
	w.keptAwake("h4", "flows")
	w.stays(front)
	stop()
	w.fallsAsleep("h4")
}

// A host that the cluster cannot do without stays awake, says so, and goes when it may.
func TestTheQuorumKeepsAnIdleHostAwake(t *testing.T) {
	w := build(t, lab.Options{Hosts: 3, Sleepers: []int{3}, Idle: idleFor, StayAwake: busyUnlessFree})
	w.settled(nil, 3)
	_, err := w.lab.Host("h2").Kill(w.limit())
	w.must(err)
	w.await("h2 is missed", func() string {
		st, err := w.ask("h3")
		if n, ok := node(st, "h2"); err != nil || !ok || n.Alive {
			return fmt.Sprintf("%+v, %v", n, err)
		}
		return ""
	})
	_, err = w.lab.Host("h3").Output(w.limit(), "touch", free)
	w.must(err)
	w.await("h3 is held", func() string {
		a := w.why("h1", "h3")
		r, ok := reason(a, "quorum")
		if a.State != "held" || !ok || r.Kind != "hold" || !strings.Contains(r.Sentence, "majority") {
			return fmt.Sprintf("%+v", a)
		}
		return ""
	})
	if h := w.power()["h3"]; h.Power != lab.PowerUp {
		t.Fatalf("h3 is %s though its vote is needed", h.Power)
	}
	w.must(w.lab.Host("h2").Start(w.limit()))
	w.fallsAsleep("h3")
}
