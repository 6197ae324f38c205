package demo

import (
	"fmt"
	"net"
	"net/netip"

	"nightporter/api"
	"nightporter/chaos/judge"
	"nightporter/chaos/lab"
)

// identity is what floats.
type identity struct {
	mac net.HardwareAddr
	ip  netip.Addr
}

// uses says whether the frame's sender claims the identity.
func (id identity) uses(f lab.Frame) bool {
	return judge.Identity{MAC: id.mac, Addrs: []netip.Addr{id.ip}}.Claimed(f)
}

// verdict is what the frames say of I1.
type verdict struct {
	frames   int
	order    []string // the hosts that used the identity, as their frames took turns
	overlaps []string // uses out of turn, a sentence each
}

// judge follows the identity through the frames that came from hosts.
func (id identity) judge(frames []lab.Frame, history []api.Change) verdict {
	var v verdict
	var turns judge.Turns
	for _, f := range frames {
		if !f.ToHost && id.uses(f) {
			v.frames++
			turns.See(judge.Use{At: f.Time, Host: f.Port, Frame: f.Data})
		}
	}
	for _, u := range turns {
		v.order = append(v.order, u.Host)
	}
	for _, i := range turns.Strays(history) {
		v.overlaps = append(v.overlaps, fmt.Sprintf("%s used the identity out of turn at %s", turns[i].Host, turns[i].At.Format("15:04:05.000000")))
	}
	return v
}
