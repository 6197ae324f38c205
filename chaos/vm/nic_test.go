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

// nic stands in for the wake logic of the machine's network card, which no emulated one has: it listens while the machine is suspended, and
// resumes it at the first magic packet for its address, if the card's own register has that armed. It forgets nothing: whoever judges reads
// what happened here.
type nic struct {
	mac     net.HardwareAddr
	socket  *os.File
	done    chan struct{}
	monitor *monitor
	armed   func(ctx context.Context, m *monitor) (bool, error) // nil: the card has no such register

	mu       sync.Mutex
	asleep   bool
	idle     bool // by s2idle: to QEMU the machine runs, and what resumes it is its power key
	called   bool // in this sleep
	suspends []time.Time
	wakeups  []time.Time
	magics   []string // by what the machine was woken, for each wakeup
	deaf     int      // magic packets that came while the card was not armed
	trouble  error
	changed  chan struct{} // closed and made anew with every change
}

// newNIC listens on the cable of a host. The machine's monitor is given to it before anything can happen.
func newNIC(ctx context.Context, h *lab.Host) (*nic, error) {
	sock, err := h.Socket(ctx, unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("listen for magic packets: %w", err)
	}
	return nicOn(sock, h.MAC())
}

// nicOn listens with a packet socket of the namespace that the cable is in.
func nicOn(sock *os.File, mac net.HardwareAddr) (*nic, error) {
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
	return &nic{mac: mac, socket: sock, done: make(chan struct{}), changed: make(chan struct{})}, nil
}

// note takes the machine's suspends and resumes.
func (n *nic) note(e event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch e.Name {
	case "SUSPEND", toIdle:
		n.asleep, n.idle, n.called = true, e.Name == toIdle, false
		n.suspends = append(n.suspends, e.At)
	case "WAKEUP", fromIdle:
		n.asleep = false
		n.wakeups = append(n.wakeups, e.At)
	default:
		return
	}
	n.stir()
}

// stir has those look again who wait for something here. It is called with the lock.
func (n *nic) stir() {
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
		if by, ok := wakes(frame[:size], n.mac); ok {
			n.hear(ctx, by)
		}
	}
}

// hear takes a magic packet.
func (n *nic) hear(ctx context.Context, by string) {
	n.mu.Lock()
	first, idle := n.asleep && !n.called, n.idle
	n.mu.Unlock()
	if !first {
		return
	}
	armed, err := true, error(nil)
	if n.armed != nil {
		armed, err = n.armed(ctx, n.monitor)
	}
	switch {
	case err != nil || !armed:
	case idle:
		err = n.monitor.command(ctx, "system_powerdown")
	default:
		err = n.resume(ctx)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.trouble = errors.Join(n.trouble, err)
	if n.called = armed; armed {
		n.magics = append(n.magics, by)
	} else {
		n.deaf++
	}
	n.stir()
}

// resume ends a suspend to RAM. QEMU reads nothing from a cable whose frames found its machine suspended, until the card's model asks for them, and
// that of a card with a register to look at never does. A stop of microseconds makes QEMU look itself.
func (n *nic) resume(ctx context.Context) error {
	commands := []string{"system_wakeup"}
	if n.armed != nil {
		commands = append(commands, "stop", "cont")
	}
	for _, c := range commands {
		if err := n.monitor.command(ctx, c); err != nil {
			return err
		}
	}
	return nil
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
