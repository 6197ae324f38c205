// Package observer watches every port of a laboratory's switch and knows, from frames alone, who used which identity and
// when, who knocked, who was called and who was turned away.
//
// Goroutines: one reads the capture; Stop waits for it.
package observer

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"nightporter/chaos/history"
	"nightporter/chaos/lab"
)

// Observer collects what it sees. Its methods may be called from several goroutines.
type Observer struct {
	capture *lab.Capture
	cards   map[string]net.HardwareAddr // of the hosts, by name
	done    chan struct{}

	mu       sync.Mutex
	ids      []Identity
	uses     history.Collector
	magics   []history.Magic
	demands  []history.Demand
	refusals []history.Refusal
	frames   uint64
	newest   time.Time
	passed   chan struct{} // closed and made anew when newest moves on, if somebody waits
}

// Start begins to watch. pcap, if it is not nil, gets every frame.
func Start(ctx context.Context, l *lab.Lab, hosts []string, ids []Identity, pcap io.Writer) (*Observer, error) {
	o := &Observer{cards: map[string]net.HardwareAddr{}, ids: ids, done: make(chan struct{})}
	for _, name := range hosts {
		o.cards[name] = l.Host(name).MAC()
	}
	c, err := l.Capture(ctx, pcap, false)
	if err != nil {
		return nil, fmt.Errorf("observing the switch: %w", err)
	}
	o.capture = c
	go func() {
		defer close(o.done)
		for f := range c.Frames() {
			o.see(f)
		}
	}()
	return o, nil
}

// Stop ends the watch. What was not seen makes the run prove nothing: it is in the error.
func (o *Observer) Stop() error {
	dropped, err := o.capture.Stop()
	<-o.done
	if err != nil {
		return err
	}
	if dropped != 0 {
		return fmt.Errorf("the watch at the switch lost %d frames", dropped)
	}
	return nil
}

func (o *Observer) see(f lab.Frame) {
	p := parse(f)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.frames++
	o.newest = f.Time
	if o.passed != nil {
		close(o.passed)
		o.passed = nil
	}
	if f.ToHost {
		o.arrival(f, p)
		return
	}
	for name, card := range o.cards {
		if _, ok := lab.MagicPacket(f.Data, card); ok {
			o.magics = append(o.magics, history.Magic{At: f.Time, From: f.Port, Target: name})
		}
	}
	for _, id := range o.ids {
		if id.claimed(f, p) {
			o.uses.Use(id.Service, f.Port, f.Time, func() string { return words(f, p) })
		}
		if what, fresh := id.refuses(p); what != "" {
			o.refusals = append(o.refusals, history.Refusal{At: f.Time, Service: id.Service, Host: f.Port, Client: p.dst.String(), What: what, Fresh: fresh})
		}
	}
}

// arrival looks at a frame that goes out to a place.
func (o *Observer) arrival(f lab.Frame, p packet) {
	if _, host := o.cards[f.Port]; !host {
		return
	}
	for _, id := range o.ids {
		if id.knocks(p) {
			o.demands = append(o.demands, history.Demand{At: f.Time, Service: id.Service, Host: f.Port, Client: p.src.String()})
		}
	}
}

// Fill writes what was seen into a history. Services that the history does not have stay out.
func (o *Observer) Fill(h *history.History) {
	o.mu.Lock()
	defer o.mu.Unlock()
	ours := func(service string) bool { _, ok := h.Setup.Service(service); return ok }
	for _, s := range o.uses.Spans() {
		if ours(s.Service) {
			h.Spans = append(h.Spans, s)
		}
	}
	for _, d := range o.demands {
		if ours(d.Service) {
			h.Demands = append(h.Demands, d)
		}
	}
	for _, r := range o.refusals {
		if ours(r.Service) {
			h.Refusals = append(h.Refusals, r)
		}
	}
	h.Magics = append(h.Magics, o.magics...)
}

// Frames is how many frames were seen so far, at all ports.
func (o *Observer) Frames() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.frames
}

// Past waits until the watch has come to frames that are younger than a moment: all older ones are seen then. Somebody
// must be sending.
func (o *Observer) Past(ctx context.Context, t time.Time) error {
	for {
		o.mu.Lock()
		if o.newest.After(t) {
			o.mu.Unlock()
			return nil
		}
		if o.passed == nil {
			o.passed = make(chan struct{})
		}
		passed := o.passed
		o.mu.Unlock()
		select {
		case <-passed:
		case <-o.done:
			return fmt.Errorf("the watch at the switch ended before %s", t.Format(time.RFC3339Nano))
		case <-ctx.Done():
			return fmt.Errorf("waiting for the watch at the switch: %w", context.Cause(ctx))
		}
	}
}
