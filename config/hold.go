package config

import (
	"cmp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// What a front does with connection attempts to a port while no target serves.
const (
	HoldDrop   = "drop"   // swallows them
	HoldReject = "reject" // refuses them at once
	HoldHTTP   = "http"   // answers with a waiting page
	HoldProxy  = "proxy"  // takes the connections, and passes them on when a target is up
)

// holdOf is one entry of hold.
type holdOf struct {
	port value[Port]
	hold value[string]
}

// hold reads one word for all ports, or a mapping of ports to words; a port that the mapping leaves out has drop.
func (r *reader) hold(n ast.Node) (value[string], []holdOf) {
	if _, mapping := r.plain(n).(ast.MapNode); !mapping {
		return oneOf(r, n, HoldDrop, HoldReject, HoldHTTP, HoldProxy), nil
	}
	var out []holdOf
	r.entries(n, "hold", func(key string, at place, v ast.Node) {
		p, why := parsePort(key)
		if why != "" {
			r.problem(at, "%q is not a port: %s", key, why)
			return
		}
		if i := slices.IndexFunc(out, func(o holdOf) bool { return o.port.v == p }); i >= 0 {
			r.problem(at, "port %s stands here a second time (first in line %d); keep one", p, out[i].port.at.line)
			return
		}
		if word := oneOf(r, v, HoldDrop, HoldReject, HoldHTTP, HoldProxy); word.set {
			out = append(out, holdOf{value[Port]{p, at, true}, word})
		}
	})
	return value[string]{}, out
}

// judgeHolds finds what the cluster would refuse, in the words of the file.
func (r *reader) judgeHolds(s service, title string) {
	for _, h := range s.holds {
		if !slices.ContainsFunc(s.ports, func(p value[Port]) bool { return p.v == h.port.v }) {
			r.problem(h.port.at, "%s does not guard port %s; add it to ports, or leave it out here", title, h.port.v)
		}
	}
	plain := s.plain()
	var proxied, udp string
	for _, p := range s.ports {
		hold := plain.HoldOf(p.v)
		if p.v.Protocol == "udp" {
			udp = p.v.String()
			if hold == HoldHTTP || hold == HoldProxy {
				r.problem(p.at, "port %s cannot have hold %s, which takes connections; write `hold: {%s: drop}` or reject", p.v, hold, p.v)
				return
			}
		} else if hold == HoldProxy {
			proxied = p.v.String()
		}
	}
	if proxied != "" && udp != "" {
		r.problem(s.at, "%s has hold proxy for port %s and guards %s as well; the identity stays where connections are passed on, and datagrams are not: make two services of them",
			title, proxied, udp)
	}
}

// HoldOf is what a front does with attempts to a port.
func (s Service) HoldOf(p Port) string {
	if h, ok := s.Holds[p.String()]; ok {
		return h
	}
	return cmp.Or(s.Hold, HoldDrop)
}

// FormatHold writes what stands after `hold:` in the file.
func (s Service) FormatHold() string {
	if len(s.Holds) == 0 {
		return cmp.Or(s.Hold, HoldDrop)
	}
	var words []string
	for _, p := range s.Ports {
		if h := s.HoldOf(p); h != HoldDrop {
			words = append(words, p.String()+": "+h)
		}
	}
	return "{" + strings.Join(words, ", ") + "}"
}
