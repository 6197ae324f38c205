package scenarios

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// What the judge lets pass, and what it does not: the proof of I1 in all stories here rests on it.
func TestTheJudgeHasTeeth(t *testing.T) {
	for _, c := range []struct {
		name, ports, owners string
		want                int
	}{
		{"one after the other", "a b c", "a b c", -1},
		{"an owner that sent nothing", "a c", "a b c", -1},
		{"back and forth, as the log has it", "a b a", "a b a", -1},
		{"the former owner again", "a b a", "a b c", 2},
		{"the next owner too early", "b a b", "a b", 1},
		{"never an owner", "a d b", "a b", 1},
		{"two at once", "a b a b", "a b", 2},
		{"without a log", "a", "", 0},
	} {
		var runs []sighting
		for _, p := range strings.Fields(c.ports) {
			runs = append(runs, sighting{port: p})
		}
		var owners []api.Change
		for i, o := range strings.Fields(c.owners) {
			owners = append(owners, api.Change{Epoch: uint64(i + 1), To: o})
		}
		if got := outOfTurn(runs, owners); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// Each way to claim an identity is seen, and nothing else is taken for one.
func TestTheWireSeesEveryClaim(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	s := watched{mac: mac, ip: netip.AddrFrom4([4]byte{10, 77, 0, 200})}
	frame := func(src net.HardwareAddr, kind uint16, at int, what ...byte) lab.Frame {
		data := make([]byte, 60)
		copy(data[6:], src)
		data[12], data[13] = byte(kind>>8), byte(kind)
		copy(data[at:], what)
		return lab.Frame{Data: data}
	}
	other := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	for name, c := range map[string]struct {
		frame lab.Frame
		want  bool
	}{
		"its MAC":              {frame(mac, 0x86dd, 20), true},
		"its address in ARP":   {frame(other, typeARP, atSPA, 10, 77, 0, 200), true},
		"its MAC in ARP":       {frame(other, typeARP, atSHA, mac...), true},
		"its address in IP":    {frame(other, typeIPv4, atSrc, 10, 77, 0, 200), true},
		"a packet for it":      {frame(other, typeIPv4, atDst, 10, 77, 0, 200), false},
		"a question for it":    {frame(other, typeARP, atTPA, 10, 77, 0, 200), false},
		"another's everything": {frame(other, typeIPv4, atSrc, 10, 77, 0, 11), false},
	} {
		if got := s.used(c.frame); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
