package fsm

import (
	"net/netip"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	addrs := func(list ...string) func(*Service) {
		return func(sv *Service) {
			sv.Addresses = nil
			for _, a := range list {
				sv.Addresses = append(sv.Addresses, netip.MustParseAddr(a))
			}
		}
	}
	cases := []struct {
		name   string
		change func(*Service)
		says   string // "" = no problem
	}{
		{"good", func(*Service) {}, ""},
		{"IPv6", addrs("fd77::200"), ""},
		{"both families", addrs("fd77::200", "10.77.0.200"), ""},
		{"globally administered MAC", func(sv *Service) { sv.MAC = MAC("\x00\x00\x5e\x00\x01\x01") }, ""},
		{"longest name", func(sv *Service) { sv.Name = strings.Repeat("a", 32) }, ""},
		{"no name", func(sv *Service) { sv.Name = "" }, "1 to 32"},
		{"long name", func(sv *Service) { sv.Name = strings.Repeat("a", 33) }, "1 to 32"},
		{"capital", func(sv *Service) { sv.Name = "Web" }, `name "Web"`},
		{"flag-like name", func(sv *Service) { sv.Name = "-o" }, "begin"},
		{"no address", addrs(), "not 0 addresses"},
		{"three addresses", addrs("10.0.0.1", "fd77::1", "10.0.0.2"), "not 3 addresses"},
		{"two IPv4", addrs("10.0.0.1", "10.0.0.2"), "same family"},
		{"two IPv6", addrs("fd77::1", "fd77::2"), "same family"},
		{"zero address", func(sv *Service) { sv.Addresses = []netip.Addr{{}} }, "is no address"},
		{"mapped", addrs("::ffff:10.0.0.1"), "write 10.0.0.1"},
		{"zone", addrs("fd77::1%eth0"), "without %eth0"},
		{"loopback", addrs("127.0.0.1"), "not a unicast"},
		{"unspecified", addrs("::"), "not a unicast"},
		{"multicast", addrs("224.0.0.1"), "not a unicast"},
		{"broadcast", addrs("255.255.255.255"), "not a unicast"},
		{"link-local", addrs("fe80::1"), "link-local"},
		{"no MAC", func(sv *Service) { sv.MAC = "" }, "48-bit"},
		{"zero MAC", func(sv *Service) { sv.MAC = MAC(make([]byte, 6)) }, "all zero"},
		{"multicast MAC", func(sv *Service) { sv.MAC = MAC("\x33\x33\x00\x00\x00\x01") }, "multicast"},
		{"mode address", func(sv *Service) { sv.Mode, sv.MAC = ModeAddress, "" }, ""},
		{"mode address with a MAC", func(sv *Service) { sv.Mode = ModeAddress }, "leave mac 02:00:5e:00:00:c8 out"},
		{"unknown mode", func(sv *Service) { sv.Mode = "wifi" }, `mode "wifi" is unknown: write mac or address`},
		{"no ports", func(sv *Service) { sv.Ports = nil }, "such as 22/tcp"},
		{"many ports", func(sv *Service) { sv.Ports = make([]Port, MaxPorts+1) }, "not 1 to 64"},
		{"port 0", func(sv *Service) { sv.Ports = []Port{{TCP, 0}} }, "port 0/tcp"},
		{"port twice", func(sv *Service) { sv.Ports = []Port{{TCP, 22}, {UDP, 22}, {TCP, 22}} }, "22/tcp is listed twice"},
		{"unknown protocol", func(sv *Service) { sv.Ports = []Port{{"sctp", 22}} }, "tcp or udp"},
		{"no targets", func(sv *Service) { sv.Targets = nil }, "targets lists 0"},
		{"many targets", func(sv *Service) { sv.Targets = make([]string, MaxTargets+1) }, "targets lists 33"},
		{"target twice", func(sv *Service) { sv.Targets = []string{"c", "c"} }, "target c is listed twice"},
		{"bad target", func(sv *Service) { sv.Targets = []string{"a b"} }, `"a b"`},
		{"unknown hold", func(sv *Service) { sv.Hold = "reset" }, "write drop"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			sv := testService("web", 200)
			c.change(&sv)
			got := strings.Join(Validate(sv), "\n")
			if (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
				t.Fatalf("problems: %q, want %q", got, c.says)
			}
		})
	}
	if n := len(Validate(Service{})); n < 5 {
		t.Fatalf("only %d problems of an empty definition are listed", n)
	}
}

func TestMACText(t *testing.T) {
	m, err := ParseMAC("02:00:5e:00:00:c8")
	if err != nil || m != "\x02\x00\x5e\x00\x00\xc8" || m.String() != "02:00:5e:00:00:c8" || m.Hardware().String() != m.String() {
		t.Fatalf("%q, %v", m, err)
	}
	for _, bad := range []string{"", "02:00", "02:00:00:00:00:00:00:01", "zz:00:5e:00:00:c8"} {
		if _, err := ParseMAC(bad); err == nil {
			t.Errorf("%q was taken for a hardware address", bad)
		}
	}
}
