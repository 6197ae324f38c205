package scenarios

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"nightporter/api"
	"nightporter/chaos/lab"
	"nightporter/config"
)

// twin is the command of the hosts of a lab in which h5 is the old machine of h3, in a place of its own: its agent does not start before
// the file "go" is there, and then calls itself h3 and has what stands in the directory "old".
var twin = []string{"sh", "-c", `
sed -e '/^  h5:/,/suspend_command/d' -e 's/^failover:/bootstrap_expect: 4\nfailover:/' {config} >{dir}/own.yaml || exit 1
[ {node} != h5 ] && exec nightporter agent --config {dir}/own.yaml --node {node}
[ -e {dir}/go ] || exec sleep 100000
sed -i -e 's/^failover:/join: [10.77.0.11]\nfailover:/' -e 's/address: 10.77.0.13$/address: 10.77.0.15/' {dir}/own.yaml || exit 1
exec nightporter agent --config {dir}/own.yaml --node h3 --data-dir {dir}/old
`}

// A host dies for good and is forgotten, and a new machine takes its name and its place, while another host is off. What is left of the old
// one is refused, while the new one is there and while it is not; and the host that was off hears of the new one from the others, though it
// has the old one on record and the new one leads.
func TestADeadHostIsReplacedUnderItsName(t *testing.T) {
	w := build(t, lab.Options{Hosts: 5, Sleepers: []int{2, 4}, Agent: twin, Services: []config.Service{{
		Name: web, Addresses: []netip.Addr{lab.ServiceAddr()}, Targets: []string{"h2"}, Hold: config.HoldDrop,
		Ports: []config.Port{{Protocol: "tcp", Number: lab.ServerPort}},
	}}})
	four := without(w.hosts, "h5")
	w.settled(four, 3)
	_, err := w.api("h1").Move(w.limit(), web, "h3")
	w.must(err)
	h4 := w.lab.Host("h4")
	w.must(h4.Signal(w.limit(), syscall.SIGTERM)) // it writes down how much of the log it has applied, with the record of h3
	_, err = h4.AwaitAgentExit(w.limit())
	w.must(err)
	_, err = h4.Kill(w.limit())
	w.must(err)
	h3, old := w.lab.Host("h3"), w.lab.Host("h5")
	w.await("h3 holds", func() string {
		at, _, missing := w.holder(web)
		if missing == "" && at != "h3" {
			missing = at + " holds"
		}
		return missing
	})
	_, err = h3.Kill(w.limit())
	w.must(err)
	held := w.awaitServing("h2")
	w.must(os.CopyFS(filepath.Join(old.Dir(), "old"), os.DirFS(filepath.Join(h3.Dir(), "data"))))
	w.must(w.lab.Wipe(w.limit(), "h3"))
	p := w.probe("c1", webPort())
	w.awaitAnswer(p)

	// Started before anybody forgot the old one, the new machine is kept out, and each side says what to do.
	w.must(h3.Start(w.limit()))
	w.awaitProblem("h1", otherKey)
	w.awaitProblem("h3", "waiting to be admitted by the cluster that")
	w.forgotten("h3")
	w.await("the new machine is a member", func() string { return w.inTouch("h1", "h3") })

	// The old machine comes back beside the new one.
	w.must(old.Signal(w.limit(), syscall.SIGKILL))
	_, err = old.AwaitAgentExit(w.limit())
	w.must(err)
	w.must(os.WriteFile(filepath.Join(old.Dir(), "go"), nil, 0o600))
	w.must(old.Start(w.limit()))
	for _, h := range []string{"h1", "h2"} {
		w.awaitProblem(h, otherKey)
	}
	if missing := w.inTouch("h1", "h3"); missing != "" {
		t.Error(missing)
	}

	// And while the new one is off: it is not taken for that, nor does it keep it out.
	_, err = h3.Kill(w.limit())
	w.must(err)
	w.await("h3 is missed", func() string {
		if w.inTouch("h1", "h3") == "" {
			return "h1 has it in touch"
		}
		return ""
	})
	w.must(h3.Start(w.limit()))

	// The new one leads, and the one that was off has the old key on record. Where another one came to lead meanwhile it could hear of it
	// from that, which shows nothing: then it goes back to what it had, and comes back once more.
	_, err = w.api("h1").Drain(w.limit(), api.DrainQuery{Node: "h1"}) // h2 holds, so that only h3 is left to lead
	w.must(err)
	leads := func() string {
		leader, missing := w.leader(without(four, "h4"))
		if missing == "" && leader != "h3" {
			missing = leader + " leads"
		}
		return missing
	}
	had := filepath.Join(h4.Dir(), "had")
	w.must(os.CopyFS(had, os.DirFS(filepath.Join(h4.Dir(), "data"))))
	w.await("h4 hears of the new one while that leads", func() string {
		if missing := leads(); missing != "" {
			return missing
		}
		w.must(h4.Start(w.limit()))
		w.settled(four, 3)
		missing := leads()
		if missing != "" {
			_, err := h4.Kill(w.limit())
			w.must(err)
			w.must(w.lab.Wipe(w.limit(), "h4"))
			w.must(os.CopyFS(filepath.Join(h4.Dir(), "data"), os.DirFS(had)))
		}
		return missing
	})

	p.end()
	if now := w.awaitServing("h2"); now.Epoch != held.Epoch {
		t.Errorf("the epoch went from %d to %d", held.Epoch, now.Epoch)
	}
	if g := p.longest(); g.long > handoverGap {
		t.Errorf("the old machine cost clients %v", g)
	}
}

const otherKey = "a host that calls itself h3 shows another key than the one on record"

// inTouch says why a host does not have another one as a member that is awake and in touch, "" = it has.
func (w *world) inTouch(host, other string) string {
	st, err := w.ask(host)
	if err != nil {
		return err.Error()
	}
	if n, _ := node(st, other); !n.Alive || n.Power != "awake" || st.Leader == "" {
		return fmt.Sprintf("%s says %+v", host, n)
	}
	return ""
}

// awaitProblem waits until a host's status has a line that begins so.
func (w *world) awaitProblem(host, begins string) {
	w.Helper()
	w.await(host+" says "+begins, func() string {
		st, err := w.ask(host)
		if err != nil {
			return err.Error()
		}
		if !slices.ContainsFunc(st.Problems, func(s string) bool { return strings.HasPrefix(s, begins) }) {
			return fmt.Sprintf("%q", st.Problems)
		}
		return ""
	})
}

// forgotten has a host forgotten as soon as it is missed.
func (w *world) forgotten(host string) {
	w.Helper()
	w.await(host+" is forgotten", func() string {
		if err := w.api("h1").Forget(w.limit(), host); err != nil {
			return err.Error()
		}
		return ""
	})
}
