package wake

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"github.com/mdlayher/ethtool"
	"golang.org/x/sys/unix"
)

// The ethtool package cannot set a SecureOn password, so that is done with the older of the kernel's two interfaces: SIOCETHTOOL with a
// struct ethtool_wolinfo (linux/ethtool.h).

const (
	ethtoolGetWoL = 0x5
	ethtoolSetWoL = 0x6
)

// wolInfo is struct ethtool_wolinfo.
type wolInfo struct {
	cmd       uint32
	supported uint32
	modes     uint32
	password  [6]byte
	_         [2]byte
}

// request is struct ifreq with a pointer in it.
type request struct {
	name [unix.IFNAMSIZ]byte
	data *wolInfo
	_    [16]byte
}

// SetSecureOn makes a card wake on magic packets with the password only. It leaves the other modes but that of plain magic packets.
func (c cardSettings) SetSecureOn(nic string, password []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	info := wolInfo{cmd: ethtoolGetWoL}
	if err := askCard(fd, nic, &info); err != nil {
		return err
	}
	if info.supported&uint32(ethtool.MagicSecure) == 0 {
		return fmt.Errorf("it knows no SecureOn: %w", unix.EINVAL)
	}
	info.cmd = ethtoolSetWoL
	info.modes = info.modes&^uint32(ethtool.Magic) | uint32(ethtool.MagicSecure)
	copy(info.password[:], password)
	return askCard(fd, nic, &info)
}

func askCard(fd int, nic string, info *wolInfo) error {
	r := request{data: info}
	if n := copy(r.name[:unix.IFNAMSIZ-1], nic); n < len(nic) {
		return fmt.Errorf("%q is no interface's name: %w", nic, unix.EINVAL)
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r)))
	runtime.KeepAlive(info)
	if errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}
