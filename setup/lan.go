package setup

import (
	"bufio"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"nightporter/config"
)

func asProblems(err error) ([]string, bool) {
	found, is := errors.AsType[*config.Problems](err)
	if !is {
		return nil, false
	}
	var out []string
	for _, p := range found.List {
		out = append(out, p.Message)
	}
	return out, true
}

// Link is an interface that could carry services.
type Link struct {
	Name     string
	Prefixes []netip.Prefix // lasting ones, IPv4 first
	Default  bool           // the way out of the LAN leads through it
	WiFi     bool
}

// Addr is the host's own address there.
func (l Link) Addr() netip.Addr { return l.Prefixes[0].Addr() }

// inside are interfaces that only programs of this host use.
var inside = []string{"lo", "np-", "veth", "docker", "virbr", "br-", "cni", "flannel", "cali", "tun", "tap", "wg", "tailscale", "zt"}

// Links gives the interfaces of this host that have an address, the most sensible one first.
func Links() []Link {
	all, err := net.Interfaces()
	if err != nil {
		return nil
	}
	routes, _ := os.ReadFile("/proc/net/route") // without it no interface is better than another
	var out []Link
	for _, l := range all {
		if l.Flags&net.FlagUp == 0 || l.Flags&(net.FlagLoopback|net.FlagPointToPoint) != 0 {
			continue
		}
		prefixes, err := config.LocalPrefixes(l.Name)
		prefixes = slices.DeleteFunc(prefixes, netip.Prefix.IsSingleIP) // a service's, in mode address
		if err != nil || len(prefixes) == 0 {
			continue
		}
		slices.SortStableFunc(prefixes, func(a, b netip.Prefix) int { return b2i(b.Addr().Is4()) - b2i(a.Addr().Is4()) })
		out = append(out, Link{l.Name, prefixes, l.Name == defaultLink(string(routes)), wifi("/sys/class/net/" + l.Name)})
	}
	sortLinks(out)
	return out
}

// wifi says whether a directory of /sys/class/net is a Wi-Fi interface's: of any kernel since 2.6.24, or of the older way.
func wifi(dir string) bool {
	return slices.ContainsFunc([]string{"/phy80211", "/wireless"}, func(sign string) bool {
		_, err := os.Stat(dir + sign)
		return err == nil
	})
}

// sortLinks puts a cable before Wi-Fi, of either that one first through which the default route leads, and those of virtual machines and
// containers last.
func sortLinks(list []Link) {
	rank := func(l Link) int {
		switch {
		case slices.ContainsFunc(inside, func(p string) bool { return strings.HasPrefix(l.Name, p) }):
			return 4
		case l.WiFi && l.Default:
			return 2
		case l.WiFi:
			return 3
		case l.Default:
			return 0
		}
		return 1
	}
	slices.SortStableFunc(list, func(a, b Link) int { return rank(a) - rank(b) })
}

// defaultLink finds the interface of the default route in /proc/net/route.
func defaultLink(table string) string {
	lines := bufio.NewScanner(strings.NewReader(table))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) > 7 && f[1] == "00000000" && f[7] == "00000000" {
			return f[0]
		}
	}
	return ""
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// near gives the link that has the address itself, or else the first that is in one network with one of the others.
func near(links []Link, own netip.Addr, others []netip.Addr) (Link, bool) {
	for _, l := range links {
		if slices.ContainsFunc(l.Prefixes, func(p netip.Prefix) bool { return p.Addr() == own }) {
			return l, true
		}
	}
	if own.IsValid() {
		return Link{}, false
	}
	for _, l := range links {
		for _, p := range l.Prefixes {
			if slices.ContainsFunc(others, p.Contains) {
				l.Prefixes = append([]netip.Prefix{p}, l.Prefixes...)
				return l, true
			}
		}
	}
	return Link{}, false
}
