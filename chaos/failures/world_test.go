package failures

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
	"nightporter/config"
)

// patience bounds one wait. It ends a test that will not end; it measures nothing.
const patience = 60 * time.Second

// web is the service of the labs. The first three hosts can serve it, so that it is answered whoever of them has it.
const web = "web"

func webPort() netip.AddrPort { return netip.AddrPortFrom(lab.ServiceAddr(), lab.ServerPort) }

// life is the command of the hosts. A test can put a script "before" into a host's directory, which may change the
// variables, and a sed script "edit", which makes this host's own configuration.
const life = `
name={node} program=nightporter all=
%s
[ ! -e {dir}/before ] || . {dir}/before
[ -e {dir}/edit ] || : >{dir}/edit
sed -e "$all" -f {dir}/edit {config} >{dir}/own.yaml || exit 1
exec $program agent --config {dir}/own.yaml --node $name
`

// world is a lab with a cluster in it, and the watch at its switch.
type world struct {
	*testing.T
	lab     *lab.Lab
	wire    *wire
	history []api.Change // of web, as far as it was noted
}

// found makes a lab of hosts, all always on, whose agents begin with a few more lines of shell, and starts the watch.
func found(t *testing.T, hosts int, prelude string) *world {
	t.Helper()
	return foundOn(t, lab.SwitchBridge, hosts, prelude)
}

// foundOn is found with a form of the switch.
func foundOn(t *testing.T, form string, hosts int, prelude string) *world {
	t.Helper()
	mac := net.HardwareAddr{0x02, 0, 0, 0, 0, 0x99}
	o := lab.Options{
		Switch: form, Hosts: hosts, Clients: 2, Sleepers: []int{}, Binary: program, Agent: []string{"sh", "-c", fmt.Sprintf(life, prelude)},
		Services: []config.Service{{
			Name: web, Addresses: []netip.Addr{lab.ServiceAddr()}, MAC: mac, Hold: config.HoldDrop,
			Ports: []config.Port{{Protocol: "tcp", Number: lab.ServerPort}}, Targets: []string{"h1", "h2", "h3"},
		}},
	}
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
	w.wire = tap(w, mac)
	w.pester()
	return w
}

// end judges and takes down.
func (w *world) end() {
	if w.wire != nil {
		w.note()
		w.wire.judge(w, w.history)
	}
	logs, _ := filepath.Glob(filepath.Join(w.lab.Dir(), "hosts", "*", "agent.log")) // the pattern is a constant and sound
	for _, path := range logs {
		body, err := os.ReadFile(path)
		if err != nil {
			w.Error(err)
		}
		for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
			if bytes.Contains(body, []byte(bad)) {
				w.Errorf("%s has %q", path, bad)
			}
		}
		if w.Failed() {
			w.Logf("%s:\n%s", path, body)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.lab.Down(ctx); err != nil {
		w.Error(err)
	}
}

// note reads the history of web from every host that tells it: an owner may be known to one of them only.
func (w *world) note() {
	w.Helper()
	st, err := w.lab.Status(w.limit())
	w.must(err)
	for _, h := range st.Hosts {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		c := w.lab.Host(h.Name).API()
		said, err := c.History(ctx, web)
		cancel()
		if err != nil {
			continue // it is down, or was never let in
		}
		for _, change := range said.Changes {
			at, known := slices.BinarySearchFunc(w.history, change.Epoch, func(k api.Change, e uint64) int { return int(k.Epoch) - int(e) })
			if !known {
				w.history = slices.Insert(w.history, at, change)
			} else if w.history[at].To != change.To {
				w.Errorf("epoch %d belonged to %s, and %s says to %s", change.Epoch, w.history[at].To, h.Name, change.To)
			}
		}
	}
}

// limit is a context for one step.
func (w *world) limit() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
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

// ask gives the status as an agent tells it; it is short-tempered, since an agent may be stopped.
func (w *world) ask(host string) (api.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	c := w.lab.Host(host).API()
	return c.Status(ctx)
}

// whole waits until the hosts are one cluster, in touch and awake, with a leader and three voters, and one of them holds
// web: its kernel lets the identity through and its log says that it is the owner. not lists hosts that must not be it.
func (w *world) whole(hosts []string, not ...string) (holder string, epoch uint64) {
	w.Helper()
	w.await(fmt.Sprintf("%v are whole and one of them, not %v, holds", hosts, not), func() string {
		holder = ""
		for _, h := range hosts {
			st, err := w.ask(h)
			if err != nil {
				return h + ": " + err.Error()
			}
			for _, n := range hosts {
				if missing := inTouch(st, n); missing != "" {
					return h + ": " + missing
				}
			}
			if st.Leader == "" || len(st.Quorum.Voters) != 3 {
				return fmt.Sprintf("%s: leader %q, voters %v", h, st.Leader, st.Quorum.Voters)
			}
			if s := st.Services; len(s) == 1 && s[0].Fence.State == "open" && s[0].Owner == h {
				if holder != "" {
					return holder + " and " + h + " hold"
				}
				holder, epoch = h, s[0].Epoch
			}
		}
		if holder == "" || slices.Contains(not, holder) {
			return fmt.Sprintf("the holder is %q", holder)
		}
		return ""
	})
	return holder, epoch
}

func inTouch(st api.Status, name string) string {
	i := slices.IndexFunc(st.Nodes, func(n api.NodeStatus) bool { return n.Name == name })
	if i < 0 {
		return name + " is no member"
	}
	if n := st.Nodes[i]; !n.Alive || n.Power != "awake" || n.Addr.Port() == 0 {
		return fmt.Sprintf("%s is %+v", name, n)
	}
	return ""
}

// served waits until the client gets an answer, from another host than the given one, if any.
func (w *world) served(not string) {
	w.Helper()
	w.await("the client is served, not by "+not, func() string {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		r, err := w.lab.Client(1).Connect(ctx, webPort())
		if err != nil || r.Host == not {
			return fmt.Sprintf("%q answered, %v", r.Host, err)
		}
		return ""
	})
}

// pester lets the client ask web over UDP all the time, so that a host whose kernel still let the identity through would
// give itself away at once.
func (w *world) pester() {
	w.Helper()
	conn, err := w.lab.Client(1).Dial(w.limit(), "udp", webPort())
	w.must(err)
	stop, ended := make(chan struct{}), make(chan struct{})
	w.Cleanup(func() { close(stop); <-ended; conn.Close() })
	go func() {
		defer close(ended)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			_, _ = conn.Write([]byte("anybody?")) // an error is the answer to an earlier question: nobody is there now
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
}

// holds waits until one of the hosts holds under an epoch above the given one.
func (w *world) holds(among []string, above uint64) (holder string, epoch uint64) {
	w.Helper()
	w.await(fmt.Sprintf("one of %v holds above epoch %d", among, above), func() string {
		var seen []string
		for _, h := range among {
			st, err := w.ask(h)
			if err != nil || len(st.Services) != 1 {
				seen = append(seen, fmt.Sprintf("%s: %v", h, err))
				continue
			}
			s := st.Services[0]
			if s.Fence.State == "open" && s.Owner == h && s.Epoch > above {
				holder, epoch = h, s.Epoch
				return ""
			}
			seen = append(seen, fmt.Sprintf("%s: leader %q, owner %q, epoch %d, %s, problems %q", h, st.Leader, s.Owner, s.Epoch, s.Fence.State, st.Problems))
		}
		return strings.Join(seen, "; ")
	})
	return holder, epoch
}

// replaced waits until another host than the victim holds and answers, and wants the victim to have been silent from a
// moment on. The moment lies before the other one's first frame, so that there was time to be found out.
func (w *world) replaced(victim string, epoch uint64, all []string, silent time.Time) (heir string, next uint64) {
	w.Helper()
	heir, next = w.holds(others(all, victim), epoch)
	w.served(victim)
	if last := w.wire.lastOf(victim); last.At.After(silent) {
		w.Errorf("%s used the identity at %v, %v after it should have been silent: %x", victim, last.At, last.At.Sub(silent), last.Frame)
	}
	return heir, next
}

func others(all []string, host string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(h string) bool { return h == host })
}

// stop kills a host's agent, and start begins its next life; where it is the log's length in between.
func (w *world) stop(host string) {
	w.Helper()
	w.must(w.lab.Host(host).Signal(w.limit(), syscall.SIGKILL))
	_, err := w.lab.Host(host).AwaitAgentExit(w.limit())
	w.must(err)
}

func (w *world) start(host string) (from int) {
	w.Helper()
	from = w.length(host)
	w.must(w.lab.Host(host).Start(w.limit()))
	return from
}

// put writes a file into a host's directory; an empty text removes it.
func (w *world) put(host, name, text string) {
	w.Helper()
	path := filepath.Join(w.lab.Host(host).Dir(), name)
	if name == "before" && text == "" {
		w.must(os.Remove(path))
		return
	}
	w.must(os.WriteFile(path, []byte(text), 0o600))
}

func (w *world) log(host string) string {
	w.Helper()
	body, err := os.ReadFile(filepath.Join(w.lab.Host(host).Dir(), "agent.log"))
	w.must(err)
	return string(body)
}

// length is how much the log of a host has now.
func (w *world) length(host string) int {
	w.Helper()
	return len(w.log(host))
}

// says waits until one line of a host's log, behind the first from bytes, has all the words.
func (w *world) says(host string, from int, words ...string) {
	w.Helper()
	w.await(fmt.Sprintf("%s says %q", host, words), func() string {
		for line := range strings.Lines(w.log(host)[from:]) {
			if hasAll(line, words) {
				return ""
			}
		}
		return "the log says nothing of it"
	})
}

// hasAll says whether a text has all the words; a bar stands between two of which one is enough.
func hasAll(text string, words []string) bool {
	return !slices.ContainsFunc(words, func(word string) bool {
		return !slices.ContainsFunc(strings.Split(word, "|"), func(one string) bool { return strings.Contains(text, one) })
	})
}

// refusesToStart starts an agent that must end by itself, with an exit status and a sentence that has all the words.
func (w *world) refusesToStart(host string, words ...string) {
	w.Helper()
	from := w.start(host)
	code, err := w.lab.Host(host).AwaitAgentExit(w.limit())
	w.must(err)
	if code != 1 {
		w.Errorf("the agent of %s ended with status %d, want 1", host, code)
	}
	if said := w.log(host)[from:]; !hasAll(said, words) {
		w.Errorf("the agent of %s ended and said %q, which lacks some of %q", host, said, words)
	}
}
