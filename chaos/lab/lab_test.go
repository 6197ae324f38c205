package lab_test

import (
	"net/netip"
	"strings"
	"testing"

	"nightporter/chaos/lab"
)

func TestHostsServeTheirNames(t *testing.T) {
	l := up(t, lab.Options{Hosts: 2, NoAgent: true})
	ctx := limit(t)
	for _, name := range []string{"h1", "h2"} {
		h := l.Host(name)
		for _, addr := range []netip.Addr{h.Addr(), h.Addr6()} {
			r, err := l.Client(1).Connect(ctx, netip.AddrPortFrom(addr, lab.ServerPort))
			if err != nil {
				t.Fatal(err)
			}
			if r.Host != name {
				t.Errorf("%s is answered by %q, want %s", addr, r.Host, name)
			}
		}
		out, err := h.Output(ctx, "hostname")
		if err != nil || strings.TrimSpace(out) != name {
			t.Errorf("hostname in %s says %q (%v)", name, out, err)
		}
	}
	st, err := l.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", st)
}
