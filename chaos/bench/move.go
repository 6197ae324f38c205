package bench

import (
	"context"
	"fmt"
	"time"

	"nightporter/chaos/lab"
)

// move gives the service from host to host as an operator does.
func move(ctx context.Context, o *Options) (Table, error) {
	const failover = time.Second
	t := Table{
		Title: "A planned move (`nightporter move`; 4 hosts, 3 voters)",
		Notes: []string{
			"kernel: from the instant at which the fence closed here to the one at which it opened there, on one CLOCK_BOOTTIME",
			"client: the longest time without an answer around the move (one UDP datagram every millisecond)",
		},
	}
	fence := Row{Name: "fence closed to fence open", Unit: "ms", Goal: Goal{Median: 5}}
	client, noise := Row{Name: "gap, client", Unit: "ms"}, Row{Name: "the probe's own gap", Unit: "ms"}
	order := Row{Name: "from the order to the new holder's opening", Unit: "ms"}
	err := inLab(ctx, alwaysOn(o, 4, failover), func(ctx context.Context, l *lab.Lab) error {
		hosts := hostNames(4)
		p, err := startProbe(ctx, l.Client(1), webPort(), time.Millisecond)
		if err != nil {
			return err
		}
		defer p.end()
		for i := range o.Runs {
			s, err := whole(ctx, l, hosts, failover/2)
			if err != nil {
				return err
			}
			to := hosts[(i+1)%len(hosts)]
			if to == s.holder {
				to = hosts[(i+2)%len(hosts)]
			}
			began := time.Now()
			if err := moveTo(ctx, l, s.leader, to); err != nil {
				return err
			}
			took := time.Since(began)
			opened, err := awaitStamp(ctx, l, to, "identity opened", s.epoch+1)
			if err != nil {
				return err
			}
			closed, err := awaitStamp(ctx, l, s.holder, "identity released", s.epoch)
			if err != nil {
				return err
			}
			if err := answeredBy(ctx, p, began, s.holder); err != nil {
				return err
			}
			gap, own := p.gap(began, time.Now()), p.gap(began.Add(-failover/2), began)
			fence.add(opened - closed)
			client.add(gap)
			noise.add(own)
			order.add(took)
			o.say("move %d of %d: fence %v, client %v, the probe's own gap %v", i+1, o.Runs, opened-closed, gap, own)
		}
		return nil
	})
	if err != nil {
		return t, fmt.Errorf("moving: %w", err)
	}
	t.Rows = []Row{fence, client, order, noise}
	return t, nil
}
