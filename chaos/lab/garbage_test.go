package lab_test

import (
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"nightporter/chaos/lab"
	"nightporter/config"
)

func TestGarbageIsSent(t *testing.T) {
	l := up(t, lab.Options{Hosts: 2, NoAgent: true})
	ctx, c := limit(t), capture(t, l)
	one, err := l.Garbage(ctx, "c1", 5, 300)
	must(t, err)
	kinds := map[string]bool{}
	udp := map[string]int{}
	for _, it := range one {
		kinds[it.Kind+" "+it.Network] = true
		if it.Network == "udp" {
			udp[it.To.Addr().String()]++
		} else if it.End != "unreachable" { // nobody listens in this lab
			t.Errorf("%+v", it)
		}
	}
	if len(one) != 300 || len(kinds) != 11 {
		t.Errorf("%d things of %d kinds were sent: %v", len(one), len(kinds), kinds)
	}
	want := udp["10.77.0.11"] + udp["10.77.0.12"]
	watch(ctx, t, c, "", func(f lab.Frame) bool {
		p := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default)
		u, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
		if ok && f.Port == "c1" && !f.ToHost && (u.DstPort == config.DefaultGossipPort || u.DstPort == config.DefaultPeerPort) {
			want--
		}
		return want == 0
	})
	two, err := l.Garbage(ctx, "c1", 5, 300)
	must(t, err)
	three, err := l.Garbage(ctx, "c1", 6, 300)
	must(t, err)
	same := func(a, b []lab.Litter) int {
		n := 0
		for i := range a {
			if a[i].Kind == b[i].Kind && a[i].To == b[i].To && a[i].Network == b[i].Network {
				n++
			}
		}
		return n
	}
	if same(one, two) != 300 || same(one, three) > 150 {
		t.Errorf("the same seed repeats %d of 300, another one %d", same(one, two), same(one, three))
	}
	_, err = l.Host("h1").Kill(ctx)
	must(t, err)
	if _, err := l.Garbage(ctx, "h1", 1, 1); err == nil {
		t.Error("a host that is off sent something")
	}
}
