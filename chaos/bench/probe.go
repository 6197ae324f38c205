package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"nightporter/chaos/lab"
)

// probe asks a lab's server over UDP at a steady pace, never twice the same, and remembers what was answered and by whom.
type probe struct {
	conn net.Conn
	stop chan struct{}
	busy sync.WaitGroup

	mu      sync.Mutex
	asked   []time.Time // by number
	answers []time.Time // when one came
	host    string      // who answered the newest question that is answered
	last    int         // its number
}

func startProbe(ctx context.Context, from *lab.Host, to netip.AddrPort, every time.Duration) (*probe, error) {
	c, err := from.Dial(ctx, "udp", to)
	if err != nil {
		return nil, err
	}
	p := &probe{conn: c, stop: make(chan struct{}), last: -1}
	p.busy.Go(func() { p.ask(every) })
	p.busy.Go(p.hear)
	return p, nil
}

func (p *probe) ask(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		p.mu.Lock()
		number := len(p.asked)
		p.asked = append(p.asked, time.Now())
		p.mu.Unlock()
		// An error is the network's answer to an earlier question (ICMP), or a full queue: this one stays unanswered.
		_, _ = p.conn.Write(binary.BigEndian.AppendUint64(nil, uint64(number)))
		select {
		case <-p.stop:
			return
		case <-tick.C:
		}
	}
}

// hear takes the answers: the host's name, a blank, and what was sent.
func (p *probe) hear() {
	buf := make([]byte, 256)
	for {
		n, err := p.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < 10 {
			continue
		}
		number := binary.BigEndian.Uint64(buf[n-8 : n])
		p.mu.Lock()
		if number < uint64(len(p.asked)) {
			p.answers = append(p.answers, time.Now())
			if int(number) > p.last {
				p.last, p.host = int(number), string(bytes.TrimSpace(buf[:n-8]))
			}
		}
		p.mu.Unlock()
	}
}

// answered tells who answered a question that was asked after a moment; "" = nobody yet.
func (p *probe) answered(after time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last < 0 || p.asked[p.last].Before(after) {
		return ""
	}
	return p.host
}

// around gives the longest gap of an event that went on from a moment until now, and the probe's own: the longest in a time
// just as long that ended when the event began, as far as the probe ran.
func (p *probe) around(began time.Time) (event, own time.Duration) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	event = worstGap(p.answers, began, now)
	before := began.Add(began.Sub(now))
	if len(p.answers) > 0 && before.Before(p.answers[0]) {
		before = p.answers[0]
	}
	return event, worstGap(p.answers, before, began)
}

// end stops the probe and waits for it.
func (p *probe) end() {
	close(p.stop)
	p.conn.Close() // ends hear
	p.busy.Wait()
}
