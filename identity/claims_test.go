package identity

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
	"golang.org/x/net/bpf"
)

// TestClaimsOf: the filter of a probe lets through who says that it has one of the addresses, and nobody else.
func TestClaimsOf(t *testing.T) {
	four, six := netip.MustParseAddr("10.200.0.100"), netip.MustParseAddr("fd00:200::64")
	other4, other6 := netip.MustParseAddr("10.200.0.101"), netip.MustParseAddr("fd00:200::65")
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	answer := func(a netip.Addr) []byte {
		b, err := arpFrame(arp.OperationReply, mac, mac, a, mac, four)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	advert := func(a netip.Addr) []byte {
		body, err := ndp.MarshalMessageChecksum(&ndp.NeighborAdvertisement{TargetAddress: a, Override: true}, a, netip.IPv6LinkLocalAllNodes())
		if err != nil {
			t.Fatal(err)
		}
		b, err := ipv6Frame(mac, multicastMAC(netip.IPv6LinkLocalAllNodes()), a, netip.IPv6LinkLocalAllNodes(), body)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	asks, err := question(mac, six)
	if err != nil {
		t.Fatal(err)
	}
	for _, addrs := range [][]netip.Addr{{four}, {six}, {four, six}, {six, four}} {
		raw, err := claimsOf(addrs)
		if err != nil {
			t.Fatal(err)
		}
		prog, ok := bpf.Disassemble(raw)
		if !ok {
			t.Fatal("it cannot be read back")
		}
		vm, err := bpf.NewVM(prog)
		if err != nil {
			t.Fatal(err)
		}
		has := func(a netip.Addr) bool { return slices.Contains(addrs, a) }
		for name, one := range map[string]struct {
			frame []byte
			want  bool
		}{
			"an ARP answer":             {answer(four), has(four)},
			"one for another address":   {answer(other4), false},
			"an advertisement":          {advert(six), has(six)},
			"one of another address":    {advert(other6), false},
			"a solicitation":            {asks, false},
			"a frame that is cut short": {answer(four)[:30], false},
			"nothing":                   {nil, false},
		} {
			n, err := vm.Run(one.frame)
			if err != nil {
				t.Fatal(err)
			}
			if (n > 0) != one.want {
				t.Errorf("of %v, %s: %d bytes are let through", addrs, name, n)
			}
			if _, claims := claim(one.frame); one.want && !claims {
				t.Errorf("%s is no claim", name)
			}
		}
	}
}
