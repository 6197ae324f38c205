package wake

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"
)

// attempt is a demand as the listener gives it: a SYN of Linux, with timestamps.
func attempt(t testing.TB, v6 bool, from, seq int, ticks uint32, at time.Duration) Demand {
	t.Helper()
	var ip gopacket.NetworkLayer
	if v6 {
		ip = ip6(layers.IPProtocolTCP, guard6.String())
	} else {
		ip = ip4(layers.IPProtocolTCP, guard4.String())
	}
	s := tcp(ip, 8080, "syn")
	s.SrcPort, s.Seq = layers.TCPPort(from), uint32(seq)
	stamp := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, ticks), 0)
	s.Options = []layers.TCPOption{
		{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 0xb4}},
		{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2},
		{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: stamp},
		{OptionType: layers.TCPOptionKindNop},
		{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{7}},
	}
	return heardAs(t, build(t, ip.(gopacket.SerializableLayer), s), at)
}

// datagram is one of UDP.
func datagram(t testing.TB, from int, text string, at time.Duration) Demand {
	t.Helper()
	ip := ip4(layers.IPProtocolUDP, guard4.String())
	u := udp(ip, 53)
	u.SrcPort = layers.UDPPort(from)
	return heardAs(t, build(t, ip, u, gopacket.Payload(text)), at)
}

// heardAs is what the listener makes of a frame. The frame comes padded, and with a checksum that is not finished.
func heardAs(t testing.TB, frame []byte, at time.Duration) Demand {
	t.Helper()
	g := testGuard()
	g.Later = true
	s, stage, ok := g.hears(frame)
	if !ok {
		t.Fatalf("not heard: %x", frame)
	}
	where, protocol := 16, "tcp"
	if s.protocol == protoUDP {
		where, protocol = 6, "udp"
	}
	frame[s.at+where] ^= 0x5a
	frame = append(frame, make([]byte, max(0, 60-len(frame)))...)
	return Demand{Stage: stage, Service: g.Service, Client: s.client, Dest: s.dest, Protocol: protocol, At: at, Frame: frame}
}

var (
	ownMAC = net.HardwareAddr{2, 0, 0, 0, 0, 7}
	toMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 8}
	all    = Pick{
		TCP: []netip.AddrPort{netip.AddrPortFrom(guard4, 8080), netip.AddrPortFrom(guard6, 8080)},
		UDP: []netip.AddrPort{netip.AddrPortFrom(guard4, 53)}, Most: 10000,
	}
)

// valid checks a replayed frame with another decoder, checksums included.
func valid(t testing.TB, frame []byte) gopacket.Packet {
	t.Helper()
	if !bytes.Equal(frame[:6], toMAC) || !bytes.Equal(frame[6:12], ownMAC) {
		t.Fatalf("wrong addresses: %x", frame[:12])
	}
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	for _, l := range p.Layers() {
		if c, ok := l.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			must(t, c.SetNetworkLayerForChecksum(p.NetworkLayer()))
		}
	}
	if p.TransportLayer() == nil {
		t.Fatalf("no transport in %x", frame)
	}
	err, mismatches := p.VerifyChecksums()
	if err != nil || len(mismatches) > 0 {
		t.Fatalf("checksums: %v %+v", err, mismatches)
	}
	return p
}

func ticksOf(t testing.TB, frame []byte) uint32 {
	t.Helper()
	s, ok := parseSegment(frame)
	if !ok {
		t.Fatal("no segment")
	}
	return binary.BigEndian.Uint32(timestamp(frame, s)[2:])
}

// A TSval that is replayed is what the client's clock shows, or a little less. One that nobody knows stays as it was.
func TestReplayedTimestamps(t *testing.T) {
	const began = 100 * time.Second
	type copyOf struct {
		after time.Duration
		ticks uint32
	}
	for _, c := range []struct {
		name    string
		copies  []copyOf
		now     time.Duration // after the first copy
		least   uint32
		most    uint32 // what the client's clock shows
		changes bool
	}{
		{"one young copy", []copyOf{{0, 5000}}, 900 * time.Millisecond, 5000, 5000, false},
		{"one old copy", []copyOf{{0, 5000}}, 3 * time.Second, 7990, 7999, true},
		{"two copies of Linux", []copyOf{{0, 5000}, {time.Second, 6001}}, 6 * time.Second, 10990, 11000, true},
		{"two copies, the newest a moment old", []copyOf{{0, 5000}, {time.Second, 6000}}, time.Second + time.Millisecond, 6000, 6000, false},
		{"a slow clock", []copyOf{{0, 500}, {time.Second, 600}, {3 * time.Second, 800}}, 13 * time.Second, 1790, 1800, true},
		{"a clock of two ticks", []copyOf{{0, 50}, {3 * time.Second, 56}}, 13 * time.Second, 74, 76, true},
		{"an odd clock", []copyOf{{0, 5000}, {2 * time.Second, 6400}}, 12 * time.Second, 12900, 13400, true},
		{"a clock that stands", []copyOf{{0, 5000}, {time.Second, 5000}}, 11 * time.Second, 5000, 5000, false},
		{"it runs over", []copyOf{{0, 1<<32 - 500}, {time.Second, 500}}, 11 * time.Second, 10480, 10500, true},
		{"copies too close", []copyOf{{0, 5000}, {10 * time.Millisecond, 5010}}, 10 * time.Second, 14980, 15000, true},
	} {
		for _, v6 := range []bool{false, true} {
			var w Swallowed
			for _, one := range c.copies {
				w.Put(attempt(t, v6, 1000, 7, one.ticks, began+one.after))
			}
			frames, more := w.Take(all, began+c.now, ownMAC, toMAC)
			if len(frames) != 1 || more || w.Len() != 0 {
				t.Fatalf("%s: %d frames, more %v, %d left", c.name, len(frames), more, w.Len())
			}
			valid(t, frames[0])
			if got := ticksOf(t, frames[0]); int32(got-c.least) < 0 || int32(c.most-got) < 0 {
				t.Errorf("%s: TSval %d, want %d to %d", c.name, got, c.least, c.most)
			}
		}
	}
}

// For any client, whatever the rate of its clock, when it was heard and how late: never ahead of the clock.
func TestNeverInTheFuture(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rate := rapid.SampledFrom([]float64{2, 10, 100, 128, 250, 333, 500, 1000}).Draw(rt, "rate")
		drift := 1 + rapid.Float64Range(-200e-6, 200e-6).Draw(rt, "drift")
		start := rapid.Uint32().Draw(rt, "start")
		clock := func(at time.Duration) uint32 { return start + uint32(int64(at.Seconds()*rate*drift)) }
		ms := func(low, high int, what string) time.Duration {
			return time.Duration(rapid.IntRange(low, high).Draw(rt, what)) * time.Millisecond
		}
		second := ms(600, 60000, "second copy")
		var r readings
		for _, sent := range []time.Duration{0, second} {
			r.add2(sent+ms(0, 5, "late"), clock(sent))
		}
		now := second + ms(0, 60000, "age")
		if v, known := r.now(now); known && int32(clock(now)-v) < 0 {
			rt.Fatalf("TSval %d, the client's clock shows %d", v, clock(now))
		}
	})
}

// add2 is add with the TSval at hand.
func (r *readings) add2(at time.Duration, ticks uint32) {
	if !r.stamped {
		*r = readings{first: reading{at, ticks}, stamped: true}
	}
	r.newest = reading{at, ticks}
}

func TestSwallowedKeepsTheNewestOfEachFlow(t *testing.T) {
	var w Swallowed
	w.Put(attempt(t, false, 1, 7, 10, time.Second))
	w.Put(attempt(t, false, 1, 7, 1010, 2*time.Second))
	w.Put(attempt(t, false, 1, 99, 50000, 3*time.Second)) // the client began anew: the clock of before is none of this one's
	w.Put(attempt(t, true, 1, 7, 10, time.Second))
	w.Put(datagram(t, 5, "not wanted", time.Second))
	frames, _ := w.Take(all, 3500*time.Millisecond, ownMAC, toMAC)
	if len(frames) != 2 {
		t.Fatalf("%d frames, want that of each family", len(frames))
	}
	tcp := valid(t, frames[1]).Layer(layers.LayerTypeTCP).(*layers.TCP)
	if tcp.Seq != 99 || ticksOf(t, frames[1]) != 50000 {
		t.Errorf("got segment %d with TSval %d", tcp.Seq, ticksOf(t, frames[1]))
	}
}

func TestSwallowedForgets(t *testing.T) {
	var w Swallowed
	w.Put(attempt(t, false, 1, 7, 10, time.Second))
	w.Put(attempt(t, false, 2, 7, 10, 100*time.Second))
	reset := attempt(t, false, 2, 8, 10, 101*time.Second)
	s, _ := parseSegment(reset.Frame)
	reset.Frame[s.at+tcpFlagsOffset], reset.Stage = tcpRST, Later
	other := reset
	other.Client = netip.AddrPortFrom(guard4, 77)
	w.Hear(other)
	if w.Len() != 2 {
		t.Fatal("a stranger's reset ended an attempt")
	}
	w.Age(time.Second + synAge + 1)
	if w.Len() != 1 {
		t.Fatal("an old attempt is still there")
	}
	w.Hear(reset)
	if w.Len() != 0 || len(w.sources) != 0 {
		t.Fatalf("%d attempts, %d sources after the reset", w.Len(), len(w.sources))
	}
}

func TestSwallowedDatagrams(t *testing.T) {
	w := Swallowed{UDP: true}
	for i := range 7 {
		w.Put(datagram(t, 5, fmt.Sprint("question ", i/2), time.Duration(i)*time.Second)) // two copies of each
	}
	frames, _ := w.Take(all, 8*time.Second, ownMAC, toMAC)
	var got []string
	for _, f := range frames {
		got = append(got, string(valid(t, f).TransportLayer().LayerPayload()))
	}
	if want := []string{"question 0", "question 1", "question 2", "question 3"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	w.Put(datagram(t, 5, "old", 10*time.Second))
	if w.Age(10*time.Second + datagramAge + 1); w.Len() != 0 {
		t.Error("an old datagram is still there")
	}
}

// A flood can neither grow the store nor keep out who repeats himself; and one client cannot fill it.
func TestSwallowedIsBounded(t *testing.T) {
	var w Swallowed
	honest := func(at time.Duration) { w.Put(attempt(t, true, 9, 7, uint32(at/time.Millisecond), at)) }
	honest(time.Second)
	honest(2 * time.Second)
	d := attempt(t, false, 1, 7, 10, 0)
	s, _ := parseSegment(d.Frame)
	for i := range 3 * swallowedMost {
		one := d
		one.Frame = slices.Clone(d.Frame)
		binary.BigEndian.PutUint32(one.Frame[offNetwork+12:], uint32(0x0b000000+i)) // another source each time
		one.Client = netip.AddrPortFrom(netip.AddrFrom4([4]byte(one.Frame[offNetwork+12:offNetwork+16])), 1)
		one.At = 3*time.Second + time.Duration(i)
		w.Put(one)
	}
	if w.Len() != swallowedMost || w.kept[flow{"tcp", netip.MustParseAddrPort("[fd77::100]:9"), netip.AddrPortFrom(guard6, 8080)}] == nil {
		t.Fatalf("%d are kept, the one who repeats himself: %v", w.Len(), w.kept[attempt(t, true, 9, 7, 0, 0).flow()] != nil)
	}
	w = Swallowed{}
	for port := range 2 * sourceMost {
		binary.BigEndian.PutUint16(d.Frame[s.at:], uint16(port))
		d.Client = netip.AddrPortFrom(s.client.Addr(), uint16(port))
		w.Put(d)
	}
	if w.Len() != sourceMost {
		t.Errorf("one client has %d, want %d", w.Len(), sourceMost)
	}
}

func TestTakeInBursts(t *testing.T) {
	var w Swallowed
	for port := range 10 {
		w.Put(attempt(t, false, 100+port, 7, 10, time.Duration(20-port)*time.Millisecond))
	}
	local := attempt(t, false, 1, 7, 10, 0)
	local.Local = true
	w.Put(local)
	p := all
	p.Most, p.NoLocal = 4, true
	var got []int
	for more := true; more; {
		var frames [][]byte
		frames, more = w.Take(p, time.Second, ownMAC, toMAC)
		for _, f := range frames {
			got = append(got, int(valid(t, f).Layer(layers.LayerTypeTCP).(*layers.TCP).SrcPort))
		}
		if len(frames) > 4 {
			t.Fatalf("a burst of %d", len(frames))
		}
	}
	if want := []int{109, 108, 107, 106, 105, 104, 103, 102, 101, 100}; !slices.Equal(got, want) {
		t.Errorf("got %v, want the oldest first: %v", got, want)
	}
	if !w.Local() || w.Len() != 1 {
		t.Error("the one on this host is gone")
	}
	p.TCP = all.TCP[1:]
	p.NoLocal = false
	if frames, _ := w.Take(p, time.Second, ownMAC, toMAC); len(frames) != 0 {
		t.Error("an attempt was replayed to a port that nobody listens at")
	}
}

// FuzzSwallowed: no bytes crash the store or what it replays (I10), and a frame that it gives out is one that can be sent.
func FuzzSwallowed(f *testing.F) {
	for _, s := range samples(f) {
		f.Add(s.frame)
	}
	f.Add(attempt(f, false, 1, 2, 3, 0).Frame)
	f.Add(attempt(f, true, 1, 2, 3, 0).Frame)
	g := testGuard()
	g.Later = true
	f.Fuzz(func(t *testing.T, frame []byte) {
		s, stage, ok := g.hears(frame)
		if !ok {
			return
		}
		d := Demand{Stage: stage, Client: s.client, Dest: s.dest, Protocol: "tcp", Frame: frame}
		if s.protocol == protoUDP {
			d.Protocol = "udp"
		}
		w := Swallowed{UDP: true}
		var p Parked
		p.Learn([]Flow{{Client: s.client, Dest: s.dest, Next: s.seq, Known: len(frame)%2 == 0}})
		w.Put(d)
		w.Hear(d)
		_, answer := p.Hear(d)
		pick := Pick{TCP: []netip.AddrPort{s.dest}, UDP: []netip.AddrPort{s.dest}, Most: 10}
		frames, _ := w.Take(pick, 2*time.Second, ownMAC, toMAC)
		more, _ := p.Take(false, 10, 2*time.Second, ownMAC, toMAC)
		for _, out := range append(append(frames, more...), answer) {
			if len(out) > frameMost || len(out) != 0 && len(out) < offNetwork+28 {
				t.Fatalf("a frame of %d bytes: %x", len(out), out)
			}
		}
	})
}

// TestFramesOfAnyShape: what anybody on the LAN can send must not end the daemon, one frame after the other neither.
func TestFramesOfAnyShape(t *testing.T) {
	options := func(words int) func(*layers.IPv4) {
		return func(ip *layers.IPv4) {
			for range words * 4 {
				ip.Options = append(ip.Options, layers.IPv4Option{OptionType: 1}) // no operation
			}
		}
	}
	w := Swallowed{UDP: true}
	for i, words := range []int{0, 10, 3, 0} {
		ip := ip4(layers.IPProtocolUDP, guard4.String(), options(words))
		u := udp(ip, 53)
		u.SrcPort = 40000
		w.Put(heardAs(t, build(t, ip, u, gopacket.Payload(strings.Repeat("x", i))), time.Duration(i)))
	}
	for i, size := range []int{2000 - 54, 1600 - 54, 0, 1900 - 54} {
		ip := ip4(layers.IPProtocolTCP, guard4.String())
		s := tcp(ip, 8080, "syn")
		s.SrcPort, s.Seq = 40001, uint32(i)
		w.Put(heardAs(t, build(t, ip, s, gopacket.Payload(strings.Repeat("x", size))), time.Duration(i)))
	}
	if w.Len() != 2 {
		t.Errorf("%d flows are kept, want 2", w.Len())
	}
	pick := Pick{TCP: []netip.AddrPort{netip.AddrPortFrom(guard4, 8080)}, UDP: []netip.AddrPort{netip.AddrPortFrom(guard4, 53)}, Most: 10}
	if frames, _ := w.Take(pick, time.Second, ownMAC, toMAC); len(frames) == 0 {
		t.Error("none of them is replayed")
	}
}
