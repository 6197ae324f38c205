package bench

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"time"

	"nightporter/chaos/lab"
)

// swap watches the switch for the hand-over of a MAC from one port to another.
type swap struct {
	tap  *lab.Capture
	done chan struct{}
	seen chan handOver // one at most
}

// handOver is the first frame of the new holder, and how long after the old one's last it came.
type handOver struct {
	to  string
	gap time.Duration
}

func watchSwap(ctx context.Context, l *lab.Lab, from string, mac net.HardwareAddr) (*swap, error) {
	tap, err := l.Capture(ctx, nil, false)
	if err != nil {
		return nil, err
	}
	w := &swap{tap: tap, done: make(chan struct{}), seen: make(chan handOver, 1)}
	go func() {
		defer close(w.done)
		w.watch(from, mac)
	}()
	return w, nil
}

func (w *swap) watch(from string, mac net.HardwareAddr) {
	var last time.Time
	found := false
	for f := range w.tap.Frames() {
		switch {
		case found, f.ToHost, len(f.Data) < 12, !bytes.Equal(f.Src(), mac):
		case f.Port == from:
			last = f.Time
		case !last.IsZero():
			found = true
			w.seen <- handOver{f.Port, f.Time.Sub(last)}
		}
	}
}

// swapped waits for the hand-over.
func (w *swap) swapped(ctx context.Context) (to string, gap time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case h := <-w.seen:
		return h.to, h.gap, nil
	case <-ctx.Done():
		return "", 0, fmt.Errorf("waiting for the new holder's first frame at the switch: %w", ctx.Err())
	}
}

// end stops the watch. That frames were lost shows in what it saw.
func (w *swap) end() {
	_, _ = w.tap.Stop()
	<-w.done
}
