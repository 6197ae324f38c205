package config

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const full = `
cluster: lab
interface: br0
failover: 300ms
gossip_port: 17373
socket_group: adm
join: [192.0.2.9, "[2001:db8::9]:1", beacon, "beacon:99", "192.0.2.9:5"]
power: always-on
wake_hook: plug-on
nodes:
  alpha: {interface: eth0, address: 192.0.2.11, run_dir: /run/np/./a}
  bravo: &b
    address: 192.0.2.12
    power: sleeps
    wol: assumed
    wol_password: 00-11-22-33-44-55
    canary: manual
    wake: ["02:00:00:00:00:12", "02:00:00:00:01:12"]
    suspend_command: [sh, -c, "exit 0"]
    watts: {awake: 60.5, asleep: 2}
    data_dir: /var/lib/np-b
services:
  - name: dns
    address: [192.0.2.200, "2001:db8::200"]
    mac: 02-00-00-00-00-aa
    ports: [53/udp, 53, "22/TCP"]
    targets: [bravo, alpha]
    hold: drop
    unit: named@lan.service
    manage: true
    checks:
      - tcp: 53
      - {http: 8053, host: dns.example}
      - {http: "8080/health?a=1", status: 204, interval: 500ms, timeout: 100ms, rise: 2, fall: 1}
      - exec: zone.ok
      - exec: there
      - unit: named-chroot.service
  - {name: web, address: 192.0.2.201, ports: [8080, 22, 443], targets: bravo, hold: {8080: http, 22/tcp: proxy, 443: drop}, wake: {allow: [192.0.2.0/24, "2001:db8::/32"], deny: 192.0.2.9, budget: off, budget_all: 30, asleep_at_least: 30s}}
`

func compared(t *testing.T, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func comparedPrefixes(t *testing.T, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParseFillsInDefaultsAndTheHostsOwnEntry(t *testing.T) {
	got, err := Parse("f.yaml", withSecret(t, []byte(full)), "alpha", machine)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Digest) != 32 || !strings.HasSuffix(got.SecretFile, "/secret") {
		t.Errorf("digest %q, secret file %q", got.Digest, got.SecretFile)
	}
	got.Digest, got.SecretFile = "", ""
	compared(t, &Config{
		File: "f.yaml", Cluster: "lab", Node: "alpha",
		Interface: "eth0", Address: netip.MustParseAddr("192.0.2.11"),
		GossipPort: 17373, PeerPort: 7374,
		DataDir: "/var/lib/nightporter", RunDir: "/run/np/a", Socket: "/run/np/a/nightporter.sock", SocketGroup: "adm",
		Failover: 300 * time.Millisecond, BootstrapExpect: 2,
		Join:  []string{"192.0.2.9:17373", "[2001:db8::9]:1", "beacon:17373", "beacon:99", "192.0.2.9:5"},
		Power: AlwaysOn, Suspend: SuspendDefault, SuspendCommand: []string{"systemctl", "suspend"},
		SuspendTimeout: 30 * time.Second, StayAwake: DefaultStayAwake(), LookAfter: DefaultLookAfter, Role: Member, Hooks: Hooks{Timeout: DefaultHookTimeout}, WakeTimeout: 90 * time.Second, WakeHook: "plug-on",
		WoL: WoLAuto, Canary: CanaryAuto, ChecksDir: "/etc/nightporter/checks.d", Fence: FenceAuto, OnConflict: ConflictStop, LogLevel: "info",
		HTTP:  HTTP{Listen: netip.MustParseAddrPort("127.0.0.1:7375")},
		Nodes: []string{"alpha", "bravo"}, Watts: map[string]Watts{"bravo": {Awake: 60.5, Asleep: 2}},
		Services: []Service{
			{
				Name: "dns", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.200"), netip.MustParseAddr("2001:db8::200")},
				Mode: ModeMAC, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 0xaa}, Ports: []Port{{"udp", 53}, {"tcp", 53}, {"tcp", 22}},
				Targets: []string{"bravo", "alpha"}, Hold: "drop", Unit: Unit{Name: "named@lan.service", Manage: true},
				Checks: []Check{
					{Kind: "tcp", Port: 53, Interval: 2 * time.Second, Timeout: time.Second, Rise: 1, Fall: 3},
					{Kind: "http", Port: 8053, Path: "/", Host: "dns.example", StatusMin: 200, StatusMax: 399, Interval: 2 * time.Second, Timeout: time.Second, Rise: 1, Fall: 3},
					{Kind: "http", Port: 8080, Path: "/health?a=1", StatusMin: 204, StatusMax: 204, Interval: 500 * time.Millisecond, Timeout: 100 * time.Millisecond, Rise: 2, Fall: 1},
					{Kind: "exec", Name: "zone.ok", Interval: 2 * time.Second, Timeout: time.Second, Rise: 1, Fall: 3},
					{Kind: "exec", Name: "there", Interval: 2 * time.Second, Timeout: time.Second, Rise: 1, Fall: 3},
					{Kind: "unit", Name: "named-chroot.service", Interval: 2 * time.Second, Timeout: time.Second, Rise: 1, Fall: 3},
				},
			},
			{
				Name: "web", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.201")}, Mode: ModeMAC, MAC: DeriveMAC("lab", "web"),
				Ports: []Port{{"tcp", 8080}, {"tcp", 22}, {"tcp", 443}}, Targets: []string{"bravo"},
				Hold: "drop", Holds: map[string]string{"8080/tcp": "http", "22/tcp": "proxy"},
				Wake: WakeRules{
					Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}, Deny: []netip.Prefix{netip.MustParsePrefix("192.0.2.9/32")},
					Budget: NoLimit, BudgetAll: 30, AsleepAtLeast: 30 * time.Second,
				},
			},
		},
		Notes: []string{
			FailoverNote(300 * time.Millisecond),
			"this host is a target of service dns, and has no executable /etc/nightporter/checks.d/zone.ok for its check: it is not ready for the service until it has",
			"this host has no executable /etc/nightporter/checks.d/plug-on, which wake_hook names: a host that does not wake gets no more than magic packets from here",
		},
	}, got)

	other, err := Parse("f.yaml", []byte(full), "bravo", nil)
	if err != nil {
		t.Fatal(err)
	}
	if other.Interface != "br0" || other.Power != Sleeps || other.WoL != WoLAssumed || string(other.WoLPassword) != "\x00\x11\x22\x33\x44\x55" || other.Canary != CanaryManual || len(other.WakeMACs) != 2 ||
		other.DataDir != "/var/lib/np-b" || len(other.SuspendCommand) != 3 {
		t.Errorf("bravo's own entry does not rule: %+v", other)
	}
}

func TestPeersAreTheOtherNodesUnlessJoinNamesThem(t *testing.T) {
	c, err := Parse("f.yaml", []byte("cluster: c\nnodes:\n  a: {address: 192.0.2.1}\n  b: {address: 192.0.2.2}\n  c: {}\n"), "a", nil)
	if err != nil {
		t.Fatal(err)
	}
	compared(t, []string{"192.0.2.2:7373"}, c.Join)
}

func TestAddressIsTheFirstIPv4OfTheInterface(t *testing.T) {
	six := netip.MustParsePrefix("2001:db8::11/64")
	for _, tc := range []struct {
		name string
		list []netip.Prefix
		want string
	}{
		{"first IPv4", []netip.Prefix{six, netip.MustParsePrefix("192.0.2.11/24"), netip.MustParsePrefix("192.0.2.12/24")}, "192.0.2.11"},
		{"beside a service's", []netip.Prefix{netip.MustParsePrefix("192.0.2.200/32"), six, netip.MustParsePrefix("192.0.2.11/24")}, "192.0.2.11"},
		{"nothing else", []netip.Prefix{netip.MustParsePrefix("192.0.2.11/32")}, "192.0.2.11"},
		{"IPv6 only", []netip.Prefix{six}, "2001:db8::11"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := Parse("f.yaml", withSecret(t, []byte("cluster: c\ninterface: eth0\n")), "a", with(tc.list))
			if err != nil {
				t.Fatal(err)
			}
			if c.Address.String() != tc.want {
				t.Errorf("got %s, want %s", c.Address, tc.want)
			}
		})
	}
	_, err := Parse("f.yaml", withSecret(t, []byte("cluster: c\ninterface: eth0\n")), "a", with(nil))
	if err == nil || !strings.Contains(err.Error(), "f.yaml:2:12: interface eth0 has no address") {
		t.Errorf("got %v", err)
	}
}

func TestExampleParsesOnEachOfItsHosts(t *testing.T) {
	for _, node := range []string{"alpha", "bravo", "charlie", "delta"} {
		c, err := Parse("example.yaml", []byte(Example()), node, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.BootstrapExpect != 4 || len(c.Join) != 3 || len(c.Notes) != 0 || (c.Power == Sleeps) != (node == "delta") {
			t.Errorf("%s: %+v", node, c)
		}
	}
}

// The commented keys of the example are the defaults: uncommented, they change nothing.
func TestExampleTellsTheDefaults(t *testing.T) {
	head, tail, found := strings.Cut(Example(), "# Further keys with their defaults:\n")
	if !found {
		t.Fatal("the example has no list of further keys")
	}
	tail = strings.ReplaceAll(strings.ReplaceAll(tail, "# socket_group: \"\" ", "# socket_group: x  "), "\n# ", "\n")
	all := head + strings.TrimPrefix(tail, "# ")
	want, err := Parse("f", []byte(Example()), "alpha", nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("f", []byte(all), "alpha", nil)
	if err != nil {
		t.Fatal(err)
	}
	got.SocketGroup, got.Digest = "", want.Digest
	compared(t, want, got)
}

func TestDigestIgnoresHowTheFileIsWritten(t *testing.T) {
	a := digest([]byte("cluster: home\nnodes: {a: {power: sleeps}}\n"))
	b := digest([]byte("# hello\nnodes:\n  a:\n    power: sleeps # it does\ncluster:   home\n"))
	c := digest([]byte("cluster: home\nnodes: {a: {power: always-on}}\n"))
	if a != b || a == c {
		t.Errorf("digests %s %s %s: want the first two equal and the third another", a, b, c)
	}
}

func TestPlaceMovesTheSocketWithTheRunDirectory(t *testing.T) {
	c := &Config{DataDir: "/d", RunDir: "/r", Socket: "/r/nightporter.sock"}
	c.Place("", "/other")
	if c.Socket != "/other/nightporter.sock" || c.DataDir != "/d" {
		t.Errorf("got %+v", c)
	}
	c = &Config{DataDir: "/d", RunDir: "/r", Socket: "/s"}
	c.Place("/e", "/other")
	if c.Socket != "/s" || c.DataDir != "/e" || c.RunDir != "/other" {
		t.Errorf("got %+v", c)
	}
}

func TestServicesComeBackAsTheyWereWritten(t *testing.T) {
	c, err := Parse("f.yaml", []byte(full), "alpha", nil)
	if err != nil {
		t.Fatal(err)
	}
	back, err := LoadServices("s.yaml", strings.NewReader(FormatServices(c.Services)), nil)
	if err != nil {
		t.Fatal(err)
	}
	compared(t, c.Services, back)
	if none, err := LoadServices("s.yaml", strings.NewReader(FormatServices(nil)), nil); err != nil || len(none) != 0 {
		t.Errorf("no services came back as %v, %v", none, err)
	}
}

func TestDerivedMACsAreLocalUnicastAndDiffer(t *testing.T) {
	seen := map[string]bool{}
	for _, names := range [][2]string{{"a", "b"}, {"ab", ""}, {"", "ab"}, {"b", "a"}} {
		m := DeriveMAC(names[0], names[1])
		if m[0] != 0x02 || seen[m.String()] {
			t.Errorf("%v gives %s", names, m)
		}
		seen[m.String()] = true
	}
}

func TestCheckAddressesJudgesForeignDefinitions(t *testing.T) {
	prefixes := []netip.Prefix{netip.MustParsePrefix("192.0.2.11/24")}
	web := func(a string) []Service {
		return []Service{{Name: "web", Addresses: []netip.Addr{netip.MustParseAddr(a)}}}
	}
	if err := CheckAddresses(web("192.0.2.200"), prefixes); err != nil {
		t.Error(err)
	}
	for _, a := range []string{"192.0.3.1", "192.0.2.11", "192.0.2.255", "2001:db8::1"} {
		if err := CheckAddresses(web(a), prefixes); err == nil || !strings.Contains(err.Error(), "service web: "+a) {
			t.Errorf("%s: got %v", a, err)
		}
	}
}

func TestLocalPrefixesOfThisHost(t *testing.T) {
	if _, err := LocalPrefixes("lo"); err == nil || !strings.Contains(err.Error(), "it is the loopback") {
		t.Errorf("lo: %v", err)
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l.Flags&net.FlagLoopback != 0 {
			continue
		}
		list, err := LocalPrefixes(l.Name)
		if err != nil {
			t.Error(err)
		}
		for _, p := range list {
			if p.Addr().IsLinkLocalUnicast() {
				t.Errorf("%s: link-local address %s", l.Name, p)
			}
		}
	}
	if _, err := LocalPrefixes("absent0"); err == nil || !strings.Contains(err.Error(), "it has ") || !strings.Contains(err.Error(), "lo") {
		t.Errorf("got %v", err)
	}
}

func TestLoadReadsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(path, []byte(Example()), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path, "delta", nil)
	if err != nil || c.File != path || c.Cluster != "home" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestNotes(t *testing.T) {
	c, err := Parse("f.yaml", withSecret(t, []byte("cluster: c\ninterface: eth0\nrun_dir: /var/np\n")), "a", machine)
	if err != nil || len(c.Notes) != 1 || !strings.Contains(c.Notes[0], "run_dir /var/np is not on a tmpfs") {
		t.Errorf("got %v and %+v", err, c)
	}
	bare := *machine
	bare.HasCommand = func(string) bool { return false }
	_, err = Parse("f.yaml", withSecret(t, []byte("cluster: c\ninterface: eth0\nnodes: {a: {power: sleeps}}\n")), "a", &bare)
	if err == nil || !strings.Contains(err.Error(), `f.yaml:3:20: the suspend command "systemctl" is not on this host`) {
		t.Errorf("got %v", err)
	}
}
