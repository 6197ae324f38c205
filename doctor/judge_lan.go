package doctor

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"nightporter/api"
	"nightporter/config"
	"nightporter/identity"
)

func isSix(a netip.Addr) bool { return a.Is6() }

func judgeClaims(f Facts) (out []api.Finding) {
	for _, o := range f.Claims.Own {
		out = append(out, found("address-here", fmt.Sprintf("ip address del %s dev %s", o.Addr, o.Link), "this host has %s on %s", o.Addr, o.Link))
	}
	if len(f.Services) == 0 || !f.Claims.Asked {
		return out
	}
	var asked []string
	for _, s := range f.Services {
		for _, a := range s.Addrs {
			asked = append(asked, a.String())
		}
		for _, c := range f.Claims.Answers {
			if slices.Contains(s.Addrs, c.IP) {
				out = append(out, f.judgeAnswer(s, c)...)
			}
		}
	}
	return clean(out, areaConflict, "no stranger answers for %s", strings.Join(asked, ", "))
}

// judgeAnswer says whose an answer is.
func (f Facts) judgeAnswer(s Identity, c identity.Foreign) []api.Finding {
	known := []net.HardwareAddr{s.MAC}
	if s.Mode == config.ModeAddress {
		known = f.Claims.Members
	}
	if slices.ContainsFunc(known, func(m net.HardwareAddr) bool { return bytes.Equal(m, c.MAC) }) {
		return nil
	}
	one := found("address-conflict", "find it: `ip neigh`, the switch's table for "+c.MAC.String()+"; give it another address", "a stranger, %s, answers for %s of the service %s", c.MAC, c.IP, s.Service)
	if s.Mode == config.ModeAddress && !f.Claims.Known {
		one = as(api.Warn, one)
		one.What = fmt.Sprintf("%s answers for %s of the service %s; whether that is a member is not known without the agent", c.MAC, c.IP, s.Service)
	}
	return []api.Finding{one}
}

func judgeManagers(f Facts) (out []api.Finding) {
	m := f.Managers
	for _, x := range m.Mentions {
		out = append(out, found("address-configured", "take "+x.Addr.String()+" out of "+x.File, "%s, a file of %s, names %s", x.File, x.By, x.Addr))
	}
	for _, p := range m.Running {
		switch {
		case slices.Contains(movers, p):
			out = append(out, found("vip-manager", "", "%s runs on this host", p))
		case linkManagers[p].finding != "" && !m.Spared[linkManagers[p].finding]:
			out = append(out, found(linkManagers[p].finding, "", "%s", linkManagers[p].what))
		}
	}
	return clean(out, areaManagers, "no other program moves addresses here or names those of the services")
}

// movers are programs that move addresses between hosts, as the kernel shows their names (15 bytes).
var movers = []string{"keepalived", "kube-vip", "ucarp", "vrrpd", "vip-manager", "pacemakerd", "corosync", "heartbeat"}

// linkManagers are programs that may meddle with links of others.
var linkManagers = map[string]struct{ finding, what string }{
	"systemd-network": {"networkd", "systemd-networkd runs and takes away rules and routes that it does not know (ManageForeignRoutingPolicyRules)"},
	"NetworkManager":  {"networkmanager", "NetworkManager runs, and no file of it leaves interfaces np-* alone (unmanaged-devices)"},
	"dhcpcd":          {"dhcpcd", "dhcpcd runs, and its configuration does not leave interfaces np-* alone (denyinterfaces)"},
}

func judgePorts(f Facts) (out []api.Finding) {
	tried := 0
	var silent []string
	for _, p := range f.Peers {
		one, ok := judgePeer(p)
		out = append(out, one...)
		if ok {
			tried++
		}
		if len(one) == 1 && one[0].Name == "peer-silent" {
			silent = append(silent, cmp.Or(p.Node, p.Addr.String()))
		}
	}
	if len(silent) > 1 && len(silent) == tried { // one thing, not one for each of them
		out = []api.Finding{found("cut-off", "ip -s link show dev "+f.Link.Name+"; look at the cable, the switch's port and its VLAN, and at a firewall on this host; then at the others",
			"none of the other hosts (%s) gives an answer: this host is cut off, or they are all down", and(silent))}
	}
	for _, d := range f.Filter.Drops {
		out = append(out, found("firewall-drops", "", "the chain %s drops what no rule lets in", d))
	}
	if tried == 0 {
		return out
	}
	return clean(out, areaFirewall, "nightporter's ports of the other hosts answer (%d asked)", tried)
}

// judgePeer says what another host's ports are like from here; ok: there was something to ask.
func judgePeer(p Peer) (out []api.Finding, ok bool) {
	name := p.Addr.String()
	if p.Node != "" {
		name = p.Node + " (" + name + ")"
	}
	silent, open := 0, 0
	for _, r := range p.Ports {
		switch r.Result {
		case reachSilent, reachUnreachable:
			silent++
		case reachOK:
			open++
		}
	}
	if len(p.Ports) == 0 {
		return nil, false
	}
	if silent == len(p.Ports) {
		return []api.Finding{found("peer-silent", "", "%s gives no answer at any port", name)}, true
	}
	var refused []string
	for _, r := range p.Ports {
		port := fmt.Sprintf("%d/%s", r.Addr.Port(), r.Proto)
		switch {
		case r.Result == reachRefused:
			refused = append(refused, port)
		case r.Result == reachSilent && r.Proto == "udp" && open == 0: // nobody is there who could answer
		case r.Result == reachSilent || r.Result == reachUnreachable:
			fix := fmt.Sprintf("on %s: nft insert rule inet filter input %s dport %d accept", name, r.Proto, r.Addr.Port())
			what := name + " does not answer at " + port
			if r.Proto == "udp" {
				fix += "; or the secret files differ: compare sha256sum of them"
				what += " (gossip)"
			}
			if r.Detail != "" {
				what += ": " + r.Detail
			}
			out = append(out, found("port-blocked", fix, "%s", what))
		}
	}
	if len(refused) > 0 {
		out = append(out, found("port-refused", "", "%s refuses %s", name, strings.Join(refused, " and ")))
	}
	return out, true
}

// mostSlew is a lease's margin (4 %) less what quartz may need of it, in millionths: a holder's clock may be slow by as much without its
// agent's seeing it. A voter's is never fast.
const mostSlew = 35_000

func judgeClock(f Facts) (out []api.Finding) {
	if !f.At.IsZero() && f.At.Year() < 2025 {
		out = append(out, found("clock-unset", "", "the wall clock says %s", f.At.UTC().Format("2006-01-02 15:04")))
	}
	if f.Clock.Slew > mostSlew {
		out = append(out, found("clock-slew", "", "chronyd may make this host's clocks faster or slower by %.1f %%", f.Clock.Slew/1e4))
	}
	if !f.Clock.Read {
		return out
	}
	if !f.Clock.Synced {
		out = append(out, found("clock-unsynchronized", "", "the wall clock is kept right by nobody"))
	}
	return clean(out, areaClock, "the wall clock is kept right")
}
