package doctor

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"nightporter/config"
	"nightporter/identity"
	"nightporter/wake"
)

// link finds the LAN interface and describes it.
func (l *looker) link() {
	k := &l.f.Link
	links, err := netlink.LinkList()
	if err != nil {
		l.unseen(areaInterface, "the interfaces of this host", err, asRoot)
		return
	}
	for _, one := range links {
		if a := one.Attrs(); a.Flags&net.FlagLoopback == 0 && !identity.Ours(a.Name) {
			k.Present = append(k.Present, a.Name)
		}
	}
	k.Name, k.Chosen = l.choose(links)
	for _, one := range links {
		if one.Attrs().Name == k.Name {
			describe(k, one, links)
			k.Twins = twins(k, one, links)
		}
	}
	vendor, _ := fileOrNone("/sys/class/dmi/id/sys_vendor")
	product, _ := fileOrNone("/sys/class/dmi/id/product_name")
	k.Maker = strings.TrimSpace(vendor + " " + product)
}

func (l *looker) choose(links []netlink.Link) (name, by string) {
	switch {
	case l.Interface != "":
		return l.Interface, "--interface"
	case l.Config != nil && l.Config.Interface != "":
		return l.Config.Interface, "the configuration"
	case l.Status != nil && l.Status.LAN.Interface != "":
		return l.Status.LAN.Interface, "the agent"
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteList(nil, family)
		if err != nil {
			continue
		}
		for _, r := range routes {
			if r.Dst != nil && r.Dst.IP != nil && !r.Dst.IP.IsUnspecified() {
				continue
			}
			for _, one := range links {
				if one.Attrs().Index == r.LinkIndex {
					return one.Attrs().Name, "the default route"
				}
			}
		}
	}
	return "", ""
}

func describe(k *Link, one netlink.Link, links []netlink.Link) {
	a := one.Attrs()
	k.Found, k.Kind, k.MAC = true, one.Type(), a.HardwareAddr
	k.Up = a.Flags&net.FlagUp != 0
	k.Carrier = a.OperState != netlink.OperDown && a.OperState != netlink.OperLowerLayerDown && a.OperState != netlink.OperNotPresent
	k.Nets = netsOf(one)
	for _, m := range links {
		if a.MasterIndex != 0 && m.Attrs().Index == a.MasterIndex {
			k.Master, k.MasterKind = m.Attrs().Name, m.Type()
		}
	}
	switch x := one.(type) {
	case *netlink.Bond:
		k.BondMode = x.Mode.String()
	case *netlink.Vlan:
		k.VLAN = x.VlanId
	case *netlink.Macvlan:
		k.Vepa = map[netlink.MacvlanMode]string{
			netlink.MACVLAN_MODE_PRIVATE: "private", netlink.MACVLAN_MODE_VEPA: "vepa", netlink.MACVLAN_MODE_BRIDGE: "bridge", netlink.MACVLAN_MODE_PASSTHRU: "passthru",
		}[x.Mode]
	}
	dir := filepath.Join("/sys/class/net", k.Name)
	stp, _ := fileOrNone(filepath.Join(dir, "bridge", "stp_state"))
	k.STP = stp != "" && stp != "0"
	k.WiFi, k.Function = wireless(dir), isThere(filepath.Join(dir, "device", "physfn"))
}

// wireless says whether a directory of /sys/class/net is a Wi-Fi interface's: of any kernel since 2.6.24, or of the older way.
func wireless(dir string) bool {
	return isThere(filepath.Join(dir, "phy80211")) || isThere(filepath.Join(dir, "wireless"))
}

func isThere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// netsOf are the addresses of a link, but for link-local ones and such as stand alone.
func netsOf(one netlink.Link) (out []netip.Prefix) {
	addrs, err := netlink.AddrList(one, netlink.FAMILY_ALL)
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if p, ok := prefixOf(a); ok && !p.Addr().IsLinkLocalUnicast() && !p.IsSingleIP() {
			out = append(out, p)
		}
	}
	return out
}

func prefixOf(a netlink.Addr) (netip.Prefix, bool) {
	if a.IPNet == nil {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(a.IP)
	bits, _ := a.Mask.Size()
	return netip.PrefixFrom(ip.Unmap(), bits), ok
}

// twins are other links with an address in the same network.
func twins(k *Link, lower netlink.Link, links []netlink.Link) (out []string) {
	for _, one := range links {
		a := one.Attrs()
		if a.Index == lower.Attrs().Index || identity.Ours(a.Name) || a.Flags&net.FlagUp == 0 {
			continue
		}
		for _, p := range netsOf(one) {
			if slices.ContainsFunc(k.Nets, p.Overlaps) && !slices.Contains(out, a.Name) {
				out = append(out, a.Name)
			}
		}
	}
	return out
}

// ownAddresses are the services' addresses that this host has on links that are not nightporter's.
func (l *looker) ownAddresses() (out []OwnAddress) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil // said already
	}
	for _, one := range links {
		name := one.Attrs().Name
		addrs, err := netlink.AddrList(one, netlink.FAMILY_ALL)
		if err != nil || identity.Ours(name) {
			continue
		}
		for _, a := range addrs {
			p, ok := prefixOf(a)
			for _, s := range l.f.Services {
				lent := s.Mode == config.ModeAddress && l.f.Agent.Status != nil && name == l.f.Link.Name && p.IsSingleIP()
				if ok && slices.Contains(s.Addrs, p.Addr()) && !lent {
					out = append(out, OwnAddress{p.Addr(), name})
				}
			}
		}
	}
	return out
}

// settings reads what the kernel has for all interfaces, for new ones and for this one.
func (l *looker) settings() {
	s := make(Settings)
	for family, keys := range map[string][]string{
		"ipv4": {"arp_ignore", "arp_announce", "arp_filter", "rp_filter", "proxy_arp"},
		"ipv6": {"disable_ipv6"},
	} {
		for _, of := range []string{"all", "default", l.f.Link.Name} {
			for _, key := range keys {
				raw, err := os.ReadFile(filepath.Join("/proc/sys/net", family, "conf", of, key))
				if err == nil && of != "" {
					s[family+"."+of+"."+key] = strings.TrimSpace(string(raw))
				}
			}
		}
	}
	l.f.Settings = s
}

// cards reads what waking this host depends on.
func (l *looker) cards() {
	c := &l.f.Cards
	if !l.f.Link.Found {
		return
	}
	arming, err := wake.ReadArming(l.f.Link.Name)
	if err != nil {
		l.unseen(areaWoL, "the Wake-on-LAN setting", err, asRoot)
		return
	}
	c.Read, c.Arming = true, arming
	cards, err := wake.Cards(l.f.Link.Name)
	if err != nil && !errors.Is(err, os.ErrPermission) {
		l.unseen(areaWoL, "the network cards beneath "+l.f.Link.Name, err, asRoot)
	}
	for _, one := range cards {
		c.Names = append(c.Names, one.Name)
		if one.Driver != "" {
			l.f.Link.Drivers = append(l.f.Link.Drivers, one.Driver)
		}
		if may, _ := fileOrNone(filepath.Join("/sys/class/net", one.Name, "device", "power", "wakeup")); may == "disabled" {
			c.Asleep = append(c.Asleep, one.Name)
		}
	}
}
