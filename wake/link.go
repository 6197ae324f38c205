package wake

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// linkNamed is net.InterfaceByName, which would read all links of this host each time, and wait for whoever changes one.
func linkNamed(name string) (*net.Interface, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	index, err := linkAsk(fd, unix.SIOCGIFINDEX, name)
	if err != nil {
		return nil, fmt.Errorf("find the network interface %q (see `ip link`): %w", name, err)
	}
	flags, err := linkAsk(fd, unix.SIOCGIFFLAGS, name)
	if err != nil {
		return nil, fmt.Errorf("read the flags of %s: %w", name, err)
	}
	mac, err := linkAsk(fd, unix.SIOCGIFHWADDR, name)
	if err != nil {
		return nil, fmt.Errorf("read the hardware address of %s: %w", name, err)
	}
	ifi := &net.Interface{Index: int(binary.NativeEndian.Uint32(index[:])), Name: name}
	bits := binary.NativeEndian.Uint16(flags[:])
	for _, f := range []struct {
		bit  uint16
		flag net.Flags
	}{{unix.IFF_UP, net.FlagUp}, {unix.IFF_LOOPBACK, net.FlagLoopback}, {unix.IFF_BROADCAST, net.FlagBroadcast}, {unix.IFF_MULTICAST, net.FlagMulticast}} {
		if bits&f.bit != 0 {
			ifi.Flags |= f.flag
		}
	}
	if family := binary.NativeEndian.Uint16(mac[:]); family == unix.ARPHRD_ETHER {
		ifi.HardwareAddr = append(net.HardwareAddr(nil), mac[2:8]...)
	}
	return ifi, nil
}

// linkAsk is one question of netdevice(7): the answer is what stands behind the name in struct ifreq.
func linkAsk(fd int, what uintptr, name string) (answer [24]byte, err error) {
	var req struct {
		name   [unix.IFNAMSIZ]byte
		answer [24]byte
	}
	if len(name) >= len(req.name) {
		return answer, unix.ENODEV
	}
	copy(req.name[:], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), what, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return answer, errno
	}
	return req.answer, nil
}
