package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// quietSwitch prepares the supervisor's own network namespace, which the switch is in: nothing in it sends frames of its
// own.
func quietSwitch() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set up lo in the switch: %w", err)
	}
	return writeSysctl("net/ipv6/conf/default/disable_ipv6", "1")
}

// buildBridge makes the bridge. It has no address: nothing but frames.
func buildBridge() error {
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName, HardwareAddr: net.HardwareAddr{0x02, 0x4e, 0x50, 0xff, 0, 1}}}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("add the bridge: %w", err)
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return fmt.Errorf("set the bridge up: %w", err)
	}
	return nil
}

// writeSysctl writes a setting of the calling thread's namespace. A kernel without IPv6 has none of its settings.
func writeSysctl(name, value string) error {
	err := os.WriteFile("/proc/sys/"+name, []byte(value), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("set %s to %s: %w", name, value, err)
	}
	return nil
}

// layCable makes the two ends of a host's cable and configures the host's end. The switch's end is still down.
func layCable(s *space, p plug) error {
	port := &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: p.name, Index: p.index},
		PeerName:         hostIface,
		PeerHardwareAddr: p.mac,
		PeerNamespace:    netlink.NsFd(int(s.fd.Fd())),
	}
	if err := netlink.LinkAdd(port); err != nil {
		return fmt.Errorf("lay a cable to %s: %w", p.name, err)
	}
	if err := s.do(func() error { return configureHost(p) }); err != nil {
		return fmt.Errorf("configure the network of %s: %w", p.name, err)
	}
	return nil
}

// joinBridge connects the switch's end of a cable to the bridge.
func joinBridge(p plug) error {
	port, err := netlink.LinkByName(p.name)
	var bridge netlink.Link
	if err == nil {
		bridge, err = netlink.LinkByName(bridgeName)
	}
	if err == nil {
		err = netlink.LinkSetMaster(port, bridge)
	}
	if err == nil {
		err = netlink.LinkSetUp(port)
	}
	if err != nil {
		return fmt.Errorf("connect %s to the switch: %w", p.name, err)
	}
	return nil
}

// linkLimit is how long a new link may take until the kernel uses it. It needs a few milliseconds.
const linkLimit = 10 * time.Second

// awaitLink waits until the kernel sends by both ends of a new cable: what a host sends before that is lost, and it would
// not hear a magic packet.
func awaitLink(s *space, p plug) error {
	if err := s.do(func() error { return awaitOperation(hostIface) }); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return awaitOperation(p.name)
}

func awaitOperation(name string) error {
	for end := time.Now().Add(linkLimit); ; time.Sleep(time.Millisecond) {
		link, err := netlink.LinkByName(name)
		switch {
		case err != nil:
			return fmt.Errorf("wait for the link %s: %w", name, err)
		case link.Attrs().OperState == netlink.OperUp:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("the link %s did not come up within %v", name, linkLimit)
		}
	}
}

// configureHost gives eth0 its addresses. It runs on the host's thread.
func configureHost(p plug) error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set up lo: %w", err)
	}
	// The addresses are unique by construction, and a host that is switched on is to be reachable at once. Other cards
	// of the host keep their duplicate address detection.
	if err := writeSysctl("net/ipv6/conf/"+hostIface+"/accept_dad", "0"); err != nil {
		return err
	}
	eth, err := netlink.LinkByName(hostIface)
	if err != nil {
		return fmt.Errorf("find %s: %w", hostIface, err)
	}
	if err := netlink.LinkSetUp(eth); err != nil {
		return fmt.Errorf("set %s up: %w", hostIface, err)
	}
	v4 := &netlink.Addr{IPNet: &net.IPNet{IP: p.addr.AsSlice(), Mask: net.CIDRMask(24, 32)}}
	if err := netlink.AddrAdd(eth, v4); err != nil {
		return fmt.Errorf("add %s: %w", p.addr, err)
	}
	v6 := &netlink.Addr{IPNet: &net.IPNet{IP: p.addr6.AsSlice(), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD}
	if err := netlink.AddrAdd(eth, v6); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("add %s: %w", p.addr6, err)
	}
	return nil
}

// removeCable removes a cable and with it both ends.
func removeCable(p plug) error {
	link, err := netlink.LinkByName(p.name)
	if missingLink(err) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil && !missingLink(err) {
		return fmt.Errorf("remove the cable of %s: %w", p.name, err)
	}
	return nil
}

// missingLink tells whether a link is not there: nobody connected it, or its namespace has been deleted with it.
func missingLink(err error) bool {
	var missing netlink.LinkNotFoundError
	return errors.As(err, &missing) || errors.Is(err, unix.ENODEV)
}

// setCarrier connects or pulls the cable at the switch.
func setCarrier(name string, on bool) error {
	link, err := netlink.LinkByName(name)
	switch {
	case err != nil:
	case on:
		err = netlink.LinkSetUp(link)
	default:
		err = netlink.LinkSetDown(link)
	}
	if err != nil {
		return fmt.Errorf("set the link of %s to %v: %w", name, on, err)
	}
	return nil
}
