package scenarios

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// patience bounds one wait. It is far above what anything here needs on an idle machine: it is there to end a test that
// will not end, not to measure.
const patience = 60 * time.Second

// web is the service that a lab has by itself, and where clients find it.
const web = "web"

func webPort() netip.AddrPort { return netip.AddrPortFrom(lab.ServiceAddr(), lab.ServerPort) }

// world is a lab with a cluster in it, and the watch at its switch.
type world struct {
	*testing.T
	lab   *lab.Lab
	hosts []string
	wire  *wire
}

// build makes a lab and waits until "web" has its holder. At the end of the test the wire is judged; the logs are shown
// when something failed.
func build(t *testing.T, o lab.Options) *world {
	t.Helper()
	o.Binary = program
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	l, err := lab.Up(ctx, o)
	var refused *lab.NotAllowed
	if errors.As(err, &refused) {
		t.Skip(refused.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, lab: l}
	t.Cleanup(w.end)
	st, err := l.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range st.Hosts {
		w.hosts = append(w.hosts, h.Name)
	}
	w.wire = tap(w)
	return w
}

// end judges and takes down.
func (w *world) end() {
	if w.wire != nil {
		w.wire.judge(w)
	}
	w.findRaces()
	if w.Failed() {
		w.showLogs()
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.lab.Down(ctx); err != nil {
		w.Error(err)
	}
}

func (w *world) logs() []string {
	logs, _ := filepath.Glob(filepath.Join(w.lab.Dir(), "*.log")) // the pattern is a constant and sound
	more, _ := filepath.Glob(filepath.Join(w.lab.Dir(), "hosts", "*", "agent.log"))
	return append(logs, more...)
}

// findRaces fails the test when an agent reported a data race or a panic.
func (w *world) findRaces() {
	for _, path := range w.logs() {
		body, err := os.ReadFile(path)
		if err != nil {
			w.Error(err)
		}
		for _, bad := range []string{"DATA RACE", "\npanic:", "fatal error:"} {
			if strings.Contains(string(body), bad) {
				w.Errorf("%s has %q", path, strings.TrimSpace(bad))
			}
		}
	}
}

func (w *world) showLogs() {
	for _, path := range w.logs() {
		body, err := os.ReadFile(path)
		w.Logf("%s (%v):\n%s", path, err, body)
	}
}

// limit is a context for one step.
func (w *world) limit() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	w.Cleanup(cancel)
	return ctx
}

// must ends the test at an error of a step.
func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// await waits until look says "". What it says otherwise is shown when the wait ends without success.
func (w *world) await(what string, look func() string) {
	w.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		missing := look()
		if missing == "" {
			return
		}
		select {
		case <-tick.C:
		case <-end.C:
			w.Fatalf("%s: not within %v; last: %s", what, patience, missing)
		}
	}
}

// ask gives the status as an agent tells it. It is short-tempered: an agent may be down, stopped or asleep.
func (w *world) ask(host string) (api.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	c := w.lab.Host(host).API()
	return c.Status(ctx)
}

// api gives a client that the end of the test closes.
func (w *world) api(host string) *api.Client {
	c := w.lab.Host(host).API()
	return c
}

// service picks a service out of a status.
func service(st api.Status, name string) (api.ServiceStatus, bool) {
	for _, s := range st.Services {
		if s.Name == name {
			return s, true
		}
	}
	return api.ServiceStatus{}, false
}

// node picks a node out of a status.
func node(st api.Status, name string) (api.NodeStatus, bool) {
	for _, n := range st.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return api.NodeStatus{}, false
}
