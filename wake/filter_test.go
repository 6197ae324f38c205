package wake

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"
)

func TestPortRanges(t *testing.T) {
	tests := []struct {
		ports []uint16
		want  []portRange
	}{
		{nil, nil},
		{[]uint16{80}, []portRange{{80, 80}}},
		{[]uint16{82, 80, 81, 81}, []portRange{{80, 82}}},
		{[]uint16{65535, 1, 65534, 3}, []portRange{{1, 1}, {3, 3}, {65534, 65535}}},
	}
	for _, tt := range tests {
		if got := portRanges(tt.ports); !slices.Equal(got, tt.want) {
			t.Errorf("%v: got %v, want %v", tt.ports, got, tt.want)
		}
	}
}

// For any guard, the filter and the decision agree on plain SYNs.
func TestFilterAgrees(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		port := rapid.Uint16Range(1, 60) // a small range, so that hits and neighbours are frequent
		g := Guard{Service: "s", TCP: rapid.SliceOfN(port, 1, 40).Draw(rt, "tcp"), UDP: rapid.SliceOfN(port, 0, 40).Draw(rt, "udp")}
		for _, b := range rapid.SliceOfN(rapid.Uint8Range(1, 6), 1, 4).Draw(rt, "addresses") {
			g.Addrs = append(g.Addrs, netip.AddrFrom4([4]byte{10, 0, 0, b}), netip.AddrFrom16([16]byte{0: 0xfd, 15: b}))
		}
		vm := contentVM(t, g)
		last := rapid.Uint8Range(1, 8).Draw(rt, "to")
		to4, to6 := netip.AddrFrom4([4]byte{10, 0, 0, last}), netip.AddrFrom16([16]byte{0: 0xfd, 15: last})
		n := int(port.Draw(rt, "port"))
		i4, i6 := ip4(layers.IPProtocolTCP, to4.String()), ip6(layers.IPProtocolUDP, to6.String())
		for _, k := range []struct {
			frame []byte
			to    netip.Addr
			ports []uint16
		}{{build(t, i4, tcp(i4, n, "syn")), to4, g.TCP}, {build(t, i6, udp(i6, n)), to6, g.UDP}} {
			want := slices.Contains(g.Addrs, k.to) && slices.Contains(k.ports, uint16(n))
			_, got := g.demands(k.frame)
			if passed := filtered(t, vm, k.frame); got != want || passed != want {
				rt.Fatalf("%v to %v port %d: demands %v, filter %v, want %v", g, k.to, n, got, passed, want)
			}
		}
	})
}

func TestGuardErrors(t *testing.T) {
	var scattered []uint16
	for p := uint16(1); p < 2000; p += 2 {
		scattered = append(scattered, p)
	}
	some := []netip.Addr{guard4}
	tests := []struct {
		name string
		g    Guard
		want string
	}{
		{"no address", Guard{Service: "web", TCP: []uint16{80}}, "needs an address and a port"},
		{"no port", Guard{Service: "web", Addrs: some}, "needs an address and a port"},
		{"address that is none", Guard{Service: "web", Addrs: make([]netip.Addr, 1), TCP: []uint16{80}}, "not valid"},
		{"too many ports", Guard{Service: "web", Addrs: some, TCP: scattered}, "ranges"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := Listen("lo", tt.g, func(Demand) {})
			if err == nil {
				l.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), `"web"`) {
				t.Errorf("got %q, want %q and the service in it", err, tt.want)
			}
		})
	}
}
