package fsm

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Bounds of a definition. Ports are bounded by the jump distance of the demand filter's BPF program.
const (
	MaxPorts   = 64
	MaxTargets = 32
)

// Validate gives the problems of a service definition, each a sentence that says what is wrong and what to write
// instead; none means that PutService accepts it in a state in which no other service has its identity. It looks at
// nothing but the definition: whether ip0 lies in a local prefix is for the host's configuration to check.
func Validate(sv Service) []string {
	var problems []string
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if !validServiceName(sv.Name) {
		add("name %q must be 1 to 32 of a-z, 0-9 and -, and neither begin nor end with -", sv.Name)
	}
	validateAddresses(sv.Addresses, add)
	validateMode(sv, add)
	validatePorts(sv.Ports, add)
	validateTargets(sv.Targets, add)
	validateChecks(sv, add)
	validateHolds(sv, add)
	validateWake(sv.Wake, add)
	if sv.Replay != ReplayTCP && sv.Replay != ReplayAll && sv.Replay != ReplayNone {
		add("replay %q is unknown: write tcp, all or none", sv.Replay)
	}
	return problems
}

func validateMode(sv Service, add func(string, ...any)) {
	switch {
	case sv.Mode == ModeAddress && sv.MAC != "":
		add("mode address uses the holder's own MAC, so the service has none: leave mac %s out, or write mode mac", sv.MAC)
	case sv.Mode == ModeAddress:
	case sv.Mode != ModeMAC:
		add("mode %q is unknown: write mac or address", sv.Mode)
	default:
		if why := macProblem(sv.MAC); why != "" {
			add("mac %s %s: write a unicast address such as 02:00:5e:00:00:01", sv.MAC, why)
		}
	}
}

func validateAddresses(addrs []netip.Addr, add func(string, ...any)) {
	if n := len(addrs); n < 1 || n > 2 {
		add("a service has one IPv4 address, one IPv6 address, or one of each, not %d addresses", n)
		return
	}
	if len(addrs) == 2 && addrs[0].Unmap().Is4() == addrs[1].Unmap().Is4() {
		add("addresses %s and %s are of the same family: give one IPv4 and one IPv6 address, or define two services", addrs[0], addrs[1])
	}
	for _, a := range addrs {
		if why := addressProblem(a); why != "" {
			add("address %s %s", a, why)
		}
	}
}

func addressProblem(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "is no address"
	case a.Is4In6():
		return "is an IPv4 address in IPv6 clothes: write " + a.Unmap().String()
	case a.Zone() != "":
		return "has a zone: write it without %" + a.Zone()
	case a.IsUnspecified(), a.IsLoopback(), a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "is not a unicast address that other hosts can reach"
	case a.IsLinkLocalUnicast():
		return "is link-local, which a host gives itself: use an address of the LAN's prefix"
	}
	return ""
}

// holds are the known ones.
var holds = []Hold{HoldDrop, HoldReject, HoldHTTP, HoldProxy}

func validateHolds(sv Service, add func(string, ...any)) {
	if !slices.Contains(holds, sv.Hold) {
		add("hold %q is unknown: write drop, reject, http or proxy", sv.Hold)
		return
	}
	proxied, udp := "", ""
	for _, p := range sv.Ports {
		name := fmt.Sprintf("%d/%s", p.Number, p.Protocol)
		hold := sv.HoldOf(p)
		switch {
		case !slices.Contains(holds, hold):
			add("hold %q of port %s is unknown: write drop, reject, http or proxy", hold, name)
		case p.Protocol == UDP && (hold == HoldHTTP || hold == HoldProxy):
			add("port %s cannot have hold %s, which takes connections: write drop or reject", name, hold)
		case hold == HoldProxy:
			proxied = name
		}
		if p.Protocol == UDP {
			udp = name
		}
	}
	if proxied != "" && udp != "" {
		add("hold proxy of port %s does not go with port %s: the identity stays where connections are passed on, and datagrams are not; "+
			"make two services of them", proxied, udp)
	}
}

func validatePorts(ports []Port, add func(string, ...any)) {
	if n := len(ports); n < 1 || n > MaxPorts {
		add("ports lists %d ports, not 1 to %d: name those whose demand wakes a target, such as 22/tcp", n, MaxPorts)
	}
	seen := map[Port]bool{}
	for _, p := range ports {
		if p.Protocol != TCP && p.Protocol != UDP {
			add("port %d/%s: the protocol must be %s or %s", p.Number, p.Protocol, TCP, UDP)
		}
		if p.Number == 0 {
			add("port 0/%s does not exist: ports go from 1 to 65535", p.Protocol)
		}
		p.Hold = ""
		if seen[p] {
			add("port %d/%s is listed twice", p.Number, p.Protocol)
		}
		seen[p] = true
	}
}

func validateTargets(targets []string, add func(string, ...any)) {
	if n := len(targets); n < 1 || n > MaxTargets {
		add("targets lists %d nodes, not 1 to %d: name those that run the service, the preferred one first", n, MaxTargets)
	}
	seen := map[string]bool{}
	for _, t := range targets {
		if !validNodeName(t) {
			add("target %q is no node name", t)
		}
		if seen[t] {
			add("target %s is listed twice", t)
		}
		seen[t] = true
	}
}

// macProblem says why m cannot be a station's address, "" if it can.
func macProblem(m MAC) string {
	switch {
	case len(m) != 6:
		return "is not a 48-bit hardware address"
	case m[0]&1 != 0:
		return "is a multicast address"
	case m == "\x00\x00\x00\x00\x00\x00":
		return "is all zero"
	}
	return ""
}

func validServiceName(s string) bool {
	return len(s) >= 1 && len(s) <= 32 && onlyOf(s, "-") && s[0] != '-' && s[len(s)-1] != '-'
}

// validNodeName accepts what a hostname and a certificate's DNS name can be. Linux limits hostnames to 64 bytes.
func validNodeName(s string) bool {
	return len(s) >= 1 && len(s) <= 64 && s[0] != '-' && s[0] != '.' && s[0] != '_' &&
		s[len(s)-1] != '.' && !strings.Contains(s, "..") && // a certificate has no name with an empty label
		onlyOf(strings.ToLower(s), "-._")
}

// onlyOf reports whether s has only a-z, 0-9 and the characters of extra.
func onlyOf(s, extra string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte(extra, c) < 0 {
			return false
		}
	}
	return true
}
