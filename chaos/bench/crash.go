package bench

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"time"

	"nightporter/chaos/lab"
)

const (
	crashProbe = 2 * time.Millisecond // the pace of the probe
	quiet      = 500 * time.Millisecond
)

// crash takes the power of the host that holds away, again and again.
func crash(ctx context.Context, o *Options, failover time.Duration) (Table, error) {
	t := Table{
		Title: fmt.Sprintf("The holder's host loses its power, failover: %v (4 hosts, 3 voters)", failover),
		Notes: []string{
			"client: from the first question without an answer to the next one with an answer (one UDP datagram every 2 ms)",
			"kernel: from the power cut to the new holder's first frame from mac0 at the switch",
			"the probe's own gap: the longest in half a second before each cut",
		},
	}
	goal := Goal{Median: 800, Max: 1100}
	if failover < time.Second {
		goal = Goal{Median: 260}
	}
	client, wire := Row{Name: "blackout, client", Unit: "ms", Goal: goal}, Row{Name: "blackout, kernel", Unit: "ms"}
	noise := Row{Name: "the probe's own gap", Unit: "ms"}
	both := Row{Name: "blackout, client; the holder leads as well", Unit: "ms"}
	err := inLab(ctx, alwaysOn(o, 4, failover), func(ctx context.Context, l *lab.Lab) error {
		for i := range o.Runs + o.Slow {
			leads := i >= o.Runs
			c, err := crashOnce(ctx, l, failover, leads)
			if err != nil {
				return fmt.Errorf("run %d: %w", i+1, err)
			}
			o.say("crash at %v, %d of %d: client %v, kernel %v, the probe's own gap %v", failover, i+1, o.Runs+o.Slow, c.client, c.wire, c.noise)
			noise.add(c.noise)
			if leads {
				both.add(c.client)
				continue
			}
			client.add(c.client)
			wire.add(c.wire)
		}
		return nil
	})
	if err != nil {
		return t, err
	}
	t.Rows = []Row{client, wire, both}
	advert := time.Second
	if failover < time.Second {
		advert = 100 * time.Millisecond
	}
	theirs, their, err := keepalived(ctx, o, advert)
	if err != nil {
		return t, err
	}
	if len(theirs.Samples) > 0 {
		t.Rows = append(t.Rows, theirs)
		noise.Samples = append(noise.Samples, their.Samples...)
	} else {
		t.Notes = append(t.Notes, "keepalived is not installed here, so its row is missing")
	}
	t.Rows = append(t.Rows, noise)
	return t, nil
}

type crashed struct{ client, wire, noise time.Duration }

// crashOnce measures one crash and leaves the cluster whole.
func crashOnce(ctx context.Context, l *lab.Lab, failover time.Duration, leads bool) (c crashed, err error) {
	hosts := hostNames(4)
	s, err := whole(ctx, l, hosts, 2*failover)
	if err != nil {
		return c, err
	}
	want := s.leader
	if !leads {
		want = other(hosts, s.leader, s.holder) // someone else each time
	}
	if s.holder != want {
		if err := moveTo(ctx, l, s.leader, want); err != nil {
			return c, err
		}
		if s, err = whole(ctx, l, hosts, failover); err != nil {
			return c, err
		}
	}
	st, err := status(ctx, l, s.holder)
	if err != nil {
		return c, err
	}
	tap, err := l.Capture(ctx, nil, false)
	if err != nil {
		return c, err
	}
	first := make(chan lab.Frame, 1)
	go watch(tap, s.holder, net.HardwareAddr(st.Services[0].MAC), first)
	defer tap.Stop()
	p, err := startProbe(ctx, l.Client(1), webPort(), crashProbe)
	if err != nil {
		return c, err
	}
	defer p.end()
	began := time.Now()
	err = until(ctx, "the probe is answered for a while", func(context.Context) string {
		if p.answered(began) == "" || time.Since(began) < quiet {
			return "not yet"
		}
		return ""
	})
	if err != nil {
		return c, err
	}
	c.noise = p.gap(began.Add(quiet/5), time.Now())
	cut, err := l.Host(s.holder).Kill(ctx)
	if err != nil {
		return c, err
	}
	if err := answeredBy(ctx, p, cut, s.holder); err != nil {
		return c, err
	}
	c.client = p.gap(cut.Add(-50*time.Millisecond), time.Now())
	select {
	case f := <-first:
		c.wire = f.Time.Sub(cut)
	case <-ctx.Done():
		return c, ctx.Err()
	}
	if err := l.Host(s.holder).Start(ctx); err != nil {
		return c, err
	}
	_, err = whole(ctx, l, hosts, failover)
	return c, err
}

// answeredBy waits until another host than the dead one answers, and a few questions longer.
func answeredBy(ctx context.Context, p *probe, after time.Time, dead string) error {
	return until(ctx, "somebody else answers", func(context.Context) string {
		if who := p.answered(after.Add(10 * time.Millisecond)); who == "" || who == dead {
			return "nobody yet"
		}
		return ""
	})
}

// watch gives the first frame from mac that another host than the dead one sends, once.
func watch(tap *lab.Capture, dead string, mac net.HardwareAddr, first chan<- lab.Frame) {
	found := false
	for f := range tap.Frames() {
		if found || f.ToHost || f.Port == dead || len(f.Data) < 12 || !bytes.Equal(f.Data[6:12], mac) {
			continue
		}
		found = true
		first <- f
	}
}
