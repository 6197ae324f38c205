package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// resumeTime is what the sleeping host needs from the magic packet until it runs again: short, since it is not what is
// measured. A real one needs 1 to 5 s.
const resumeTime = 100 * time.Millisecond

// wake lets a client connect to a sleeping service.
func wake(ctx context.Context, o *Options) (Table, error) {
	const target, failover = "h4", time.Second
	t := Table{
		Title: "A client connects to a sleeping service (3 voters, one sleeping target)",
		Notes: []string{
			"SYN to magic packet: from the client's first SYN to the first magic packet for the target, both as they come in at the switch",
			fmt.Sprintf("connect(2) has in it the %v that the sleeping host takes to resume; the table replay has what comes after that", resumeTime),
		},
	}
	magic := Row{Name: "SYN to first magic packet", Unit: "ms", Goal: Goal{Median: 0.5, Max: 5}}
	connect := Row{Name: "connect(2) of the client", Unit: "ms"}
	lo := lab.Options{Binary: o.Binary, Hosts: 4, Failover: failover, ResumeTime: resumeTime}
	err := inLab(ctx, lo, func(ctx context.Context, l *lab.Lab) error {
		for i := range o.Runs {
			if _, err := whole(ctx, l, hostNames(4), failover/2); err != nil {
				return err
			}
			m, c, err := wakeOnce(ctx, l, target)
			if err != nil {
				return fmt.Errorf("run %d: %w", i+1, err)
			}
			magic.add(m)
			connect.add(c)
			o.say("wake %d of %d: SYN to magic packet %v, connect %v", i+1, o.Runs, short(m), short(c))
		}
		return nil
	})
	t.Rows = []Row{magic, connect}
	return t, err
}

func wakeOnce(ctx context.Context, l *lab.Lab, target string) (magic, connect time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := putToSleep(ctx, l, target); err != nil {
		return 0, 0, err
	}
	w, err := watchMagic(ctx, l, target)
	if err != nil {
		return 0, 0, err
	}
	defer w.end()
	r, err := l.Client(1).Connect(ctx, webPort())
	if err != nil {
		return 0, 0, err
	}
	if r.Host != target {
		return 0, 0, fmt.Errorf("%s answered, not %s", r.Host, target)
	}
	select {
	case magic = <-w.seen:
		return magic, r.Connected, nil
	case <-ctx.Done():
		return 0, 0, fmt.Errorf("no magic packet was seen at the switch: %w", ctx.Err())
	}
}

// magicWatch looks for the client's first SYN and the first magic packet after it, both as they come in at the switch.
type magicWatch struct {
	tap  *lab.Capture
	done chan struct{}
	seen chan time.Duration // one at most
}

func watchMagic(ctx context.Context, l *lab.Lab, target string) (*magicWatch, error) {
	tap, err := l.Capture(ctx, nil, false)
	if err != nil {
		return nil, err
	}
	w := &magicWatch{tap: tap, done: make(chan struct{}), seen: make(chan time.Duration, 1)}
	client, mac := l.Client(1).Name(), l.Host(target).MAC()
	go func() {
		defer close(w.done)
		var syn time.Time
		found := false
		for f := range tap.Frames() {
			switch {
			case found, f.ToHost:
			case syn.IsZero() && f.Port == client && isSYN(f.Data):
				syn = f.Time
			case !syn.IsZero():
				if _, found = lab.MagicPacket(f.Data, mac); found {
					w.seen <- f.Time.Sub(syn)
				}
			}
		}
	}()
	return w, nil
}

// end stops the watch. That frames were lost shows in what it saw.
func (w *magicWatch) end() {
	_, _ = w.tap.Stop()
	<-w.done
}

func putToSleep(ctx context.Context, l *lab.Lab, target string) error {
	c := l.Host("h1").API()
	if _, err := c.Sleep(ctx, target); err != nil {
		return err
	}
	if err := l.Host(target).AwaitPower(ctx, lab.PowerAsleep); err != nil {
		return err
	}
	return until(ctx, "a front holds", func(ctx context.Context) string {
		st, err := status(ctx, l, "h1")
		if err != nil {
			return err.Error()
		}
		return missingFront(st)
	})
}

func missingFront(st api.Status) string {
	if len(st.Services) != 1 || st.Services[0].OwnerState != "holding" {
		return "nobody holds"
	}
	return ""
}

// isSYN says whether a frame carries a TCP segment over IPv4 that opens a connection.
func isSYN(frame []byte) bool {
	if len(frame) < 14+20+20 || binary.BigEndian.Uint16(frame[12:]) != 0x0800 || frame[23] != 6 {
		return false
	}
	head := 14 + int(frame[14]&0xf)*4
	return len(frame) >= head+14 && frame[head+13]&0x12 == 0x02
}
