package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
	"nightporter/config"
)

// checkedWeb is web on h3 and h4, asked twice in a second by an executable and by HTTP.
func checkedWeb() config.Service {
	quick := config.Check{Interval: 200 * time.Millisecond, Timeout: 300 * time.Millisecond, Rise: 1, Fall: 2}
	exec, http := quick, quick
	exec.Kind, exec.Name = "exec", "answers"
	http.Kind, http.Port, http.Path, http.StatusMin, http.StatusMax = "http", lab.ServerPort, "/", 200, 299
	return config.Service{
		Name: web, Addresses: []netip.Addr{lab.ServiceAddr()}, Ports: []config.Port{{Protocol: "tcp", Number: lab.ServerPort}},
		Targets: []string{"h3", "h4"}, Checks: []config.Check{exec, http},
	}
}

// patient is a host whose check can be told how to come out.
type patient struct {
	*world
	name string
}

func (p patient) file(name string) string { return filepath.Join(p.lab.Host(p.name).Dir(), name) }

// equip puts the executable there: it fails while a file "broken" is there, and hangs while there is one "hang".
func (p patient) equip() {
	p.Helper()
	dir := p.file(lab.ChecksDir)
	p.must(os.MkdirAll(dir, 0o755))
	script := fmt.Sprintf("#!/bin/sh\nwhile test -e %q; do sleep 0.05; done\ntest ! -e %q || { echo 'it is broken'; exit 1; }\n", p.file("hang"), p.file("broken"))
	p.must(os.WriteFile(filepath.Join(dir, "answers"), []byte(script), 0o755))
}

// is makes it so ("broken", "hang") or ends it.
func (p patient) is(what string, on bool) {
	p.Helper()
	if on {
		p.must(os.WriteFile(p.file(what), nil, 0o644))
	} else {
		p.must(os.Remove(p.file(what)))
	}
}

var pidOf = regexp.MustCompile(`pid=(\d+)`)

// signal sends one to the host's server, which is found by the socket that it listens with. The lab's hosts count their processes
// from 1, so it is sent in there.
func (p patient) signal(name string) {
	p.Helper()
	out, err := p.lab.Host(p.name).Output(p.limit(), "ss", "-Hltnp", "sport = :"+strconv.Itoa(lab.ServerPort))
	p.must(err)
	m := pidOf.FindStringSubmatch(out)
	if m == nil {
		p.Fatalf("nobody listens on %s: %s", p.name, out)
	}
	_, err = p.lab.Host(p.name).Output(p.limit(), "kill", "-"+name, m[1])
	p.must(err)
}

// awaitOwner waits until a host has web, opened, for a reason.
func (w *world) awaitOwner(host, role, reason string) {
	w.Helper()
	w.await(fmt.Sprintf("%s is %s because %s", host, role, reason), func() string {
		at, s, missing := w.holder(web)
		if missing == "" && ((host != "" && at != host) || s.Role != role || s.Reason != reason) {
			missing = fmt.Sprintf("%s is %s because %s; health %+v", at, s.Role, s.Reason, s.Health)
		}
		return missing
	})
}

// oneCall is the most magic packets that one call of a host is.
const oneCall = 7

// awaitTouch waits until every host finds some in touch and awake.
func (w *world) awaitTouch(hosts ...string) {
	w.Helper()
	w.await(fmt.Sprint(hosts, " are in touch"), func() string {
		for asked, st := range w.running() {
			for _, host := range hosts {
				if n, ok := node(st, host); !ok || !n.Alive || n.Power != "awake" {
					return fmt.Sprintf("%s says that %s is %s (in touch: %t)", asked, host, n.Power, n.Alive)
				}
			}
		}
		return ""
	})
}

// awaitHealth waits until every host says what a target's health is.
func (w *world) awaitHealth(target, state, detail string) {
	w.Helper()
	match := regexp.MustCompile(detail)
	w.await(target+" is "+state, func() string {
		for host, st := range w.running() {
			s, ok := service(st, web)
			if !ok {
				return host + " does not know web"
			}
			for _, h := range s.Health {
				if h.Node == target && (h.State != state || !match.MatchString(h.Detail)) {
					return fmt.Sprintf("%s says that %s is %s (%s)", host, h.Node, h.State, h.Detail)
				}
			}
		}
		return ""
	})
}

// A service whose program fails on its target moves to the other one; when that fails too, a front holds it and clients wait; the
// first one that answers again gets it back, and the client that waited is answered. Then the same with a check that hangs, with a
// server that hangs, and with agents that are killed in between. No client is ever refused.
func TestAFailingServiceMovesAndComesBack(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4, Sleepers: []int{4}, Services: []config.Service{checkedWeb()}})
	h3, h4 := patient{w, "h3"}, patient{w, "h4"}
	w.settled(nil, 3)
	w.awaitHealth("h3", "failing", "there is no .*/checks.d on this host")
	w.awaitOwner("", "holding", "first-owner") // no target is ready
	h4.equip()
	w.awaitOwner("h4", "serving", "target-ready")
	h3.equip()
	w.awaitHealth("h3", "ready", "^$")
	w.connect("c1", "h4")

	h4.is("broken", true)
	w.awaitOwner("h3", "serving", "check-failed")
	w.awaitHealth("h4", "failing", "exec answers: exit status 1: it is broken")
	w.connect("c1", "h3")

	h3.is("broken", true)
	w.awaitOwner("", "holding", "check-failed")
	type answer struct {
		reply lab.Reply
		err   error
	}
	waits := make(chan answer, 1)
	ask := func() {
		r, err := w.lab.Host("c1").Connect(w.limit(), webPort())
		waits <- answer{r, err}
	}
	go ask()
	h4.is("broken", false)
	w.awaitOwner("h4", "serving", "check-passed")
	if a := <-waits; a.err != nil || a.reply.Host != "h4" {
		t.Fatalf("the client that waited got %+v", a)
	}

	h4.is("hang", true) // a hanging check is no healthy one
	w.awaitOwner("", "holding", "check-failed")
	w.awaitHealth("h4", "failing", "exec answers: no answer within 300ms")
	go ask()
	for _, host := range []string{"h4", "h3"} {
		w.must(w.lab.Host(host).Signal(w.limit(), syscall.SIGKILL))
		_, err := w.lab.Host(host).AwaitAgentExit(w.limit())
		w.must(err)
		w.must(w.lab.Host(host).Start(w.limit()))
	}
	w.awaitHealth("h4", "failing", "no answer within 300ms") // the new life has found it out anew
	w.awaitTouch("h3", "h4")
	began := time.Now() // until then they were called, as hosts that are not in touch
	h3.is("broken", false)
	w.awaitOwner("h3", "serving", "check-passed")
	if a := <-waits; a.err != nil || a.reply.Host != "h3" {
		t.Fatalf("the client that waited got %+v", a)
	}
	// A client that knocks may have each of the two called once a second, in case that it was suspended without a word.
	if n, took := w.wire.magicBetween(began, time.Now()), time.Since(began); n > 2*oneCall*(1+int(took/time.Second)) {
		t.Errorf("targets that are awake and fail were sent %d magic packets in %v", n, took)
	}

	stopped := time.Now()
	h3.signal("STOP") // the kernel goes on taking connections for it
	w.awaitOwner("", "holding", "check-failed")
	h3.signal("CONT")
	w.awaitOwner("h3", "serving", "check-passed")
	w.connect("c1", "h3")
	for _, k := range w.wakes("h1", web).Wakes {
		if k.Cause == "demand" && k.Started.After(began) && k.Started.Before(stopped) { // a knock has its magic packet, and nobody is waited for
			t.Errorf("a target that is awake and fails was called: %+v", k)
		}
	}
	if bad := w.wire.refused(); len(bad) > 0 {
		t.Errorf("clients were refused: %v", bad)
	}
}

// A target that was woken gets its service when the program answers, not when the host is up.
func TestAWokenTargetMustAnswerFirst(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4, Sleepers: []int{4}, Services: []config.Service{func() config.Service {
		s := checkedWeb()
		s.Targets = []string{"h4"}
		return s
	}()}})
	h4 := patient{w, "h4"}
	h4.equip()
	w.settled(nil, 3)
	w.awaitServing("h4")
	w.sleep("h4")
	h4.is("broken", true)
	done := make(chan error, 1)
	go func() {
		r, err := w.lab.Host("c1").Connect(w.limit(), webPort())
		if err == nil && r.Host != "h4" {
			err = fmt.Errorf("%s answered", r.Host)
		}
		done <- err
	}()
	w.awaitHealth("h4", "failing", "it is broken")
	if at, s, missing := w.holder(web); missing != "" || at == "h4" || s.Role != "holding" {
		t.Fatalf("%s is %s (%s) though h4 does not answer", at, s.Role, missing)
	}
	h4.is("broken", false)
	w.awaitServing("h4")
	w.must(<-done)
	w.awaitMeasured("h4")
	if bad := w.wire.refused(); len(bad) > 0 {
		t.Errorf("clients were refused: %v", bad)
	}
}

// Where systemd cannot be reached, and in a lab it cannot, a unit is neither active nor started: the target is not ready, and says why.
func TestAUnitWithoutSystemdIsNotReady(t *testing.T) {
	s := checkedWeb()
	s.Checks, s.Targets, s.Unit = nil, []string{"h3", "h4"}, config.Unit{Name: "web.service", Manage: true}
	w := build(t, lab.Options{Hosts: 4, Sleepers: []int{4}, Services: []config.Service{s}})
	w.settled(nil, 3)
	for _, h := range []string{"h3", "h4"} {
		w.awaitHealth(h, "failing", "^systemd cannot be reached on this host")
	}
	w.awaitOwner("", "holding", "first-owner")
	soon, cancel := context.WithTimeout(w.limit(), time.Second)
	defer cancel()
	if r, err := w.lab.Host("c1").Connect(soon, webPort()); err == nil || soon.Err() == nil {
		t.Errorf("a client was to wait, and got %+v (%v)", r, err)
	}
	w.await("h3 complains", func() string {
		st, err := w.ask("h3")
		if err != nil {
			return err.Error()
		}
		for _, p := range st.Problems {
			if strings.HasPrefix(p, "service web: systemd cannot be reached") {
				return ""
			}
		}
		return fmt.Sprint(st.Problems)
	})
	if _, err := w.api("h1").Move(w.limit(), web, "h3"); err == nil || !strings.Contains(err.Error(), "h3 is not ready for web: systemd cannot be reached") {
		t.Errorf("web was moved to a target that is not ready: %v", err)
	}
}

// awaitMeasured waits until every host tells how long the one wake of a host took, in phases that follow each other.
func (w *world) awaitMeasured(host string) {
	w.Helper()
	w.await("the wake of "+host+" is measured", func() string {
		for from, st := range w.running() {
			n, _ := node(st, host)
			if n.Wakes.Woken != 1 || n.Wakes.Failures != 0 || len(n.Wakes.Phases) != 5 {
				return fmt.Sprintf("%s says %+v", from, n.Wakes)
			}
		}
		return ""
	})
	h, err := w.api("h1").History(w.limit(), web)
	w.must(err)
	if len(h.Wakes) != 1 || len(h.Wakes[0].Phases) != 5 {
		w.Fatalf("the history has the wakes %+v", h.Wakes)
	}
	last := api.Duration(0)
	for i, name := range []string{"called", "back", "awake", "ready", "served"} {
		p := h.Wakes[0].Phases[i]
		if p.Phase != name || p.After < last {
			w.Errorf("phase %d is %+v, want %s after %s", i, p, name, last)
		}
		last = p.After
	}
	w.Logf("the wake took %+v", h.Wakes[0].Phases)
}

// The program of a holder with checks is replaced in place: the new one knows nothing of its health until it has asked, and nobody takes
// the service away for that.
func TestAnUpgradeForgetsTheHealthAndKeepsTheService(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4, Sleepers: []int{4}, Failover: slowFailover, Services: []config.Service{checkedWeb()}})
	h4 := patient{w, "h4"}
	h4.equip()
	w.settled(nil, 3)
	// Its checks may pass before anybody is given the service for the first time, or after.
	before := w.awaitServing("h4")
	for range 2 {
		from := len(w.agentLog("h4"))
		w.must(w.lab.Host("h4").Signal(w.limit(), syscall.SIGUSR2))
		w.await("the new program goes on", func() string {
			if log := w.agentLog("h4")[from:]; !strings.Contains(log, "going on with what the former program held") {
				return "its log says: " + log
			}
			return ""
		})
		began := time.Now()
		w.await("the new program has asked", func() string { // every word that is younger than that is its own
			st, err := w.ask("h1")
			s, _ := service(st, web)
			if err != nil || len(s.Health) != 2 {
				return fmt.Sprint(err, s.Health)
			}
			if h := s.Health[1]; h.State != "ready" || time.Duration(h.Age) > time.Since(began) {
				return fmt.Sprintf("%+v", h)
			}
			return ""
		})
		if now := w.awaitServing("h4"); now.Epoch != before.Epoch {
			t.Errorf("the epoch went from %d to %d (%s)", before.Epoch, now.Epoch, now.Reason)
		}
	}
}
