package demo

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"nightporter/chaos/lab"
)

// Where things stand in a frame (IEEE 802.3, RFC 826, 791, 9293).
const (
	atPayload = 14
	atProto   = atPayload + 9 // of IPv4
	atDst     = atPayload + 16

	typeIPv4 = 0x0800
	typeARP  = 0x0806
	protoTCP = 6
	flagSYN  = 0x02
	flagACK  = 0x10
)

// keep is how much of a frame is remembered: a magic packet with all headers (144 bytes), rounded up. A story has some
// ten thousand frames.
const keep = 160

// wire remembers every frame at every port of the switch.
type wire struct {
	capture *lab.Capture
	done    chan struct{}

	mu     sync.Mutex
	frames []lab.Frame
}

func watch(ctx context.Context, l *lab.Lab) (*wire, error) {
	c, err := l.Capture(ctx, nil, false)
	if err != nil {
		return nil, err
	}
	x := &wire{capture: c, done: make(chan struct{})}
	go func() {
		defer close(x.done)
		for f := range c.Frames() {
			if len(f.Data) > keep {
				f.Data = slices.Clone(f.Data[:keep])
			}
			x.mu.Lock()
			x.frames = append(x.frames, f)
			x.mu.Unlock()
		}
	}()
	return x, nil
}

// stop ends the watch; doing it twice does no harm. A watch that lost frames proves nothing, so that is an error.
func (x *wire) stop() error {
	dropped, err := x.capture.Stop()
	<-x.done
	if err == nil && dropped != 0 {
		err = fmt.Errorf("the watch at the switch lost %d frames", dropped)
	}
	return err
}

// all are the frames so far, in the order in which the kernel saw them. The caller only reads them.
func (x *wire) all() []lab.Frame {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.frames[:len(x.frames):len(x.frames)]
}

// is is a property of a frame.
type is func(lab.Frame) bool

func has(f lab.Frame, all []is) bool {
	return len(f.Data) >= atPayload && !slices.ContainsFunc(all, func(p is) bool { return !p(f) })
}

// first makes a search for the first frame with all properties.
func first(all ...is) func([]lab.Frame) (lab.Frame, bool) {
	return func(frames []lab.Frame) (lab.Frame, bool) {
		i := slices.IndexFunc(frames, func(f lab.Frame) bool { return has(f, all) })
		if i < 0 {
			return lab.Frame{}, false
		}
		return frames[i], true
	}
}

func count(frames []lab.Frame, all ...is) int {
	n := 0
	for _, f := range frames {
		if has(f, all) {
			n++
		}
	}
	return n
}

func from(place string) is { return func(f lab.Frame) bool { return !f.ToHost && f.Port == place } }

func arrives(place string) is { return func(f lab.Frame) bool { return f.ToHost && f.Port == place } }
func after(t time.Time) is    { return func(f lab.Frame) bool { return !f.Time.Before(t) } }
func before(t time.Time) is   { return func(f lab.Frame) bool { return f.Time.Before(t) } }

// wakes finds what the card with that address takes for a magic packet.
func wakes(card net.HardwareAddr) is {
	return func(f lab.Frame) bool {
		_, ok := lab.MagicPacket(f.Data, card)
		return ok
	}
}

// isSYN finds the beginning of a connection to the service.
func (id identity) isSYN(f lab.Frame) bool {
	if f.EtherType() != typeIPv4 || len(f.Data) < atPayload+20 || f.Data[atProto] != protoTCP {
		return false
	}
	ip := id.ip.As4()
	tcp := f.Data[min(len(f.Data), atPayload+int(f.Data[atPayload]&15)*4):]
	return [4]byte(f.Data[atDst:atDst+4]) == ip && len(tcp) >= 14 && tcp[13]&(flagSYN|flagACK) == flagSYN &&
		binary.BigEndian.Uint16(tcp[2:]) == lab.ServerPort
}
