package lab_test

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"nightporter/chaos/lab"
)

func TestClaims(t *testing.T) {
	inBoth(t, lab.Options{Hosts: 2, Clients: 2, NoAgent: true}, func(t *testing.T, l *lab.Lab) {
		for name, c := range map[string]lab.Claim{
			"plain":             {Addr: lab.ServiceAddr()},
			"with a MAC":        {Addr: lab.ServiceAddr(), MAC: net.HardwareAddr{2, 0, 0, 0, 0, 0x99}},
			"IPv6":              {Addr: netip.MustParseAddr("fd77::200")},
			"IPv6 with a MAC":   {Addr: netip.MustParseAddr("fd77::200"), MAC: net.HardwareAddr{2, 0, 0, 0, 0, 0x98}},
			"plain, once again": {Addr: lab.ServiceAddr()},
		} {
			t.Run(name, func(t *testing.T) { claimed(t, l, c) })
		}
	})
}

// claimed lets h2 and then c2 claim an address: the LAN must believe each of them, until it is taken away.
func claimed(t *testing.T, l *lab.Lab, claim lab.Claim) {
	ctx, c := limit(t), capture(t, l)
	h2, c2 := l.Host("h2"), l.Client(2)
	for _, h := range []*lab.Host{h2, c2} {
		mac := claim.MAC
		if mac == nil {
			mac = h.MAC()
		}
		must(t, l.Claim(ctx, h.Name(), claim))
		watch(ctx, t, c, "", func(f lab.Frame) bool {
			return f.Port == h.Name() && !f.ToHost && bytes.Equal(f.Src(), mac) && announces(f, claim.Addr)
		})
		st, err := l.Status(ctx)
		must(t, err)
		if all := append(st.Hosts, st.Clients...); len(find(all, h.Name()).Claims) != 1 {
			t.Errorf("the status of %s is %+v", h.Name(), find(all, h.Name()))
		}
		if h == h2 { // it has a server
			r, err := l.Client(1).Connect(ctx, netip.AddrPortFrom(claim.Addr, lab.ServerPort))
			if err != nil || r.Host != "h2" {
				t.Errorf("%v is answered by %q (%v)", claim, r.Host, err)
			}
		}
		must(t, l.Claim(ctx, h.Name(), claim)) // only announces it again
		must(t, l.Unclaim(ctx, h.Name()))
		must(t, l.Unclaim(ctx, h.Name()))
		out, err := h.Output(ctx, "cat", "/proc/net/fib_trie", "/proc/net/if_inet6", "/proc/net/dev")
		must(t, err)
		for _, left := range []string{"10.77.0.200", "fd770000000000000000000000000200", "claim"} {
			if bytes.Contains([]byte(out), []byte(left)) {
				t.Errorf("%s still has %s", h.Name(), left)
			}
		}
	}
}

func find(all []lab.HostStatus, name string) lab.HostStatus {
	for _, h := range all {
		if h.Name == name {
			return h
		}
	}
	return lab.HostStatus{}
}

// announces tells whether a frame says unasked that its source has the address.
func announces(f lab.Frame, a netip.Addr) bool {
	p := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default)
	if arp, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
		return bytes.Equal(arp.SourceProtAddress, a.AsSlice()) && bytes.Equal(arp.DstProtAddress, a.AsSlice()) &&
			bytes.Equal(arp.SourceHwAddress, f.Src())
	}
	na, ok := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	return ok && na.TargetAddress.Equal(a.AsSlice()) && na.Flags&0x20 != 0 && len(na.Options) == 1 && bytes.Equal(na.Options[0].Data, f.Src())
}

func TestClaimsThatMakeNoSense(t *testing.T) {
	l := up(t, lab.Options{Hosts: 1, NoAgent: true})
	ctx := limit(t)
	for _, c := range []lab.Claim{{}, {Addr: lab.ServiceAddr(), MAC: net.HardwareAddr{1, 2}}} {
		if err := l.Claim(ctx, "h1", c); err == nil {
			t.Errorf("%+v was claimed", c)
		}
	}
	_, err := l.Host("h1").Kill(ctx)
	must(t, err)
	if err := l.Claim(ctx, "h1", lab.Claim{Addr: lab.ServiceAddr()}); err == nil {
		t.Error("a host that is off claimed an address")
	}
	must(t, l.Unclaim(ctx, "h1"))
}
