package doctor

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/config"
	"nightporter/identity"
	"nightporter/wake"
)

var (
	ip0  = netip.MustParseAddr("192.0.2.200")
	six0 = netip.MustParseAddr("2001:db8::200")
	mac0 = net.HardwareAddr{2, 0, 0, 0, 0, 9}
	evil = net.HardwareAddr{2, 0xbb, 0, 0, 0, 1}
	card = net.HardwareAddr{2, 0xcc, 0, 0, 0, 1}
	h2   = netip.MustParseAddr("192.0.2.12")
)

// sound is a host about which there is nothing to say.
func sound() Facts {
	own := &config.Config{Node: "alpha", Interface: "eth0", Power: config.Sleeps, Suspend: config.SuspendDefault}
	return Facts{
		Node: "alpha", Version: "v2", At: time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC),
		Config:   ConfigFacts{Path: "np.yaml", Own: own},
		Rights:   Rights{Effective: 1<<41 - 1, Read: true},
		Kernel:   Kernel{Release: "6.12", Tried: true},
		Link:     Link{Name: "eth0", Chosen: "the configuration", Found: true, Up: true, Carrier: true, Kind: "device", Nets: []netip.Prefix{netip.MustParsePrefix("192.0.2.11/24")}},
		Cards:    Cards{Read: true, Names: []string{"eth0"}, Arming: wake.Arming{Supported: true, Armed: true, Modes: "eth0: Magic"}},
		Settings: Settings{"ipv4.all.arp_ignore": "1", "ipv4.all.arp_announce": "2", "ipv4.default.arp_ignore": "0", "ipv4.eth0.rp_filter": "0"},
		Services: []Identity{{Service: "web", Mode: config.ModeMAC, MAC: mac0, Addrs: []netip.Addr{ip0, six0}}},
		Claims:   Claims{Asked: true, Answers: []identity.Foreign{{IP: ip0, MAC: mac0}}},
		Peers:    []Peer{{Node: "bravo", Addr: h2, Ports: reached(reachOK, reachOK, reachOK)}},
		Filter:   Filter{Read: true},
		Clock:    Clock{Read: true, Synced: true},
		Sleep:    Sleep{States: "freeze mem", Mode: "deep", Asked: true},
		Agent:    Agent{Status: &api.Status{Version: "v2"}},
	}
}

// reached are the three ports with their results.
func reached(gossip, peer, udp string) []api.DoctorReach {
	return []api.DoctorReach{
		{To: "bravo", Addr: netip.AddrPortFrom(h2, 7373), Proto: "tcp", Result: gossip},
		{To: "bravo", Addr: netip.AddrPortFrom(h2, 7374), Proto: "tcp", Result: peer},
		{To: "bravo", Addr: netip.AddrPortFrom(h2, 7373), Proto: "udp", Result: udp},
	}
}

// cases are what must be found, each by what makes a sound host unsound. A word that the finding must have stands behind it.
var cases = []struct {
	name  string
	level api.Level
	word  string
	make  func(*Facts)
}{
	{"not-looked-at", api.Note, "the moon", func(f *Facts) { f.Unseen = []Unseen{{areaKernel, "the moon", "it is day", "wait"}} }},
	{"not-looked-at", api.Note, "Wake-on-LAN", func(f *Facts) { f.Cards.Arming = wake.Arming{Unknown: true} }},
	{"not-looked-at", api.Note, "may not talk", func(f *Facts) { f.Agent = Agent{Why: "this user may not talk to it", Denied: true} }},
	{"config-missing", api.Note, "np.yaml", func(f *Facts) { f.Config.Missing, f.Config.Own = true, nil }},
	{"config-invalid", api.Fail, "np.yaml:3:1", func(f *Facts) { f.Config.Problems, f.Config.Own = []string{"np.yaml:3:1: no"}, nil }},
	{"config-note", api.Note, "quiet hardware", func(f *Facts) { f.Config.Own.Notes = []string{"failover 200ms is for quiet hardware only"} }},
	{"not-root", api.Note, "1000", func(f *Facts) { f.Rights.UID, f.Rights.Effective = 1000, 0 }},
	{"capabilities", api.Fail, "CAP_NET_RAW", func(f *Facts) { f.Rights.Effective &^= 1 << capNetRaw }},
	{"capabilities", api.Fail, "CAP_NET_ADMIN and CAP_NET_RAW", func(f *Facts) { f.Rights.Effective = 0 }},
	{"user-namespace", api.Warn, "user namespace", func(f *Facts) { f.Rights.Namespace = true }},
	{"kernel-macvlan", api.Fail, "no module", func(f *Facts) { f.Kernel.Trial.Macvlan = errors.New("no module") }},
	{"kernel-nftables", api.Fail, "5.16", func(f *Facts) { f.Kernel.Trial.NFTables = errors.New("Linux 5.16") }},
	{"kernel-packet", api.Fail, "EAFNOSUPPORT", func(f *Facts) { f.Kernel.Trial.Packet = errors.New("EAFNOSUPPORT") }},
	{"kernel-bpf", api.Warn, "cls_bpf", func(f *Facts) { f.Kernel.Trial.Exact = errors.New("cls_bpf") }},
	{"kernel-bpf", api.Fail, "cls_bpf", func(f *Facts) { f.Kernel.Trial.Exact, f.Config.Own.Fence = errors.New("cls_bpf"), config.FenceRequired }},
	{"kernel-bpf", api.Warn, "the agent has built", func(f *Facts) { f.Kernel = Kernel{Fence: "nftables"} }},
	{"kernel-fence-limit", api.Warn, "no BPF file system", func(f *Facts) { f.Kernel.Trial.Limits = []string{"no BPF file system"} }},
	{"kernel-fence-limit", api.Fail, "no BPF file system", func(f *Facts) {
		f.Kernel.Trial.Limits, f.Config.Own.Fence = []string{"no BPF file system"}, config.FenceRequired
	}},
	{"interface-missing", api.Fail, "eth1", func(f *Facts) { f.Link = Link{Name: "eth7", Present: []string{"eth1"}} }},
	{"interface-missing", api.Fail, "no default route", func(f *Facts) { f.Link = Link{Present: []string{"eth1"}} }},
	{"interface-down", api.Fail, "is down", func(f *Facts) { f.Link.Up = false }},
	{"interface-down", api.Fail, "no carrier", func(f *Facts) { f.Link.Carrier = false }},
	{"interface-address", api.Fail, "eth0", func(f *Facts) { f.Link.Nets = nil }},
	{"wifi", api.Fail, "Wi-Fi", func(f *Facts) { f.Link.WiFi = true }},
	{"wifi", api.Note, "Wi-Fi", func(f *Facts) { f.Link.WiFi, f.Services[0].Mode = true, config.ModeAddress }},
	{"enslaved", api.Fail, "bridge br0", func(f *Facts) { f.Link.Master, f.Link.MasterKind, f.Link.Nets = "br0", "bridge", nil }},
	{"bridge-stp", api.Warn, "spanning tree", func(f *Facts) { f.Link.Kind, f.Link.STP = "bridge", true }},
	{"bond-mode", api.Fail, "balance-alb", func(f *Facts) { f.Link.Kind, f.Link.BondMode = "bond", "balance-alb" }},
	{"bond-mode", api.Warn, "balance-rr", func(f *Facts) { f.Link.Kind, f.Link.BondMode = "bond", "balance-rr" }},
	{"vlan", api.Note, "VLAN 30", func(f *Facts) { f.Link.Kind, f.Link.VLAN = "vlan", 30 }},
	{"macvlan-lower", api.Warn, "bridge", func(f *Facts) { f.Link.Kind, f.Link.Vepa = "macvlan", "bridge" }},
	{"macvlan-lower", api.Fail, "private", func(f *Facts) { f.Link.Kind, f.Link.Vepa = "macvlan", "private" }},
	{"macvlan-lower", api.Fail, "ipvlan", func(f *Facts) { f.Link.Kind = "ipvlan" }},
	{"virtual-switch", api.Warn, "VMware", func(f *Facts) { f.Link.Maker = "VMware, Inc. VMware20,1" }},
	{"virtual-switch", api.Warn, "Hyper-V", func(f *Facts) { f.Link.Maker = "Microsoft Corporation Virtual Machine" }},
	{"virtual-switch", api.Note, "VirtualBox", func(f *Facts) { f.Link.Maker, f.Services[0].Mode = "innotek GmbH VirtualBox", config.ModeAddress }},
	{"virtual-switch", api.Note, "QEMU", func(f *Facts) { f.Link.Maker = "QEMU Standard PC (Q35 + ICH9, 2009)" }},
	{"virtual-function", api.Warn, "iavf", func(f *Facts) { f.Link.Function, f.Link.Drivers = true, []string{"iavf"} }},
	{"two-interfaces", api.Warn, "eth1", func(f *Facts) { f.Link.Twins = []string{"eth1"} }},
	{"wol-unsupported", api.Fail, "eth0", func(f *Facts) { f.Cards.Arming = wake.Arming{} }},
	{"wol-unsupported", api.Note, "eth0", func(f *Facts) { f.Cards.Arming, f.Config.Own = wake.Arming{}, nil }},
	{"wol-unarmed", api.Note, "off", func(f *Facts) {
		f.Cards.Arming, f.Agent.Status = wake.Arming{Supported: true, Modes: "eth0: off"}, nil
	}},
	{"wol-unarmed", api.Warn, "off", func(f *Facts) { f.Cards.Arming = wake.Arming{Supported: true, Modes: "eth0: off"} }},
	{"wol-stray", api.Warn, "Unicast", func(f *Facts) { f.Cards.Arming.Stray, f.Cards.Arming.Modes = true, "eth0: Magic|Unicast" }},
	{"wol-device", api.Warn, "eth0", func(f *Facts) { f.Cards.Asleep = []string{"eth0"} }},
	{"arp-ignore", api.Fail, "default.arp_ignore is 2", func(f *Facts) { f.Settings["ipv4.default.arp_ignore"] = "2" }},
	{"arp-ignore", api.Fail, "eth0.arp_ignore is 8", func(f *Facts) { f.Settings["ipv4.eth0.arp_ignore"], f.Services[0].Mode = "8", config.ModeAddress }},
	{"arp-settings", api.Warn, "arp_announce is 0", func(f *Facts) { f.Settings["ipv4.all.arp_announce"] = "0" }},
	{"arp-settings", api.Warn, "arp_ignore is 8", func(f *Facts) { f.Settings["ipv4.all.arp_ignore"] = "8" }},
	{"arp-filter", api.Warn, "1", func(f *Facts) { f.Settings["ipv4.default.arp_filter"] = "1" }},
	{"rp-filter", api.Note, "strict", func(f *Facts) { f.Settings["ipv4.eth0.rp_filter"] = "1" }},
	{"proxy-arp", api.Fail, "eth0", func(f *Facts) { f.Settings["ipv4.eth0.proxy_arp"] = "1" }},
	{"ipv6-disabled", api.Fail, "default", func(f *Facts) { f.Settings["ipv6.default.disable_ipv6"] = "1" }},
	{"address-conflict", api.Fail, "02:bb", func(f *Facts) { f.Claims.Answers = append(f.Claims.Answers, identity.Foreign{IP: ip0, MAC: evil}) }},
	{"address-conflict", api.Warn, "is not known without the agent", func(f *Facts) { f.Services[0].Mode = config.ModeAddress }},
	{"address-conflict", api.Fail, "02:bb", func(f *Facts) {
		f.Services[0].Mode, f.Claims.Known, f.Claims.Members = config.ModeAddress, true, []net.HardwareAddr{card}
		f.Claims.Answers = []identity.Foreign{{IP: ip0, MAC: card}, {IP: ip0, MAC: evil}}
	}},
	{"address-here", api.Fail, "on lo", func(f *Facts) { f.Claims.Own = []OwnAddress{{ip0, "lo"}} }},
	{"vip-manager", api.Warn, "keepalived", func(f *Facts) { f.Managers.Running = []string{"keepalived"} }},
	{"address-configured", api.Fail, "10-lan.network", func(f *Facts) {
		f.Managers.Mentions = []Mention{{"/etc/systemd/network/10-lan.network", ip0, "systemd-networkd"}}
	}},
	{"networkd", api.Warn, "systemd-networkd", func(f *Facts) { f.Managers.Running = []string{"systemd-network"} }},
	{"networkmanager", api.Warn, "NetworkManager", func(f *Facts) { f.Managers.Running = []string{"NetworkManager"} }},
	{"dhcpcd", api.Warn, "dhcpcd", func(f *Facts) { f.Managers.Running = []string{"dhcpcd"} }},
	{"port-blocked", api.Fail, "7374/tcp", func(f *Facts) { f.Peers[0].Ports = reached(reachOK, reachSilent, reachOK) }},
	{"port-blocked", api.Fail, "7373/udp (gossip)", func(f *Facts) { f.Peers[0].Ports = reached(reachOK, reachOK, reachSilent) }},
	{"port-blocked", api.Fail, "7373/tcp", func(f *Facts) { f.Peers[0].Ports = reached(reachUnreachable, reachOK, reachOK) }},
	{"port-refused", api.Warn, "7373/tcp", func(f *Facts) { f.Peers[0].Ports = reached(reachRefused, reachRefused, reachSilent) }},
	{"peer-silent", api.Warn, "bravo (192.0.2.12)", func(f *Facts) { f.Peers[0].Ports = reached(reachSilent, reachUnreachable, reachSilent) }},
	{"cut-off", api.Fail, "(bravo and carol)", func(f *Facts) {
		f.Peers = append(f.Peers, Peer{Node: "carol", Addr: ip0, Ports: reached(reachSilent, reachSilent, reachSilent)})
		f.Peers[0].Ports = reached(reachSilent, reachUnreachable, reachSilent)
	}},
	{"firewall-drops", api.Note, "inet filter input", func(f *Facts) { f.Filter.Drops = []string{"inet filter input"} }},
	{"clock-unset", api.Fail, "1970", func(f *Facts) { f.At = time.Unix(1000, 0) }},
	{"clock-slew", api.Note, "8.3 %", func(f *Facts) { f.Clock.Slew = chronySlew }},
	{"clock-unsynchronized", api.Warn, "nobody", func(f *Facts) { f.Clock.Synced = false }},
	{"cannot-sleep", api.Fail, "cannot suspend", func(f *Facts) { f.Sleep.Cannot = "the kernel cannot suspend this machine" }},
	{"no-sleep-states", api.Note, "no suspend", func(f *Facts) { f.Sleep.States, f.Config.Own = "", nil }},
	{"sleep-s2idle", api.Note, "s2idle", func(f *Facts) { f.Sleep.Mode = "s2idle" }},
	{"rtc-missing", api.Warn, "no clock", func(f *Facts) { f.Clock.RTC = "there is no clock" }},
	{"daemon-down", api.Note, "nobody", func(f *Facts) { f.Agent = Agent{Why: "nobody answers"} }},
	{"daemon-down", api.Fail, "of this member does not run, or hangs: nobody", func(f *Facts) { f.Agent = Agent{Why: "nobody answers", Member: true} }},
	{"daemon-version", api.Warn, "v1", func(f *Facts) { f.Agent.Status.Version = "v1" }},
	{"agent-problem", api.Warn, "no majority", func(f *Facts) { f.Agent.Status.Troubles = []api.Trouble{{What: "no majority"}} }},
}

func TestEachFindingIsFound(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name+" "+c.word, func(t *testing.T) {
			f := sound()
			c.make(&f)
			got := slices.DeleteFunc(Judge(f), func(x api.Finding) bool { return x.Name != c.name })
			if len(got) != 1 || got[0].Level != c.level || !strings.Contains(got[0].What, c.word) {
				t.Fatalf("found %+v, want one of level %s with %q", got, c.level, c.word)
			}
			x := got[0]
			if x.Why == "" || x.Fix == "" || x.Area == "" {
				t.Errorf("it lacks something: %+v", x)
			}
			if slices.ContainsFunc(Judge(f), func(o api.Finding) bool { return o.Name == fineName && o.Area == x.Area }) && x.Level != api.Note {
				t.Errorf("the area %s is said to be fine as well", x.Area)
			}
		})
	}
}

// What is to be done about a missing file and another version is what works there: setup refuses to replace a file that is there, and a
// reload ends an agent of version 0.1.
func TestFixesThatWork(t *testing.T) {
	setup := func(path string) func(*Facts) {
		return func(f *Facts) { f.Config.Path, f.Config.Missing, f.Config.Own = path, true, nil }
	}
	of := func(version string) func(*Facts) { return func(f *Facts) { f.Agent.Status.Version = version } }
	for _, c := range []struct {
		name, fix string
		make      func(*Facts)
	}{
		{"config-missing", "nightporter setup; on a further host of a cluster, nightporter setup --join", setup(config.DefaultPath)},
		{"config-missing", "nightporter setup --config np.yaml; on a further host of a cluster, nightporter setup --join --config np.yaml", setup("np.yaml")},
		{"daemon-version", "systemctl restart nightporter", of("v0.1")},
		{"daemon-version", "systemctl restart nightporter", of("v0.1-3-g0123abc")},
		{"daemon-version", "systemctl reload nightporter", of("v0.10")},
		{"daemon-version", "systemctl reload nightporter", of("v0.9")},
	} {
		f := sound()
		c.make(&f)
		got := slices.DeleteFunc(Judge(f), func(x api.Finding) bool { return x.Name != c.name })
		if len(got) != 1 || got[0].Fix != c.fix {
			t.Errorf("found %+v, want %s to be mended by %q", got, c.name, c.fix)
		}
	}
}

// A sound host is fine in each area that one host can judge, and nothing is complained of.
func TestASoundHostIsFine(t *testing.T) {
	var areas []string
	for _, x := range Judge(sound()) {
		if x.Level != api.Fine {
			t.Errorf("found %+v", x)
		}
		areas = append(areas, x.Area)
	}
	want := slices.DeleteFunc(slices.Clone(Areas), func(a string) bool { return a == areaPorts })
	slices.Sort(areas)
	slices.Sort(want)
	if !slices.Equal(areas, want) {
		t.Errorf("fine are %v, want %v", areas, want)
	}
}

// The managers that are told to leave nightporter's links alone are no finding, and neither is the port of a VRF.
func TestWhatIsNoFinding(t *testing.T) {
	f := sound()
	f.Managers = Managers{Running: []string{"NetworkManager", "dhcpcd", "systemd-network"}, Spared: map[string]bool{"networkd": true, "networkmanager": true, "dhcpcd": true}}
	f.Link.Master, f.Link.MasterKind = "vrf7", "vrf"
	f.Settings["ipv4.all.arp_ignore"] = "3"
	f.Agent.Status = nil
	f.Agent.Why = "nobody answers"
	f.Peers[0].Ports = nil // it sleeps
	f.Kernel, f.Config.Own.Fence = Kernel{Fence: "nftables"}, config.FenceNFTables
	for _, x := range Judge(f) {
		if x.Level == api.Fail || x.Level == api.Warn {
			t.Errorf("found %+v", x)
		}
	}
}

// A card that would not wake the host is nowhere called in order, although it is a note only before the agent has run.
func TestAnUnarmedCardIsNotFine(t *testing.T) {
	f := sound()
	f.Cards.Arming, f.Agent.Status = wake.Arming{Supported: true, Modes: "eth0: off"}, nil
	for _, x := range Judge(f) {
		if x.Name == fineName && x.Area == areaWoL {
			t.Errorf("%+v", x)
		}
	}
}
