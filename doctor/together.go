package doctor

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"nightporter/api"
)

// The states of a node in a report.
const (
	StateExamined = "examined"
	StateSilent   = "silent" // it should be awake, and does not answer
	StateOld      = "old"    // its version cannot
)

// The results of trying a port.
const (
	reachOK          = "ok"
	reachSilent      = "silent"      // nothing came back
	reachRefused     = "refused"     // nobody listens
	reachUnreachable = "unreachable" // an ICMP error, or nobody has the address
	reachUnknown     = "unknown"     // it could not be tried
)

// skewMost is how far two clocks may be apart. The answer's way is in it.
const skewMost = 2 * time.Second

// Together says what shows only from several nodes' reports: the worst first.
func Together(nodes []api.DoctorNode) []api.Finding {
	var examined []api.DoctorNode
	out := []api.Finding{}
	for _, n := range nodes {
		switch n.State {
		case StateExamined:
			examined = append(examined, n)
		case StateSilent, StateOld:
			out = append(out, found("peer-unexamined", "", "%s was not examined: %s", n.Node, n.Detail))
		default:
			out = append(out, found("peer-asleep", "nightporter doctor --peers --wake", "%s is %s and was not examined", n.Node, n.State))
		}
	}
	if len(examined) > 1 {
		out = append(out, oneWay(examined)...)
		out = append(out, unheard(examined)...)
		out = append(out, seconds(examined)...)
		out = append(out, skewed(examined)...)
		out = append(out, mixed(examined)...)
		for _, area := range []string{areaFirewall, areaPorts, areaClock, areaVersions} {
			if !slices.ContainsFunc(out, func(f api.Finding) bool { return f.Area == area }) {
				out = append(out, fine(area, "%s", togetherFine[area]))
			}
		}
	}
	return ordered(out)
}

var togetherFine = map[string]string{
	areaFirewall: "no port is open one way and shut the other",
	areaPorts:    "who holds a service is heard by the others, and so is a second MAC of the rest",
	areaClock:    "the clocks of the hosts agree",
	areaVersions: "the hosts have the same version and the same configuration",
}

// oneWay finds ports that one host reaches on another, and not the other way round.
func oneWay(nodes []api.DoctorNode) (out []api.Finding) {
	result := func(from, to, proto string, port uint16) string {
		for _, n := range nodes {
			for _, r := range n.Reached {
				if n.Node == from && r.To == to && r.Proto == proto && r.Addr.Port() == port {
					return r.Result
				}
			}
		}
		return reachUnknown
	}
	for _, n := range nodes {
		for _, r := range n.Reached {
			shut := r.Result == reachSilent || r.Result == reachUnreachable
			if r.To == "" || !shut || result(r.To, n.Node, r.Proto, r.Addr.Port()) != reachOK {
				continue
			}
			port := fmt.Sprintf("%d/%s", r.Addr.Port(), r.Proto)
			out = append(out, found("blocked-one-way", fmt.Sprintf("on %s: nft insert rule inet filter input %s dport %d accept", r.To, r.Proto, r.Addr.Port()),
				"%s does not reach %s of %s, and %s does reach that of %s: a firewall on %s, or between them", n.Node, port, r.To, r.To, n.Node, r.To))
		}
	}
	return out
}

// unheard finds holders whose identity does not arrive.
func unheard(nodes []api.DoctorNode) (out []api.Finding) {
	for _, holder := range nodes {
		for _, h := range holder.Holds {
			for _, a := range h.Addrs {
				var deaf []string
				for _, n := range nodes {
					if n.Node != holder.Node && missed(n, holder.Node, h, a) {
						deaf = append(deaf, n.Node)
					}
				}
				if len(deaf) > 0 {
					out = append(out, found("mac0-unseen", "", "%s holds %s, and %s asked for %s and heard nothing from %s", holder.Node, h.Service, and(deaf), a, h.MAC))
				}
			}
		}
	}
	return out
}

// missed says whether a node asked for an address and did not hear its holder, which it reaches otherwise.
func missed(n api.DoctorNode, holder string, h api.DoctorHold, a netip.Addr) bool {
	if slices.ContainsFunc(n.Holds, func(o api.DoctorHold) bool { return o.Service == h.Service }) {
		return false // it changed hands meanwhile
	}
	reaches := slices.ContainsFunc(n.Reached, func(r api.DoctorReach) bool { return r.To == holder && r.Result == reachOK })
	for _, x := range n.Heard {
		if x.Service == h.Service && x.Addr == a {
			return reaches && !slices.ContainsFunc(x.MACs, func(m api.MAC) bool { return bytes.Equal(m, h.MAC) })
		}
	}
	return false // it did not ask
}

// and joins names: "h1, h2 and h3".
func and(names []string) string {
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// skewed compares the clocks with that of the node that asked.
func skewed(nodes []api.DoctorNode) (out []api.Finding) {
	low := slices.MinFunc(nodes, func(a, b api.DoctorNode) int { return cmp.Compare(a.Off, b.Off) })
	high := slices.MaxFunc(nodes, func(a, b api.DoctorNode) int { return cmp.Compare(a.Off, b.Off) })
	if apart := time.Duration(high.Off - low.Off); apart > skewMost {
		out = append(out, found("clock-skew", "", "the clock of %s is at least %s before that of %s", high.Node, apart.Round(time.Second), low.Node))
	}
	return out
}

// mixed compares versions and configurations.
func mixed(nodes []api.DoctorNode) (out []api.Finding) {
	list := func(of func(api.DoctorNode) string) (words []string, several bool) {
		for _, n := range nodes {
			words = append(words, n.Node+" has "+cmp.Or(of(n), "none"))
			several = several || of(n) != of(nodes[0])
		}
		return words, several
	}
	if words, several := list(func(n api.DoctorNode) string { return n.Version }); several {
		out = append(out, found("versions-mixed", "", "%s", strings.Join(words, ", ")))
	}
	if words, several := list(func(n api.DoctorNode) string { return n.Digest[:min(8, len(n.Digest))] }); several {
		out = append(out, found("config-differs", "", "by their digests: %s", strings.Join(words, ", ")))
	}
	return out
}
