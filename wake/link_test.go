package wake

import (
	"net"
	"strings"
	"testing"
)

// TestLinkNamed: it says of every interface of this host what the standard library says.
func TestLinkNamed(t *testing.T) {
	all, err := net.Interfaces()
	if err != nil || len(all) == 0 {
		t.Fatalf("%d interfaces, %v", len(all), err)
	}
	for _, want := range all {
		got, err := linkNamed(want.Name)
		if err != nil {
			if _, gone := net.InterfaceByName(want.Name); gone == nil {
				t.Error(err)
			}
			continue
		}
		const told = net.FlagUp | net.FlagLoopback | net.FlagBroadcast | net.FlagMulticast
		if got.Index != want.Index || got.Flags&told != want.Flags&told || len(want.HardwareAddr) == 6 && got.HardwareAddr.String() != want.HardwareAddr.String() &&
			want.Flags&net.FlagLoopback == 0 {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	for _, name := range []string{"", "no-such-one", strings.Repeat("x", 40)} {
		if _, err := linkNamed(name); err == nil {
			t.Errorf("there is an interface %q", name)
		}
	}
}
