package demo

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
)

var (
	mac0  = net.HardwareAddr{2, 0xbe, 0, 0, 0, 1}
	other = net.HardwareAddr{2, 0x4e, 0x50, 0, 0, 4}
	web   = identity{mac: mac0, ip: netip.AddrFrom4([4]byte{10, 77, 0, 200})}
	start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

func frame(ms int, port string, src net.HardwareAddr, etherType uint16, payload ...byte) lab.Frame {
	data := slices.Concat(bytes.Repeat([]byte{0xff}, 6), src, []byte{byte(etherType >> 8), byte(etherType)}, payload)
	return lab.Frame{Time: at(ms), Port: port, Data: data}
}

// announce is a gratuitous ARP with the given addresses of the sender.
func announce(ms int, port string, src, sha net.HardwareAddr, ip netip.Addr) lab.Frame {
	a := ip.As4()
	return frame(ms, port, src, typeARP, slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, 2}, sha, a[:], sha, a[:])...)
}

func TestUsesOfTheIdentity(t *testing.T) {
	packet := func(src netip.Addr) []byte {
		a := src.As4()
		return slices.Concat([]byte{0x45, 0, 0, 40, 0, 0, 0, 0, 64, protoTCP, 0, 0}, a[:], []byte{10, 77, 0, 101}, make([]byte, 20))
	}
	stranger := netip.AddrFrom4([4]byte{10, 77, 0, 14})
	for name, c := range map[string]struct {
		f    lab.Frame
		want bool
	}{
		"source MAC":                 {frame(0, "h1", mac0, 0x88cc, 1, 2, 3), true},
		"ARP sender's address":       {announce(0, "h1", other, other, web.ip), true},
		"ARP sender's MAC":           {announce(0, "h1", other, mac0, stranger), true},
		"IP source":                  {frame(0, "h1", other, typeIPv4, packet(web.ip)...), true},
		"another host's IP":          {frame(0, "h1", other, typeIPv4, packet(stranger)...), false},
		"another host's ARP":         {announce(0, "h1", other, other, stranger), false},
		"a frame that ends too soon": {frame(0, "h1", other, typeARP, 0, 1), false},
	} {
		if got := web.uses(c.f); got != c.want {
			t.Errorf("%s: uses = %v, want %v", name, got, c.want)
		}
	}
}

func TestJudge(t *testing.T) {
	history := []api.Change{
		{Epoch: 1, To: "h4", At: at(0)},
		{Epoch: 2, From: "h4", To: "h1", At: at(100)},
		{Epoch: 3, From: "h1", To: "h4", At: at(200)},
		{Epoch: 4, From: "h4", To: "h2", At: at(300)},
	}
	use := func(ms int, port string) lab.Frame { return announce(ms, port, mac0, mac0, web.ip) }
	forwarded := use(120, "h4")
	forwarded.ToHost = true
	for name, c := range map[string]struct {
		frames   []lab.Frame
		order    []string
		overlaps int
	}{
		"in turn":                    {[]lab.Frame{use(1, "h4"), use(2, "h4"), use(110, "h1"), use(210, "h4"), use(310, "h2")}, []string{"h4", "h1", "h4", "h2"}, 0},
		"a turn without a frame":     {[]lab.Frame{use(1, "h4"), use(310, "h2")}, []string{"h4", "h2"}, 0},
		"forwarded frames count not": {[]lab.Frame{use(1, "h4"), use(110, "h1"), forwarded, use(130, "h1")}, []string{"h4", "h1"}, 0},
		"A, B, A at one time":        {[]lab.Frame{use(1, "h4"), use(110, "h1"), use(111, "h4"), use(210, "h4")}, []string{"h4", "h1", "h4"}, 1},
		"A, B, A at the end":         {[]lab.Frame{use(210, "h4"), use(310, "h2"), use(311, "h4")}, []string{"h4", "h2", "h4"}, 1},
		"before its record":          {[]lab.Frame{use(1, "h4"), use(99, "h1")}, []string{"h4", "h1"}, 1},
		"never given to it":          {[]lab.Frame{use(1, "h4"), use(150, "h3")}, []string{"h4", "h3"}, 1},
	} {
		v := web.judge(c.frames, history)
		if !slices.Equal(v.order, c.order) || len(v.overlaps) != c.overlaps {
			t.Errorf("%s: turns %v, overlaps %q; want turns %v and %d overlaps", name, v.order, v.overlaps, c.order, c.overlaps)
		}
	}
	if v := web.judge([]lab.Frame{use(1, "h4"), forwarded, frame(2, "h4", other, typeIPv4)}, history); v.frames != 1 {
		t.Errorf("%d frames were counted, want the one that the host sent with the identity", v.frames)
	}
}

func TestSYN(t *testing.T) {
	segment := func(flags byte, port uint16, to netip.Addr) lab.Frame {
		a := to.As4()
		tcp := []byte{0x80, 0, byte(port >> 8), byte(port), 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0}
		return frame(0, "h1", other, typeIPv4, slices.Concat([]byte{0x45, 0, 0, 40, 0, 0, 0, 0, 64, protoTCP, 0, 0, 10, 77, 0, 101}, a[:], tcp)...)
	}
	for name, c := range map[string]struct {
		f    lab.Frame
		want bool
	}{
		"SYN":          {segment(flagSYN, 8080, web.ip), true},
		"SYN, ACK":     {segment(flagSYN|flagACK, 8080, web.ip), false},
		"RST":          {segment(4, 8080, web.ip), false},
		"another port": {segment(flagSYN, 22, web.ip), false},
		"another host": {segment(flagSYN, 8080, netip.AddrFrom4([4]byte{10, 77, 0, 11})), false},
	} {
		if got := web.isSYN(c.f); got != c.want {
			t.Errorf("%s: isSYN = %v, want %v", name, got, c.want)
		}
	}
}
