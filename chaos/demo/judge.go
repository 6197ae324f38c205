package demo

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// identity is what floats.
type identity struct {
	mac net.HardwareAddr
	ip  netip.Addr
}

// uses says whether the frame's sender claims the identity: its MAC, or its address in ARP or IP.
func (id identity) uses(f lab.Frame) bool {
	ip := id.ip.As4()
	switch {
	case bytes.Equal(f.Src(), id.mac):
		return true
	case f.EtherType() == typeARP && len(f.Data) >= atSPA+4:
		return bytes.Equal(f.Data[atSPA:atSPA+4], ip[:]) || bytes.Equal(f.Data[atSHA:atSHA+6], id.mac)
	case f.EtherType() == typeIPv4 && len(f.Data) >= atSrc+4:
		return bytes.Equal(f.Data[atSrc:atSrc+4], ip[:])
	}
	return false
}

// verdict is what the frames say of I1.
type verdict struct {
	frames   int
	order    []string // the hosts that used the identity, as their frames took turns
	overlaps []string // uses out of turn, a sentence each
}

// judge follows the identity through the frames that came from hosts. Each host that takes a turn must be the owner of a
// later record of the history than the one before it, and not before that record was made. With two holders at once
// their frames mingle, A, B, A, and the second turn of A has no record of its own to stand on.
func (id identity) judge(frames []lab.Frame, history []api.Change) verdict {
	var v verdict
	at := -1 // the record that the present turn stands on
	for _, f := range frames {
		if f.ToHost || len(f.Data) < atPayload || !id.uses(f) {
			continue
		}
		v.frames++
		if n := len(v.order); n > 0 && v.order[n-1] == f.Port {
			continue
		}
		v.order = append(v.order, f.Port)
		next := at + 1
		for next < len(history) && history[next].To != f.Port {
			next++
		}
		if next == len(history) || f.Time.Before(history[next].At) {
			v.overlaps = append(v.overlaps, fmt.Sprintf("%s used the identity out of turn at %s", f.Port, f.Time.Format("15:04:05.000000")))
			continue
		}
		at = next
	}
	return v
}
