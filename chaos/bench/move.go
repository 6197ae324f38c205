package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"nightporter/chaos/lab"
)

// move gives the service from host to host as an operator does.
func move(ctx context.Context, o *Options) (Table, error) {
	const hosts, failover = 4, time.Second
	t := Table{
		Title: fmt.Sprintf("A planned move (`nightporter move`; %d hosts, 3 voters)", hosts),
		Notes: []string{
			"kernel: from the instant at which the fence closed here to the one at which it opened there, on one CLOCK_BOOTTIME",
			"client: the longest time without an answer around the move (2000 UDP datagrams a second)",
			"the probe's own gap: the longest in a time just as long, right before the order",
			"above the probe's own: the one minus the other, of each move; 0.001 = the move made no difference",
			"TCP: a loop of requests, each by a connection of its own; one that is cut off, or waits a second, is made anew; for each move",
		},
	}
	fence := Row{Name: "fence closed to fence open", Unit: "ms", Goal: Goal{Median: 5, P95: 3}}
	client, noise := Row{Name: "gap, client", Unit: "ms"}, Row{Name: "the probe's own gap", Unit: "ms"}
	above := Row{Name: "gap, client, above the probe's own", Unit: "ms", Goal: Goal{P95: 3}}
	lost, again := Row{Name: "TCP requests lost", Goal: Goal{None: true}}, Row{Name: "TCP requests made anew"}
	slowest := Row{Name: "slowest TCP request", Unit: "ms"}
	order := Row{Name: "from the order to its answer", Unit: "ms"}
	err := inLab(ctx, alwaysOn(o, hosts, failover), func(ctx context.Context, l *lab.Lab) error {
		p, err := startProbe(ctx, l.Client(1), webPort(), time.Millisecond/2)
		if err != nil {
			return err
		}
		defer p.end()
		r := startRequests(ctx, l.Client(1), webPort())
		defer r.end()
		for i := range o.Runs {
			againBefore, lostBefore, _ := r.counts()
			m, err := moveOnce(ctx, l, p, hostNames(hosts), failover)
			if err != nil {
				return fmt.Errorf("run %d: %w", i+1, err)
			}
			fence.add(m.fence)
			client.add(m.client)
			noise.add(m.noise)
			order.add(m.order)
			above.add(max(m.client-m.noise, time.Microsecond))
			if err := r.whole(ctx); err != nil {
				return err
			}
			a, n, slow := r.counts()
			slowest.add(slow)
			again.Samples, lost.Samples = append(again.Samples, float64(a-againBefore)), append(lost.Samples, float64(n-lostBefore))
			o.say("move %d of %d: fence %v, client %v, the probe's own gap %v", i+1, o.Runs, short(m.fence), short(m.client), short(m.noise))
		}
		return nil
	})
	t.Rows = []Row{fence, client, noise, above, lost, again, slowest, order}
	return t, err
}

// moved is one planned move.
type moved struct{ fence, client, noise, order time.Duration }

// moveOnce gives the service to the host after the one that holds it.
func moveOnce(ctx context.Context, l *lab.Lab, p *probe, hosts []string, failover time.Duration) (m moved, err error) {
	s, err := whole(ctx, l, hosts, failover/2)
	if err != nil {
		return m, err
	}
	to := hosts[(slices.Index(hosts, s.holder)+1)%len(hosts)]
	// The looks at the cluster disturb the probe; what comes now is to be compared with a time without them.
	if err := calmFor(ctx, p, failover/4, 0); err != nil {
		return m, err
	}
	began := time.Now()
	if err := moveTo(ctx, l, s.leader, to); err != nil {
		return m, err
	}
	m.order = time.Since(began)
	opened, err := awaitStamp(ctx, l, to, "identity opened", s.epoch+1)
	if err != nil {
		return m, err
	}
	closed, err := awaitStamp(ctx, l, s.holder, "identity released", s.epoch)
	if err != nil {
		return m, err
	}
	m.fence = opened - closed
	if err := answeredBy(ctx, p, began, s.holder); err != nil {
		return m, err
	}
	m.client, m.noise = p.around(began)
	return m, nil
}
