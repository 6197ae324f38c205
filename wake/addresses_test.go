package wake

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// link makes an entry of a link table.
func link(kind string, index int, name string, change ...func(*netlink.LinkAttrs)) netlink.Link {
	a := netlink.NewLinkAttrs()
	a.Index, a.Name, a.NetNsID = index, name, -1
	a.HardwareAddr = net.HardwareAddr{2, 0, 0, 0, 0, byte(index)}
	for _, c := range change {
		c(&a)
	}
	if kind == "device" {
		return &netlink.Device{LinkAttrs: a}
	}
	return &netlink.GenericLink{LinkAttrs: a, LinkType: kind}
}

func parent(i int) func(*netlink.LinkAttrs) { return func(a *netlink.LinkAttrs) { a.ParentIndex = i } }

func master(i int) func(*netlink.LinkAttrs) { return func(a *netlink.LinkAttrs) { a.MasterIndex = i } }
func elsewhere(a *netlink.LinkAttrs)        { a.NetNsID = 0 }
func loopback(a *netlink.LinkAttrs)         { a.Flags |= net.FlagLoopback }

func TestCards(t *testing.T) {
	links := []netlink.Link{
		link("device", 1, "lo", loopback),
		link("device", 2, "eno1", master(10)),
		link("device", 3, "eno2", master(10)),
		link("device", 4, "eno3"),
		link("device", 5, "eno4", master(20)),
		link("bond", 10, "bond0", master(30)),
		link("vlan", 11, "eno3.7", parent(4)),
		link("macvlan", 12, "np-web", parent(30)),
		link("macvlan", 13, "of-the-host", parent(4), elsewhere),
		link("tuntap", 14, "tap0", master(20)),
		link("veth", 15, "veth-a", parent(4)), // the number of its peer, in a namespace where that is another one
		link("bridge", 20, "br0"),
		link("bridge", 21, "br-empty"),
		link("bridge", 30, "br1"),
		link("vlan", 31, "br1.9", parent(30)),
		link("vlan", 40, "ring-a", parent(41)), // cannot exist; must not hang
		link("vlan", 41, "ring-b", parent(40)),
	}
	for name, want := range map[string]string{
		"eno3": "[eno3]", "eno1": "[eno1]", "bond0": "[eno1 eno2]", "eno3.7": "[eno3]", "np-web": "[eno1 eno2]",
		"br0": "[eno4]", "br1": "[eno1 eno2]", "br1.9": "[eno1 eno2]", "br-empty": "[br-empty]", "of-the-host": "[of-the-host]",
		"veth-a": "[veth-a]", "ring-a": "[ring-a]", "lo": "[lo]", "nope0": "[]",
	} {
		var got []string
		for _, nic := range cards(links, name) {
			got = append(got, nic.Name)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func TestWakeMACs(t *testing.T) {
	own := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	burned := net.HardwareAddr{0x3c, 0xec, 0xef, 0, 0, 1}
	nics := []*netlink.LinkAttrs{
		{HardwareAddr: own, PermHWAddr: burned},
		{HardwareAddr: own, PermHWAddr: burned}, // the second slave of a bond bears the address of the first
		{HardwareAddr: make(net.HardwareAddr, 6)},
		{HardwareAddr: net.HardwareAddr{1, 0, 0, 0, 0, 1}},
		{},
	}
	if got, want := fmt.Sprint(wakeMACs(nics)), fmt.Sprint([]net.HardwareAddr{own, burned}); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// In a namespace with the same interface names as the host: the answer is about the namespace.
func TestAddresses(t *testing.T) {
	n := newLAN(t)
	must(t, n.host.do(func() error { return macvlan("svc", "eth0") }))
	for name, want := range map[string]string{"eth0": "[" + hostMAC + "]", "lo": "no Ethernet address", "nope0": "no such interface"} {
		var got []net.HardwareAddr
		err := n.host.do(func() (err error) {
			got, err = Addresses(name)
			return err
		})
		if text := fmt.Sprint(got, err); !strings.Contains(text, want) {
			t.Errorf("%s: got %s, want %s", name, text, want)
		}
	}
}
