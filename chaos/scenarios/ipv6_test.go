package scenarios

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"nightporter/chaos/lab"
	"nightporter/config"
)

// A service that has an IPv6 address and nothing else: it sleeps and is called, its front's host dies, it is moved, and a stranger who
// has its address is found by neighbour discovery and stops a new holder for as long as he is there.
func TestAServiceOfIPv6Only(t *testing.T) {
	sv := config.Service{
		Name: web, Addresses: []netip.Addr{web6().Addr()}, Hold: config.HoldDrop, Ports: []config.Port{{Protocol: "tcp", Number: lab.ServerPort}},
		Targets: []string{"h4"},
	}
	w := build(t, lab.Options{Hosts: 4, Clients: 2, Services: []config.Service{sv}})
	w.settled(nil, 3)
	w.awaitServing("h4")
	w.connect6("c1", "h4")
	w.sleep("h4")
	w.connect6("c1", "h4")
	w.awaitServing("h4")

	front := w.sleep("h4")
	w.crash(takeoverBound, front)
	w.connect6("c1", "h4")
	w.awaitServing("h4")
	w.must(w.lab.Host(front).Start(w.limit()))
	w.settled(nil, 3)

	w.must(w.lab.Claim(w.limit(), "c2", lab.Claim{Addr: web6().Addr()}))
	moved := make(chan error, 1)
	go func() { // it is answered when h2 holds
		_, err := w.api("h1").Move(w.limit(), web, "h2")
		moved <- err
	}()
	w.await("h2 says who has the address", func() string {
		st, err := w.ask("h2")
		if err != nil {
			return err.Error()
		}
		said := strings.Join(st.Problems, "; ")
		if !strings.Contains(said, "fd77::200 is in use by") || !strings.Contains(said, w.lab.Client(2).MAC().String()) {
			return said
		}
		return ""
	})
	w.must(w.lab.Unclaim(w.limit(), "c2"))
	w.must(<-moved)
	w.await("h2 holds", func() string {
		at, _, missing := w.holder(web)
		if missing == "" && at != "h2" {
			missing = at + " holds"
		}
		return missing
	})
	_, err := w.api("h2").Move(w.limit(), web, "h4")
	w.must(err)
	w.awaitServing("h4")
	w.connect6("c1", "h4")
	if all := w.wire.refused(); len(all) > 0 {
		t.Errorf("clients were turned away: %v", all)
	}
	st, err := w.ask("h1")
	w.must(err)
	if s, _ := service(st, web); !slices.Equal(s.Addresses, sv.Addresses) {
		t.Errorf("the service has %v", s.Addresses)
	}
}

// connect6 connects by IPv6 and wants an answer from the given host.
func (w *world) connect6(from, want string) {
	w.Helper()
	r, err := w.lab.Host(from).Connect(w.limit(), web6())
	if err != nil || r.Host != want {
		w.Fatalf("from %s by IPv6: %+v, %v; want %s", from, r, err, want)
	}
	w.Logf("connected after %v", r.Connected)
}
