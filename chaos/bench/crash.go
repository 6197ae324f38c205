package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"nightporter/chaos/lab"
)

const (
	crashProbe = 2 * time.Millisecond // the pace of the probe
	crashHosts = 4                    // keepalived gets as many
	justBefore = 50 * time.Millisecond
)

// crash takes the power of the host that holds away, again and again; then keepalived's master's, where it is installed.
func crash(ctx context.Context, o *Options, failover time.Duration) (Table, error) {
	t, err := ourCrashes(ctx, o, failover)
	if err != nil {
		return t, err
	}
	return t, t.besides(ctx, o, keepalivedProgram(), failover)
}

// besides adds keepalived's rows to the table of a failover setting, or says that they are missing.
func (t *Table) besides(ctx context.Context, o *Options, program string, failover time.Duration) error {
	if program == "" {
		t.Notes = append(t.Notes, "keepalived is not installed here, so its rows are missing")
		return nil
	}
	advert, runs := time.Second, o.Slow
	if failover < time.Second {
		advert, runs = 100*time.Millisecond, o.Runs
	}
	rows, err := keepalived(ctx, o, program, advert, runs)
	t.Rows = append(t.Rows, rows...)
	return err
}

// crashRows are the rows of one table.
type crashRows struct{ client, wire, fence, noise, both, bothNoise Row }

func newCrashRows(failover time.Duration) *crashRows {
	goal := Goal{Median: 800, Max: 1100}
	if failover < time.Second {
		goal = Goal{Median: 260}
	}
	row := func(name string) Row { return Row{Name: name, Unit: "ms"} }
	r := &crashRows{
		client: row("blackout, client"), wire: row("blackout, kernel"), fence: row("power cut to fence open"),
		noise: row("the probe's own gap"), both: row("blackout, client; the holder leads as well"), bothNoise: row("the probe's own gap"),
	}
	r.client.Goal = goal
	return r
}

func (r *crashRows) add(c crashed, leads bool) {
	if leads {
		r.both.add(c.client)
		r.bothNoise.add(c.noise)
		return
	}
	r.client.add(c.client)
	r.wire.add(c.wire)
	r.fence.add(c.fence)
	r.noise.add(c.noise)
}

func ourCrashes(ctx context.Context, o *Options, failover time.Duration) (Table, error) {
	t := Table{
		Title: fmt.Sprintf("The holder's host loses its power, failover: %v (%d hosts, 3 voters)", failover, crashHosts),
		Notes: []string{
			fmt.Sprintf("client: the longest time without an answer around the cut (one UDP datagram every %v)", crashProbe),
			"kernel: from the old holder's last frame from mac0 to the new holder's first, both as they come in at the switch",
			"the probe's own gap: the longest in a time just as long, right before the cut",
			"the cuts are spread evenly over the time that the setting names: they come anywhere between two renewals of the lease",
			"the holder leads as well: an election comes first; the leader hands the lead away when it comes to hold something",
		},
	}
	rows := newCrashRows(failover)
	err := inLab(ctx, alwaysOn(o, crashHosts, failover), func(ctx context.Context, l *lab.Lab) error {
		total := o.Runs + o.Slow
		for i := range total {
			leads := i >= o.Runs
			c, err := crashOnce(ctx, l, wanted{failover: failover, leads: leads, later: spread(i, failover)})
			if err != nil {
				return fmt.Errorf("run %d: %w", i+1, err)
			}
			rows.add(c, leads)
			o.say("crash at %v, %d of %d: client %v, kernel %v, the probe's own gap %v", failover, i+1, total, short(c.client), short(c.wire), short(c.noise))
		}
		return nil
	})
	t.Rows = []Row{rows.client, rows.wire, rows.fence, rows.noise, rows.both, rows.bothNoise}
	return t, err
}

// crashed is one crash. fence is from the power cut to the opening of the new holder's fence: on the dead host it does not
// close, it ends.
type crashed struct{ client, wire, fence, noise time.Duration }

// errMoved says that the lead went elsewhere while a crash was prepared, so that it would not be the one that is wanted.
var errMoved = errors.New("the lead moves on before the crash each time")

// wanted says which crash it is to be.
type wanted struct {
	failover time.Duration
	leads    bool          // the holder leads as well
	later    time.Duration // than it could be
}

// crashOnce measures one crash and switches the dead host on again. A leader that holds hands the lead away, but not twice
// within ten seconds: the second or third attempt finds it where it should be.
func crashOnce(ctx context.Context, l *lab.Lab, want wanted) (c crashed, err error) {
	for range 5 {
		if c, err = crashNow(ctx, l, want); !errors.Is(err, errMoved) {
			break
		}
	}
	return c, err
}

func crashNow(ctx context.Context, l *lab.Lab, want wanted) (c crashed, err error) {
	s, err := holderFor(ctx, l, want)
	if err != nil {
		return c, err
	}
	w, err := watchSwap(ctx, l, s.holder, net.HardwareAddr(s.mac))
	if err != nil {
		return c, err
	}
	defer w.end()
	p, err := startProbe(ctx, l.Client(1), webPort(), crashProbe)
	if err != nil {
		return c, err
	}
	defer p.end()
	if err := want.moment(ctx, l, p, s.holder); err != nil {
		return c, err
	}
	cut, err := l.Host(s.holder).Kill(ctx)
	if err != nil {
		return c, err
	}
	if err := answeredBy(ctx, p, cut, s.holder); err != nil {
		return c, err
	}
	c.client, c.noise = p.around(cut.Add(-justBefore))
	next, gap, err := w.swapped(ctx)
	if err != nil {
		return c, err
	}
	c.wire = gap
	if c.fence, err = openedAfter(ctx, l, next, s.epoch+1, cut); err != nil {
		return c, err
	}
	return c, l.Host(s.holder).Start(ctx)
}

// openedAfter gives the time from a power cut to the opening of the fence of the new holder.
func openedAfter(ctx context.Context, l *lab.Lab, host string, epoch uint64, cut time.Time) (time.Duration, error) {
	opened, err := awaitStamp(ctx, l, host, "identity opened", epoch)
	if err != nil {
		return 0, err
	}
	began, err := sinceBoot(cut)
	return opened - began, err
}

// holderFor waits until the cluster is whole and lets the leader hold, or a host that does not lead: another one each time.
func holderFor(ctx context.Context, l *lab.Lab, want wanted) (state, error) {
	hosts := hostNames(crashHosts)
	s, err := whole(ctx, l, hosts, 2*want.failover)
	if err != nil {
		return s, err
	}
	to := s.leader
	if !want.leads {
		to = other(hosts, s.leader, s.holder)
	}
	if s.holder == to {
		return s, nil
	}
	if err := moveTo(ctx, l, s.leader, to); err != nil {
		return s, err
	}
	return whole(ctx, l, hosts, want.failover)
}

// moment waits for the moment of the crash. The probe runs undisturbed for as long as the event will take, so that its own
// gaps can be compared.
func (want wanted) moment(ctx context.Context, l *lab.Lab, p *probe, holder string) error {
	calm := 3 * want.failover / 2
	if want.leads {
		calm *= 2 // with an election it takes longer
	}
	if err := calmFor(ctx, p, calm, want.later); err != nil {
		return err
	}
	st, err := status(ctx, l, holder)
	if err != nil {
		return err
	}
	if (st.Leader == holder) != want.leads {
		return errMoved
	}
	return nil
}

// calmFor waits until the probe is answered and has been for some time, and then a little longer.
func calmFor(ctx context.Context, p *probe, calm, later time.Duration) error {
	began := time.Now()
	err := until(ctx, "the probe is answered for a while", func(context.Context) string {
		if p.answered(time.Now().Add(-justBefore)) == "" {
			began = time.Now()
			return "no answer"
		}
		if time.Since(began) < calm {
			return "not long enough"
		}
		return ""
	})
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(later):
		return nil
	}
}

// answeredBy waits until another host than the dead one answers a question of a little later.
func answeredBy(ctx context.Context, p *probe, after time.Time, dead string) error {
	return until(ctx, "somebody else answers", func(context.Context) string {
		if who := p.answered(after.Add(10 * time.Millisecond)); who == "" || who == dead {
			return "nobody yet"
		}
		return ""
	})
}
