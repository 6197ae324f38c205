package agent

import (
	"log/slog"
	"sync"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/internal/mutant"
	"nightporter/lease"
)

// jumpExtra is added to every entry when CLOCK_BOOTTIME may have been set from an RTC of whole seconds.
const jumpExtra = 2 * time.Second

// ballot is this host's vote in the leases. Requests come from gossip's receive path and from this host's own tenants;
// each is judged at once, mirrored, and answered: no disk, no other goroutine.
type ballot struct {
	clock   Clock
	machine *fsm.Machine
	journal *cluster.Journal
	mirror  Mirror
	log     *slog.Logger
	started lease.Boot

	ruler     *ruler
	withholds func() bool // this host must grant nothing now; nil = nobody says so

	mu     sync.Mutex
	voter  *lease.Voter
	last   time.Duration // boot minus mono when last looked at
	ahead  time.Duration // of what the clock gained by being bent, what the voter was told
	asked  map[asker]asking
	failed string // why the table cannot be mirrored, "" = it can
}

// asker is a node that asks for a service, and asking is the newest thing that it asked for.
type asker struct{ service, node string }

type asking struct {
	at          lease.Boot
	epoch       uint64
	incarnation uint64
	granted     bool
}

// newBallot restores the table of this boot's former life, if the mirror has it whole.
func newBallot(self string, clock Clock, machine *fsm.Machine, journal *cluster.Journal, mirror Mirror, log *slog.Logger) *ballot {
	b := &ballot{clock: clock, machine: machine, journal: journal, mirror: mirror, log: log, started: clock.Boot(), asked: make(map[asker]asking)}
	b.ruler = &ruler{clock: clock}
	b.ahead = b.ruler.look().Ahead
	b.last = offset(b.clock)
	if t, ok := mirror.Load(); ok && !mutant.On(mutant.NoAmnesiaWait) { // breaks I1 together with the voter's part of it
		b.voter = lease.RestoreVoter(self, t)
		if t.Offset != 0 && (b.last-t.Offset).Abs() > wakeJitter {
			b.voter.ClockJumped(jumpExtra)
		}
		b.voter.ClockUnwatched(clock.Boot())
		log.Info("lease table restored", "services", len(t.Services))
	} else {
		b.voter = lease.NewVoter(self, b.started)
	}
	return b
}

// wakeJitter is how far boot-minus-mono may wander without a suspend.
const wakeJitter = 50 * time.Millisecond

// facts are what the voter's rules need of this host's log and applied state.
func (b *ballot) facts(service string) lease.Facts {
	view := b.machine.View()
	timing := view.State.Timing
	longest := max(timing.Largest, b.journal.LargestFailover())
	if longest == 0 {
		longest = fsm.FailoverMax
	}
	return lease.Facts{
		MaxTTL:    cluster.Derive(timing.Failover).TTL,
		StartWait: cluster.Derive(longest).TTL,
		Config:    b.journal.NewestConfig(),
		Epoch:     max(b.journal.Epoch(service, view.Index), view.State.Ownerships[service].Epoch),
	}
}

// request judges one request. False: there is nothing to answer.
func (b *ballot) request(r lease.Request) (lease.Answer, bool) {
	withheld := b.withholds != nil && b.withholds()
	b.mu.Lock()
	defer b.mu.Unlock()
	facts := b.facts(r.Service) // under the lock: a configuration that is stored meanwhile must count
	b.checkClock()              // after that, which may wait for the disk
	if withheld {               // it was asked: whoever does lives
		b.noteAsked(r, b.clock.Boot(), false)
		return lease.Answer{}, false
	}
	now := b.clock.Boot()
	a, ok := b.voter.Request(now, facts, r)
	if !ok {
		return lease.Answer{}, false
	}
	saved := b.save()
	b.noteAsked(r, now, saved && a.Refusal == lease.Granted)
	if !saved {
		return lease.Answer{}, false
	}
	return a, true
}

// noteAsked remembers a request. The caller holds mu.
func (b *ballot) noteAsked(r lease.Request, now lease.Boot, granted bool) {
	if who := (asker{r.Service, r.Node}); r.Incarnation >= b.asked[who].incarnation { // what a former life sent comes late
		b.asked[who] = asking{at: now, epoch: r.Epoch, incarnation: r.Incarnation, granted: granted}
	}
}

// release takes a lease back. False: there is nothing to acknowledge.
func (b *ballot) release(r lease.Release) (lease.Ack, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.checkClock()
	a, ok := b.voter.Release(b.clock.Boot(), r)
	if !ok || !b.save() {
		return lease.Ack{}, false
	}
	return a, true
}

// save mirrors the table. Without the mirror nothing is answered: an answer that a restart would forget is worth a
// second holder.
func (b *ballot) save() bool {
	t := b.voter.Table()
	t.Offset = offset(b.clock)
	err := b.mirror.Save(t)
	if err == nil {
		if b.failed != "" {
			b.failed = ""
			b.log.Info("this voter answers again: its lease table can be mirrored")
		}
		return true
	}
	why := "this voter grants nothing: its lease table cannot be mirrored to the run directory: " + err.Error()
	if why != b.failed {
		b.failed = why
		b.log.Error(why)
	}
	return false
}

// trouble says why this voter grants nothing, or "".
func (b *ballot) trouble() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed
}

// checkClock tells the voter of a clock jump, and of what the clock gained by being bent, before it judges anything by it.
func (b *ballot) checkClock() {
	ahead := b.ruler.look().Ahead
	if ahead > b.ahead {
		b.voter.ClockJumped(ahead - b.ahead)
	}
	b.ahead = ahead
	now := offset(b.clock)
	if (now - b.last).Abs() > wakeJitter {
		b.voter.ClockJumped(jumpExtra)
		b.last = now
	}
}

// lastAsked tells what a node last asked for here, in this life of the agent.
func (b *ballot) lastAsked(service, node string) (asking, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a, ok := b.asked[asker{service, node}]
	return a, ok
}

// age is the time since this voter's daemon started.
func (b *ballot) age() time.Duration { return b.clock.Boot().Sub(b.started) }

// warm says whether this voter could grant now: by rule 1, and by its mirror.
func (b *ballot) warm() bool {
	wait := b.facts("").StartWait
	b.mu.Lock()
	defer b.mu.Unlock()
	b.checkClock()
	return b.failed == "" && b.voter.Ready(b.clock.Boot(), wait)
}
