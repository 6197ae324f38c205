package scenarios

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// probeEvery is the pause between two questions of a probe: 200 Hz.
const probeEvery = 5 * time.Millisecond

// probe asks a lab server again and again over UDP and counts what is not answered. It is a client that never tries
// again: one frame that a holder drops is one answer that never comes.
type probe struct {
	conn net.Conn
	stop chan struct{}
	busy sync.WaitGroup

	mu   sync.Mutex
	sent []time.Time // by number
	back []bool
	errs []error
}

func (w *world) probe(from string, to netip.AddrPort) *probe {
	w.Helper()
	c, err := w.lab.Host(from).Dial(w.limit(), "udp", to)
	w.must(err)
	p := &probe{conn: c, stop: make(chan struct{})}
	p.busy.Go(p.send)
	p.busy.Go(p.receive)
	w.Cleanup(func() { p.end() })
	return p
}

func (p *probe) send() {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		p.mu.Lock()
		number := len(p.sent)
		p.sent, p.back = append(p.sent, time.Now()), append(p.back, false)
		p.mu.Unlock()
		// The number of eight bytes stands after the name and a blank in the answer.
		if _, err := p.conn.Write(binary.BigEndian.AppendUint64(nil, uint64(number))); err != nil {
			p.note(err)
		}
		select {
		case <-p.stop:
			return
		case <-tick.C:
		}
	}
}

func (p *probe) receive() {
	buf := make([]byte, 100)
	for {
		n, err := p.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			p.note(err)
			continue
		}
		if n < 8 {
			continue
		}
		number := binary.BigEndian.Uint64(buf[n-8 : n])
		p.mu.Lock()
		if number < uint64(len(p.back)) {
			p.back[number] = true
		}
		p.mu.Unlock()
	}
}

func (p *probe) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.errs) < 10 {
		p.errs = append(p.errs, err)
	}
}

// gap is a stretch of questions without an answer.
type gap struct {
	from time.Time
	long time.Duration // until the next question that was answered
	lost int
}

// String gives the gap as a person wants it.
func (g gap) String() string {
	return fmt.Sprintf("%d lost in %v from %s on", g.lost, g.long, g.from.Format("15:04:05.000"))
}

// gaps lists what was lost up to the newest answer: whatever is younger may still come.
func (p *probe) gaps() (all []gap, asked int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var open *gap
	for i, answered := range p.back {
		switch {
		case answered && open != nil:
			open.long = p.sent[i].Sub(open.from)
			all, open = append(all, *open), nil
		case !answered && open == nil:
			open = &gap{from: p.sent[i], lost: 1}
		case !answered:
			open.lost++
		}
	}
	return all, len(p.sent)
}

// answered says whether a question that was asked after a moment has its answer.
func (p *probe) answered(after time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.back) - 1; i >= 0 && p.sent[i].After(after); i-- {
		if p.back[i] {
			return true
		}
	}
	return false
}

// longest is the longest gap; a probe without one gives a gap of nothing.
func (p *probe) longest() (worst gap) {
	all, _ := p.gaps()
	for _, g := range all {
		if g.long > worst.long {
			worst = g
		}
	}
	return worst
}

// end stops the probe. It may be called twice.
func (p *probe) end() {
	select {
	case <-p.stop:
		return
	default:
	}
	close(p.stop)
	p.conn.Close() // of UDP: nothing is lost with it
	p.busy.Wait()
}

// awaitAnswer waits until the probe is answered for a question that is asked from now on.
func (w *world) awaitAnswer(p *probe) {
	w.Helper()
	now := time.Now()
	w.await("the probe is answered", func() string {
		if p.answered(now) {
			return ""
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		return fmt.Sprintf("no answer since %s, errors %v", now.Format("15:04:05.000"), p.errs)
	})
}
