package fsm

import (
	"net/netip"
	"strings"
	"testing"
	"time"
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
		{"rationed", func(sv *Service) {
			sv.Wake = WakeRules{Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Deny: []netip.Prefix{netip.MustParsePrefix("fd77::1/128")}, Budget: 1, BudgetAll: NoLimit, AsleepAtLeast: time.Hour}
		}, ""},
		{"a source within a network", func(sv *Service) { sv.Wake.Deny = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")} }, "write 10.0.0.0/8"},
		{"no source", func(sv *Service) { sv.Wake.Allow = []netip.Prefix{{}} }, "no network"},
		{"mapped source", func(sv *Service) { sv.Wake.Allow = []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/120")} }, "write it as IPv4"},
		{"many sources", func(sv *Service) { sv.Wake.Allow = make([]netip.Prefix, MaxSources+1) }, "at most 64"},
		{"budget", func(sv *Service) { sv.Wake.Budget = BudgetMax + 1 }, "1 to 3600"},
		{"budget of all", func(sv *Service) { sv.Wake.BudgetAll = -2 }, "budget_all -2"},
		{"long sleep", func(sv *Service) { sv.Wake.AsleepAtLeast = time.Hour + 1 }, "0s to 1h"},
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
		{"port 0", func(sv *Service) { sv.Ports = []Port{{Protocol: TCP, Number: 0}} }, "port 0/tcp"},
		{"a port with a hold of its own", func(sv *Service) {
			sv.Ports = []Port{{Protocol: TCP, Number: 80, Hold: HoldHTTP}, {Protocol: UDP, Number: 53}}
		}, ""},
		{"everything refused", func(sv *Service) { sv.Hold = HoldReject }, ""},
		{"unknown hold of a port", func(sv *Service) { sv.Ports[0].Hold = "park" }, `hold "park" of port`},
		{"a page for datagrams", func(sv *Service) { sv.Ports = []Port{{Protocol: UDP, Number: 53, Hold: HoldHTTP}} }, "53/udp cannot have hold http"},
		{"proxy beside datagrams", func(sv *Service) {
			sv.Ports = []Port{{Protocol: TCP, Number: 22, Hold: HoldProxy}, {Protocol: UDP, Number: 53}}
		}, "22/tcp does not go with port 53/udp"},
		{"port once for each hold", func(sv *Service) {
			sv.Ports = []Port{{Protocol: TCP, Number: 22, Hold: HoldProxy}, {Protocol: TCP, Number: 22}}
		}, "22/tcp is listed twice"},
		{"port twice", func(sv *Service) {
			sv.Ports = []Port{{Protocol: TCP, Number: 22}, {Protocol: UDP, Number: 22}, {Protocol: TCP, Number: 22}}
		}, "22/tcp is listed twice"},
		{"unknown protocol", func(sv *Service) { sv.Ports = []Port{{Protocol: "sctp", Number: 22}} }, "tcp or udp"},
		{"no targets", func(sv *Service) { sv.Targets = nil }, "targets lists 0"},
		{"many targets", func(sv *Service) { sv.Targets = make([]string, MaxTargets+1) }, "targets lists 33"},
		{"target twice", func(sv *Service) { sv.Targets = []string{"c", "c"} }, "target c is listed twice"},
		{"bad target", func(sv *Service) { sv.Targets = []string{"a b"} }, `"a b"`},
		{"all checks", func(sv *Service) { *sv = checkedService("web", 200) }, ""},
		{"check of no kind", checks(func(c *Check) { c.Kind = "ping" }), "no kind of check"},
		{"tcp 0", checks(func(c *Check) { c.Port = 0 }), "port 0 does not exist"},
		{"tcp with a path", checks(func(c *Check) { c.Path = "/" }), "are for http checks"},
		{"tcp with a name", checks(func(c *Check) { c.Name = "x" }), "it has a name"},
		{"http without a path", checks(func(c *Check) {
			*c = Check{Kind: CheckHTTP, Port: 1, StatusMin: 200, StatusMax: 299, Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 1}
		}), "begin with /"},
		{"http path with a new line", checks(func(c *Check) { c.Kind, c.Path, c.StatusMin, c.StatusMax = CheckHTTP, "/\r\nx: y", 200, 200 }), "begin with /"},
		{"http host", checks(func(c *Check) { c.Kind, c.Path, c.StatusMin, c.StatusMax, c.Host = CheckHTTP, "/", 200, 200, "a b" }), "Host header"},
		{"http status", checks(func(c *Check) { c.Kind, c.Path, c.StatusMin, c.StatusMax = CheckHTTP, "/", 300, 200 }), "300-200 is no range"},
		{"exec with a path", checks(func(c *Check) { *c = execCheck("../bin/sh") }), "not the name of an executable"},
		{"exec with arguments", checks(func(c *Check) { *c = execCheck("sh -c reboot") }), "not the name of an executable"},
		{"exec that is hidden", checks(func(c *Check) { *c = execCheck(".x") }), "not the name of an executable"},
		{"unit without a suffix", checks(func(c *Check) { *c = execCheck("web"); c.Kind = CheckUnit }), "service unit"},
		{"interval", checks(func(c *Check) { c.Interval = time.Millisecond }), "interval 1ms is out of range"},
		{"timeout", checks(func(c *Check) { c.Timeout = time.Hour }), "timeout 1h0m0s is out of range"},
		{"rise", checks(func(c *Check) { c.Rise = 0 }), "rise 0 and fall 3"},
		{"fall", checks(func(c *Check) { c.Fall = 101 }), "rise 1 and fall 101"},
		{"check twice", func(sv *Service) { *sv = checkedService("web", 200); sv.Checks = append(sv.Checks, sv.Checks[0]) }, "tcp 8080 is listed twice"},
		{"many checks", func(sv *Service) { sv.Checks = make([]Check, MaxChecks+1) }, "17 checks"},
		{"manage without a unit", func(sv *Service) { sv.Unit.Manage = true }, "no unit is named"},
		{"unit that is a path", func(sv *Service) { sv.Unit.Name = "/etc/x.service" }, "service unit"},
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

// checks gives a service with one check that was changed.
func checks(change func(*Check)) func(*Service) {
	return func(sv *Service) {
		c := checkedService("web", 200).Checks[0]
		change(&c)
		sv.Checks = []Check{c}
	}
}

func execCheck(name string) Check {
	return Check{Kind: CheckExec, Name: name, Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 1}
}

// A unit is asked for, once.
func TestAsks(t *testing.T) {
	sv := checkedService("web", 200)
	if n := len(sv.Asks()); n != len(sv.Checks)+1 || sv.Asks()[n-1].Name != "web.service" {
		t.Errorf("%v is asked", sv.Asks())
	}
	sv.Unit.Name = "pg@main.service"
	if n := len(sv.Asks()); n != len(sv.Checks) {
		t.Errorf("%v is asked", sv.Asks())
	}
	if sv := testService("web", 200); sv.Checked() || len(sv.Asks()) != 0 {
		t.Error("a service without checks is checked")
	}
	if got := sv.Silence(); got != 70*time.Second { // the slowest is exec
		t.Errorf("silent after %s", got)
	}
}

// Only what needs it is written in the newer format: older versions go on in a cluster that does not use checks.
func TestFormatOf(t *testing.T) {
	plain, checked := testService("web", 200), checkedService("web", 200)
	for _, c := range []struct {
		command Command
		want    uint8
	}{
		{Found{Services: []Service{plain}}, 1},
		{Found{Services: []Service{plain, checked}}, 2},
		{PutService{Service: plain}, 1},
		{PutService{Service: checked}, 2},
		{PutNode{Node: Node{Format: 2}}, 1},
	} {
		if b := mustEncode(t, c.command); FormatOf(c.command) != c.want || b[2] != c.want {
			t.Errorf("%T is format %d, written as %d, want %d", c.command, FormatOf(c.command), b[2], c.want)
		}
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
