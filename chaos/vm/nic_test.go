//go:build vm

package vm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"nightporter/chaos/lab"
)

// nic stands in for the wake logic of the machine's network card, which no emulated one has: it is armed by the machine's suspend, and
// resumes the machine at the first magic packet for its address. It forgets nothing: whoever judges reads what happened here.
type nic struct {
	mac     net.HardwareAddr
	socket  *os.File
	done    chan struct{}
	monitor *monitor

	mu       sync.Mutex
	asleep   bool
	called   bool // in this sleep
	suspends []time.Time
	wakeups  []time.Time
	magics   []string // by what the machine was woken, for each wakeup
	trouble  error
	changed  chan struct{} // closed and made anew with every change
}

// newNIC listens on the cable of a host. The machine's monitor is given to it before anything can happen.
func newNIC(ctx context.Context, h *lab.Host) (*nic, error) {
	sock, err := h.Socket(ctx, unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("listen for magic packets: %w", err)
	}
	// All links of the host's namespace: its end of the cable, the bridge behind it and the machine's own card see the same frames.
	raw, err := sock.SyscallConn()
	if err == nil {
		var refused error
		err = raw.Control(func(fd uintptr) {
			refused = unix.Bind(int(fd), &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})})
		})
		err = errors.Join(err, refused)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for magic packets: %w", err), sock.Close())
	}
	return &nic{mac: h.MAC(), socket: sock, done: make(chan struct{}), changed: make(chan struct{})}, nil
}

// note takes the machine's suspends and resumes.
func (n *nic) note(e event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch e.Name {
	case "SUSPEND":
		n.asleep, n.called = true, false
		n.suspends = append(n.suspends, e.At)
	case "WAKEUP":
		n.asleep = false
		n.wakeups = append(n.wakeups, e.At)
	default:
		return
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

// listen runs until close.
func (n *nic) listen(ctx context.Context) {
	defer close(n.done)
	frame := make([]byte, 64<<10)
	for {
		size, err := n.socket.Read(frame)
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case err != nil:
			continue // a link of the host went down
		}
		if by, ok := wakes(frame[:size], n.mac); ok && n.call() {
			err := n.monitor.command(ctx, "system_wakeup")
			n.mu.Lock()
			n.magics = append(n.magics, by)
			n.trouble = errors.Join(n.trouble, err)
			n.mu.Unlock()
		}
	}
}

// call says whether the machine sleeps and nobody has called it yet.
func (n *nic) call() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	first := n.asleep && !n.called
	n.called = n.called || n.asleep
	return first
}

func (n *nic) close() {
	n.socket.Close() // only read: nothing to lose
	<-n.done
}

// wakes is stricter than a card: a magic packet is one by EtherType, or a datagram over IPv4 to port 7 or 9.
func wakes(frame []byte, mac net.HardwareAddr) (by string, ok bool) {
	by, ok = lab.MagicPacket(frame, mac)
	if !ok || binary.BigEndian.Uint16(frame[12:]) == 0x0842 {
		return by, ok
	}
	header := 14 + int(frame[14]&15)*4 // of IPv4: MagicPacket has looked at its lengths
	if binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_IP {
		return "", false
	}
	port := binary.BigEndian.Uint16(frame[header+2:])
	return by, port == 7 || port == 9
}
