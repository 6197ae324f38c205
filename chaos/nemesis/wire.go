package nemesis

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"nightporter/chaos/history"
	"nightporter/chaos/lab"
)

// Deeds at the switch.

// cutting makes cuts, waits, and heals the places that they name.
func (n *Nemesis) cutting(ctx context.Context, d Deed, host string, say func(*history.Running), cuts ...lab.Cut) error {
	n.wires.Lock()
	defer n.wires.Unlock()
	f := n.begin(d, host)
	defer f.Over()
	undo, cancel := undoing(ctx)
	defer cancel()
	var errs []error
	for _, c := range cuts {
		errs = append(errs, n.Lab.Cut(undo, c))
	}
	say(f)
	f.Took("")
	wait(ctx, d.For)
	f.Lifts()
	return errors.Join(append(errs, n.Lab.Heal(undo, ""))...)
}

// isolate cuts a host from everybody, or from the other hosts only: then clients go on asking it, and a kernel that let the
// identity through would answer them.
func (n *Nemesis) isolate(ctx context.Context, d Deed, host string) error {
	if d.Seed%2 == 0 {
		return n.cutting(ctx, d, host, n.muting(), lab.Cut{From: host})
	}
	d.Way = "from the hosts only"
	var cuts []lab.Cut
	for _, other := range n.Field.Hosts {
		if other != host {
			cuts = append(cuts, lab.Cut{From: host, To: other})
		}
	}
	return n.cutting(ctx, d, host, n.muting(), cuts...)
}

// muting says that a host that is cut off finds no majority. In a small cluster that is not certain: after a leave it may be the
// only voter.
func (n *Nemesis) muting() func(*history.Running) {
	if len(n.Field.Hosts) < 5 {
		return nothing
	}
	return (*history.Running).Mute
}

func (n *Nemesis) cable(ctx context.Context, d Deed, host string) error {
	return n.cutting(ctx, d, host, (*history.Running).Dark, lab.Cut{From: host, Cable: true})
}

func nothing(*history.Running) {}

// flap pulls the cable and puts it back again and again.
func (n *Nemesis) flap(ctx context.Context, d Deed, host string) error {
	n.wires.Lock()
	defer n.wires.Unlock()
	f := n.begin(d, host)
	defer f.Over()
	f.Took("")
	undo, cancel := undoing(ctx)
	defer cancel()
	r := rand.New(rand.NewPCG(d.Seed, 4))
	for end := time.Now().Add(d.For); time.Now().Before(end) && ctx.Err() == nil; {
		if err := n.Lab.Cut(undo, lab.Cut{From: host, Cable: true}); err != nil {
			return err
		}
		wait(ctx, between(r, 50*time.Millisecond, 600*time.Millisecond))
		if err := n.Lab.Heal(undo, host); err != nil {
			return err
		}
		wait(ctx, between(r, 50*time.Millisecond, 900*time.Millisecond))
	}
	return n.Lab.Heal(undo, host)
}

// partition cuts every path between the group and the other hosts, or some of them. Clients still see both sides.
func (n *Nemesis) partition(ctx context.Context, d Deed, _ string) error {
	r := rand.New(rand.NewPCG(d.Seed, 5))
	var cuts []lab.Cut
	for _, a := range d.Group {
		for _, b := range n.Field.Hosts {
			if !slices.Contains(d.Group, b) && (d.Way != "partial" || r.IntN(2) == 0) {
				cuts = append(cuts, lab.Cut{From: a, To: b})
			}
		}
	}
	d.Way += " " + list(d.Group)
	return n.cutting(ctx, d, "", nothing, cuts...)
}

func list(names []string) string {
	s := ""
	for i, name := range names {
		if i > 0 {
			s += "+"
		}
		s += name
	}
	return s
}

// oneWay lets a host hear and not speak, or speak and not hear. Either way it finds no majority.
func (n *Nemesis) oneWay(ctx context.Context, d Deed, host string) error {
	if d.Way == "out" {
		return n.cutting(ctx, d, host, n.muting(), lab.Cut{From: host, OneWay: true})
	}
	var cuts []lab.Cut
	for _, other := range n.Field.Hosts {
		if other != host {
			cuts = append(cuts, lab.Cut{From: other, To: host, OneWay: true})
		}
	}
	return n.cutting(ctx, d, host, n.muting(), cuts...)
}

// noise treats all paths badly.
func (n *Nemesis) noise(ctx context.Context, d Deed, _ string) error {
	f := n.begin(d, "")
	defer f.Over()
	undo, cancel := undoing(ctx)
	defer cancel()
	r := rand.New(rand.NewPCG(d.Seed, 6))
	s := lab.Shape{Seed: d.Seed}
	if d.Way != "delay" {
		s.Loss = 0.01 + 0.3*r.Float64()
	}
	if d.Way != "loss" {
		s.Delay, s.Jitter = between(r, 0, 60*time.Millisecond), between(r, 0, 60*time.Millisecond)
	}
	if d.Way == "everything" {
		s.Duplicate, s.Reorder = 0.3*r.Float64(), 0.3*r.Float64()
	}
	if err := n.Lab.Shape(undo, s); err != nil {
		return err
	}
	f.Took("loss %.0f %%, delay %s to %s, duplicated %.0f %%, reordered %.0f %%", 100*s.Loss, s.Delay.Round(time.Millisecond),
		(s.Delay + s.Jitter).Round(time.Millisecond), 100*s.Duplicate, 100*s.Reorder)
	wait(ctx, d.For)
	return n.Lab.Smooth(undo, "")
}

// foreign lets a machine outside the cluster use a service's address.
func (n *Nemesis) foreign(ctx context.Context, d Deed, _ string) error {
	f := n.begin(d, "")
	defer f.Over()
	undo, cancel := undoing(ctx)
	defer cancel()
	claim := n.Scout.Address(d.Service)
	claim.MAC = nil
	if err := n.Lab.Claim(undo, n.Foreign, claim); err != nil {
		return err
	}
	f.Took("%s takes %s of %s", n.Foreign, claim.Addr, d.Service)
	wait(ctx, d.For)
	return n.Lab.Unclaim(undo, n.Foreign)
}

// garbage sends what only a stranger sends.
func (n *Nemesis) garbage(ctx context.Context, d Deed, _ string) error {
	f := n.begin(d, "")
	defer f.Over()
	undo, cancel := undoing(ctx)
	defer cancel()
	sent, err := n.Lab.Garbage(undo, n.Foreign, d.Seed, 200)
	f.Took("%d things from %s", len(sent), n.Foreign)
	return err
}
