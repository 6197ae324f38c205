package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Each port's ring for the frames that come in: 4 MiB, enough for what a host sends while the switch is not scheduled for
// some milliseconds.
const portSlots = 2048

// port is one port of the user-space switch: a packet socket on the switch's end of a cable. Frames come in by a ring that
// the kernel fills and go out by system calls. The switch's goroutine owns it.
type port struct {
	name  string
	index int
	fd    int
	ring  []byte
	next  int // the slot that the kernel fills next
}

// openPort opens the socket. It sees what comes in at the port and not what goes out.
func openPort(p plug) (*port, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) // receives nothing until it is bound
	if err != nil {
		return nil, fmt.Errorf("open the port of %s: %w", p.name, err)
	}
	o := &port{name: p.name, index: p.index, fd: fd}
	req := unix.TpacketReq{Block_size: blockSize, Block_nr: portSlots * slotSize / blockSize, Frame_size: slotSize, Frame_nr: portSlots}
	all := unix.PacketMreq{Ifindex: int32(p.index), Type: unix.PACKET_MR_PROMISC}
	err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	}
	if err == nil {
		err = unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req)
	}
	if err == nil {
		o.ring, err = unix.Mmap(fd, 0, portSlots*slotSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err == nil {
		err = unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &all)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: p.index})
	}
	if err != nil {
		o.close()
		return nil, fmt.Errorf("open the port of %s: %w", p.name, err)
	}
	return o, nil
}

func (o *port) close() {
	if o.ring != nil {
		_ = unix.Munmap(o.ring) // fails only for an address that is not a mapping
	}
	unix.Close(o.fd)
}

// receive gives the frame at the head of the ring to f, if there is one. f must not keep it.
func (o *port) receive(f func(frame []byte)) bool {
	slot := o.ring[o.next*slotSize : (o.next+1)*slotSize]
	head := (*unix.Tpacket2Hdr)(unsafe.Pointer(&slot[0]))
	status := atomic.LoadUint32(&head.Status)
	if status&unix.TP_STATUS_USER == 0 {
		return false
	}
	frame := slot[head.Mac : int(head.Mac)+int(head.Snaplen)]
	if status&unix.TP_STATUS_VLAN_VALID != 0 && len(frame) >= 12 { // the kernel took the tag out of the frame
		tagged := append(make([]byte, 0, len(frame)+4), frame[:12]...)
		tagged = binary.BigEndian.AppendUint16(tagged, unix.ETH_P_8021Q)
		tagged = binary.BigEndian.AppendUint16(tagged, head.Vlan_tci)
		frame = append(tagged, frame[12:]...)
	}
	if head.Len == head.Snaplen { // a longer one than a slot cannot come from a link with an MTU of 1500
		f(frame)
	}
	atomic.StoreUint32(&head.Status, unix.TP_STATUS_KERNEL)
	o.next = (o.next + 1) % portSlots
	return true
}

// send puts a frame out at the port. As at a real switch, a frame for which there is no room or no link is lost.
func (o *port) send(frame []byte) {
	to := unix.SockaddrLinklayer{Ifindex: o.index, Halen: 6}
	copy(to.Addr[:6], frame)
	_ = unix.Sendto(o.fd, frame, unix.MSG_DONTWAIT, &to)
}

// linkDown tells whether the link went down since the last time.
func (o *port) linkDown() bool {
	code, err := unix.GetsockoptInt(o.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	return err == nil && code != 0
}

// setUpPort takes a cable into the user-space switch: both ends compute checksums and cut streams into frames themselves,
// as the frames leave the kernel's own network here and nobody would do it later.
func setUpPort(s *space, p plug) error {
	if err := s.do(func() error { return plainFrames(hostIface) }); err != nil {
		return err
	}
	if err := plainFrames(p.name); err != nil {
		return err
	}
	link, err := netlink.LinkByName(p.name)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("connect %s to the switch: %w", p.name, err)
	}
	return nil
}

// Commands of SIOCETHTOOL that switch an offload (linux/ethtool.h).
const (
	ethtoolSetTxChecksum = 0x17
	ethtoolSetSG         = 0x19
	ethtoolSetTSO        = 0x1f
	ethtoolSetGSO        = 0x24
	ethtoolSetGRO        = 0x2c
)

// plainFrames switches the offloads of a link in the calling thread's namespace off. What a kernel does not know it
// cannot do either.
func plainFrames(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("switch the offloads of %s off: %w", name, err)
	}
	defer unix.Close(fd)
	for _, command := range []uint32{ethtoolSetTSO, ethtoolSetGSO, ethtoolSetGRO, ethtoolSetSG, ethtoolSetTxChecksum} {
		value := struct{ command, on uint32 }{command, 0}
		request := struct {
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte // the rest of the union in struct ifreq
		}{data: unsafe.Pointer(&value)}
		copy(request.name[:unix.IFNAMSIZ-1], name)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
		if errno != 0 && !errors.Is(errno, unix.EOPNOTSUPP) {
			return fmt.Errorf("switch an offload (%#x) of %s off: %w", command, name, os.NewSyscallError("ioctl", errno))
		}
	}
	return nil
}
