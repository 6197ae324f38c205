//go:build vm

package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
	"nightporter/chaos/observer"
	"nightporter/config"
)

const (
	// patience bounds one wait: an emulated boot takes 15 s on a quiet machine, and was seen to take more than four minutes on one with a load of 40.
	patience = 10 * time.Minute
	// idle is what the guest's host waits for before it goes to sleep by itself.
	idle = 20 * time.Second
	web  = "web"
	// place is the lab's host whose place the machine takes.
	place = "h3"
)

var (
	mac0 = net.HardwareAddr{0x02, 0x4e, 0x50, 0x77, 0, 1}
	door = netip.AddrPortFrom(lab.ServiceAddr(), lab.ServerPort)
)

// world is a lab of two always-on hosts and clients, and the machine in the place of its third host.
type world struct {
	*testing.T
	machine machine
	lab     *lab.Lab
	place   *lab.Host
	monitor *monitor
	shell   *shell
	nic     *nic
	watch   *observer.Observer
	talk    *talk
	asker   *asker
	stop    []func() // what ends what, in this order
}

// build starts everything and waits until the machine serves.
func build(t *testing.T, m machine) *world {
	t.Helper()
	w := &world{T: t, machine: m}
	t.Cleanup(w.end)
	l, err := lab.Up(w.limit(), lab.Options{
		Binary: program, Hosts: 3, Clients: 2, Sleepers: []int{3}, Failover: 6 * time.Second,
		Agent: []string{"bash", "-c", `[ "$1" = ` + place + ` ] && exec sleep infinity; exec nightporter agent --config "$2" --node "$1"`, "agent", "{node}", "{config}"},
		Services: []config.Service{{
			Name: web, Addresses: []netip.Addr{lab.ServiceAddr()}, MAC: mac0, Hold: config.HoldDrop,
			Ports: []config.Port{{Protocol: "tcp", Number: lab.ServerPort}}, Targets: []string{place},
		}},
	})
	w.must(err)
	w.lab, w.place = l, l.Host(place)
	w.watch, err = observer.Start(w.limit(), l, []string{"h1", "h2", place}, []observer.Identity{
		{Service: web, MAC: mac0, Addrs: []netip.Addr{lab.ServiceAddr()}, Port: lab.ServerPort},
	}, nil)
	w.must(err)
	w.talk, err = listen(w.limit(), l)
	w.must(err)
	w.must(furnish(w.limit(), l, w.place, system, m))
	w.switchOn()
	began := time.Now()
	w.must(w.shell.ready(w.limit()))
	w.Logf("the guest runs its units after %v", time.Since(began).Round(time.Second))
	if m.awake {
		w.inhibit()
	}
	w.awaitOwner("serving", place)
	w.Logf("and serves after %v", time.Since(began).Round(time.Second))
	return w
}

// switchOn starts the machine, and what is about it.
func (w *world) switchOn() {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		code, err := w.place.Exec(ctx, lab.Stdio{}, append([]string{"bash", "-c", plugIn, "machine", w.place.Dir()}, w.machine.words(w.place.MAC())...)...)
		if ctx.Err() == nil {
			w.Errorf("QEMU ended with status %d (%v)", code, err)
		}
	}()
	w.stop = append(w.stop, func() { cancel(); <-ended })
	var err error
	w.nic, err = newNIC(w.limit(), w.place)
	w.must(err)
	w.monitor, err = watchMachine(w.limit(), filepath.Join(w.place.Dir(), "qmp.sock"), w.nic.note)
	w.must(err)
	w.nic.monitor, w.nic.armed = w.monitor, w.machine.armed
	go w.nic.listen(ctx)
	console := make(chan struct{})
	go func() {
		defer close(console)
		if err := watchConsole(ctx, filepath.Join(w.place.Dir(), "console.log"), w.nic.note); err != nil {
			w.Error(err)
		}
	}()
	w.stop = append(w.stop, func() { <-console }, w.nic.close, w.monitor.close)
	w.shell, err = openShell(w.limit(), filepath.Join(w.place.Dir(), "shell.sock"))
	w.must(err)
	w.stop = append(w.stop, w.shell.close)
	w.asker, err = ask(ctx, w.lab.Client(2))
	w.must(err)
	w.stop = append(w.stop, w.asker.close)
}

// end takes everything down. The lab's end would end the machine too, however this comes to it.
func (w *world) end() {
	if w.Failed() && w.shell != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		text, err := w.shell.run(ctx, "systemctl --failed --no-legend; journalctl -b -u nightporter -n 200 -o short-precise --no-pager")
		cancel()
		w.Logf("the guest's agent (%v):\n%s", err, text)
	}
	for _, f := range w.stop {
		f()
	}
	if w.watch != nil {
		if err := errors.Join(w.watch.Stop(), w.talk.close()); err != nil {
			w.Error(err)
		}
	}
	if w.lab == nil {
		return
	}
	if w.Failed() {
		w.showLogs()
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.lab.Down(ctx); err != nil {
		w.Error(err)
	}
}

func (w *world) showLogs() {
	for _, name := range []string{"lab.log", "hosts/h1/agent.log", "hosts/h2/agent.log", "hosts/h3/qemu.log", "hosts/h3/console.log"} {
		body, err := os.ReadFile(filepath.Join(w.lab.Dir(), name))
		w.Logf("%s (%v):\n%s", name, err, body[max(0, len(body)-8_000):])
	}
}

// limit is a context for one step.
func (w *world) limit() context.Context {
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, fmt.Errorf("not within %v", patience))
	w.Cleanup(cancel)
	return ctx
}

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
	tick := time.NewTicker(50 * time.Millisecond)
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

// status asks an always-on host.
func (w *world) status(host string) (api.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return w.lab.Host(host).API().Status(ctx)
}

// awaitOwner waits until both always-on hosts say that one of the given hosts has the service, in that state.
func (w *world) awaitOwner(state string, hosts ...string) (owner string) {
	w.Helper()
	w.await(fmt.Sprintf("web is %s by one of %v", state, hosts), func() string {
		seen := map[string]bool{}
		for _, h := range []string{"h1", "h2"} {
			st, err := w.status(h)
			if err != nil {
				return err.Error()
			}
			if len(st.Services) != 1 || st.Services[0].OwnerState != state {
				return fmt.Sprintf("%s says %+v, problems %q", h, st.Services, st.Problems)
			}
			owner = st.Services[0].Owner
			seen[owner] = true
		}
		for _, h := range hosts {
			if len(seen) == 1 && seen[h] {
				return ""
			}
		}
		return fmt.Sprintf("it is %v", seen)
	})
	return owner
}

// awaitNIC waits until the wake logic has seen what is wanted.
func (w *world) awaitNIC(what string, want func(*nic) bool) {
	w.Helper()
	ctx := w.limit()
	for {
		w.nic.mu.Lock()
		ok, trouble, changed := want(w.nic), w.nic.trouble, w.nic.changed
		w.nic.mu.Unlock()
		if ok || trouble != nil {
			w.must(trouble)
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			w.Fatalf("wait until %s: %v", what, context.Cause(ctx))
		}
	}
}
