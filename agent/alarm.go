package agent

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/idle"
	"nightporter/lease"
)

// alarm is the last net below the magic packets: before each suspend the host sets the alarm of its own clock, and when that has woken it, it
// looks whether it is needed. While somebody leads and the services that it runs are held, it goes back to sleep at once: its record stays as it
// is, nobody is told, and the log has one entry more at the least, the question to the leader, which is refused (held). Otherwise it stays up, and as any host that is awake it calls the voters if nobody leads. The same
// alarm wakes it at the times that its configuration names; then it stays up for as long as the rules of idleness want.
//
// Its methods run on the sleeper's goroutine.
type alarm struct {
	self     string
	clock    Clock
	machine  *fsm.Machine
	raft     raftNode
	proposer *proposer
	power    Power
	link     func() bool // the LAN interface has a carrier
	noticed  func() bool // the ticks know of this sleep
	peer     func(node string) *api.Client
	after    time.Duration                                              // look_after; 0 = it does not look
	moments  []idle.Moment                                              // wake_at
	times    func(ctx context.Context, now time.Time) (wakeTime, error) // wake_timers and wake_commands; nil = there are none
	handOver time.Duration                                              // which it may take before a suspend
	falls    time.Duration                                              // and the suspend itself
	log      *slog.Logger

	answer  atomic.Pointer[wakeAnswer] // the last one of these programs, for people
	granted atomic.Pointer[wakeAnswer] // the one with which the idler wished to sleep, until that sleep takes it

	wanted  wakeTime   // when this host is to be up next, as it was known before this sleep
	due     lease.Boot // when it goes off; 0 = none is set
	goal    goal       // what it goes off for
	proved  lease.Boot // when the look that goes on last saw that somebody leads; 0 = not yet
	woke    fsm.Reason // why the host is awake, if it was its alarm that woke it and it is to stay up
	looking atomic.Bool
	trouble atomic.Pointer[string]
}

// goal is what an alarm is set for.
type goal int

const (
	toLook  goal = iota // after the others
	toStay              // it is one of the moments
	further             // to set the next alarm: the moment is too far ahead for one, and this host is not to look
)

// alarmMost is how far ahead an alarm is set: many clocks know hours and minutes, and no days. A moment that is later is waited for in two
// sleeps or more.
const alarmMost = 24 * time.Hour

// next gives when the alarm should go off, and for what: the nearest one counts. 0 = there is none to be set.
func (a *alarm) next(wall time.Time) (in time.Duration, what goal) {
	in = a.after
	first := a.first(a.wanted, wall)
	if left := first.at.Sub(wall); !first.at.IsZero() && left > 0 && (in == 0 || left <= in) {
		in, what = left, toStay
	}
	if in <= alarmMost {
		return in, what
	}
	if a.after == 0 {
		return alarmMost, further
	}
	return alarmMost, toLook
}

// canaryOver is when a canary is over, one way or the other: an alarm in it would be taken for its end.
const canaryOver = 10 * time.Minute

// set sets the alarm for the sleep that is about to begin, and why. Without one the host sleeps all the same: magic packets wake it.
func (a *alarm) set(why fsm.Reason) {
	a.drop()
	a.woke = ""
	in, what := a.next(a.clock.Wall().Local())
	if in == 0 || (why == fsm.CanarySleep && in < canaryOver) {
		return
	}
	if err := a.power.SetAlarm(in); err != nil {
		a.complain("it sleeps without an alarm: " + err.Error())
		return
	}
	a.trouble.Store(nil)
	a.due, a.goal = a.clock.Boot().Add(in), what
	a.log.Info("this host's own clock will wake it", "node", a.self, "after", in.Round(time.Second).String(), "look", what == toLook)
}

// alarmSlack is by how much the boot clock may be wrong after a sleep, and the alarm early: both count whole seconds.
const alarmSlack = 3 * time.Second

// drop takes the alarm back, if one is set.
func (a *alarm) drop() {
	if a.due == 0 {
		return
	}
	a.due = 0
	if err := a.power.SetAlarm(0); err != nil {
		a.complain("its alarm cannot be taken back: " + err.Error())
	}
}

// calm is called when the host is back, or was not away: then it may go yet, and keeps its alarm. It says whether the alarm has woken it for
// nothing, so that it may go back to sleep.
func (a *alarm) calm(ctx context.Context, me fsm.Node, away bool) bool {
	due := a.due
	if due == 0 || !away {
		return false
	}
	a.drop()
	if a.clock.Boot() < due.Add(-alarmSlack) {
		return false
	}
	if a.goal == toStay {
		a.woke = fsm.WokeOnTime
		return false
	}
	a.looking.Store(true)
	defer a.looking.Store(false)
	if !a.soon() && a.look(ctx, me) && !a.soon() {
		a.log.Info("its alarm woke it, and nobody needs it: back to sleep", "node", a.self, "looked", a.goal == toLook)
		return true
	}
	a.woke = fsm.WokeAlarm
	if a.soon() {
		a.woke = fsm.WokeOnTime
	}
	return false
}

// reason is why the host is back though nobody called it.
func (a *alarm) reason(otherwise fsm.Reason) fsm.Reason {
	if a.woke != "" {
		return a.woke
	}
	return otherwise
}

// How long it looks for somebody who leads: so many failovers with a link, and never longer than lookMost. An election takes two
// failovers, a card up to ten seconds until it has its link.
const (
	lookFailovers  = 4
	lookAtMost     = 30 * time.Second
	betweenLooks   = 200 * time.Millisecond
	answersWithin  = time.Second
	proposedWithin = 2 * time.Second
	// The ticks find out about this sleep, and close what was open, within two of them, unless it was so short that no clock tells. Were they
	// to say so only after the next sleep has begun, that would count as over.
	seenWithin = 3 * tickEvery
)

// look waits until it knows that it is not needed, or that it is, or until it has waited for long enough to stay up to be safe.
func (a *alarm) look(ctx context.Context, me fsm.Node) bool {
	began := a.clock.Boot()
	a.proved = 0
	var linked lease.Boot
	pause := time.NewTicker(betweenLooks)
	defer pause.Stop()
	for {
		if !a.sleeps(me) {
			return false // somebody calls
		}
		noticed := a.noticed() || a.clock.Boot().Sub(began) > seenWithin
		if a.goal == further && noticed {
			return true
		}
		if linked == 0 && a.link() {
			linked = a.clock.Boot()
		}
		now, failover := a.clock.Boot(), a.machine.View().State.Timing.Failover
		if linked != 0 && noticed && a.held(ctx, me) {
			return a.sleeps(me)
		}
		if now.Sub(began) > lookAtMost || (linked != 0 && now.Sub(linked) > lookFailovers*failover) {
			a.log.Warn("nobody leads, or nobody holds what this host runs: it stays up", "node", a.self)
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-pause.C:
		}
	}
}

// sleeps says whether the log still has this host in the sleep that it woke from.
func (a *alarm) sleeps(me fsm.Node) bool {
	now := a.machine.View().State.Nodes[a.self]
	return now.Power == fsm.Asleep && now.Sleeps == me.Sleeps
}

// held says whether somebody else leads and can decide, the services that this host runs have holders that answer, and, where this host has a
// vote, the others that are awake are a majority without it (I8). Gossip and this host's log are as old as its sleep, so each is
// asked anew: the leader by a proposal that it must refuse, which comes back with an index up to which the log counts. That is written to the
// log of every voter, so it is done once in a failover at most.
func (a *alarm) held(ctx context.Context, me fsm.Node) bool {
	if a.raft.IsLeader() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, proposedWithin)
	defer cancel()
	if !a.led(ctx, me) || !a.sleeps(me) {
		return false
	}
	state, servers := a.machine.View().State, a.machine.View().Servers
	if state.Nodes[a.self].PowerReason == fsm.GaveUp {
		return false // it was called in vain: it is better up
	}
	voters := cluster.Voters(servers)
	ask := make(map[string]bool) // whom, and whether its answer is needed
	for _, name := range voters {
		if slices.Contains(voters, a.self) && state.Nodes[name].Power == fsm.Awake {
			ask[name] = false // it counts
		}
	}
	for name, sv := range state.Services {
		if owner := state.Ownerships[name].Owner; slices.Contains(sv.Targets, a.self) {
			ask[owner] = true
		}
	}
	votes := 0
	for name, must := range ask {
		if !a.answers(ctx, name) {
			if must {
				return false
			}
			continue
		}
		if slices.Contains(voters, name) && state.Nodes[name].Power == fsm.Awake {
			votes++
		}
	}
	return !slices.Contains(voters, a.self) || votes >= len(voters)/2+1
}

// led says whether somebody led and could decide within the last failover, and this host's log has come as far as his.
func (a *alarm) led(ctx context.Context, me fsm.Node) bool {
	began := a.clock.Boot()
	if a.proved != 0 && began.Sub(a.proved) < a.machine.View().State.Timing.Failover {
		return true
	}
	res, err := a.proposer.propose(ctx, fsm.SetPower{
		Node: a.self, From: fsm.Suspending, To: fsm.Asleep, Sleeps: me.Sleeps, Reason: me.PowerReason, At: me.PowerSince, By: a.self,
	})
	if err != nil || res.Refused != fsm.WrongPower || !a.caughtUp(ctx, res.Index) {
		return false
	}
	a.proved = began
	return true
}

// caughtUp waits until this host's own log is as far.
func (a *alarm) caughtUp(ctx context.Context, index uint64) bool {
	changed, cancel := a.machine.Watch()
	defer cancel()
	for a.machine.View().Index < index {
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		}
	}
	return true
}

// answers says whether a node answers at all, now.
func (a *alarm) answers(ctx context.Context, node string) bool {
	if node == "" || node == a.self {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, answersWithin)
	defer cancel()
	_, err := a.peer(node).Version(ctx)
	return err == nil
}

func (a *alarm) complain(sentence string) {
	if old := a.trouble.Swap(&sentence); old == nil || *old != sentence {
		a.log.Warn(sentence, "node", a.self)
	}
}

// problems says what is wrong with the alarm of a host that is to have one.
func (a *alarm) problems() []string {
	if a.after == 0 && len(a.moments) == 0 && a.times == nil {
		return nil
	}
	if why := a.power.AlarmTrouble(); why != "" {
		return []string{a.self + " cannot wake by itself, neither to look after the others nor at a time (look_after, wake_at, wake_timers, wake_commands): " + why}
	}
	if s := a.trouble.Load(); s != nil {
		return []string{*s}
	}
	return nil
}
