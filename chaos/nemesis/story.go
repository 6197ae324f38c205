package nemesis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"nightporter/chaos/history"
	"nightporter/chaos/lab"
)

// The stories: deeds of several steps, to which faults drawn at random hardly come. What they do to hosts stands in the history as the faults
// and commands that it is made of.
const (
	// Night: who may sleep is put to sleep, one host loses its power, and all others are suspended as by their lids. Nobody is left who
	// could call anybody, but a sleeper's own clock.
	Night history.Kind = "night"
	// Lone: of two hosts one gets all services that it runs, and when the only vote has followed them, the other one dies.
	Lone history.Kind = "lone"
	// Dusk: one voter of three sleeps, and another one dies: the third must call the sleeper, whom nobody asks for anything.
	Dusk history.Kind = "dusk"
)

// Stage is what stories need beside the laboratory.
type Stage interface {
	// HushOperators and HushClients keep people from doing anything until open is called.
	HushOperators() (open func())
	HushClients() (open func())
	// Whole says what the cluster lacks until everybody is awake and in touch and every service is held; "" = nothing.
	Whole() string
	// Voters are those of now, as a leader names them.
	Voters() []string
	// Sleep puts a host to sleep, and says whether it was done.
	Sleep(ctx context.Context, host string) bool
	// Gather brings to a host every service that it runs, and says whether that was done.
	Gather(ctx context.Context, host string) bool
}

// Times of the stories. A cluster that was just broken needs a while to be whole, and the judge of the single vote wants quiet.
const (
	wholeWithin = 20 * time.Second
	sleepWithin = 5 * time.Second
	// loneQuiet is for how long nobody may have asked for anything before a death of which only the vote is to blame, and loneVote for how long
	// the vote must have been where it is (package check: twice its quiet, and once).
	loneQuiet  = 10*time.Second + 500*time.Millisecond
	loneVote   = 5*time.Second + 500*time.Millisecond
	fallAsleep = time.Second // what all of Night may take until nobody is awake
)

// largest is the largest failover that operators set.
func (f Field) largest() time.Duration { return 3 * f.Failover / 2 }

func (d Deed) story() bool { return d.Kind == Night || d.Kind == Lone || d.Kind == Dusk }

// stories are the cards that a cluster of this shape begins each round with.
func (f Field) stories() []card {
	const s = time.Second
	var out []card
	if len(f.Hosts) == 2 {
		out = append(out, card{Lone, All, "", 3 * s, 5 * s})
	}
	if f.LookAfter > 0 {
		// The alarm may go off as late as its time; then the host looks and calls, for as long as package check allows, and the others wake and elect.
		least := f.LookAfter + fallAsleep + 12*f.largest() + 6*s
		out = append(out, card{Night, All, "", least, least + 2*s})
	}
	if f.sleepersVote() {
		least := 7*f.largest() + 3*s
		if f.LookAfter > 0 { // the judge allows for the look of one that its alarm has woken
			least += 4*f.largest() + 2*s
		}
		out = append(out, card{Dusk, All, "", least, least + 2*s})
	}
	return out
}

// sleepersVote says whether a sleeper is one of three voters or more.
func (f Field) sleepersVote() bool {
	return len(f.Hosts) >= 3 && len(f.Hosts)-len(f.Sleepers) < 3
}

// story carries one out, with all hosts seized.
func (n *Nemesis) story(ctx context.Context, d Deed) error {
	open := n.Stage.HushOperators()
	defer open()
	if err := n.Rouse(ctx); err != nil { // who sleeps by itself
		return err
	}
	if why := n.awaitWhole(ctx); why != "" {
		n.Tell(fmt.Sprintf("%s: left out, for %s", d.Kind, why))
		return nil
	}
	do := n.dusk
	switch d.Kind {
	case Night:
		do = n.night
	case Lone:
		do = n.lone
	}
	err := do(ctx, d)
	wait(ctx, time.Second) // programs that were just started
	return err
}

func (n *Nemesis) awaitWhole(ctx context.Context) string {
	for by := time.Now().Add(wholeWithin); ; {
		why := n.Stage.Whole()
		if why == "" || time.Now().After(by) {
			return why
		}
		if !wait(ctx, 200*time.Millisecond) {
			return "the run ends"
		}
	}
}

// puts has a host sleep, and says whether it does.
func (n *Nemesis) puts(ctx context.Context, host string) bool {
	if !n.Stage.Sleep(ctx, host) {
		return false
	}
	limit, cancel := context.WithTimeout(ctx, sleepWithin)
	defer cancel()
	return n.Lab.Host(host).AwaitPower(limit, lab.PowerAsleep) == nil
}

func (n *Nemesis) night(ctx context.Context, d Deed) error {
	wake := n.Stage.HushClients()
	defer wake()
	var sleep []string
	for _, host := range n.Field.Sleepers {
		if n.puts(ctx, host) {
			sleep = append(sleep, host)
		}
	}
	if len(sleep) == 0 {
		n.Tell("night: left out, for nobody goes to sleep")
		return nil
	}
	rest := slices.DeleteFunc(slices.Clone(n.Field.Hosts), func(h string) bool { return slices.Contains(sleep, h) })
	errs := make([]error, len(rest))
	var all sync.WaitGroup
	for i, host := range rest {
		all.Go(func() {
			if i == int(d.Seed%uint64(len(rest))) {
				errs[i] = n.powerOff(ctx, Deed{Kind: history.PowerOff, Way: string(Night), For: d.For}, host)
				return
			}
			errs[i] = n.freeze(ctx, Deed{Kind: history.Freeze, Way: string(Night), For: d.For}, host)
		})
	}
	wait(ctx, fallAsleep)
	wake() // clients knock from now on, and nobody hears it
	all.Wait()
	return errors.Join(errs...)
}

func (n *Nemesis) lone(ctx context.Context, d Deed) error {
	holder, other := n.Field.Hosts[d.Seed%2], n.Field.Hosts[1-d.Seed%2]
	var began time.Time
	for tries := 2; ; tries-- { // services that a stall of the machine took from the holder are gathered once more
		if !n.Stage.Gather(ctx, holder) {
			n.Tell("lone: left out, for " + holder + " does not get its services")
			return nil
		}
		if began = time.Now(); n.votesAlone(ctx, holder, began.Add(loneQuiet+14*n.Field.largest())) {
			break
		}
		if tries == 1 || ctx.Err() != nil {
			n.Tell(fmt.Sprintf("lone: left out, for %v vote and not %s", n.Stage.Voters(), holder))
			return nil
		}
	}
	if !wait(ctx, max(time.Until(began.Add(loneQuiet)), loneVote)) {
		return nil
	}
	if d.Seed/2%2 == 0 {
		return n.kill(ctx, Deed{Kind: history.Kill, Way: string(Lone), For: d.For}, other)
	}
	return n.powerOff(ctx, Deed{Kind: history.PowerOff, Way: string(Lone), For: d.For}, other)
}

// votesAlone waits until a host has the only vote, and says whether it has.
func (n *Nemesis) votesAlone(ctx context.Context, host string, by time.Time) bool {
	for !slices.Equal(n.Stage.Voters(), []string{host}) {
		if time.Now().After(by) || !wait(ctx, 200*time.Millisecond) {
			return false
		}
	}
	return true
}

func (n *Nemesis) dusk(ctx context.Context, d Deed) error {
	defer n.Stage.HushClients()()
	sleeper := n.Field.Sleepers[d.Seed%uint64(len(n.Field.Sleepers))]
	voters := n.Stage.Voters()
	for by := time.Now().Add(wholeWithin); len(voters) != 3 && time.Now().Before(by) && wait(ctx, 200*time.Millisecond); {
		voters = n.Stage.Voters() // who has just joined gets a vote by and by
	}
	if len(voters) != 3 || !slices.Contains(voters, sleeper) || !n.puts(ctx, sleeper) {
		n.Tell(fmt.Sprintf("dusk: left out, for %v vote, or %s does not go to sleep", voters, sleeper))
		return nil
	}
	awake := slices.DeleteFunc(slices.Clone(voters), func(h string) bool { return h == sleeper })
	return n.powerOff(ctx, Deed{Kind: history.PowerOff, Way: string(Dusk), For: d.For}, awake[d.Seed/2%2])
}

// Rise wakes everybody, until all are awake and stay so: a host that its clock has woken to look goes back to sleep by itself.
func (n *Nemesis) Rise(ctx context.Context) error {
	for by := time.Now().Add(wholeWithin); ; {
		if err := n.Rouse(ctx); err != nil {
			return err
		}
		if n.Stage.Whole() == "" || time.Now().After(by) || !wait(ctx, 200*time.Millisecond) {
			return nil
		}
	}
}

// Stories are the kinds of deeds that runs of a field make beside faults.
func Stories(f Field) []history.Kind {
	var out []history.Kind
	for _, c := range f.stories() {
		out = append(out, c.kind)
	}
	return out
}
