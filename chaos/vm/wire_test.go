//go:build vm

package vm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"nightporter/chaos/lab"
)

// askEvery is how often a client asks everybody for the service's address, also while the machine sleeps: what resumes with the address and no
// fence gives itself away within that time, before any program of it runs.
const askEvery = 5 * time.Millisecond

// asker broadcasts questions for the service's address (ARP).
type asker struct {
	asked      atomic.Int64
	end, ended chan struct{}
}

// ask begins to.
func ask(ctx context.Context, from *lab.Host) (*asker, error) {
	sock, err := from.Socket(ctx, unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return nil, fmt.Errorf("ask for the address: %w", err)
	}
	fd := int(sock.Fd())
	card, err := unix.NewIfreq("eth0")
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, card)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ask for the address: %w", err), sock.Close())
	}
	frame := bytes.Repeat([]byte{0xff}, 6)
	frame = append(frame, from.MAC()...)
	frame = append(frame, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1) // RFC 826: Ethernet, IPv4, a request
	frame = append(frame, from.MAC()...)
	frame = append(frame, from.Addr().AsSlice()...)
	frame = append(frame, make([]byte, 6)...)
	frame = append(frame, door.Addr().AsSlice()...)
	a := &asker{end: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(a.ended)
		defer sock.Close()
		tick := time.NewTicker(askEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				// A full queue loses a question, as a network does.
				_ = unix.Sendto(fd, frame, unix.MSG_DONTWAIT, &unix.SockaddrLinklayer{Ifindex: int(card.Uint32())})
				a.asked.Add(1)
			case <-a.end:
				return
			}
		}
	}()
	return a, nil
}

func (a *asker) close() {
	close(a.end)
	<-a.ended
}

// gossipPort carries the leases.
const gossipPort = 7373

// said is a datagram of the leases at the machine's port of the switch.
type said struct {
	at  time.Time
	own bool // the machine's; else one for it
}

// talk notes when the machine speaks with the other hosts, by programs and not by its kernel.
type talk struct {
	capture *lab.Capture
	done    chan struct{}

	mu  sync.Mutex
	all []said
}

func listen(ctx context.Context, l *lab.Lab) (*talk, error) {
	c, err := l.Capture(ctx, nil, false)
	if err != nil {
		return nil, err
	}
	t := &talk{capture: c, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		for f := range c.Frames() {
			if f.Port == place && gossips(f.Data) {
				t.mu.Lock()
				t.all = append(t.all, said{f.Time, !f.ToHost})
				t.mu.Unlock()
			}
		}
	}()
	return t, nil
}

// gossips finds a datagram over IPv4 to the port of the gossip.
func gossips(frame []byte) bool {
	if len(frame) < 14+28 || binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_IP || frame[14+9] != unix.IPPROTO_UDP {
		return false
	}
	at := 14 + int(frame[14]&15)*4
	return len(frame) >= at+8 && binary.BigEndian.Uint16(frame[at+2:]) == gossipPort
}

// round gives when the machine can have a lease again at the earliest after a moment: an answer has come to it since a program of it spoke.
func (t *talk) round(after time.Time) (time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	spoke := false
	for _, s := range t.all {
		switch {
		case !s.at.After(after):
		case s.own:
			spoke = true
		case spoke:
			return s.at, true
		}
	}
	return time.Time{}, false
}

func (t *talk) close() error {
	dropped, err := t.capture.Stop()
	<-t.done
	if dropped != 0 {
		err = errors.Join(err, fmt.Errorf("the watch at the switch lost %d frames", dropped))
	}
	return err
}
