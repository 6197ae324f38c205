package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"nightporter/api"
	"nightporter/chaos/history"
	"nightporter/chaos/lab"
)

// Deeds on one host.

func (n *Nemesis) begin(d Deed, host string) *history.Running {
	return n.Journal.Fault(history.Fault{Kind: d.Kind, Host: host, Detail: d.Way})
}

func (n *Nemesis) kill(ctx context.Context, d Deed, host string) error {
	f := n.begin(d, host)
	defer f.Over()
	n.Journal.Away(host, true)
	defer n.Journal.Away(host, false)
	h := n.Lab.Host(host)
	undo, cancel := undoing(ctx)
	defer cancel()
	if up, err := n.runs(undo, host); err != nil || !up {
		return err
	}
	if err := h.Signal(undo, syscall.SIGKILL); err != nil {
		return err
	}
	if _, err := h.AwaitAgentExit(undo); err != nil {
		return err
	}
	f.Mute()
	f.Took("")
	wait(ctx, d.For)
	f.Lifts()
	return n.start(undo, host)
}

// runs says whether a host is up with an agent that runs: somebody else's deed, or the cluster, may have changed that.
func (n *Nemesis) runs(ctx context.Context, host string) (bool, error) {
	st, err := n.Lab.Status(ctx)
	if err != nil {
		return false, err
	}
	for _, h := range st.Hosts {
		if h.Name == host {
			return h.Power == lab.PowerUp && h.Agent == "running", nil
		}
	}
	return false, fmt.Errorf("the laboratory has no host %s", host)
}

// start brings a host's agent back. An operator, whose host had left the cluster, may have done so already; and a host whose agent had put it to
// sleep in the very moment at which it was killed is woken first.
func (n *Nemesis) start(ctx context.Context, host string) error {
	if n.Lab.Host(host).Start(ctx) == nil {
		return nil
	}
	if up, _ := n.runs(ctx, host); up {
		return nil
	}
	if err := n.rouse(ctx, "button", host); err != nil {
		return err
	}
	err := n.Lab.Host(host).Start(ctx)
	if up, _ := n.runs(ctx, host); up {
		return nil
	}
	return err
}

func (n *Nemesis) stop(ctx context.Context, d Deed, host string) error {
	f := n.begin(d, host)
	defer f.Over()
	undo, cancel := undoing(ctx)
	defer cancel()
	if up, err := n.runs(undo, host); err != nil || !up {
		return err
	}
	h := n.Lab.Host(host)
	if err := h.Signal(undo, syscall.SIGSTOP); err != nil {
		return err
	}
	f.Mute()
	f.Took("")
	wait(ctx, d.For)
	f.Lifts()
	return h.Signal(undo, syscall.SIGCONT)
}

func (n *Nemesis) powerOff(ctx context.Context, d Deed, host string) error {
	f := n.begin(d, host)
	defer f.Over()
	n.Journal.Away(host, true)
	defer n.Journal.Away(host, false)
	undo, cancel := undoing(ctx)
	defer cancel()
	h := n.Lab.Host(host)
	if _, err := h.Kill(undo); err != nil {
		return err
	}
	f.Dark()
	f.Took("")
	wait(ctx, d.For)
	f.Lifts()
	return n.start(undo, host)
}

// restart ends the daemon as the service manager does, and starts it again.
func (n *Nemesis) restart(ctx context.Context, d Deed, host string) error {
	f := n.begin(d, host)
	defer f.Over()
	n.Journal.Away(host, true)
	defer n.Journal.Away(host, false)
	undo, cancel := undoing(ctx)
	defer cancel()
	if up, err := n.runs(undo, host); err != nil || !up {
		return err
	}
	h := n.Lab.Host(host)
	if err := h.Signal(undo, syscall.SIGTERM); err != nil {
		return err
	}
	f.Took("")
	code, err := h.AwaitAgentExit(undo)
	if err != nil {
		return err
	}
	if code != 0 {
		f.Took("ended with status %d", code)
		n.Journal.Do(func(h *history.History) {
			h.Exits = append(h.Exits, history.Exit{Host: host, At: time.Now(), Code: code, Why: "it was asked to stop by SIGTERM"})
		})
	}
	return n.start(undo, host)
}

// freeze suspends the host without its agent's knowledge. Somebody may wake it before the time is over.
func (n *Nemesis) freeze(ctx context.Context, d Deed, host string) error {
	f := n.begin(d, host)
	defer f.Over()
	undo, cancel := undoing(ctx)
	defer cancel()
	h := n.Lab.Host(host)
	if up, err := n.runs(undo, host); err != nil || !up {
		return err
	}
	if err := h.Freeze(undo); err != nil {
		if up, _ := n.runs(undo, host); !up {
			return nil // it went to sleep by itself at this very moment
		}
		return err
	}
	f.Dark()
	f.Took("")
	wait(ctx, d.For)
	f.Lifts()
	return n.rouse(undo, d.Way, host)
}

// rouse wakes a host that may be awake already.
func (n *Nemesis) rouse(ctx context.Context, way, host string) error {
	h := n.Lab.Host(host)
	st, err := n.Lab.Status(ctx)
	if err != nil {
		return err
	}
	for _, s := range st.Hosts {
		if s.Name != host || s.Power != lab.PowerAsleep {
			continue
		}
		if way == "magic" {
			err = h.Wake(ctx)
		} else if err = h.PressPower(ctx); err != nil {
			err = nil // awake in this very moment
		}
		if err != nil {
			return err
		}
		return h.AwaitPower(ctx, lab.PowerUp)
	}
	return nil
}

func (n *Nemesis) starve(ctx context.Context, d Deed, host string) error {
	f := n.begin(d, host)
	defer f.Over()
	undo, cancel := undoing(ctx)
	defer cancel()
	r := rand.New(rand.NewPCG(d.Seed, 1))
	share, period := 0.3+0.6*r.Float64(), between(r, 50*time.Millisecond, time.Second)
	if err := n.Lab.Starve(undo, host, share, period); err != nil {
		return err
	}
	f.Took("stopped for %.0f %% of every %s", 100*share, period.Round(time.Millisecond))
	wait(ctx, d.For)
	return n.Lab.Starve(undo, host, 0, 0)
}

// clock lets an agent's clocks jump: the wall clock by a day and more, further than any run lasts, so that what was stamped on it can
// be told; CLOCK_BOOTTIME by what a real-time clock of whole seconds may get wrong over a suspend.
func (n *Nemesis) clock(ctx context.Context, d Deed, host string) error {
	f := n.begin(d, host)
	defer f.Over()
	undo, cancel := undoing(ctx)
	defer cancel()
	r := rand.New(rand.NewPCG(d.Seed, 2))
	jump := lab.ClockShift{Boot: between(r, 100*time.Millisecond, time.Second)}
	if d.Way == "wall" {
		jump = lab.ClockShift{Wall: between(r, 25*time.Hour, 49*time.Hour)}
		if r.IntN(2) == 0 {
			jump.Wall = -jump.Wall
		}
	}
	if err := n.Lab.Clock(undo, host, jump); err != nil {
		return err
	}
	f.Took("CLOCK_BOOTTIME %s, wall clock %s", jump.Boot, jump.Wall.Round(time.Millisecond))
	f.Skewed(jump.Wall)
	wait(ctx, d.For)
	return n.Lab.Clock(undo, host, lab.ClockShift{Wall: -jump.Wall}) // a boot clock is never set back
}

func (n *Nemesis) disk(ctx context.Context, d Deed, host string) error {
	f := n.begin(d, host)
	defer f.Over()
	undo, cancel := undoing(ctx)
	defer cancel()
	r := rand.New(rand.NewPCG(d.Seed, 3))
	var fault lab.DiskFault
	switch d.Way {
	case "slow":
		fault.Delay = between(r, 20*time.Millisecond, 700*time.Millisecond)
	case "full":
		fault.Errno, fault.Share = syscall.ENOSPC, 1
	default:
		fault.Errno, fault.Share = syscall.EIO, 0.2+0.8*r.Float64()
	}
	if err := n.Lab.Disk(undo, host, fault); err != nil {
		return err
	}
	f.Took("%s: delay %s, %v for %.0f %%", d.Way, fault.Delay.Round(time.Millisecond), fault.Errno, 100*fault.Share)
	wait(ctx, d.For)
	return n.Lab.Disk(undo, host, lab.DiskFault{})
}

// forgetLimit is how long a host stays away while the cluster cannot forget it.
const forgetLimit = 20 * time.Second

// wipe takes a host's data away, as a disk that was replaced; its operator has the cluster forget it, and starts it anew.
func (n *Nemesis) wipe(ctx context.Context, d Deed, host string) error {
	f := n.begin(d, host)
	defer f.Over()
	n.losses.Lock()
	defer n.losses.Unlock()
	n.Journal.Away(host, true)
	defer n.Journal.Away(host, false)
	undo, cancel := undoing(ctx)
	defer cancel()
	if !n.member(undo, host) {
		return nil
	}
	if _, err := n.Lab.Host(host).Kill(undo); err != nil {
		return err
	}
	f.Took("")
	if len(n.Field.Hosts) < fewHosts {
		limit, stop := context.WithTimeout(undo, forgetFirst)
		defer stop()
		if err := n.Forget(limit, host); err != nil {
			f.Took("not wiped: the others cannot do without it now (%v)", err)
			return n.start(undo, host)
		}
	}
	return n.renew(ctx, undo, d.For, host)
}

// member says whether a host belongs to the cluster. One that is just being admitted may be so under a key that it loses with its disk, after the others
// were told to forget it: then they must be told again, and status says so.
func (n *Nemesis) member(ctx context.Context, host string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	st, err := n.Lab.Host(host).API().Status(ctx)
	return err == nil && st.Cluster.ID != "" && slices.ContainsFunc(st.Nodes, func(x api.NodeStatus) bool { return x.Name == host })
}

// With fewer hosts the one that is to lose its disk may be the only voter, or one of two: then it is the end of the cluster, and the others cannot
// forget it. So they are asked first.
const (
	fewHosts    = 5
	forgetFirst = 8 * time.Second
)

// renew empties the data directory of a host that is off, has it forgotten, and starts it.
func (n *Nemesis) renew(ctx, undo context.Context, pause time.Duration, host string) error {
	if err := n.Lab.Wipe(undo, host); err != nil {
		return err
	}
	n.Journal.Do(func(h *history.History) { h.Wiped = append(h.Wiped, host) })
	wait(ctx, pause)
	limit, cancel := context.WithTimeout(undo, forgetLimit)
	defer cancel()
	for n.Forget(limit, host) != nil {
		if !wait(limit, 300*time.Millisecond) {
			n.mu.Lock()
			n.lost = append(n.lost, host)
			n.mu.Unlock()
			n.Journal.Away(host, true) // until Mend has done it
			return nil
		}
	}
	return n.start(undo, host)
}

// damage corrupts a host's data while it is off. An agent that refuses to start on it gets a new disk.
func (n *Nemesis) damage(ctx context.Context, d Deed, host string) error {
	f := n.begin(d, host)
	defer f.Over()
	n.losses.Lock()
	defer n.losses.Unlock()
	n.Journal.Away(host, true)
	defer n.Journal.Away(host, false)
	undo, cancel := undoing(ctx)
	defer cancel()
	if !n.member(undo, host) {
		return nil
	}
	h := n.Lab.Host(host)
	if _, err := h.Kill(undo); err != nil {
		return err
	}
	what, err := n.Lab.Damage(undo, host, d.Seed)
	if err != nil {
		return err
	}
	f.Took("%s, %d bytes from %d %s", what.File, what.Length, what.Offset, what.How)
	if err := n.start(undo, host); err != nil {
		return err
	}
	notice, stop := context.WithTimeout(undo, d.For+3*time.Second)
	defer stop()
	code, err := h.AwaitAgentExit(notice)
	if errors.Is(err, context.DeadlineExceeded) || notice.Err() != nil {
		return nil // it can live with it
	}
	if err != nil {
		return err
	}
	f.Took("%s, %d bytes from %d %s; the agent ended with status %d", what.File, what.Length, what.Offset, what.How, code)
	if _, err := h.Kill(undo); err != nil {
		return err
	}
	return n.renew(ctx, undo, 0, host)
}

// Mend brings every host back that is not there: forgotten where it must be, switched on, awake.
func (n *Nemesis) Mend(ctx context.Context) error {
	for _, err := range []error{n.Lab.Heal(ctx, ""), n.Lab.Smooth(ctx, "")} {
		if err != nil {
			return err
		}
	}
	for _, host := range n.lost {
		for n.Forget(ctx, host) != nil {
			if !wait(ctx, 300*time.Millisecond) {
				return fmt.Errorf("%s was wiped, and the healed cluster does not forget it: %w", host, context.Cause(ctx))
			}
		}
		if err := n.start(ctx, host); err != nil {
			return err
		}
		n.Journal.Away(host, false)
	}
	n.lost = nil
	return n.Rouse(ctx)
}

// Rouse wakes everybody by the power button.
func (n *Nemesis) Rouse(ctx context.Context) error {
	for _, host := range n.Field.Hosts {
		if err := n.rouse(ctx, "button", host); err != nil {
			return err
		}
	}
	return nil
}
