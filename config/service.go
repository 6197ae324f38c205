package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// String gives the form that ports have in the file: 8080/tcp.
func (p Port) String() string { return strconv.Itoa(int(p.Number)) + "/" + p.Protocol }

// DeriveMAC makes the mac0 of a service that names none: locally administered, unicast, and the same on every host.
func DeriveMAC(cluster, service string) net.HardwareAddr {
	sum := sha256.Sum256([]byte("nightporter mac0\x00" + cluster + "\x00" + service))
	return net.HardwareAddr{0x02, sum[0], sum[1], sum[2], sum[3], sum[4]}
}

// service is one entry of services, with the places of what is compared later.
type service struct {
	at        place
	name      value[string]
	addresses []value[netip.Addr]
	mode      value[string]
	mac       value[net.HardwareAddr]
	ports     []value[Port]
	targets   []value[string]
	hold      value[string]
	holds     []holdOf
	checks    []Check
	unit      value[string]
	manage    value[bool]
	replay    value[string]
	wake      WakeRules
}

// plain gives the values alone.
func (s service) plain() Service {
	out := Service{
		Name: s.name.v, Mode: s.mode.or(ModeMAC), MAC: s.mac.v, Hold: s.hold.or(HoldDrop), Checks: s.checks, Unit: Unit{s.unit.v, s.manage.v},
		Replay: s.replay.v, Wake: s.wake,
	}
	for _, a := range s.addresses {
		out.Addresses = append(out.Addresses, a.v)
	}
	for _, p := range s.ports {
		out.Ports = append(out.Ports, p.v)
	}
	for _, t := range s.targets {
		out.Targets = append(out.Targets, t.v)
	}
	for _, h := range s.holds {
		if h.hold.v == HoldDrop {
			continue // as every port that is not named
		}
		if out.Holds == nil {
			out.Holds = make(map[string]string)
		}
		out.Holds[h.port.v.String()] = h.hold.v
	}
	return out
}

// LoadServices reads what `apply -f` is given: a file with the one key services. prefixes are the LAN's (each with the
// host's own address in it), for judging ip0; nil judges it not. A service without a mac has a nil MAC: the cluster's
// name decides it (DeriveMAC). The error is a *Problems, or what went wrong with reading.
func LoadServices(name string, in io.Reader, prefixes []netip.Prefix) ([]Service, error) {
	data, err := io.ReadAll(in)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	r, root := parse(name, data)
	if root == nil {
		return nil, problemsOf(r.problems)
	}
	var list []service
	found := false
	r.mapping(root, "the file", fields{"services": func(_ place, n ast.Node) {
		found = true
		list = r.services(n)
	}})
	if !found && len(r.problems) == 0 {
		r.problem(place{}, "there is no key services; write `services:` and below it a list of services")
	}
	r.judgeServices(list, nil)
	r.judgeAddresses(list, prefixes, "the LAN interface")
	if err := problemsOf(r.problems); err != nil {
		return nil, err
	}
	return plainServices(list), nil
}

func plainServices(list []service) []Service {
	out := make([]Service, len(list))
	for i, s := range list {
		out[i] = s.plain()
	}
	return out
}

// services reads the list under services.
func (r *reader) services(n ast.Node) []service {
	var out []service
	if _, ok := r.plain(n).(ast.MapNode); ok {
		r.problem(placeOf(n), "services must be a list; begin each service with `- name: ...`")
		return nil
	}
	r.list(n, func(e ast.Node) {
		s := service{at: placeOf(e)}
		before := len(r.problems)
		r.mapping(e, "a service", fields{
			"name": func(_ place, n ast.Node) { s.name = r.called(r.text(n, "the service's name"), "service", 32) },
			"address": func(_ place, n ast.Node) {
				r.list(n, func(a ast.Node) {
					if v := r.addr(a, "service"); v.set {
						s.addresses = append(s.addresses, v)
					}
				})
			},
			"mode":  func(_ place, n ast.Node) { s.mode = oneOf(r, n, ModeMAC, ModeAddress) },
			"mac":   func(_ place, n ast.Node) { s.mac = r.mac(n) },
			"ports": func(_ place, n ast.Node) { s.ports = r.ports(n) },
			"targets": func(_ place, n ast.Node) {
				r.list(n, func(t ast.Node) {
					if v := r.called(r.text(t, "a node's name"), "node", nodeNameLimit); v.set {
						s.targets = append(s.targets, v)
					}
				})
			},
			"hold":   func(_ place, n ast.Node) { s.hold, s.holds = r.hold(n) },
			"checks": func(_ place, n ast.Node) { s.checks = r.checks(n) },
			"unit": func(_ place, n ast.Node) {
				v := r.unitName(n)
				s.unit = value[string]{v, placeOf(n), v != ""}
			},
			"manage": func(_ place, n ast.Node) { s.manage = r.yes(n) },
			"replay": func(_ place, n ast.Node) { s.replay = oneOf(r, n, ReplayTCP, ReplayAll, ReplayNone) },
			"wake":   func(_ place, n ast.Node) { s.wake = r.wakeRules(n) },
		})
		if len(r.problems) == before {
			r.complete(s)
		}
		out = append(out, s)
	})
	return out
}

// complete finds what is missing in a service that has no other problem.
func (r *reader) complete(s service) {
	title := "this service"
	if s.name.set {
		title = "service " + s.name.v
	} else {
		r.problem(s.at, "this service has no name; add `name: ...`")
	}
	if len(s.addresses) == 0 {
		r.problem(s.at, "%s has no address; add `address: ...`, a free address of the LAN that no host has", title)
	}
	if len(s.ports) == 0 {
		r.problem(s.at, "%s guards no port, so nothing would ever wake a target; add `ports: [8080/tcp]`", title)
	}
	if len(s.targets) == 0 {
		r.problem(s.at, "%s has no target; add `targets: [...]`, the nodes that run it, the preferred one first", title)
	}
	if s.mode.v == ModeAddress && s.mac.set {
		r.problem(s.mac.at, "%s has a mac, and in mode address it has its holder's; leave mac out, or write `mode: mac`", title)
	}
	r.judgeHolds(s, title)
	if s.manage.v && !s.unit.set {
		r.problem(s.manage.at, "%s has `manage: true`, but no unit to start and stop; add `unit: NAME.service`", title)
	}
	families := map[bool]int{}
	for _, a := range s.addresses {
		if families[a.v.Is4()]++; families[a.v.Is4()] == 2 {
			r.problem(a.at, "%s has two addresses of one kind; keep one IPv4 and one IPv6 at most, and make another service for the rest", title)
		}
	}
}

// ports reads the guarded ports: 8080/tcp, 53/udp, or a bare number for TCP.
func (r *reader) ports(n ast.Node) []value[Port] {
	var out []value[Port]
	r.list(n, func(e ast.Node) {
		v := r.text(e, "a port like 8080/tcp")
		if !v.set {
			return
		}
		p, why := parsePort(v.v)
		if why != "" {
			r.problem(v.at, "%q is not a port: %s", v.v, why)
			return
		}
		if i := slices.IndexFunc(out, func(o value[Port]) bool { return o.v == p }); i >= 0 {
			r.problem(v.at, "port %s stands here a second time (first in line %d); keep one", p, out[i].at.line)
			return
		}
		out = append(out, value[Port]{p, v.at, true})
	})
	return out
}

// parsePort reads one port, or says what to write instead.
func parsePort(s string) (Port, string) {
	number, protocol, both := strings.Cut(strings.ToLower(s), "/")
	if !both {
		protocol = "tcp"
	}
	if number == "tcp" || number == "udp" {
		return Port{}, "the number comes first; write " + protocol + "/" + number
	}
	if strings.ContainsAny(number, "-:,") {
		return Port{}, "ranges are not known; write each port as an entry of its own"
	}
	i, err := strconv.Atoi(number)
	switch {
	case err != nil:
		return Port{}, "write a number and a protocol, like 8080/tcp or 53/udp"
	case i < 1 || i > 65535:
		return Port{}, "the number must be from 1 to 65535"
	case protocol != "tcp" && protocol != "udp":
		return Port{}, fmt.Sprintf("%q is not a protocol; write %d/tcp or %d/udp", protocol, i, i)
	}
	return Port{Protocol: protocol, Number: uint16(i)}, ""
}

// judgeServices compares the services with each other and their targets with the nodes (nil = not known).
func (r *reader) judgeServices(list []service, nodes []string) {
	names, addrs, macs := map[string]place{}, map[netip.Addr]place{}, map[string]place{}
	for _, s := range list {
		if s.name.set {
			again(r, names, s.name.v, s.name.at, "a service named %s stands here a second time (first in line %d); choose another name")
		}
		for _, a := range s.addresses {
			again(r, addrs, a.v, a.at, "the address %s belongs to two services (first in line %d); give each its own, or one service both ports")
		}
		if s.mac.set {
			again(r, macs, s.mac.v.String(), s.mac.at, "the hardware address %s belongs to two services (first in line %d); leave mac out and each gets its own")
		}
		targets := map[string]place{}
		for _, t := range s.targets {
			again(r, targets, t.v, t.at, "target %s stands here a second time (first in line %d); keep one")
			if len(nodes) > 0 && !slices.Contains(nodes, t.v) {
				r.problem(t.at, "target %q is no entry of nodes; %s", t.v, hint(t.v, nodes, "the nodes are "))
			}
		}
	}
}

// again reports a key that was seen before; format takes the key and the first line.
func again[K comparable](r *reader, seen map[K]place, key K, at place, format string) {
	if first, dup := seen[key]; dup {
		r.problem(at, format, key, first.line)
		return
	}
	seen[key] = at
}

// judgeAddresses checks that each ip0 lies in the LAN and is no address that something else has there.
func (r *reader) judgeAddresses(list []service, prefixes []netip.Prefix, where string) {
	if len(prefixes) == 0 {
		return
	}
	for _, s := range list {
		for _, a := range s.addresses {
			if why := misplaced(a.v, carried(prefixes, s.plain())); why != "" {
				r.problem(a.at, "%s cannot be a service's address: %s (%s has %s)", a.v, why, where, joined(prefixes))
			}
		}
	}
}

// carried leaves out what a host has of a service itself: in mode address its holder's LAN interface has ip0, alone.
func carried(prefixes []netip.Prefix, s Service) []netip.Prefix {
	if s.Mode != ModeAddress {
		return prefixes
	}
	return slices.DeleteFunc(slices.Clone(prefixes), func(p netip.Prefix) bool {
		return p.IsSingleIP() && slices.Contains(s.Addresses, p.Addr())
	})
}

// misplaced says why an address cannot float in the LAN with these prefixes, or "".
func misplaced(a netip.Addr, prefixes []netip.Prefix) string {
	for _, p := range prefixes {
		switch {
		case p.Addr() == a:
			return "it is this host's own; choose one that no host has"
		case !p.Contains(a):
			continue
		case a.Is4() && p.Bits() < 31 && a == p.Masked().Addr():
			return "it is the network's own address; choose another one of " + p.Masked().String()
		case a.Is4() && p.Bits() < 31 && !p.Contains(a.Next()):
			return "it is the network's broadcast address; choose another one of " + p.Masked().String()
		}
		return ""
	}
	return "it is in no local network, so nobody on the LAN would ask for it; choose a free one of the LAN"
}

func joined(prefixes []netip.Prefix) string {
	out := make([]string, len(prefixes))
	for i, p := range prefixes {
		out[i] = p.String()
	}
	return strings.Join(out, ", ")
}

// CheckAddresses judges definitions that came from elsewhere than a file here (another host's `apply`) against this
// host's LAN prefixes; the error names the first service that does not fit.
func CheckAddresses(list []Service, prefixes []netip.Prefix) error {
	for _, s := range list {
		for _, a := range s.Addresses {
			if why := misplaced(a, carried(prefixes, s)); why != "" && len(prefixes) > 0 {
				return errors.New("service " + s.Name + ": " + a.String() + " cannot be its address: " + why + " (this host has " + joined(prefixes) + ")")
			}
		}
	}
	return nil
}
