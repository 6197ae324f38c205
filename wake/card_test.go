package wake

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// The kernel is really asked: the way down from a macvlan on a bridge leads to the card in it.
func TestBeneathRealLinks(t *testing.T) {
	n := newLAN(t)
	must(t, n.host.do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "br0"
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return err
		}
		br, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		eth, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(eth, br); err != nil {
			return err
		}
		if err := macvlan("svc", "br0"); err != nil {
			return err
		}
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for top, want := range map[string][]string{"svc": {"svc", "br0", "eth0"}, "br0": {"br0", "eth0"}, "eth0": {"eth0"}} {
			var got []string
			for _, l := range beneath(links, named(links, top)) {
				got = append(got, l.Attrs().Name)
			}
			if !slices.Equal(got, want) {
				t.Errorf("beneath %s: %v, want %v", top, got, want)
			}
		}
		return nil
	}))
}

func TestCardsOfVeth(t *testing.T) {
	n := newLAN(t)
	must(t, n.host.do(func() error {
		list, err := Cards("eth0")
		if err == nil && (len(list) != 1 || list[0].Name != "eth0" || list[0].MAC != hostMAC || list[0].Driver != "veth") {
			t.Errorf("got %+v", list)
		}
		if s := list[0].String(); !strings.Contains(s, hostMAC) || !strings.Contains(s, "driver veth") {
			t.Errorf("it is told as %q", s)
		}
		return err
	}))
	if err := n.host.do(func() error { _, err := Cards("nope0"); return err }); err == nil || !strings.Contains(err.Error(), "no such interface") {
		t.Errorf("got %v", err)
	}
}

func TestCardString(t *testing.T) {
	for want, c := range map[string]Card{
		"02:00:00:00:00:01": {MAC: "02:00:00:00:00:01", PermMAC: "02:00:00:00:00:01"},
		"02:00:00:00:00:01, burnt in 3c:ec:ef:00:00:01, driver igb 6.1, at 0000:02:00.0": {
			MAC: "02:00:00:00:00:01", PermMAC: "3c:ec:ef:00:00:01", Driver: "igb", Version: "6.1", Bus: "0000:02:00.0",
		},
	} {
		if got := c.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestSleepMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mem_sleep")
	for text, want := range map[string]string{"s2idle [deep]\n": "deep", "[s2idle]\n": "s2idle", "": ""} {
		must(t, os.WriteFile(path, []byte(text), 0o600))
		if got := sleepMode(path); got != want {
			t.Errorf("%q gives %q", text, got)
		}
	}
	if got := sleepMode(path + "x"); got != "" {
		t.Errorf("nothing gives %q", got)
	}
	if Kernel() == "" {
		t.Error("the kernel has no release")
	}
}
