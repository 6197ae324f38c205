package bench

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"time"

	"nightporter/chaos/lab"
	"nightporter/config"
)

// replay compares how long a client that waits for a sleeping service needs once the target can be reached: with the front's replay, and
// with the plain drop, after which the client repeats its SYN when it likes.
func replay(ctx context.Context, o *Options) (Table, error) {
	t := Table{
		Title: "From the target's open fence to the client that waited (3 voters, one sleeping target)",
		Notes: []string{
			"from: the target has opened its fence, and its service listens; to: connect(2) of the client returns, or the answer has come on a connection from before the sleep",
			fmt.Sprintf("the sleeping host takes %v to resume; then it reports back and gets the identity", resumeTime),
			"plain drop: `replay: none`; a Linux client repeats its SYN after 1, 2, 3, 4, 5, 7, 11, 19 and 35 s (before 6.5: 1, 3, 7, 15 and 31 s)",
		},
	}
	for _, form := range []string{config.ReplayTCP, config.ReplayNone} {
		connect, word := Row{Name: "a connect, replay", Unit: "ms", Goal: Goal{P95: 10}}, Row{Name: "a word on a connection, replay", Unit: "ms"}
		if form == config.ReplayNone {
			connect, word = Row{Name: "a connect, plain drop", Unit: "ms"}, Row{Name: "a word on a connection, plain drop", Unit: "ms"}
		}
		if err := replayed(ctx, o, form, &connect, readyToConnected); err != nil {
			return t, err
		}
		if err := replayed(ctx, o, form, &word, readyToAnswered); err != nil {
			return t, err
		}
		t.Rows = append(t.Rows, connect, word)
	}
	return t, nil
}

// measurement puts the target to sleep, lets the client wake it, and says how much later than ready it was served.
type measurement func(ctx context.Context, l *lab.Lab, target string, epoch uint64) (time.Duration, error)

func replayed(ctx context.Context, o *Options, form string, row *Row, measure measurement) error {
	const target, failover = "h4", time.Second
	lo := lab.Options{
		Binary: o.Binary, Hosts: 4, Failover: failover, ResumeTime: resumeTime,
		Services: []config.Service{{
			Name: service, Addresses: []netip.Addr{lab.ServiceAddr()}, Ports: []config.Port{{Protocol: "tcp", Number: lab.ServerPort}},
			Targets: []string{target}, Hold: config.HoldDrop, Replay: form,
		}},
	}
	return inLab(ctx, lo, func(ctx context.Context, l *lab.Lab) error {
		for i := range o.Runs {
			s, err := whole(ctx, l, hostNames(4), failover/2)
			if err != nil {
				return err
			}
			took, err := measure(ctx, l, target, s.epoch)
			if err != nil {
				return fmt.Errorf("%s, run %d: %w", row.Name, i+1, err)
			}
			row.add(took)
			o.say("%s %d of %d: %v after the target was ready", row.Name, i+1, o.Runs, short(took))
		}
		return nil
	})
}

// readyToConnected is that of a client that connects.
func readyToConnected(ctx context.Context, l *lab.Lab, target string, epoch uint64) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := putToSleep(ctx, l, target); err != nil {
		return 0, err
	}
	r, err := l.Client(1).Connect(ctx, webPort())
	if err != nil {
		return 0, err
	}
	connected, err := sinceBoot(r.Began.Add(r.Connected))
	if err != nil {
		return 0, err
	}
	ready, err := awaitStamp(ctx, l, target, "identity opened", epoch+1)
	return connected - ready, err
}

// readyToAnswered is that of a client that has been connected since before the sleep, and says something.
func readyToAnswered(ctx context.Context, l *lab.Lab, target string, epoch uint64) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := l.Client(1).Dial(ctx, "tcp", webPort())
	if err != nil {
		return 0, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	in := bufio.NewReader(c)
	say := func() error {
		if _, err := fmt.Fprintln(c, "hello"); err != nil {
			return err
		}
		_, err := in.ReadString('\n')
		return err
	}
	if err := say(); err != nil {
		return 0, err
	}
	if err := putToSleep(ctx, l, target); err != nil {
		return 0, err
	}
	if err := say(); err != nil {
		return 0, err
	}
	answered, err := sinceBoot(time.Now())
	if err != nil {
		return 0, err
	}
	ready, err := awaitStamp(ctx, l, target, "identity opened", epoch+1)
	return answered - ready, err
}
