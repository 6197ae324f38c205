package wake

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// parkedFlow is what a target reported of one connection: it expects byte 1000.
func parkedFlow(to netip.Addr) Flow {
	from := netip.MustParseAddrPort("10.77.0.100:40000")
	if to.Is6() {
		from = netip.MustParseAddrPort("[fd77::100]:40000")
	}
	return Flow{Client: from, Dest: netip.AddrPortFrom(to, 22222), Next: 1000, Window: 501, Known: true}
}

// word is a later segment of that connection.
func word(t testing.TB, to netip.Addr, flags string, seq uint32, data string, ticks uint32, at time.Duration) Demand {
	t.Helper()
	var ip gopacket.NetworkLayer
	if to.Is6() {
		ip = ip6(layers.IPProtocolTCP, to.String())
	} else {
		ip = ip4(layers.IPProtocolTCP, to.String())
	}
	s := tcp(ip, 22222, flags)
	s.Seq, s.Ack = seq, 5000
	if ticks != 0 {
		stamp := []byte{byte(ticks >> 24), byte(ticks >> 16), byte(ticks >> 8), byte(ticks), 0, 0, 0, 77}
		s.Options = []layers.TCPOption{
			{OptionType: layers.TCPOptionKindNop},
			{OptionType: layers.TCPOptionKindNop},
			{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: stamp},
		}
	}
	return heardAs(t, build(t, ip.(gopacket.SerializableLayer), s, gopacket.Payload(data)), at)
}

func TestWhatWakesASleepersTarget(t *testing.T) {
	for _, c := range []struct {
		name   string
		flags  string
		seq    uint32
		data   string
		change func(*Flow)
		demand bool
		answer bool
		kept   bool
	}{
		{"data", "psh,ack", 1000, "hello", nil, true, false, true},
		{"data, and some of it is known", "ack", 990, "fifteen letters", nil, true, false, true},
		{"later data, the first of which was lost", "ack", 2000, "hello", nil, true, false, true},
		{"end", "fin,ack", 1000, "", nil, true, false, true},
		{"keepalive", "ack", 999, "", nil, false, true, false},
		{"keepalive with a byte", "ack", 999, "\x00", nil, false, true, false},
		{"data that the target has", "psh,ack", 995, "hello", nil, false, true, false},
		{"acknowledgement", "ack", 1000, "", nil, false, false, false},
		{"acknowledgement of much", "ack", 1000, "", func(f *Flow) { f.Window = 0 }, false, false, false},
		{"probe for room", "ack", 999, "", func(f *Flow) { f.Window = 0 }, true, false, false},
		{"reset", "rst", 1000, "", nil, false, false, true},
		{"a number from elsewhere", "psh,ack", 1000 + 200<<20, "hello", nil, false, false, false},
		{"a number from elsewhere, below", "psh,ack", 1<<32 - 200<<20, "hello", nil, false, false, false},
		{"another client", "psh,ack", 1000, "hello", func(f *Flow) { f.Client = netip.AddrPortFrom(f.Client.Addr(), 1) }, false, false, false},
		{"another port", "psh,ack", 1000, "hello", func(f *Flow) { f.Dest = netip.AddrPortFrom(f.Dest.Addr(), 1) }, false, false, false},
		{"data, nothing known", "psh,ack", 4242, "hello", func(f *Flow) { f.Known = false }, true, false, true},
		{"end, nothing known", "fin,ack", 4242, "", func(f *Flow) { f.Known = false }, true, false, true},
		{"a zero, nothing known", "ack", 4242, "\x00", func(f *Flow) { f.Known = false }, false, false, false},
		{"a key, nothing known", "psh,ack", 4242, "q", func(f *Flow) { f.Known = false }, true, false, true},
		{"acknowledgement, nothing known", "ack", 4242, "", func(f *Flow) { f.Known = false }, false, false, false},
		{"numbers that run over", "psh,ack", 1<<32 - 3, "hello", func(f *Flow) { f.Next = 1<<32 - 3 }, true, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, to := range []netip.Addr{guard4, guard6} {
				var p Parked
				f := parkedFlow(to)
				if c.change != nil {
					c.change(&f)
				}
				p.Learn([]Flow{f})
				demand, answer := p.Hear(word(t, to, c.flags, c.seq, c.data, 900, 5*time.Second))
				frames, _ := p.Take(false, 10, 6*time.Second, ownMAC, toMAC)
				if demand != c.demand || (answer != nil) != c.answer || (len(frames) == 1) != c.kept {
					t.Errorf("demand %v, answer %v, %d kept", demand, answer != nil, len(frames))
				}
				for _, out := range frames {
					valid(t, out)
				}
			}
		})
	}
}

// The answer to a keepalive is what the target's own kernel would send: the client accepts no other.
func TestAnswerToAKeepalive(t *testing.T) {
	for _, to := range []netip.Addr{guard4, guard6} {
		for _, ticks := range []uint32{0, 900} {
			var p Parked
			p.Learn([]Flow{parkedFlow(to)})
			_, answer := p.Hear(word(t, to, "ack", 999, "", ticks, 5*time.Second))
			if string(answer[:6]) != string(mac(t, clientMAC)) || string(answer[6:12]) != string(mac(t, serviceMAC)) {
				t.Errorf("from %x to %x", answer[6:12], answer[:6])
			}
			copy(answer, toMAC)
			copy(answer[6:], ownMAC)
			packet := valid(t, answer)
			s := packet.TransportLayer().(*layers.TCP)
			if s.Seq != 5000 || s.Ack != 1000 || s.Window != 501 || !s.ACK || s.SYN || s.RST || s.PSH || s.FIN || len(s.Payload) != 0 || s.SrcPort != 22222 || s.DstPort != 40000 {
				t.Errorf("%+v", s)
			}
			stamps := slices.IndexFunc(s.Options, func(o layers.TCPOption) bool { return o.OptionType == layers.TCPOptionKindTimestamps })
			if (stamps >= 0) != (ticks != 0) {
				t.Fatalf("options %v", s.Options)
			}
			if want := []byte{0, 0, 0, 77, 0, 0, 3, 132}; stamps >= 0 && !slices.Equal(s.Options[stamps].OptionData, want) {
				t.Errorf("timestamps %v, want the client's and the target's own, turned around: %v", s.Options[stamps].OptionData, want)
			}
		}
	}
}

// The first of what the target does not have is replayed, in its newest copy and with the time of now; what is longer than a frame is
// cut to one, and the rest the client repeats.
func TestReplayedWord(t *testing.T) {
	var p Parked
	p.Learn([]Flow{parkedFlow(guard4)})
	p.Hear(word(t, guard4, "psh,ack", 1005, "second", 10_005, 10*time.Second))
	p.Hear(word(t, guard4, "ack", 1000, "first", 10_000, 10*time.Second))
	p.Hear(word(t, guard4, "psh,ack", 1005, "second", 11_005, 11*time.Second))
	p.Hear(word(t, guard4, "ack", 1000, "first", 11_000, 11*time.Second))
	if some, local := p.Waiting(); !some || local {
		t.Fatalf("waiting %v, here %v", some, local)
	}
	frames, more := p.Take(false, 10, 14*time.Second, ownMAC, toMAC)
	if len(frames) != 1 || more {
		t.Fatalf("%d frames", len(frames))
	}
	s := valid(t, frames[0]).TransportLayer().(*layers.TCP)
	if string(s.Payload) != "first" || s.Seq != 1000 {
		t.Errorf("replayed %q at %d", s.Payload, s.Seq)
	}
	if v := ticksOf(t, frames[0]); v > 14_000 || v < 13_990 {
		t.Errorf("TSval %d, the client's clock shows 14000", v)
	}
	if again, _ := p.Take(false, 10, 14*time.Second, ownMAC, toMAC); len(again) != 0 {
		t.Error("it is replayed twice")
	}

	long := make([]byte, 5000)
	for i := range long {
		long[i] = byte(i)
	}
	d := word(t, guard4, "fin,psh,ack", 1000, string(long), 12_000, 15*time.Second)
	d.Frame = d.Frame[:frameLimit] // as the socket gives it
	if demand, _ := p.Hear(d); !demand {
		t.Fatal("no demand")
	}
	frames, _ = p.Take(false, 10, 16*time.Second, ownMAC, toMAC)
	s = valid(t, frames[0]).TransportLayer().(*layers.TCP)
	if len(frames[0]) != frameMost || s.FIN || s.PSH || !slices.Equal(s.Payload, long[:len(s.Payload)]) {
		t.Errorf("a frame of %d bytes, FIN %v, PSH %v", len(frames[0]), s.FIN, s.PSH)
	}
}

func TestParkedIsBounded(t *testing.T) {
	var p Parked
	f := parkedFlow(guard4)
	for i := range ParkedMost + 100 {
		f.Client = netip.AddrPortFrom(f.Client.Addr(), uint16(i))
		p.Learn([]Flow{f})
	}
	if p.Len() != ParkedMost || len(p.Flows()) != ParkedMost {
		t.Errorf("%d, %d", p.Len(), len(p.Flows()))
	}
	p.Forget()
	if p.Len() != 0 {
		t.Error("they are not forgotten")
	}
}
