package setup

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"nightporter/config"
)

var lan = netip.MustParsePrefix("192.0.2.11/24")

// machine is a host with eth0 and one address there.
func machine() *config.Machine {
	return &config.Machine{
		Prefixes: func(string) ([]netip.Prefix, error) { return []netip.Prefix{lan}, nil },
		HasGroup: func(string) bool { return true }, HasCommand: func(string) bool { return true }, HasFile: func(string) bool { return true },
		OnDisk: func(string) bool { return false }, Sleeps: func(config.Suspend) string { return "" },
	}
}

func answers(secret string) Answers {
	return Answers{
		Cluster: "home", SecretFile: secret, Node: "alpha", Interface: "eth0", Addr: lan.Addr(),
		Others:   []Host{{"no", netip.MustParseAddr("192.0.2.12")}, {"3com", netip.MustParseAddr("2001:db8::13")}},
		Services: []Service{{"nas", netip.MustParseAddr("192.0.2.200"), []string{"445/tcp", "53/udp"}, "no"}},
		Sleep:    Sleep{true, "15m"},
	}
}

func mustWrite(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// names lists a folder.
func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		out = append(out, e.Name())
	}
	return out
}

// What is written is read back as what was answered, also where a name means something else in YAML.
func TestTheAnswersBecomeAConfiguration(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "nightporter.yaml")
	a := answers(filepath.Join(dir, "secret"))
	w, err := Plan{Path: path, Text: a.Text(), Node: a.Node}.Write(machine())
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path, "alpha", machine())
	if err != nil {
		t.Fatal(err)
	}
	if w.Secret != "made" || c.Power != config.Sleeps || c.Idle.String() != "15m0s" || !reflect.DeepEqual(c.Nodes, []string{"alpha", "no", "3com"}) || c.BootstrapExpect != 3 ||
		len(c.Services) != 1 || c.Services[0].Targets[0] != "no" || len(c.Services[0].Ports) != 2 || !reflect.DeepEqual(c.Join, []string{"192.0.2.12:7373", "[2001:db8::13]:7373"}) {
		t.Errorf("%s\nbecame %+v", a.Text(), c)
	}
	if info, err := os.Stat(c.SecretFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the secret: %v, %v", info, err)
	}
}

// A host that no cable of this one leads to is most likely a slip of the keys. Of a family that this host has no network of, nothing is known.
func TestAHostInAnotherNetworkIsFound(t *testing.T) {
	a := answers("/secret")
	a.Others = []Host{{"bravo", netip.MustParseAddr("192.0.3.12")}, {"charlie", netip.MustParseAddr("192.0.2.13")}, {"delta", netip.MustParseAddr("2001:db8::13")}}
	if got := a.Elsewhere(machine()); len(got) != 1 || !strings.Contains(got[0], "192.0.3.12, the address of bravo, is in no network of this host's eth0 (192.0.2.11/24)") {
		t.Errorf("it says %q", got)
	}
}

// A folder that cannot be made leaves nothing, and neither does one that was made for nothing.
func TestAFailureTakesItsFoldersAway(t *testing.T) {
	dir := t.TempDir()
	a := answers(filepath.Join(dir, "other/secret"))
	a.Addr = netip.MustParseAddr("192.0.2.77") // which the interface has not
	if _, err := (Plan{Path: filepath.Join(dir, "one/two/nightporter.yaml"), Text: a.Text(), Node: a.Node}).Write(machine()); err == nil || len(names(t, dir)) != 0 {
		t.Errorf("it left %v (%v)", names(t, dir), err)
	}
	mustWrite(t, filepath.Join(dir, "one"), "a file")
	if _, err := (Plan{Path: filepath.Join(dir, "one/two/nightporter.yaml"), Text: a.Text(), Node: a.Node}).Write(machine()); err == nil || len(names(t, dir)) != 1 {
		t.Errorf("it left %v (%v)", names(t, dir), err)
	}
	if err := Writable(filepath.Join(dir, "two/three/nightporter.yaml")); err != nil || len(names(t, dir)) != 1 {
		t.Errorf("it is not writable: %v", err)
	}
	if err := Writable("/proc/self/nightporter.yaml"); err == nil {
		t.Error("/proc is writable")
	}
}

// Whatever is refused leaves the folder as it was, secret and all.
func TestARefusalLeavesNothingBehind(t *testing.T) {
	good := string(config.NewSecret())
	for name, c := range map[string]struct {
		there map[string]string
		plan  func(*Plan, *Answers)
		want  string
	}{
		"a mistake":          {nil, func(_ *Plan, a *Answers) { a.Services[0].Addr = lan.Addr() }, "192.0.2.11"},
		"an address of none": {nil, func(_ *Plan, a *Answers) { a.Addr = netip.MustParseAddr("192.0.2.77") }, "is not an address of interface eth0"},
		"another file":       {map[string]string{"nightporter.yaml": "mine"}, func(*Plan, *Answers) {}, "--force replaces it"},
		"another secret":     {map[string]string{"secret": good}, func(p *Plan, _ *Answers) { p.Secret = config.NewSecret() }, "another secret already"},
		"no secret at all":   {nil, func(p *Plan, _ *Answers) { p.Secret = []byte("hello\n") }, "is damaged"},
		"a mistake in place of another file": {map[string]string{"nightporter.yaml": "mine", "secret": good}, func(p *Plan, a *Answers) {
			p.Force, p.Secret, a.Interface = true, config.NewSecret(), ""
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range c.there {
				mustWrite(t, filepath.Join(dir, file), text)
			}
			before := names(t, dir)
			a := answers(filepath.Join(dir, "secret"))
			p := Plan{Path: filepath.Join(dir, "nightporter.yaml"), Node: a.Node}
			c.plan(&p, &a)
			p.Text = a.Text()
			if _, err := p.Write(machine()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v", err)
			}
			if after := names(t, dir); !reflect.DeepEqual(before, after) {
				t.Errorf("there was %v, and there is %v", before, after)
			}
			for file, text := range c.there {
				if body, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(body) != text {
					t.Errorf("%s is %q now (%v)", file, body, err)
				}
			}
		})
	}
}

// --force replaces both files and keeps what was there.
func TestForceKeepsWhatWasThere(t *testing.T) {
	dir := t.TempDir()
	old := string(config.NewSecret())
	mustWrite(t, filepath.Join(dir, "secret"), old)
	mustWrite(t, filepath.Join(dir, "nightporter.yaml"), "mine")
	a := answers(filepath.Join(dir, "secret"))
	taken := config.NewSecret()
	w, err := Plan{Path: filepath.Join(dir, "nightporter.yaml"), Text: a.Text(), Node: a.Node, Secret: taken, Force: true}.Write(machine())
	if err != nil || w.Secret != "taken" || len(w.Kept) != 2 {
		t.Fatalf("%+v, %v", w, err)
	}
	for file, want := range map[string]string{"secret": string(taken), "secret.bak": old, "nightporter.yaml": a.Text(), "nightporter.yaml.bak": "mine"} {
		if body, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(body) != want {
			t.Errorf("%s has %q (%v)", file, body, err)
		}
	}
}

// What was there before the first of several replacements is kept over all of them; what does not change is not replaced.
func TestEachReplacedFileIsKept(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "nightporter.yaml"), "mine")
	a := answers(filepath.Join(dir, "secret"))
	var second string
	for i, cluster := range []string{"home", "den", "den"} {
		a.Cluster = cluster
		if i == 0 {
			second = a.Text()
		}
		w, err := Plan{Path: filepath.Join(dir, "nightporter.yaml"), Text: a.Text(), Node: a.Node, Force: true}.Write(machine())
		if err != nil || len(w.Kept) != []int{1, 1, 0}[i] {
			t.Fatalf("%d: %+v, %v", i, w, err)
		}
	}
	for file, want := range map[string]string{"nightporter.yaml": a.Text(), "nightporter.yaml.bak": "mine", "nightporter.yaml.bak2": second} {
		if body, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(body) != want {
			t.Errorf("%s has %q (%v)", file, body, err)
		}
	}
}

// An invitation survives what mail and terminals do to it, and a mistake in one character is found.
func TestInvitations(t *testing.T) {
	a := answers("/etc/nightporter/secret")
	in := Invitation{Config: a.Text(), Secret: string(config.NewSecret())}
	line := in.String()
	if strings.ContainsAny(line, " \n") || len(line) > 1500 {
		t.Errorf("it is %d characters: %s", len(line), line)
	}
	for _, form := range []string{line, line + "\n", " " + line[:100] + "\r\n" + line[100:] + " "} {
		if out, err := ReadInvitation(form); err != nil || out != in {
			t.Errorf("%q is read as %+v, %v", form, out, err)
		}
	}
	if _, err := ReadInvitation("nightporter2." + line); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Errorf("of one of another version it says %v", err)
	}
	for i := range len(line) {
		spoiled := line[:i] + "A" + line[i+1:]
		if _, err := ReadInvitation(spoiled); err == nil && spoiled != line {
			t.Errorf("character %d was changed, and nothing said", i)
		}
		if _, err := ReadInvitation(line[:i]); err == nil {
			t.Errorf("%d characters of it were taken", i)
		}
	}
}

// A host that is named takes the file as it is, or with its own interface; any other is added.
func TestJoinFitsTheConfiguration(t *testing.T) {
	a := answers("/etc/nightporter/secret")
	a.Others = []Host{{"bravo", netip.MustParseAddr("192.0.2.12")}}
	a.Services = nil
	link := func(name, prefix string) []Link {
		return []Link{{"docker0", []netip.Prefix{netip.MustParsePrefix("172.17.0.1/16")}, false, false}, {name, []netip.Prefix{netip.MustParsePrefix(prefix)}, true, false}}
	}
	for name, c := range map[string]struct {
		node  string
		links []Link
		text  string // "" = the text above
		line  string
		fails string
	}{
		"named":                            {"bravo", link("eth0", "192.0.2.12/24"), "", "", ""},
		"named, on another interface":      {"bravo", link("enp3s0", "192.0.2.12/24"), "", "  bravo: {address: \"192.0.2.12\", interface: enp3s0}\n", ""},
		"not named":                        {"charlie", link("eth0", "192.0.2.13/24"), "", "  charlie: {address: \"192.0.2.13\"}\n", ""},
		"not named, on another interface":  {"charlie", link("br0", "192.0.2.13/24"), "", "  charlie: {address: \"192.0.2.13\", interface: br0}\n", ""},
		"not named, on no such network":    {"charlie", link("eth0", "198.51.100.1/24"), "", "", "no interface of this host is in a network with the other hosts"},
		"not named, nodes in another form": {"charlie", link("eth0", "192.0.2.13/24"), "cluster: home\ninterface: eth0\nnodes: {alpha: {address: 192.0.2.11}}\n", "", "the configuration in the invitation"},
		"not named, indented by four":      {"charlie", link("eth0", "192.0.2.13/24"), "cluster: home\ninterface: eth0\nnodes: # all of them\n    alpha: {address: 192.0.2.11}\n    bravo: {address: 192.0.2.12}\n", "    charlie: {address: \"192.0.2.13\"}\n", ""},
		"not named, below a comment":       {"charlie", link("eth0", "192.0.2.13/24"), "cluster: home\ninterface: eth0\nnodes: # all of them\n  # the hosts\n\n   alpha: {address: 192.0.2.11}\n   bravo: {address: 192.0.2.12}\n", "   charlie: {address: \"192.0.2.13\"}\n", ""},
		"broken":                           {"charlie", link("eth0", "192.0.2.13/24"), "cluster: home\nnonsense: 1\n", "", "unknown key"},
	} {
		t.Run(name, func(t *testing.T) {
			text := c.text
			if text == "" {
				text = a.Text()
			}
			j, err := Join(text, c.node, c.links)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("it gave %+v, %v", j, err)
				}
				return
			}
			if err != nil || j.Line != c.line || !strings.Contains(j.Text, c.line) {
				t.Fatalf("it gave %q, %v\n%s", j.Line, err, j.Text)
			}
			cfg, err := config.Parse("joined", []byte(j.Text), c.node, nil)
			if err != nil || cfg.Address != c.links[1].Addr() || cfg.Interface != c.links[1].Name {
				t.Errorf("%s has %v on %s: %v\n%s", c.node, cfg.Address, cfg.Interface, err, j.Text)
			}
			if _, err := config.Parse("joined", []byte(j.Text), "alpha", nil); err != nil {
				t.Errorf("alpha cannot read it: %v", err)
			}
		})
	}
}

func TestTheSensibleInterfaceComesFirst(t *testing.T) {
	table := "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\nwg0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\nenp3s0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
	if d := defaultLink(table); d != "enp3s0" {
		t.Errorf("the default route is said to be through %q", d)
	}
	list := []Link{{Name: "docker0"}, {Name: "wlan0", WiFi: true}, {Name: "eth1"}, {Name: "enp3s0", Default: true}, {Name: "veth12"}}
	sortLinks(list)
	if list[0].Name != "enp3s0" || list[1].Name != "eth1" || list[2].Name != "wlan0" {
		t.Errorf("the order is %v", list)
	}
	air := []Link{{Name: "docker0", Default: true}, {Name: "wlan1", WiFi: true}, {Name: "wlan0", WiFi: true, Default: true}, {Name: "eth0"}}
	sortLinks(air)
	if air[0].Name != "eth0" || air[1].Name != "wlan0" || air[2].Name != "wlan1" {
		t.Errorf("with Wi-Fi as the way out the order is %v", air)
	}
	for _, sign := range []string{"phy80211", "wireless"} {
		dir := t.TempDir()
		mustWrite(t, filepath.Join(dir, sign), "")
		if !wifi(dir) || wifi(t.TempDir()) {
			t.Errorf("an interface with %s is no Wi-Fi", sign)
		}
	}
}

func TestAnswersThatMakeNoSense(t *testing.T) {
	for _, s := range []string{"bravo", "bravo=", "=192.0.2.1", "bravo=192.0.2", "bravo 192.0.2.12"} {
		if _, err := ReadHosts(s); err == nil {
			t.Errorf("hosts %q were taken", s)
		}
	}
	for _, s := range []string{"nas", "nas 192.0.2.200", "nas 445/tcp 192.0.2.200", "nas 192.0.2.200 on bravo"} {
		if _, err := ReadService(s, "alpha"); err == nil {
			t.Errorf("the service %q was taken", s)
		}
	}
	for _, s := range []string{"", "localhost", "my_host", "-a", "a-", "a b", "ünï", "a.lan", strings.Repeat("x", 64)} {
		if _, err := ReadNode(s); err == nil {
			t.Errorf("the name %q was taken", s)
		}
	}
	if n, err := ReadNode(" 3Com-1 "); err != nil || n != "3com-1" {
		t.Errorf("the name is %q, %v", n, err)
	}
	for _, s := range []string{"", "maybe", "-1", "15", "15 m", "0s", "-5m", "1y"} {
		if _, err := ReadSleep(s); err == nil {
			t.Errorf("sleep %q was taken", s)
		}
	}
	one, err := ReadService("nas 192.0.2.200 445 53/udp on bravo", "alpha")
	if err != nil || !reflect.DeepEqual(one, []Service{{"nas", netip.MustParseAddr("192.0.2.200"), []string{"445/tcp", "53/udp"}, "bravo"}}) {
		t.Errorf("it is %+v, %v", one, err)
	}
}
