package doctor

import (
	"bytes"
	"context"
	"slices"
	"time"

	"nightporter/api"
	"nightporter/config"
	"nightporter/identity"
)

// How it is known whether a host's frames with a second MAC arrive.
const (
	secondHeld     = "held"      // it holds a service with a MAC of its own: the others hear that, or do not
	secondSent     = "sent"      // it has sent test frames
	secondNotTried = "not-tried" // neither
)

// secondWait is how long test frames are sent and listened for. The nodes of an examination begin within a second of each other, or they
// hear nothing of each other and know it.
const secondWait = 3 * time.Second

// second finds out how a second MAC of this host was tried, and tries it if that is wanted. A host that holds one sends no further one: a port
// that allows two has both of them then, and a third one would be counted as an offence.
func (l *looker) second(ctx context.Context) {
	if l.Config == nil || l.Status == nil || !slices.Contains(modes(l.f.Services), config.ModeMAC) || !l.f.Link.Found || !l.f.Link.Up {
		return
	}
	var out Second
	for _, s := range l.f.Services {
		if s.Here && s.Mode != config.ModeAddress {
			out.How = secondHeld
		}
	}
	if out.How == "" && l.Config.Role != config.Witness {
		out.How = secondNotTried
	}
	if l.Test {
		send := out.How == secondNotTried
		heard, err := identity.ExchangeTestFrames(ctx, l.f.Link.Name, l.Config.Cluster, l.f.Node, send, secondWait)
		if err != nil {
			l.unseen(areaPorts, "whether frames with a second MAC pass", err, asRoot)
		} else if send {
			out.How = secondSent
		}
		out.Heard = heard
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.f.Second = out
}

// secondFew is from how many frames with its own MAC on a host counts as heard: that of those with the other MAC none came is no accident then.
const secondFew = 3

// seconds says of the hosts that hold no service whether their frames with another MAC arrive.
func seconds(nodes []api.DoctorNode) (out []api.Finding) {
	var untried, unheard []string
	for _, n := range nodes {
		switch n.SecondMAC {
		case secondNotTried:
			untried = append(untried, n.Node)
		case secondSent:
			deaf, heard, mac := framesOf(n.Node, nodes)
			switch {
			case len(deaf) > 0:
				out = append(out, found("second-mac-unseen", "", "%s sent frames from its own MAC and from %s, and %s heard the first and nothing of the second", n.Node, mac, and(deaf)))
			case heard == 0:
				unheard = append(unheard, n.Node)
			}
		}
	}
	if len(untried) > 0 {
		out = append(out, found("second-mac-untried", "", "whether the switch lets a second MAC pass was not tried at %s, which %s no service with one now", and(untried), map[bool]string{true: "holds", false: "hold"}[len(untried) == 1]))
	}
	if len(unheard) > 0 {
		out = append(out, found("second-mac-untried", "nightporter doctor --peers --test-mac", "nothing was heard of the test frames of %s: too little at one time, or not in one LAN", and(unheard)))
	}
	return out
}

// framesOf says who heard a node's own frames and none of the others, and how many heard both.
func framesOf(node string, nodes []api.DoctorNode) (deaf []string, heard int, mac api.MAC) {
	for _, n := range nodes {
		i := slices.IndexFunc(n.Frames, func(x api.DoctorFrames) bool { return x.From == node })
		switch {
		case i < 0:
		case n.Frames[i].Test > 0:
			heard++
		case n.Frames[i].Own >= secondFew:
			deaf, mac = append(deaf, n.Node), api.MAC(bytes.Clone(n.Frames[i].MAC))
		}
	}
	return deaf, heard, mac
}
