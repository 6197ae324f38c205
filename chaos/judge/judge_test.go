package judge

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// stamped reads words such as "a@5": what a did, or was given, 5 ms after the start.
func stamped(t *testing.T, text string, each func(host string, at time.Time)) {
	t.Helper()
	for _, word := range strings.Fields(text) {
		host, after, _ := strings.Cut(word, "@")
		ms, err := strconv.Atoi(after)
		if err != nil {
			t.Fatal(err)
		}
		each(host, start.Add(time.Duration(ms)*time.Millisecond))
	}
}

// What the judge lets pass, and what it does not: the proof of I1 in all stories rests on it.
func TestTheJudgeHasTeeth(t *testing.T) {
	for _, c := range []struct {
		name, frames, owners string
		want                 []int
	}{
		{"one after the other", "a@1 a@2 b@11 c@21 c@22", "a@0 b@10 c@20", nil},
		{"at the very moment of the record", "a@0 b@10", "a@0 b@10", nil},
		{"an owner that sent nothing", "a@1 c@21", "a@0 b@10 c@20", nil},
		{"back and forth, as the log has it", "a@1 b@11 a@21", "a@0 b@10 a@20", nil},
		{"back and forth, and an owner that sent nothing", "a@1 b@11 a@31 b@41", "a@0 b@10 c@20 a@30 b@40", nil},
		{"an owner whose service was redefined", "a@1 a@11 b@21", "a@0 a@10 b@20", nil},
		{"the former owner until the next one begins", "a@1 a@12 b@13", "a@0 b@10", nil},
		{"nobody's time", "a@1 b@21", "a@0 @10 b@20", nil},

		{"the former owner again", "a@1 b@11 a@12", "a@0 b@10 c@20", []int{2}},
		{"the former owner, before it is given the service again", "a@1 b@11 a@12", "a@0 b@10 a@20", []int{2}},
		{"the same, and the next owner goes on", "a@1 b@11 a@12 b@13 a@21", "a@0 b@10 a@20", []int{2}},
		{"a stray covered by an owner that sent nothing", "a@1 b@11 a@12 b@13", "a@0 b@10 c@20 a@30 b@40", []int{2}},
		{"the same, and all that follow come in turn", "a@1 b@11 a@12 b@13 a@31 b@41", "a@0 b@10 c@20 a@30 b@40", []int{2}},
		{"the next owner just before its record", "a@1 b@9", "a@0 b@10", []int{1}},
		{"the next owner too early, the present one goes on", "a@1 b@9 a@10 b@11", "a@0 b@10", []int{1}},
		{"before the first record", "b@0 a@1 b@11", "a@1 b@10", []int{0}},
		{"never an owner", "a@1 d@2 b@11", "a@0 b@10", []int{1}},
		{"two at once", "a@1 b@11 a@12 b@13 a@14", "a@0 b@10", []int{2, 4}},
		{"without a log", "a@1", "", []int{0}},
	} {
		var turns Turns
		stamped(t, c.frames, func(host string, at time.Time) { turns.See(Use{At: at, Host: host}) })
		var owners []api.Change
		stamped(t, c.owners, func(host string, at time.Time) {
			owners = append(owners, api.Change{Epoch: uint64(len(owners) + 1), To: host, At: at})
		})
		if got := turns.Strays(owners); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if said := turns.Complaint(owners); (said == "") != (c.want == nil) {
			t.Errorf("%s: the complaint is %q", c.name, said)
		}
	}
}

// A turn is the first frame of a run of frames from one host.
func TestTurns(t *testing.T) {
	var turns Turns
	stamped(t, "a@1 a@2 b@3 b@4 a@5", func(host string, at time.Time) { turns.See(Use{At: at, Host: host}) })
	var want Turns
	stamped(t, "a@1 b@3 a@5", func(host string, at time.Time) { want = append(want, Use{At: at, Host: host}) })
	if !slices.EqualFunc(turns, want, func(a, b Use) bool { return a.Host == b.Host && a.At.Equal(b.At) }) {
		t.Errorf("got %v, want %v", turns, want)
	}
}

// Who reads a complaint finds in it the frame, the turns and the history.
func TestAComplaintTellsAll(t *testing.T) {
	turns := Turns{{At: start, Host: "h1"}, {At: start.Add(time.Second), Host: "h2", Frame: []byte{0xca, 0xfe}}}
	said := turns.Complaint([]api.Change{{Epoch: 7, To: "h1", Reason: "first-owner", At: start}})
	for _, want := range []string{"h2 used the identity out of turn at 03:04:06.000000, frame cafe", "turns: h1 03:04:05.000000, h2 ", "7: ->h1 (first-owner) 03:04:05.000000"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in %q", want, said)
		}
	}
}

// Each way to claim an identity is seen, and nothing else is taken for one.
func TestEveryClaimIsSeen(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	six := netip.MustParseAddr("fd77::200")
	id := Identity{MAC: mac, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 77, 0, 200}), six}}
	const atDst, atTPA, atTHA = atPayload + 16, atPayload + 24, atPayload + 18
	frame := func(src net.HardwareAddr, kind uint16, at int, what ...byte) lab.Frame {
		data := make([]byte, 60)
		copy(data[6:], src)
		data[12], data[13] = byte(kind>>8), byte(kind)
		copy(data[at:], what)
		return lab.Frame{Data: data}
	}
	advert := frame(net.HardwareAddr{2, 0, 0, 0, 0, 1}, typeIPv6, atPayload)
	advert.Data = append(advert.Data, make([]byte, 40)...)
	copy(advert.Data[atTarget:], six.AsSlice())
	advert.Data[atNext6], advert.Data[atType6] = protoICMPv6, neighbourAdvertisement
	question := lab.Frame{Data: slices.Clone(advert.Data)}
	question.Data[atType6]--
	short := func(f lab.Frame, n int) lab.Frame { f.Data = f.Data[:n]; return f }
	other := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	for name, c := range map[string]struct {
		frame lab.Frame
		want  bool
	}{
		"its MAC":                        {frame(mac, 0x86dd, 20), true},
		"its MAC, and nothing else":      {short(frame(mac, 0x88cc, 20), atPayload), true},
		"its address in ARP":             {frame(other, typeARP, atSPA, 10, 77, 0, 200), true},
		"its MAC in ARP":                 {frame(other, typeARP, atSHA, mac...), true},
		"its address in IP":              {frame(other, typeIPv4, atSrc, 10, 77, 0, 200), true},
		"a packet for it":                {frame(other, typeIPv4, atDst, 10, 77, 0, 200), false},
		"a question for it":              {frame(other, typeARP, atTPA, 10, 77, 0, 200), false},
		"an answer to it":                {frame(other, typeARP, atTHA, mac...), false},
		"another's address":              {frame(other, typeIPv4, atSrc, 10, 77, 0, 11), false},
		"its address in another place":   {frame(other, 0x86dd, atSrc, 10, 77, 0, 200), false},
		"its IPv6 address":               {frame(other, typeIPv6, atSrc6, six.AsSlice()...), true},
		"its IPv6 address, advertised":   {advert, true},
		"a question for it by IPv6":      {question, false},
		"an ARP frame that ends early":   {short(frame(other, typeARP, atSPA, 10, 77, 0, 200), atSPA+3), false},
		"an IP packet that ends early":   {short(frame(other, typeIPv4, atSrc, 10, 77, 0, 200), atSrc+3), false},
		"less than a header of Ethernet": {short(frame(mac, typeIPv4, atSrc), atPayload-1), false},
	} {
		if got := id.Claimed(c.frame); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		shared := Identity{Addrs: id.Addrs} // in mode address the MAC is nobody's
		if got := shared.Claimed(c.frame); got != (c.want && !strings.HasPrefix(name, "its MAC")) {
			t.Errorf("%s, in mode address: %v", name, got)
		}
	}
}
