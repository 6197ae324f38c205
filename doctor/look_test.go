package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"nightporter/api"
	"nightporter/config"
)

// lay makes a link and takes it away at the end of the test.
func lay(t *testing.T, l netlink.Link, addrs ...string) netlink.Link {
	t.Helper()
	if err := netlink.LinkAdd(l); err != nil {
		t.Fatalf("make %s: %v", l.Attrs().Name, err)
	}
	made, err := netlink.LinkByName(l.Attrs().Name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(made) }) // it may have gone with the one below
	give(t, made, addrs...)
	return made
}

func give(t *testing.T, l netlink.Link, addrs ...string) {
	t.Helper()
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		if err == nil {
			err = netlink.AddrAdd(l, addr)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := netlink.LinkSetUp(l); err != nil {
		t.Fatal(err)
	}
}

// plug sets the other end of a veth up, and waits until the kernel has noticed the carrier at both, which it does a while later.
func plug(t *testing.T, wall netlink.Link, addrs ...string) {
	t.Helper()
	give(t, wall, addrs...)
	for by := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		here, err := netlink.LinkByIndex(wall.Attrs().Index)
		if err != nil {
			t.Fatal(err)
		}
		there, err := netlink.LinkByIndex(here.Attrs().ParentIndex)
		if err != nil {
			t.Fatal(err)
		}
		if here.Attrs().OperState == netlink.OperUp && there.Attrs().OperState == netlink.OperUp {
			return
		}
		if time.Now().After(by) {
			t.Fatalf("%s is %s, %s is %s", here.Attrs().Name, here.Attrs().OperState, there.Attrs().Name, there.Attrs().OperState)
		}
	}
}

func named(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

func on(name string, below netlink.Link) netlink.LinkAttrs {
	a := named(name)
	a.ParentIndex = below.Attrs().Index
	return a
}

// looked gathers what is told of an interface.
func looked(name string, services ...Identity) Facts {
	l := &looker{Host: Host{Interface: name}}
	l.f.Services = services
	l.link()
	l.settings()
	return l.f
}

func names(all []api.Finding) (out []string) {
	for _, x := range all {
		out = append(out, x.Name)
	}
	return out
}

// Each kind of interface, made for real, is known for what it is.
func TestKindsOfInterfaces(t *testing.T) {
	card := lay(t, &netlink.Veth{LinkAttrs: named("card"), PeerName: "wall"}, "192.0.2.11/24")
	wall, err := netlink.LinkByName("wall")
	if err != nil {
		t.Fatal(err)
	}
	plug(t, wall)
	bridge := lay(t, &netlink.Bridge{LinkAttrs: named("br7")}, "203.0.113.1/24")
	if err := os.WriteFile("/sys/class/net/br7/bridge/stp_state", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	port := lay(t, &netlink.Veth{LinkAttrs: named("port7"), PeerName: "port8"})
	if err := netlink.LinkSetMaster(port, bridge); err != nil {
		t.Fatal(err)
	}
	lay(t, &netlink.Macvlan{LinkAttrs: on("mac7", card), Mode: netlink.MACVLAN_MODE_PRIVATE}, "192.0.4.1/24")
	lay(t, &netlink.Veth{LinkAttrs: named("twin7"), PeerName: "twin8"}, "192.0.2.99/24")
	for name, want := range map[string]string{
		"br7": "bridge-stp", "port7": "enslaved", "mac7": "macvlan-lower", "card": "two-interfaces", "none7": "interface-missing",
	} {
		f := looked(name, Identity{Service: "web", Mode: config.ModeMAC})
		f.Link.Carrier, f.Link.Maker = true, "" // a bridge whose ports are down has none, and this may be a guest
		got := slices.DeleteFunc(names(judgeLink(f)), func(n string) bool { return n == fineName })
		if !slices.Equal(got, []string{want}) {
			t.Errorf("%s (%+v): found %v, want %s", name, f.Link, got, want)
		}
	}
	if err := netlink.LinkSetDown(wall); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); ; {
		got := names(judgeLink(looked("card")))
		if slices.Contains(got, "interface-down") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("with the cable pulled: found %v", got)
		}
	}
}

// Not every kernel has bonds and VLANs: as rtnetlink gives them.
func TestBondsAndVLANs(t *testing.T) {
	bond := netlink.NewLinkBond(named("bond7"))
	bond.Mode = netlink.BOND_MODE_BALANCE_ALB
	for want, one := range map[string]netlink.Link{"bond-mode": bond, "vlan": &netlink.Vlan{LinkAttrs: named("vlan7"), VlanId: 7}} {
		f := sound()
		f.Link = Link{Name: one.Attrs().Name}
		describe(&f.Link, one, nil)
		if got := names(f.judgeKind()); !slices.Equal(got, []string{want}) {
			t.Errorf("%+v: found %v, want %s", f.Link, got, want)
		}
	}
}

// Wi-Fi cannot be had here: what /sys has of it is a directory.
func TestWirelessByItsDirectory(t *testing.T) {
	dir := t.TempDir()
	if wireless(dir) {
		t.Error("an empty directory is Wi-Fi")
	}
	if err := os.Symlink("phy0", filepath.Join(dir, "phy80211")); err != nil {
		t.Fatal(err)
	}
	if !wireless(dir) {
		t.Error("phy80211 is not noticed")
	}
}

// Settings of the kernel that break a floating address are found where they are set.
func TestSettingsOfTheKernel(t *testing.T) {
	lay(t, &netlink.Veth{LinkAttrs: named("card"), PeerName: "wall"}, "192.0.2.11/24")
	service := Identity{Service: "web", Mode: config.ModeMAC, Addrs: []netip.Addr{ip0, six0}}
	for _, c := range []struct{ path, value, want string }{
		{"ipv4/conf/default/arp_ignore", "2", "arp-ignore"},
		{"ipv4/conf/card/arp_filter", "1", "arp-filter"},
		{"ipv4/conf/all/arp_filter", "1", "arp-filter"},
		{"ipv4/conf/card/rp_filter", "1", "rp-filter"},
		{"ipv4/conf/all/proxy_arp", "1", "proxy-arp"},
		{"ipv6/conf/card/disable_ipv6", "1", "ipv6-disabled"},
	} {
		path := filepath.Join("/proc/sys/net", c.path)
		old, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if before := names(judgeARP(looked("card", service))); slices.Contains(before, c.want) {
			t.Errorf("%s before it is set: %v", c.want, before)
		}
		if err := os.WriteFile(path, []byte(c.value), 0); err != nil {
			t.Fatal(err)
		}
		if got := names(judgeARP(looked("card", service))); !slices.Contains(got, c.want) {
			t.Errorf("with %s %s: found %v, want %s", c.path, c.value, got, c.want)
		}
		if err := os.WriteFile(path, old, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// A stranger at the other end of the cable is heard, and an address that is here by somebody else's doing is seen.
func TestStrangersAndOwnAddresses(t *testing.T) {
	for _, of := range []string{"all", "default"} { // or each end would answer for the other
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+of+"/arp_ignore", []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
	}
	lay(t, &netlink.Veth{LinkAttrs: named("card"), PeerName: "wall", PeerHardwareAddr: evil}, "192.0.2.11/24")
	wall, err := netlink.LinkByName("wall")
	if err != nil {
		t.Fatal(err)
	}
	plug(t, wall, ip0.String()+"/32")
	l := &looker{Host: Host{Interface: "card"}}
	l.f.Services = []Identity{{Service: "web", Mode: config.ModeMAC, MAC: mac0, Addrs: []netip.Addr{ip0}}}
	l.link()
	l.f.Claims.Own = l.ownAddresses()
	l.claims(t.Context())
	got := judgeClaims(l.f)
	if !slices.Equal(names(got), []string{"address-here", "address-conflict"}) || !strings.Contains(got[0].What, "on wall") || !strings.Contains(got[1].What, evil.String()) {
		t.Errorf("found %+v; unseen %+v", got, l.f.Unseen)
	}
}

// What becomes of an attempt is told apart.
func TestVerdictsOnPorts(t *testing.T) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	give(t, lo)
	card := lay(t, &netlink.Veth{LinkAttrs: named("card"), PeerName: "wall"}, "192.0.2.11/24") // nobody is at its other end
	wall, err := netlink.LinkByName("wall")
	if err != nil {
		t.Fatal(err)
	}
	plug(t, wall)
	if err := netlink.NeighAdd(&netlink.Neigh{LinkIndex: card.Attrs().Index, State: netlink.NUD_PERMANENT, IP: h2.AsSlice(), HardwareAddr: evil}); err != nil {
		t.Fatal(err)
	}
	shut := netip.MustParseAddr("198.51.100.1")
	nowhere := &netlink.Route{Dst: &net.IPNet{IP: shut.AsSlice(), Mask: net.CIDRMask(32, 32)}, Type: unix.RTN_UNREACHABLE}
	if err := netlink.RouteAdd(nowhere); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.RouteDel(nowhere) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	home := netip.MustParseAddr("127.0.0.1")
	open := netip.MustParseAddrPort(listener.Addr().String()).Port()
	for _, c := range []struct {
		to   netip.Addr
		port uint16
		want string
	}{{home, open, reachOK}, {home, 9, reachRefused}, {h2, 7373, reachSilent}, {shut, 7373, reachUnreachable}} {
		if got := dial(t.Context(), Peer{Addr: c.to}, netip.Addr{}, c.port); got.Result != c.want {
			t.Errorf("%s:%d: %+v, want %s", c.to, c.port, got, c.want)
		}
	}
}

// Other programs are found by their processes and their files, and by what their files say of nightporter's links.
func TestOtherManagers(t *testing.T) {
	root := t.TempDir()
	for path, text := range map[string]string{
		"/etc/systemd/network/10-lan.network":              "[Match]\nName=eth0\n[Network]\nAddress=192.0.2.200/24\n",
		"/etc/netplan/50.yaml":                             "# 192.0.2.200 was here\naddresses: [192.0.2.20/24, 192.0.2.2001]\n",
		"/etc/network/interfaces":                          "iface eth0 inet6 static\n address 2001:DB8::200/64\n",
		"/etc/systemd/networkd.conf.d/nightporter.conf":    "[Network]\nManageForeignRoutingPolicyRules=no\n",
		"/etc/NetworkManager/conf.d/nightporter.conf":      "[keyfile]\nunmanaged-devices+=interface-name:np-*\n",
		"/etc/dhcpcd.conf":                                 "#denyinterfaces np-*\n",
		"/etc/NetworkManager/system-connections/x.nmc/dir": "",
	} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(root, "keepalived")
	raw, err := os.ReadFile("/bin/sleep")
	if err == nil {
		err = os.WriteFile(program, raw, 0o700)
	}
	cmd := exec.Command(program, "60")
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	l := &looker{Host: Host{Root: root}}
	l.f.Services = []Identity{{Service: "web", Addrs: []netip.Addr{ip0, six0}}}
	l.managers()
	m := l.f.Managers
	if !slices.Contains(m.Running, "keepalived") {
		t.Errorf("running: %v", m.Running)
	}
	var files []string
	for _, x := range m.Mentions {
		files = append(files, strings.TrimPrefix(x.File, root)+" "+x.By)
	}
	slices.Sort(files)
	if want := []string{"/etc/network/interfaces ifupdown", "/etc/systemd/network/10-lan.network systemd-networkd"}; !slices.Equal(files, want) {
		t.Errorf("mentioned in %v, want %v", files, want)
	}
	if !m.Spared["networkd"] || !m.Spared["networkmanager"] || m.Spared["dhcpcd"] {
		t.Errorf("spared: %v", m.Spared)
	}
}

// A manager is spared by the files that this project installs, wherever they may stand, and by what others write; not by what is about
// other links.
func TestManagersThatAreTold(t *testing.T) {
	const conf = "/etc/NetworkManager/conf.d/x.conf"
	read := func(name string) string {
		raw, err := os.ReadFile("../packaging/network/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	networkd, manager := read("nightporter-networkd.conf"), read("nightporter-NetworkManager.conf")
	for _, c := range []struct {
		path, text, finding string
		spared              bool
	}{
		{"/usr/lib/systemd/networkd.conf.d/50-nightporter.conf", networkd, "networkd", true},
		{"/usr/local/lib/systemd/networkd.conf.d/50-nightporter.conf", networkd, "networkd", true},
		{"/run/systemd/networkd.conf.d/50-nightporter.conf", networkd, "networkd", true},
		{"/usr/lib/NetworkManager/conf.d/nightporter.conf", manager, "networkmanager", true},
		{"/etc/NetworkManager/conf.d/nightporter.conf", manager, "networkmanager", true},
		{"/run/NetworkManager/conf.d/nightporter.conf", manager, "networkmanager", true},
		{conf, "[device-a]\nmatch-device=type:wifi;interface-name:*\n# all\n\nkeep-configuration=no\nmanaged = 0", "networkmanager", true},
		{conf, "[device-a]\nmatch-device=interface-name:np-*\nmanaged=1\n", "networkmanager", false},
		{conf, "[device-a]\nmatch-device=interface-name:np-*\n[device-b]\nmanaged=0\n", "networkmanager", false},
		{conf, "[device-a]\nmatch-device=interface-name:eth0\nmanaged=0\n", "networkmanager", false},
		{conf, "[device-a]\n#match-device=interface-name:np-*\nmanaged=0\n", "networkmanager", false},
	} {
		root := t.TempDir()
		path := filepath.Join(root, c.path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(c.text), 0o600)); err != nil {
			t.Fatal(err)
		}
		l := &looker{Host: Host{Root: root}}
		l.managers()
		if got := l.f.Managers.Spared[c.finding]; got != c.spared {
			t.Errorf("%s with %q: spared is %v", c.path, c.text, got)
		}
	}
}

// An ordinary user gets what he may see, and is told what he may not and how.
func TestAsNobody(t *testing.T) {
	if os.Getenv(root) == "" {
		t.Skip("a user namespace has no other user: this needs root")
	}
	lay(t, &netlink.Veth{LinkAttrs: named("card"), PeerName: "wall"}, "192.0.2.11/24")
	wall, err := netlink.LinkByName("wall")
	if err != nil {
		t.Fatal(err)
	}
	plug(t, wall)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env, cmd.Dir = append(os.Environ(), asNobody+"=card"), "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody, NoSetGroups: true}}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var n api.DoctorNode
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&n); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	all := names(n.Findings)
	for _, want := range []string{"not-root", "config-missing", "not-looked-at"} {
		if !slices.Contains(all, want) {
			t.Errorf("found %v, want %s", all, want)
		}
	}
	i := slices.IndexFunc(n.Findings, func(x api.Finding) bool { return x.Name == "not-looked-at" && x.Area == areaKernel })
	if i < 0 || !strings.HasPrefix(n.Findings[i].Fix, asRoot) {
		t.Errorf("of the kernel: %+v", n.Findings)
	}
	if slices.ContainsFunc(n.Findings, func(x api.Finding) bool { return x.Level == api.Fail }) {
		t.Errorf("a failure for want of rights: %+v", n.Findings)
	}
}

// nobody is a user without rights.
const nobody = 65534

// chronyd is asked by its files how far it may bend the clocks.
func TestHowFarChronyBendsTheClocks(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  float64
	}{
		"no chrony":                 {map[string]string{"etc/chrony/chrony.conf": "maxslewrate 500\n"}, 0},
		"as it comes":               {map[string]string{"usr/sbin/chronyd": "", "etc/chrony/chrony.conf": "pool 2.debian.pool.ntp.org iburst\n# maxslewrate 100\n"}, chronySlew},
		"told":                      {map[string]string{"usr/sbin/chronyd": "", "etc/chrony/chrony.conf": "makestep 1 3\n  MaxSlewRate 10000.5\n"}, 10000.5},
		"told in a file of its own": {map[string]string{"usr/sbin/chronyd": "", "etc/chrony/chrony.conf": "confdir /etc/chrony/conf.d\n", "etc/chrony/conf.d/slew.conf": "maxslewrate 1000\n"}, 1000},
	} {
		root := t.TempDir()
		for path, text := range c.files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := (&looker{Host: Host{Root: root}}).slew(); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
