package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"nightporter/api"
	"nightporter/config"
)

func judgeLink(f Facts) (out []api.Finding) {
	l := f.Link
	switch {
	case l.Name == "":
		return append(out, found("interface-missing", "nightporter doctor --interface NAME", "no interface was named, and there is no default route; this host has %s", strings.Join(l.Present, ", ")))
	case !l.Found:
		return append(out, found("interface-missing", "", "there is no interface %s (named by %s); this host has %s", l.Name, l.Chosen, strings.Join(l.Present, ", ")))
	case !l.Up:
		out = append(out, found("interface-down", "ip link set dev "+l.Name+" up", "%s is down", l.Name))
	case !l.Carrier:
		out = append(out, found("interface-down", "look at the cable and the switch's port", "%s has no carrier", l.Name))
	}
	if l.Master != "" && l.MasterKind != "vrf" {
		out = append(out, found("enslaved", "interface: "+l.Master+" in the configuration", "%s is a port of the %s %s", l.Name, cmp.Or(l.MasterKind, "interface"), l.Master))
	} else if len(l.Nets) == 0 {
		out = append(out, found("interface-address", "", "%s has no address but link-local ones", l.Name))
	}
	out = append(out, f.judgeKind()...)
	out = append(out, f.judgeCarrier()...)
	if len(l.Twins) > 0 {
		out = append(out, found("two-interfaces", "", "%s has an address in the network of %s, too", strings.Join(l.Twins, ", "), l.Name))
	}
	return clean(out, areaInterface, "%s (%s): %s%s", l.Name, l.Chosen, cmp.Or(l.Kind, "device"), nets(l))
}

func nets(l Link) string {
	out := ""
	for _, p := range l.Nets {
		out += ", " + p.String()
	}
	return out
}

// inMAC gives a finding the level that it has where services with a MAC of their own are, and another one where none are.
func (f Facts) inMAC(with, without api.Level, one api.Finding) api.Finding {
	if f.inMode(config.ModeMAC) {
		return as(with, one)
	}
	return as(without, one)
}

// judgeKind looks at what the interface is.
func (f Facts) judgeKind() (out []api.Finding) {
	l := f.Link
	switch l.Kind {
	case "bridge":
		if l.STP {
			out = append(out, found("bridge-stp", "ip link set dev "+l.Name+" type bridge stp_state 0", "the bridge %s has the spanning tree protocol on", l.Name))
		}
	case "bond":
		fix := "ip link set dev " + l.Name + " type bond mode active-backup"
		switch l.BondMode {
		case "balance-tlb", "balance-alb":
			out = append(out, f.inMAC(api.Fail, api.Note, found("bond-mode", fix, "the bond %s has the mode %s", l.Name, l.BondMode)))
		case "balance-rr", "balance-xor", "broadcast":
			out = append(out, as(api.Warn, found("bond-mode", fix, "the bond %s has the mode %s, which needs a static aggregate at the switch", l.Name, l.BondMode)))
		}
	case "vlan":
		out = append(out, found("vlan", "", "%s is the VLAN %d", l.Name, l.VLAN))
	case "ipvlan":
		out = append(out, f.inMAC(api.Fail, api.Note, found("macvlan-lower", "", "%s is an ipvlan", l.Name)))
	case "macvlan":
		level := api.Warn
		if l.Vepa == "private" || l.Vepa == "passthru" {
			level = api.Fail
		}
		out = append(out, f.inMAC(level, api.Note, found("macvlan-lower", "", "%s is a macvlan in mode %s", l.Name, l.Vepa)))
	}
	return out
}

// makers are those whose virtual switches pass one MAC, by a word of what the firmware says of the machine.
var makers = []struct {
	word, name, fix string
}{
	{"vmware", "VMware", "at the port group of the virtual switch: allow promiscuous mode, MAC address changes and forged transmits"},
	{"microsoft corporation virtual", "Hyper-V", "on the host: Set-VMNetworkAdapter -VMName NAME -MacAddressSpoofing On"},
	{"virtualbox", "VirtualBox", "VBoxManage modifyvm NAME --nicpromisc1 allow-all"},
	{"amazon ec2", "Amazon EC2", "none: its network knows no second MAC and no second owner of an address"},
	{"google compute", "Google Compute Engine", "none: its network knows no second MAC and no second owner of an address"},
	{"digitalocean", "DigitalOcean", "none: its network knows no second MAC"},
	{"qemu", qemu, "none is needed by default; Proxmox: the MAC filter in the firewall options of the machine off; libvirt: no filter clean-traffic"},
	{"hetzner", "Hetzner Cloud", "none: its network knows no second MAC"},
}

// qemu has a virtual switch that passes every MAC, unless somebody has it filter.
const qemu = "QEMU or KVM"

// judgeCarrier looks at what carries the interface's frames.
func (f Facts) judgeCarrier() (out []api.Finding) {
	l := f.Link
	if l.WiFi {
		out = append(out, f.inMAC(api.Fail, api.Note, found("wifi", "", "%s is a Wi-Fi interface", l.Name)))
	}
	lower := strings.ToLower(l.Maker)
	for _, m := range makers {
		if strings.Contains(lower, m.word) {
			level := api.Warn
			if m.name == qemu {
				level = api.Note
			}
			out = append(out, f.inMAC(level, api.Note, found("virtual-switch", m.fix+"; or `mode: address` for the services", "this machine is a guest of %s", m.name)))
			break
		}
	}
	if l.Function {
		out = append(out, f.inMAC(api.Warn, api.Note, found("virtual-function", "", "%s is a virtual function (driver %s)", l.Name, strings.Join(l.Drivers, ", "))))
	}
	return out
}

func judgeWoL(f Facts) (out []api.Finding) {
	own := f.Config.Own
	if !f.Cards.Read || !f.Link.Found || own != nil && (own.Power != config.Sleeps || own.WoL == config.WoLAssumed) {
		return nil
	}
	a, cards := f.Cards.Arming, strings.Join(f.Cards.Names, ", ")
	switch {
	case a.Unknown:
		return append(out, fromUnseen(areaWoL, "the Wake-on-LAN setting of "+cards, "it needs CAP_NET_ADMIN and Linux 5.6 or later", "sudo nightporter doctor"))
	case !a.Supported:
		one := found("wol-unsupported", "", "no card beneath %s knows Wake-on-LAN", f.Link.Name)
		if own == nil {
			one = as(api.Note, one)
		}
		return append(out, one)
	case !a.Armed:
		one := found("wol-unarmed", fmt.Sprintf("ethtool -s %s wol g", cmp.Or(cards, f.Link.Name)), "the card would not wake this host: %s", a.Modes)
		if f.Agent.Status != nil {
			one = as(api.Warn, one)
		}
		out = append(out, one)
	case a.Stray:
		out = append(out, found("wol-stray", fmt.Sprintf("ethtool -s %s wol g", cmp.Or(cards, f.Link.Name)), "it also wakes on something else than a magic packet: %s", a.Modes))
	}
	for _, c := range f.Cards.Asleep {
		out = append(out, found("wol-device", "echo enabled > /sys/class/net/"+c+"/device/power/wakeup", "the device of %s may not wake this machine", c))
	}
	if !a.Armed {
		return out // nothing here is in order, though before its first sleep nothing is wrong either
	}
	return clean(out, areaWoL, "%s", a.Modes)
}

func fromUnseen(area, what, why, how string) api.Finding {
	return unseen(Facts{Unseen: []Unseen{{area, what, why, how}}})[0]
}

// setting is one of the kernel's, "" where it is not known.
func (s Settings) setting(family, of, key string) string { return s[family+"."+of+"."+key] }

// either says whether a setting that counts where it is set for all or for the one is on.
func (s Settings) either(of, key string) bool {
	return s.setting("ipv4", "all", key) == "1" || s.setting("ipv4", of, key) == "1"
}

func judgeARP(f Facts) (out []api.Finding) {
	s, link := f.Settings, f.Link.Name
	if len(s) == 0 {
		return nil
	}
	places := []string{"default"}
	if f.inMode(config.ModeAddress) {
		places = append(places, link)
	}
	for _, of := range places {
		if v := s.setting("ipv4", of, "arp_ignore"); v == "2" || v == "8" {
			out = append(out, found("arp-ignore", fmt.Sprintf("sysctl -w net.ipv4.conf.%s.arp_ignore=0", of), "net.ipv4.conf.%s.arp_ignore is %s", of, v))
		}
	}
	if f.Agent.Status != nil {
		for key, want := range map[string]string{"arp_ignore": "1", "arp_announce": "2"} {
			if v := s.setting("ipv4", "all", key); v != want && v != "" {
				out = append(out, found("arp-settings", "sysctl -w net.ipv4.conf.all."+key+"="+want, "net.ipv4.conf.all.%s is %s, and the agent had set it to %s", key, v, want))
			}
		}
	}
	if s.either(link, "arp_filter") || s.setting("ipv4", "default", "arp_filter") == "1" {
		out = append(out, found("arp-filter", "", "arp_filter is 1"))
	}
	if strictest := max(s.setting("ipv4", "all", "rp_filter"), s.setting("ipv4", link, "rp_filter")); strictest == "1" {
		out = append(out, found("rp-filter", fmt.Sprintf("sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.%s.rp_filter=2, where clients come by another interface than answers leave by", link), "rp_filter is 1 (strict) on %s", link))
	}
	if s.either(link, "proxy_arp") {
		out = append(out, found("proxy-arp", fmt.Sprintf("sysctl -w net.ipv4.conf.all.proxy_arp=0 net.ipv4.conf.%s.proxy_arp=0", link), "proxy_arp is on for %s", link))
	}
	out = append(out, f.judgeIPv6()...)
	slices.SortStableFunc(out, func(a, b api.Finding) int { return cmp.Compare(a.What, b.What) })
	return clean(out, areaARP, "arp_ignore, arp_filter, rp_filter and proxy_arp of %s", link)
}

func (f Facts) judgeIPv6() (out []api.Finding) {
	six := slices.ContainsFunc(f.Services, func(i Identity) bool { return slices.ContainsFunc(i.Addrs, isSix) })
	for _, of := range []string{"default", f.Link.Name} {
		if six && f.Settings.setting("ipv6", of, "disable_ipv6") == "1" {
			out = append(out, found("ipv6-disabled", fmt.Sprintf("sysctl -w net.ipv6.conf.%s.disable_ipv6=0", of), "net.ipv6.conf.%s.disable_ipv6 is 1, and a service has an IPv6 address", of))
		}
	}
	return out
}
