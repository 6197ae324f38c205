package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"nightporter/chaos/judge"
	"nightporter/chaos/lab"
)

// Whoever changes the address of a service that is held goes away in the middle, and then the leader dies there: each time the service is
// served again under one definition, and the change can be made again.
func TestAChangeEndsInTheMiddle(t *testing.T) {
	w := build(t, lab.Options{Hosts: 3, Sleepers: []int{3}})
	_, s := w.settled(nil, 3)
	s = w.awaitServing("h3")
	h1 := w.lab.Host("h1")
	text, err := h1.Output(w.limit(), "nightporter", "get")
	w.must(err)
	addresses := []netip.Addr{lab.ServiceAddr(), netip.MustParseAddr("10.77.0.210"), netip.MustParseAddr("10.77.0.211"), netip.MustParseAddr("10.77.0.212")}
	var parts []*part
	for _, a := range addresses {
		parts = append(parts, w.wire.trace(judge.Identity{Addrs: []netip.Addr{a}}))
	}
	file := func(a netip.Addr) string {
		path := filepath.Join(w.lab.Dir(), a.String()+".yaml")
		w.must(os.WriteFile(path, []byte(strings.Replace(text, lab.ServiceAddr().String(), a.String(), 1)), 0o600))
		return path
	}
	// interrupted begins a change, does something when the service has been taken from its holder, and waits until it is served again.
	interrupted := func(to netip.Addr, asker string, then func(stop func())) {
		w.Helper()
		before := w.awaitServing("h3")
		ctx, cancel := context.WithCancel(w.limit())
		defer cancel()
		ended := make(chan error, 1)
		go func() {
			_, err := w.lab.Host(asker).Output(ctx, "nightporter", "apply", "-f", file(to))
			ended <- err
		}()
		w.await("the service is taken from its holder", func() string {
			st, err := w.ask(asker)
			if err != nil {
				return err.Error()
			}
			if sv, _ := service(st, web); sv.Epoch <= before.Epoch {
				return fmt.Sprintf("its epoch is %d", sv.Epoch)
			}
			return ""
		})
		then(cancel)
		t.Logf("the command ended with %v", <-ended)
		_, now := w.served(before.Epoch)
		t.Logf("it is at %v", now.Addresses)
		w.connectSoon("c1", netip.AddrPortFrom(now.Addresses[0], lab.ServerPort))
	}
	interrupted(addresses[1], "h1", func(stop func()) { stop() })

	leader := w.leaderApartFrom("h3", w.hosts)
	interrupted(addresses[2], without(w.hosts, leader, "h3")[0], func(func()) {
		w.must(w.lab.Host(leader).Signal(w.limit(), syscall.SIGKILL))
		_, err := w.lab.Host(leader).AwaitAgentExit(w.limit())
		w.must(err)
	})
	w.must(w.lab.Host(leader).Start(w.limit()))
	w.settled(nil, 3)

	said, err := h1.Output(w.limit(), "nightporter", "apply", "-f", file(addresses[3]))
	w.must(err)
	if said != "changed: web\n" {
		t.Errorf("apply says %q", said)
	}
	w.served(s.Epoch)
	w.connectSoon("c1", netip.AddrPortFrom(addresses[3], lab.ServerPort))
	for i, p := range parts[:3] {
		if !p.first.At.IsZero() {
			w.gaveWay(addresses[i].String(), p, parts[3])
		}
	}
}
