package wake

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Card is a network card beneath an interface, as far as waking by it depends on it.
type Card struct {
	Name    string // of its interface
	MAC     string
	PermMAC string // burnt in; "" where the driver does not tell
	Driver  string // "" where it does not tell; the rest likewise
	Version string
	Bus     string // where it is plugged in: "0000:02:00.0"
}

// String tells all of it.
func (c Card) String() string {
	words := []string{c.MAC}
	if c.PermMAC != "" && c.PermMAC != c.MAC {
		words = append(words, "burnt in "+c.PermMAC)
	}
	if c.Driver != "" {
		words = append(words, strings.TrimSpace("driver "+c.Driver+" "+c.Version))
	}
	if c.Bus != "" {
		words = append(words, "at "+c.Bus)
	}
	return strings.Join(words, ", ")
}

// Cards describes the network cards beneath an interface, those of Addresses.
func Cards(iface string) ([]Card, error) {
	nics, err := cardsBeneath(iface)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("describe the network cards beneath %s: %w", iface, os.NewSyscallError("socket", err))
	}
	defer unix.Close(fd)
	var out []Card
	for _, nic := range nics {
		out = append(out, describe(fd, nic))
	}
	return out, nil
}

func describe(fd int, nic *netlink.LinkAttrs) Card {
	c := Card{Name: nic.Name, MAC: nic.HardwareAddr.String(), PermMAC: nic.PermHWAddr.String()}
	if info, err := unix.IoctlGetEthtoolDrvinfo(fd, nic.Name); err == nil { // some drivers do not tell
		c.Driver, c.Version, c.Bus = text(info.Driver[:]), text(info.Version[:]), text(info.Bus_info[:])
	}
	return c
}

// text is a string of C.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return strings.ToValidUTF8(string(b), "?")
}

// Kernel is the release of the running kernel.
func Kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil { // it cannot fail with an address that is right
		return ""
	}
	return text(u.Release[:])
}

// SleepMode is what the kernel makes of a suspend to memory, as /sys/power/mem_sleep tells: "deep", "s2idle"; "" = it does not tell.
func SleepMode() string { return sleepMode("/sys/power/mem_sleep") }

func sleepMode(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	words := strings.Fields(string(b))
	if i := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "[") }); i >= 0 {
		return strings.Trim(words[i], "[]")
	}
	return ""
}
