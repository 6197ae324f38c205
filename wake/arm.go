package wake

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/mdlayher/ethtool"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Arming is the Wake-on-LAN setting of the cards beneath an interface.
type Arming struct {
	Supported bool   // the driver of at least one card knows Wake-on-LAN
	Armed     bool   // each card that knows Wake-on-LAN wakes on a magic packet, with a password or without
	Modes     string // per card, for people: "eno1: Magic", "eno1: off"; "" if none knows Wake-on-LAN
	// Stray says that a card also wakes on something else than a magic packet (any unicast frame, ARP, the link): such
	// a host wakes whenever somebody asks for its address. Arm does not take these modes away.
	Stray   bool
	Unknown bool // the setting could not be read (rights, or a kernel before 5.6): nothing else is set
}

// ReadArming reads the setting. What cannot be known is told by Unknown and not by an error; an error means that the
// interface does not exist or the kernel broke off.
func ReadArming(iface string) (Arming, error) {
	nics, err := cardsBeneath(iface)
	if err != nil {
		return Arming{}, err
	}
	client, err := ethtool.New()
	if errors.Is(err, os.ErrNotExist) {
		return Arming{Unknown: true}, nil // no ethtool family: kernel before 5.6
	}
	if err != nil {
		return Arming{}, fmt.Errorf("open the kernel's ethtool interface: %w", err)
	}
	defer client.Close()
	return readArming(cardSettings{client}, nics)
}

// settings is what is asked of the kernel.
type settings interface {
	WakeOnLAN(ethtool.Interface) (*ethtool.WakeOnLAN, error)
	SetWakeOnLAN(ethtool.WakeOnLAN) error
	SetSecureOn(nic string, password []byte) error
}

// cardSettings asks it.
type cardSettings struct{ *ethtool.Client }

func readArming(client settings, nics []*netlink.LinkAttrs) (Arming, error) {
	a := Arming{Armed: true}
	var modes []string
	for _, nic := range nics {
		w, err := client.WakeOnLAN(ethtool.Interface{Index: nic.Index})
		switch {
		case errors.Is(err, unix.EOPNOTSUPP):
			continue // a driver without Wake-on-LAN
		case errors.Is(err, os.ErrPermission):
			return Arming{Unknown: true}, nil
		case err != nil:
			return Arming{}, fmt.Errorf("read the Wake-on-LAN setting of %s: %w", nic.Name, err)
		}
		a.Supported = true
		a.Armed = a.Armed && w.Modes&(ethtool.Magic|ethtool.MagicSecure) != 0
		a.Stray = a.Stray || w.Modes&^(ethtool.Magic|ethtool.MagicSecure) != 0
		modes = append(modes, nic.Name+": "+inWords(w.Modes))
	}
	a.Armed = a.Armed && a.Supported
	a.Modes = strings.Join(modes, ", ")
	return a, nil
}

func inWords(m ethtool.WOLMode) string {
	if m == 0 {
		return "off"
	}
	return m.String()
}

// ErrNoWake says that no card beneath the interface can be armed: the host would not come back from a sleep.
var ErrNoWake = errors.New("no network card with Wake-on-LAN")

// Arm makes the cards beneath the interface wake on a magic packet. It is to be repeated before each suspend: other
// programs and drivers take the setting away. With a SecureOn password (6 bytes; nil = none) they wake on magic packets that carry it
// and on no others. It needs CAP_NET_ADMIN. The error wraps ErrNoWake when there is no card that knows Wake-on-LAN.
func Arm(iface string, password []byte) error {
	nics, err := cardsBeneath(iface)
	if err != nil {
		return err
	}
	client, err := ethtool.New()
	if err != nil {
		return fmt.Errorf("arm Wake-on-LAN beneath %s: open the kernel's ethtool interface (kernel 5.6 or later): %w", iface, err)
	}
	defer client.Close()
	return arm(cardSettings{client}, iface, nics, password)
}

func arm(client settings, iface string, nics []*netlink.LinkAttrs, password []byte) error {
	armed := 0
	var errs []error
	for _, nic := range nics {
		err := armOne(client, nic, password)
		switch {
		case err == nil:
			armed++
		case errors.Is(err, unix.EOPNOTSUPP):
		case errors.Is(err, unix.EINVAL) && len(password) > 0:
			errs = append(errs, fmt.Errorf("%s cannot wake on a magic packet with a password (take wol_password out of the configuration): %w", nic.Name, err))
		case errors.Is(err, unix.EINVAL):
			errs = append(errs, fmt.Errorf("%s cannot wake on a magic packet (look for Wake-on-LAN in the firmware's settings): %w", nic.Name, err))
		case errors.Is(err, os.ErrPermission):
			errs = append(errs, fmt.Errorf("arm Wake-on-LAN of %s (it needs the capability CAP_NET_ADMIN): %w", nic.Name, err))
		default:
			errs = append(errs, fmt.Errorf("arm Wake-on-LAN of %s: %w", nic.Name, err))
		}
	}
	if armed == 0 && len(errs) == 0 {
		return fmt.Errorf("arm Wake-on-LAN beneath %s: %w (a virtual machine? set wol: assumed if something else wakes it)", iface, ErrNoWake)
	}
	return errors.Join(errs...)
}

// armOne sets one card, and reads the setting back: there are drivers that take it without a word and do not keep it.
func armOne(client settings, nic *netlink.LinkAttrs, password []byte) error {
	card, want := ethtool.Interface{Index: nic.Index}, ethtool.Magic
	if len(password) > 0 {
		want = ethtool.MagicSecure
		if err := client.SetSecureOn(nic.Name, password); err != nil {
			return err
		}
	} else if err := client.SetWakeOnLAN(ethtool.WakeOnLAN{Interface: card, Modes: want}); err != nil {
		return err
	}
	now, err := client.WakeOnLAN(card)
	if err != nil {
		return fmt.Errorf("read the setting back: %w", err)
	}
	if now.Modes&want == 0 {
		return fmt.Errorf("the driver took the setting and did not keep it: it has %s", inWords(now.Modes))
	}
	return nil
}
