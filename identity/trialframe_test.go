package identity

import (
	"net"
	"testing"

	"github.com/mdlayher/ethernet"
)

// A test frame counts by where it came from, not by what it says; those of others, of other clusters, and garbage do not count.
func TestHeardTestFrames(t *testing.T) {
	card, other := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	frame := func(from net.HardwareAddr, kind ethernet.EtherType, body []byte) []byte {
		raw, err := (&ethernet.Frame{Destination: ethernet.Broadcast, Source: from, EtherType: kind, Payload: body}).MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	body := testBody("home", "bravo", card)
	var got []TestFrames
	for _, raw := range [][]byte{
		frame(card, testType, body), frame(TestMAC("home", "bravo"), testType, body), frame(card, testType, body),
		frame(other, testType, body),                                           // rewritten on its way, as by an access point
		frame(other, testType, testBody("home", "alpha", other)),               // this host's own
		frame(other, testType, testBody("work", "carol", other)),               // of another cluster
		frame(card, testType, body[:len(testMark)+4]), frame(card, 2048, body), // cut short; of another kind
		frame(card, testType, []byte("x")), nil,
	} {
		got = heardTest(got, raw, "home", "alpha")
	}
	if len(got) != 1 || got[0].Node != "bravo" || got[0].Own != 2 || got[0].Test != 1 || got[0].MAC.String() != TestMAC("home", "bravo").String() {
		t.Errorf("heard %+v", got)
	}
	if m := TestMAC("home", "bravo"); m[0]&3 != 2 || m.String() == TestMAC("home", "alpha").String() {
		t.Errorf("the test MAC is %s", m)
	}
}
