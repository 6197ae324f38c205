package wake

import (
	"errors"
	"strings"
	"testing"

	"github.com/mdlayher/ethtool"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// cardTable answers like ethtool for cards with these modes, or fails.
type cardTable map[int]struct {
	modes ethtool.WOLMode
	err   error
}

func (c cardTable) WakeOnLAN(i ethtool.Interface) (*ethtool.WakeOnLAN, error) {
	if err := c[i.Index].err; err != nil {
		return nil, &ethtool.Error{Err: err}
	}
	return &ethtool.WakeOnLAN{Interface: i, Modes: c[i.Index].modes}, nil
}

// SetSecureOn is as the kernel's, for cards that all know SecureOn unless they refuse.
func (c cardTable) SetSecureOn(nic string, password []byte) error {
	for _, l := range twoCards() {
		if k := c[l.Index]; l.Name == nic && k.err != nil {
			return k.err
		} else if l.Name == nic {
			k.modes = k.modes&^ethtool.Magic | ethtool.MagicSecure
			c[l.Index] = k
		}
	}
	return nil
}

func (c cardTable) SetWakeOnLAN(w ethtool.WakeOnLAN) error {
	k := c[w.Interface.Index]
	if k.err != nil {
		return &ethtool.Error{Err: k.err}
	}
	k.modes |= w.Modes
	c[w.Interface.Index] = k
	return nil
}

func twoCards() []*netlink.LinkAttrs {
	return []*netlink.LinkAttrs{{Index: 1, Name: "eno1"}, {Index: 2, Name: "eno2"}}
}

func TestArming(t *testing.T) {
	const magic, arp = ethtool.Magic, ethtool.ARP
	tests := []struct {
		name  string
		cards cardTable
		want  Arming
		err   string // of arm
	}{
		{"both armed", cardTable{1: {magic, nil}, 2: {magic, nil}}, Arming{Supported: true, Armed: true, Modes: "eno1: Magic, eno2: Magic"}, ""},
		{"one not armed", cardTable{1: {magic, nil}, 2: {0, nil}}, Arming{Supported: true, Modes: "eno1: Magic, eno2: off"}, ""},
		{"one without", cardTable{1: {0, unix.EOPNOTSUPP}, 2: {magic, nil}}, Arming{Supported: true, Armed: true, Modes: "eno2: Magic"}, ""},
		{"wakes on ARP too", cardTable{1: {magic | arp, nil}, 2: {magic, nil}}, Arming{Supported: true, Armed: true, Stray: true, Modes: "eno1: ARP|Magic, eno2: Magic"}, ""},
		{"none", cardTable{1: {0, unix.EOPNOTSUPP}, 2: {0, unix.EOPNOTSUPP}}, Arming{}, "no network card with Wake-on-LAN"},
		{"no rights", cardTable{1: {0, unix.EPERM}, 2: {0, unix.EPERM}}, Arming{Unknown: true}, "CAP_NET_ADMIN"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readArming(tt.cards, twoCards())
			if err != nil || got != tt.want {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
			err = arm(tt.cards, "br0", twoCards(), nil)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("arm: got %v, want %q", err, tt.err)
				}
				return
			}
			must(t, err)
			if got, err := readArming(tt.cards, twoCards()); err != nil || !got.Armed {
				t.Errorf("after arm: %+v, %v", got, err)
			}
		})
	}
}

func TestArmFailures(t *testing.T) {
	broken := cardTable{1: {0, unix.EIO}, 2: {ethtool.Magic, nil}}
	if _, err := readArming(broken, twoCards()); !errors.Is(err, unix.EIO) || !strings.Contains(err.Error(), "eno1") {
		t.Errorf("read: got %v", err)
	}
	if err := arm(broken, "br0", twoCards(), nil); !errors.Is(err, unix.EIO) || !strings.Contains(err.Error(), "eno1") {
		t.Errorf("arm: got %v", err)
	}
	refused := cardTable{1: {0, unix.EINVAL}, 2: {0, unix.EINVAL}}
	if err := arm(refused, "br0", twoCards(), nil); err == nil || !strings.Contains(err.Error(), "cannot wake on a magic packet") {
		t.Errorf("arm: got %v", err)
	}
}

// A veth knows no Wake-on-LAN: the kernel is really asked.
func TestArmingOfVeth(t *testing.T) {
	n := newLAN(t)
	must(t, n.host.do(func() error {
		a, err := ReadArming("eth0")
		if err == nil && a != (Arming{}) {
			t.Errorf("got %+v", a)
		}
		return err
	}))
	if err := n.host.do(func() error { return Arm("eth0", nil) }); !errors.Is(err, ErrNoWake) {
		t.Errorf("got %v", err)
	}
	if err := n.host.do(func() error { return Arm("eth0", []byte("123456")) }); !errors.Is(err, ErrNoWake) { // the other interface of the kernel
		t.Errorf("got %v", err)
	}
	if err := n.host.do(func() error { return Arm("nope0", nil) }); err == nil || !strings.Contains(err.Error(), `"nope0"`) {
		t.Errorf("got %v", err)
	}
}

// forgetful is a driver that takes everything and keeps nothing.
type forgetful struct{ cardTable }

func (forgetful) SetWakeOnLAN(ethtool.WakeOnLAN) error { return nil }

func TestSecureOn(t *testing.T) {
	both := cardTable{1: {ethtool.Magic, nil}, 2: {ethtool.Magic | ethtool.ARP, nil}}
	must(t, arm(both, "br0", twoCards(), []byte("123456")))
	if both[1].modes != ethtool.MagicSecure || both[2].modes != ethtool.MagicSecure|ethtool.ARP {
		t.Errorf("a card would wake without the password: %s, %s", both[1].modes, both[2].modes)
	}
	if a, err := readArming(both, twoCards()); err != nil || !a.Armed {
		t.Errorf("%+v, %v", a, err)
	}
	for name, c := range map[string]struct {
		cards    settings
		password string
		want     string
	}{
		"knows no SecureOn": {cardTable{1: {0, unix.EINVAL}, 2: {0, unix.EOPNOTSUPP}}, "123456", "take wol_password out"},
		"knows nothing":     {cardTable{1: {0, unix.EOPNOTSUPP}, 2: {0, unix.EOPNOTSUPP}}, "123456", "no network card with Wake-on-LAN"},
		"forgets":           {forgetful{cardTable{}}, "", "did not keep it"},
		"is not readable":   {cardTable{1: {0, unix.EPERM}, 2: {0, unix.EPERM}}, "123456", "CAP_NET_ADMIN"},
	} {
		if err := arm(c.cards, "br0", twoCards(), []byte(c.password)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("a card that %s: %v", name, err)
		}
	}
}
