package scenarios

import (
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
	"nightporter/config"
)

// web6 is where clients find the service by IPv6.
func web6() netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("fd77::200"), lab.ServerPort)
}

// floating is the service in mode address, with both addresses.
func floating(targets ...string) config.Service {
	return config.Service{
		Name: web, Mode: config.ModeAddress, Addresses: []netip.Addr{lab.ServiceAddr(), web6().Addr()}, Hold: config.HoldDrop,
		Ports: []config.Port{{Protocol: "tcp", Number: lab.ServerPort}}, Targets: targets,
	}
}

// both connects by either family and wants an answer from the given host.
func (w *world) both(from, want string) {
	w.Helper()
	w.connect(from, want)
	w.connect6(from, want)
}

// The whole story in mode address: the target sleeps and is called, by either family and from a member too, the front's host dies, the
// service is moved, and nobody who asks is turned away.
func TestModeAddress(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4, Services: []config.Service{floating("h4")}})
	_, s := w.settled(nil, 3)
	w.awaitServing("h4")
	if s.Mode != "address" || len(s.MAC) != 0 || !strings.Contains(s.ModeGives, "holder's own MAC") {
		t.Errorf("the status says mode %q, MAC %s: %s", s.Mode, s.MAC, s.ModeGives)
	}
	w.both("c1", "h4")

	w.sleep("h4")
	w.connect("c1", "h4") // wakes it
	w.awaitServing("h4")
	w.both("c1", "h4")

	w.sleep("h4")
	w.connect6("c1", "h4")
	w.awaitServing("h4")

	front := w.sleep("h4")
	w.connect(front, "h4") // a client on the front itself
	w.awaitServing("h4")

	front = w.sleep("h4")
	w.crash(takeoverBound, front)
	w.both("c1", "h4")
	w.awaitServing("h4")
	w.must(w.lab.Host(front).Start(w.limit()))
	w.settled(nil, 3)

	_, err := w.api("h1").Move(w.limit(), web, "h2")
	w.must(err)
	holder, _ := w.awaitHolder(web, "holding")
	if holder != "h2" {
		t.Errorf("after the move %s holds", holder)
	}
	_, err = w.api("h2").Move(w.limit(), web, "h4")
	w.must(err)
	w.awaitServing("h4")
	w.both("c1", "h4")
	if all := w.wire.refused(); len(all) > 0 {
		t.Errorf("clients were turned away: %v", all)
	}
	w.spotless("h1", "h2", "h3")
}

// spotless waits until hosts have none of the service's addresses.
func (w *world) spotless(hosts ...string) {
	w.Helper()
	for _, h := range hosts {
		w.await("no address is left on "+h, func() string {
			four, err := w.lab.Host(h).Output(w.limit(), "cat", "/proc/net/fib_trie")
			w.must(err)
			six, err := w.lab.Host(h).Output(w.limit(), "cat", "/proc/net/if_inet6")
			w.must(err)
			if strings.Contains(string(four), lab.ServiceAddr().String()+"\n") || strings.Contains(string(six), "fd770000000000000000000000000200") {
				return string(four) + string(six)
			}
			return ""
		})
	}
}

// A holder in mode address is killed, replaced and stopped: what the kernel has outlives it, and is taken over or swept away.
func TestModeAddressOutlivesItsAgent(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4, Sleepers: []int{4}, Failover: slowFailover, Services: []config.Service{floating("h1", "h2")}})
	w.settled(nil, 3)
	_, err := w.api("h3").Move(w.limit(), web, "h1")
	w.must(err)
	before := w.awaitServing("h1")
	p := w.probe("c1", webPort())
	w.awaitAnswer(p)
	h1 := w.lab.Host("h1")
	from := len(w.agentLog("h1"))
	w.must(h1.Signal(w.limit(), syscall.SIGUSR2))
	w.await("the new program goes on", func() string {
		if log := w.agentLog("h1")[from:]; !strings.Contains(log, "going on with what the former program held") {
			return "its log says: " + log
		}
		return ""
	})
	w.awaitAnswer(p)
	if now := w.awaitServing("h1"); now.Epoch != before.Epoch {
		t.Errorf("the epoch went from %d to %d", before.Epoch, now.Epoch)
	}
	if g := p.longest(); g.long > upgradeGap {
		t.Errorf("an upgrade cost %v", g)
	}
	w.must(h1.Signal(w.limit(), syscall.SIGKILL))
	_, err = h1.AwaitAgentExit(w.limit())
	w.must(err)
	w.await("another host serves", func() string {
		at, _, missing := w.holder(web)
		if missing == "" && at == "h1" {
			missing = "h1 holds"
		}
		return missing
	})
	w.awaitAnswer(p)
	if out, err := h1.Output(w.limit(), "cat", "/proc/net/if_inet6"); err != nil || !strings.Contains(string(out), "fd770000000000000000000000000200") {
		t.Errorf("the killed agent left nothing to sweep away, so this shows nothing: %s, %v", out, err)
	}
	w.must(h1.Start(w.limit()))
	w.settled(nil, 3)
	at, _, missing := w.holder(web)
	if missing != "" {
		t.Error(missing)
	}
	w.spotless(without(w.hosts, at)...)
}

// A definition goes from one mode to the other and back while it is in use: the one is gone from the wire before the other is there.
func TestTheModeChanges(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4, Sleepers: []int{4}, Services: []config.Service{floating("h1", "h2")}})
	_, s := w.settled(nil, 3)
	w.awaitServing("h1")
	w.both("c1", "h1")
	epoch := s.Epoch
	for _, mode := range []string{"mac", "address"} {
		sv := api.Service{
			Name: web, Mode: mode, Addresses: s.Addresses, Ports: s.Ports, Targets: s.Targets, Hold: s.Hold,
		}
		done, err := w.api("h2").Apply(w.limit(), []api.Service{sv})
		w.must(err)
		if !slices.Equal(done.Changed, []string{web}) {
			t.Errorf("apply says %+v", done)
		}
		var now api.ServiceStatus
		w.await("it is served in mode "+mode, func() (missing string) {
			_, now, missing = w.holder(web)
			if missing == "" && (now.Mode != mode || now.Role != "serving" || (len(now.MAC) == 0) != (mode == "address")) {
				missing = now.Mode + ", " + now.Role + ", MAC " + now.MAC.String()
			}
			return missing
		})
		if now.Epoch <= epoch {
			t.Errorf("the epoch went from %d to %d", epoch, now.Epoch)
		}
		epoch = now.Epoch
		w.connectSoon("c1", webPort())
		w.connectSoon("c1", web6())
	}
	bad := api.Service{Name: web, Mode: "address", MAC: api.MAC{2, 0, 0, 0, 0, 9}, Addresses: s.Addresses, Ports: s.Ports, Targets: s.Targets, Hold: s.Hold}
	_, err := w.api("h2").Apply(w.limit(), []api.Service{bad})
	w.wantCode(err, api.CodeInvalid)
}

// connectSoon connects and wants an answer from whoever it is.
func (w *world) connectSoon(from string, to netip.AddrPort) {
	w.Helper()
	began := time.Now()
	r, err := w.lab.Host(from).Connect(w.limit(), to)
	if err != nil {
		w.Fatalf("from %s to %s: %v", from, to, err)
	}
	w.Logf("%s answered at %s after %v", r.Host, to, time.Since(began))
}
