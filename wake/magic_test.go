package wake

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// pattern is what a sleeping card looks for, written here without the library that the Caller uses.
func pattern(mac net.HardwareAddr, password string) []byte {
	b := bytes.Repeat([]byte{0xff}, 6)
	return append(append(b, bytes.Repeat(mac, 16)...), password...)
}

func (s *space) caller(t testing.TB, iface string) *Caller {
	t.Helper()
	var c *Caller
	must(t, s.do(func() (err error) {
		c, err = NewCaller(iface)
		return err
	}))
	t.Cleanup(func() { c.Close() })
	return c
}

// magic reads n frames that look like a wake and describes them: "raw" or the UDP destination, the broadcast bit of the
// frame, and the number of the MAC in macs.
func magic(t testing.TB, tap *packet.Conn, n int, macs []net.HardwareAddr, password string) []string {
	t.Helper()
	var got []string
	buf := make([]byte, 2048)
	for len(got) < n {
		k, _, err := tap.ReadFrom(buf)
		must(t, err)
		p := gopacket.NewPacket(buf[:k], layers.LayerTypeEthernet, gopacket.Default)
		eth := p.LinkLayer().(*layers.Ethernet)
		form, payload := "", []byte(nil)
		if eth.EthernetType == 0x0842 {
			form, payload = "raw", eth.Payload
		} else if u, ok := p.TransportLayer().(*layers.UDP); ok && (u.DstPort == WakePort || u.DstPort == EchoPort) {
			form, payload = fmt.Sprintf("udp %s:%d", p.NetworkLayer().NetworkFlow().Dst(), uint16(u.DstPort)), u.Payload
		} else {
			continue
		}
		if eth.SrcMAC.String() != hostMAC {
			t.Errorf("%s from %v", form, eth.SrcMAC)
		}
		which := slices.IndexFunc(macs, func(m net.HardwareAddr) bool { return bytes.Equal(payload, pattern(m, password)) })
		got = append(got, fmt.Sprintf("%s to %v for %d", form, eth.DstMAC, which))
	}
	return got
}

func equal(t testing.TB, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func TestCallerForms(t *testing.T) {
	n := newLAN(t)
	must(t, n.host.do(func() error {
		return errors.Join(addr("eth0", "10.77.0.11/24"), addr("eth0", "10.77.0.12/24"), addr("eth0", "192.168.9.1/30"), addr("eth0", "10.1.2.3/32"))
	}))
	tap := n.client.tap(t, "eth0")
	c := n.host.caller(t, "eth0")
	macs := []net.HardwareAddr{mac(t, "02:00:00:00:01:01"), mac(t, "02:00:00:00:01:02")}
	const ff = "ff:ff:ff:ff:ff:ff"
	for _, password := range []string{"", "1234", "123456"} {
		must(t, n.host.do(func() error { return c.Call(macs, []byte(password)) }))
		want := []string{"raw to " + ff + " for 0", "raw to " + ff + " for 1"}
		for _, dest := range []string{"255.255.255.255:9", "255.255.255.255:7", "10.77.0.255:9", "10.77.0.255:7", "192.168.9.3:9", "192.168.9.3:7"} {
			want = append(want, "udp "+dest+" to "+ff+" for 0", "udp "+dest+" to "+ff+" for 1")
		}
		want = append(want, "raw to "+macs[0].String()+" for 0", "raw to "+macs[1].String()+" for 1")
		equal(t, magic(t, tap, len(want), macs, password), want)
	}
}

// With an IPv6 address all nodes of the link are called as well.
func TestCallerWithIPv6(t *testing.T) {
	n := newLAN(t)
	must(t, n.host.do(func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return errors.Join(os.WriteFile("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", []byte("0"), 0),
			netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP("fe80::11"), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD}))
	}))
	tap := n.client.tap(t, "eth0")
	c := n.host.caller(t, "eth0")
	macs := []net.HardwareAddr{mac(t, clientMAC)}
	must(t, n.host.do(func() error { return c.Call(macs, nil) }))
	equal(t, magic(t, tap, 3, macs, ""), []string{
		"raw to ff:ff:ff:ff:ff:ff for 0", "udp ff02::1:9 to 33:33:00:00:00:01 for 0", "raw to " + clientMAC + " for 0",
	})
}

// Without IP there are only the raw forms; a second call comes directly after the first.
func TestCallerWithoutIPv4(t *testing.T) {
	n := newLAN(t)
	tap := n.client.tap(t, "eth0")
	c := n.host.caller(t, "eth0")
	macs := []net.HardwareAddr{mac(t, clientMAC)}
	for range 2 {
		must(t, n.host.do(func() error { return c.Call(macs, nil) }))
	}
	all, one := "raw to ff:ff:ff:ff:ff:ff for 0", "raw to "+clientMAC+" for 0"
	equal(t, magic(t, tap, 4, macs, ""), []string{all, one, all, one})
}

// An interface that is removed gives an error that says so, and one that comes back under the same name is used.
func TestCallerInterfaceReplaced(t *testing.T) {
	n := newLAN(t)
	c := n.host.caller(t, "eth0")
	macs := []net.HardwareAddr{mac(t, clientMAC)}
	must(t, n.host.do(func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	}))
	for range 2 {
		err := n.host.do(func() error { return c.Call(macs, nil) })
		if err == nil || !strings.Contains(err.Error(), `"eth0"`) {
			t.Fatalf("got %v", err)
		}
	}
	n.cable(t)
	tap := n.client.tap(t, "eth0")
	must(t, n.host.do(func() error { return c.Call(macs, nil) }))
	equal(t, magic(t, tap, 1, macs, ""), []string{"raw to ff:ff:ff:ff:ff:ff for 0"})
}

func TestCallerErrors(t *testing.T) {
	n := newLAN(t)
	c := n.host.caller(t, "eth0")
	good := mac(t, clientMAC)
	tests := []struct {
		name     string
		macs     []net.HardwareAddr
		password string
		want     string
	}{
		{"no address", nil, "", "no hardware address"},
		{"short address", []net.HardwareAddr{good[:5]}, "", "make a magic packet"},
		{"short password", []net.HardwareAddr{good}, "123", "3 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := n.host.do(func() error { return c.Call(tt.macs, []byte(tt.password)) })
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	must(t, n.host.do(func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(l)
	}))
	if err := n.host.do(func() error { return c.Call([]net.HardwareAddr{good}, nil) }); err == nil || !strings.Contains(err.Error(), "eth0") {
		t.Errorf("interface down: got %v", err)
	}
	must(t, c.Close())
	must(t, c.Close())
	if err := c.Call([]net.HardwareAddr{good}, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: got %v", err)
	}
	if err := n.host.do(func() error { _, err := NewCaller("nope0"); return err }); err == nil || !strings.Contains(err.Error(), `"nope0"`) {
		t.Errorf("no such interface: got %v", err)
	}
}

func TestSubnetBroadcasts(t *testing.T) {
	prefixes := func(ss ...string) (ps []netip.Prefix) {
		for _, s := range ss {
			ps = append(ps, netip.MustParsePrefix(s))
		}
		return ps
	}
	tests := []struct {
		prefixes []netip.Prefix
		want     string
	}{
		{nil, "[]"},
		{prefixes("10.0.0.1/32"), "[255.255.255.255]"},
		{prefixes("10.0.0.0/31"), "[255.255.255.255]"},
		{prefixes("10.0.0.1/30", "10.0.0.2/30"), "[255.255.255.255 10.0.0.3]"},
		{prefixes("172.16.5.4/12"), "[255.255.255.255 172.31.255.255]"},
		{prefixes("10.1.2.3/23", "192.0.2.129/25"), "[255.255.255.255 10.1.3.255 192.0.2.255]"},
	}
	for _, tt := range tests {
		if got := fmt.Sprint(subnetBroadcasts(tt.prefixes)); got != tt.want {
			t.Errorf("%v: got %s, want %s", tt.prefixes, got, tt.want)
		}
	}
}
