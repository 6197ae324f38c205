package scenarios

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// stranger is the command of the hosts of a lab in which h5 is no member yet: the others' file does not name it, its own
// file sends it to an address where nobody is, and its agent does not start before the file "go" is there.
var stranger = []string{"sh", "-c", `
case {node} in
h5) [ -e {dir}/go ] || exec sleep 100000; edit='s/^failover:/join: [10.77.0.99]\nfailover:/';;
*)  edit='/^  h5:/,/suspend_command/d';;
esac
sed -e "$edit" -e 's/^failover:/bootstrap_expect: 4\nfailover:/' {config} >{dir}/own.yaml || exit 1
exec nightporter agent --config {dir}/own.yaml --node {node}
`}

// Hosts come and go while the cluster runs; definitions and settings change; epochs only rise.
func TestMembersAndDefinitionsChangeAtRunTime(t *testing.T) {
	w := build(t, lab.Options{Hosts: 5, Clients: 2, Sleepers: []int{4}, Agent: stranger})
	four := without(w.hosts, "h5")
	w.settled(four, 3)
	w.awaitServing("h4")
	w.join(four)
	w.moves()

	// From here on nothing concerns the holder of web, so nothing may cost it a frame.
	p := w.probe("c1", webPort())
	w.awaitAnswer(p)
	for _, part := range []struct {
		name string
		run  func()
	}{
		{"forget", w.forget},
		{"leave", func() { w.leave("h5", four) }},
		{"settings", w.settings},
		{"definitions", w.definitions},
		{"leave, by the leader", func() { w.leaderLeaves(four) }},
	} {
		began := time.Now()
		part.run()
		w.awaitAnswer(p)
		if g := p.longest(); g.from.After(began) {
			t.Errorf("%s cost the holder of another service %v", part.name, g)
		}
	}
	p.end()
	all, asked := p.gaps()
	t.Logf("%d questions to web, gaps %v", asked, all)
}

// join brings h5 in by the command, which knows one address.
func (w *world) join(four []string) {
	w.Helper()
	h5 := w.lab.Host("h5")
	w.must(h5.Signal(w.limit(), syscall.SIGKILL))
	_, err := h5.AwaitAgentExit(w.limit())
	w.must(err)
	w.must(os.WriteFile(filepath.Join(h5.Dir(), "go"), nil, 0o600))
	w.must(h5.Start(w.limit()))
	w.await("the agent of h5 answers", func() string {
		st, err := w.ask("h5")
		switch {
		case err != nil:
			return err.Error()
		case st.Cluster.ID != "":
			w.Fatal("h5 belongs to a cluster that nobody told it of")
		}
		return ""
	})
	joined, err := w.api("h5").Join(w.limit(), []string{w.lab.Host("h2").Addr().String()})
	w.must(err)
	if joined.Reached != 1 {
		w.Errorf("join reached %d", joined.Reached)
	}
	w.settled(append(slices.Clone(four), "h5"), 3)
}

// moves gives web to the new member and back.
func (w *world) moves() {
	w.Helper()
	before := w.awaitServing("h4")
	moved, err := w.api("h1").Move(w.limit(), web, "h5")
	w.must(err)
	holder, s := w.awaitHolder(web, "holding")
	if holder != "h5" || moved.Epoch <= before.Epoch || s.Epoch != moved.Epoch || s.Reason != "operator-moved" {
		w.Errorf("after the move %+v from epoch %d the holder is %s under epoch %d (%s)", moved, before.Epoch, holder, s.Epoch, s.Reason)
	}
	_, err = w.api("h5").Move(w.limit(), web, "h4")
	w.must(err)
	w.awaitServing("h4")
	_, err = w.api("h1").Move(w.limit(), web, "h9")
	w.wantCode(err, api.CodeUnknownNode)
}

// wantCode wants a refusal of one kind.
func (w *world) wantCode(err error, want api.Code) {
	w.Helper()
	var e *api.Error
	if !errors.As(err, &e) || e.Code != want {
		w.Errorf("got %v, want an error with code %s", err, want)
	}
}

// forget removes a member that is dead; a live one is safe. The dead one was a voter, so another becomes one.
func (w *world) forget() {
	w.Helper()
	w.wantCode(w.api("h1").Forget(w.limit(), "h3"), api.CodeRefused)
	_, err := w.lab.Host("h3").Kill(w.limit())
	w.must(err)
	w.await("h3 is missed and forgotten", func() string {
		if err := w.api("h1").Forget(w.limit(), "h3"); err != nil {
			return err.Error()
		}
		return ""
	})
	w.await("h3 is gone and h5 votes in its place", func() string {
		st, err := w.ask("h1")
		if err != nil {
			return err.Error()
		}
		five, _ := node(st, "h5")
		if _, known := node(st, "h3"); known || !five.Voter || len(st.Quorum.Voters) != 3 {
			return fmt.Sprintf("voters %v, h3 known: %v", st.Quorum.Voters, known)
		}
		return ""
	})
	// It was only dead, not gone for good: it comes back as a member.
	w.must(w.lab.Host("h3").Start(w.limit()))
	w.settled(nil, 3)
}

// leave takes a host out in order: its agent ends, its record goes, the voters of the rest are three.
func (w *world) leave(host string, rest []string) {
	w.Helper()
	w.must(w.api(host).Leave(w.limit()))
	if code, err := w.lab.Host(host).AwaitAgentExit(w.limit()); err != nil || code != 0 {
		w.Errorf("after leave the agent of %s ended with status %d (%v)", host, code, err)
	}
	w.settled(rest, 3)
	w.await(host+" is no member, and one of the others leads", func() string {
		for _, h := range rest {
			st, err := w.ask(h)
			if err != nil {
				return err.Error()
			}
			if n, known := node(st, host); known || slices.Contains(st.Quorum.Voters, host) {
				return fmt.Sprintf("%s: %+v, voters %v", h, n, st.Quorum.Voters)
			}
		}
		leader, missing := w.leader(rest)
		if missing == "" && !slices.Contains(rest, leader) {
			missing = leader + " leads"
		}
		return missing
	})
	w.awaitServing("h4")
}

// leaderLeaves lets the leader leave: it gives the lead away and then asks the new one to be removed. Three hosts are left,
// so the target, which sleeps at times and was no voter, becomes one.
func (w *world) leaderLeaves(four []string) {
	w.Helper()
	leader := w.leaderApartFrom("h4", four)
	w.leave(leader, without(four, leader))
}

// settings changes failover everywhere.
func (w *world) settings() {
	w.Helper()
	for _, f := range []time.Duration{2 * time.Second, time.Second} {
		w.must(w.api("h3").Set(w.limit(), api.Settings{Failover: api.Duration(f)}))
		w.await("all know the new failover", func() string {
			for _, h := range without(w.hosts, "h5") {
				st, err := w.ask(h)
				if err != nil || time.Duration(st.Failover) != f {
					return fmt.Sprintf("%s: %v, %v", h, st.Failover, err)
				}
			}
			return ""
		})
		w.awaitServing("h4")
	}
	w.wantCode(w.api("h3").Set(w.limit(), api.Settings{Failover: api.Duration(time.Millisecond)}), api.CodeInvalid)
}

// definitions brings a service in, takes it out, and brings it in again under a higher epoch.
func (w *world) definitions() {
	w.Helper()
	extra := api.Service{
		Name: "extra", Addresses: []netip.Addr{netip.MustParseAddr("10.77.0.202")}, Ports: []api.Port{{Protocol: "tcp", Number: lab.ServerPort}},
		Targets: []string{"h4"}, Hold: "drop",
	}
	port := netip.AddrPortFrom(extra.Addresses[0], lab.ServerPort)
	var epoch uint64
	for round := range 2 {
		done, err := w.api("h2").Apply(w.limit(), []api.Service{extra})
		w.must(err)
		if !slices.Equal(done.Created, []string{"extra"}) {
			w.Errorf("apply says %+v", done)
		}
		_, s := w.awaitHolder("extra", "serving")
		if round == 0 {
			w.wire.follow(s.Service)
		}
		if s.Epoch <= epoch {
			w.Errorf("the epoch of a service that was deleted went from %d to %d", epoch, s.Epoch)
		}
		epoch = s.Epoch
		all, err := w.api("h1").Services(w.limit())
		w.must(err)
		if len(all) != 2 || all[0].Name != "extra" || all[1].Name != web || !slices.Equal(all[0].MAC, s.MAC) {
			w.Errorf("get says %+v", all)
		}
		r, err := w.lab.Client(1).Connect(w.limit(), port)
		if err != nil || r.Host != "h4" {
			w.Errorf("%+v, %v", r, err)
		}
		w.note()
		w.must(w.api("h3").Delete(w.limit(), "extra"))
		w.gone(port)
	}
	w.wantCode(w.api("h3").Delete(w.limit(), "nothing"), api.CodeUnknownService)
	w.redefine(extra)
}

// redefine gives a service that is in use another address and another MAC: the old ones are gone from the wire before the
// new ones are used.
func (w *world) redefine(extra api.Service) {
	w.Helper()
	old := netip.AddrPortFrom(extra.Addresses[0], lab.ServerPort)
	_, err := w.api("h2").Apply(w.limit(), []api.Service{extra})
	w.must(err)
	_, before := w.awaitHolder("extra", "serving")
	extra.Addresses = []netip.Addr{netip.MustParseAddr("10.77.0.203")}
	extra.MAC = api.MAC{0x02, 0, 0, 0, 0x77, 0x03}
	done, err := w.api("h2").Apply(w.limit(), []api.Service{extra})
	w.must(err)
	if !slices.Equal(done.Changed, []string{"extra"}) {
		w.Errorf("apply says %+v", done)
	}
	_, s := w.awaitHolder("extra", "serving")
	if s.Epoch <= before.Epoch || !slices.Equal(s.MAC, extra.MAC) {
		w.Errorf("after the redefinition: %+v", s)
	}
	port := netip.AddrPortFrom(extra.Addresses[0], lab.ServerPort)
	if r, err := w.lab.Client(1).Connect(w.limit(), port); err != nil || r.Host != "h4" {
		w.Errorf("%+v, %v", r, err)
	}
	w.note()
	w.must(w.api("h3").Delete(w.limit(), "extra"))
	w.gone(old)
	w.gone(port)
}

// gone waits until no host has the service any more, and asks the wire: who calls it then finds nobody.
func (w *world) gone(port netip.AddrPort) {
	w.Helper()
	w.await("no host has the deleted service", func() string {
		for h, st := range w.running() {
			if s, has := service(st, "extra"); has {
				return fmt.Sprintf("%s: %+v", h, s)
			}
		}
		for _, h := range without(w.hosts, "h5") {
			links, err := w.lab.Host(h).Output(w.limit(), "ip", "-o", "addr", "show", "to", port.Addr().String())
			if err != nil || links != "" {
				return fmt.Sprintf("%s: %s %v", h, links, err)
			}
		}
		return ""
	})
	at := time.Now()
	// The second client has no entry for it in its ARP table, so its kernel asks and says that there is nobody.
	if r, err := w.lab.Client(2).Connect(w.limit(), port); !errors.Is(err, syscall.EHOSTUNREACH) {
		w.Errorf("a deleted service gave %+v, %v", r, err)
	}
	if last := w.wire.lastUse("extra"); last.At.After(at) {
		w.Errorf("%s used the identity of a deleted service: %x", last.Host, last.Frame)
	}
}
