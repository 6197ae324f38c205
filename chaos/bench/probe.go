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

	mu   sync.Mutex
	all  []question
	host string // who gave the newest answer
	last int    // its number
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
		number := len(p.all)
		p.all = append(p.all, question{sent: time.Now()})
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
		if number < uint64(len(p.all)) {
			p.all[number].back = true
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
	if p.last < 0 || p.all[p.last].sent.Before(after) {
		return ""
	}
	return p.host
}

// gap is the longest time without an answer in an interval.
func (p *probe) gap(from, to time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return worstGap(p.all, from, to)
}

// end stops the probe and waits for it.
func (p *probe) end() {
	close(p.stop)
	p.conn.Close() // ends hear
	p.busy.Wait()
}
