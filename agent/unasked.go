package agent

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"nightporter/fsm"
	"nightporter/lease"
	"nightporter/wake"
)

// unasked keeps the records of this host's wakes that nobody else asked for, such as those by its power button, by a stranger's magic packet or by its own clock:
// when it woke, what the kernel says that woke it, and, when it goes to sleep again, how long it was up and what it was used for. It knows
// them by what it has seen itself; an agent that was started again leaves the record as it is.
type unasked struct {
	self     string
	clock    Clock
	machine  *fsm.Machine
	proposer *proposer
	power    Power
	lastUse  func(since time.Duration) (use string, looks bool)
	log      *slog.Logger

	gone   bool              // it was seen to go, and not to be back
	slept  uint64            // the sleep that was seen to begin
	before map[string]uint64 // the events of its wake-up sources then
	wakes  map[string]bool   // the wakes that the log knew then: a later one says that somebody called
	due    bool              // its end is to be judged
	back   lease.Boot        // when that was seen
	id     string            // of the record that is being kept, "" = none
	by     []string
	left   string // what it is to say when the host leaves
	begun  bool   // it is in the log
	ended  bool   // and closed
	noted  string // and says so
	later  string // how long after a call that was given up; "" = nobody had called
}

const (
	unaskedRetry = 250 * time.Millisecond
	// unaskedWait is how long after a wake somebody may still say that it was his: a call for the quorum is recorded when there is a leader.
	unaskedWait = 5 * time.Second
)

func (u *unasked) run(ctx context.Context) {
	changed, cancel := u.machine.Watch()
	defer cancel()
	for {
		var again <-chan time.Time
		if wait := u.step(ctx); wait > 0 {
			again = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-again:
		}
	}
}

// step looks at the record once. It returns when to look again by itself, 0 = not.
func (u *unasked) step(ctx context.Context) time.Duration {
	state := u.machine.View().State
	me := state.Nodes[u.self]
	fresh := !u.gone || u.slept != me.Sleeps // suspends of a host that is always on, by others, have no number
	switch {
	case me.Power == fsm.Suspending || me.Power == fsm.Asleep && fresh:
		if fresh {
			u.gone, u.due, u.left = true, false, ""
			if u.id != "" {
				u.left = u.words()
			}
			u.slept, u.before, u.wakes = me.Sleeps, u.power.Sources(), known(state, u.self)
		}
		return u.leaves(ctx, state)
	case me.Power == fsm.Awake && u.slept == me.Sleeps && slept(me.PowerReason) && !me.PowerReason.ByItself():
		u.gone, u.due, u.id = false, false, "" // it slept, and was called: the record of the wake before is complete
		return 0
	case me.Power != fsm.Awake || !me.PowerReason.ByItself() || u.slept != me.Sleeps:
		u.gone = u.gone && me.Power != fsm.Awake
		return 0
	case u.gone:
		u.gone, u.due, u.back, u.id = false, true, u.clock.Boot(), ""
		u.by = wake.Busier(u.before, u.power.Sources())
	}
	if u.due {
		return u.judge(state, me)
	}
	return u.begins(ctx, state, me)
}

// slept says whether a host that is awake for this reason has slept: else its last wake goes on.
func slept(why fsm.Reason) bool {
	return why != fsm.SleepCancelled && why != fsm.SuspendFailed && why != fsm.SuspendTimeout
}

// judge decides once, a moment after the wake, whether it was asked for: by the order of the log, not by two hosts' clocks.
func (u *unasked) judge(state *fsm.State, me fsm.Node) time.Duration {
	if me.PowerReason != fsm.WokeUnasked { // its own clock did, as it was told to: no call has to be looked for
		u.due, u.begun, u.ended, u.noted, u.later, u.id = false, false, false, "", "", newID()
		return unaskedRetry
	}
	if left := unaskedWait - u.clock.Boot().Sub(u.back); left > 0 {
		return left
	}
	u.due, u.id, u.begun, u.ended, u.noted = false, "", false, false, ""
	u.later = ""
	for _, k := range state.Wakes {
		if k.Node != u.self || u.wakes[k.ID] {
			continue
		}
		if k.Result != fsm.GaveUp {
			u.id = ""
			return 0 // somebody called
		}
		// In the pause after that each knock still has a magic packet, without a record: it may be what woke this host.
		u.id, u.begun, u.ended = k.ID, true, true
		u.later = "came up " + max(state.Nodes[u.self].PowerSince.Sub(k.Ended), 0).Round(time.Second).String() + " later"
	}
	if u.id != "" {
		u.log.Info("this host woke after the calls were given up", "wake", u.id, "by", strings.Join(u.by, ", "))
		return unaskedRetry
	}
	u.id = newID()
	u.log.Info("this host woke without having been called", "by", strings.Join(u.by, ", "))
	return unaskedRetry
}

// say puts what is known of this wake in front of a note.
func (u *unasked) say(words string) string {
	if u.later != "" && words != "" {
		return u.later + "; " + words
	}
	return u.later + words
}

// begins records the wake.
func (u *unasked) begins(ctx context.Context, state *fsm.State, me fsm.Node) time.Duration {
	if u.id == "" {
		return 0
	}
	u.begun = u.begun || u.propose(ctx, fsm.BeginWake{Wake: fsm.Wake{ID: u.id, Node: u.self, Cause: me.PowerReason, By: u.self, Started: me.PowerSince}})
	u.ended = u.begun && (u.ended || u.propose(ctx, fsm.EndWake{ID: u.id, Result: fsm.WokeUp, At: me.PowerSince}))
	if !u.ended {
		return unaskedRetry
	}
	return u.notes(ctx, state, u.say(wokenBy(u.by)))
}

// leaves notes, when the host goes to sleep again, what the wake was good for. If the sleep is called off the next one says it anew.
func (u *unasked) leaves(ctx context.Context, state *fsm.State) time.Duration {
	return u.notes(ctx, state, u.left)
}

// words say that.
func (u *unasked) words() string {
	up := "up for " + u.clock.Boot().Sub(u.back).Round(time.Second).String()
	use, looks := u.lastUse(time.Duration(u.back))
	switch {
	case use != "":
		up += ", last use: " + use
	case looks:
		up += ", used by nobody"
	}
	if by := wokenBy(u.by); by != "" {
		up = by + "; " + up
	}
	return u.say(up)
}

// notes adds to the record, if there is one.
func (u *unasked) notes(ctx context.Context, state *fsm.State, words string) time.Duration {
	words = noteOf(words)
	if u.id == "" || !u.ended || words == "" || words == u.noted {
		return 0
	}
	note := fsm.NoteWake{ID: u.id, Note: words}
	if len(belated(state, note)) > 0 {
		return 0
	}
	if !u.propose(ctx, note) {
		return unaskedRetry
	}
	u.noted = words
	return 0
}

func (u *unasked) propose(ctx context.Context, c fsm.Command) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := u.proposer.propose(ctx, c)
	if err != nil {
		u.log.Debug("a wake that nobody asked for is not recorded yet", "err", err)
	}
	return err == nil
}

// noteOf makes words fit for a record.
func noteOf(words string) string {
	words = strings.Map(func(r rune) rune { // what a user or a device is called is nobody's terminal's business
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(words, "?"))
	if len(words) > fsm.NoteLimit {
		words = strings.ToValidUTF8(words[:fsm.NoteLimit-3], "") + "..."
	}
	return words
}

// known are the wakes of a node that the log knows.
func known(state *fsm.State, node string) map[string]bool {
	out := make(map[string]bool)
	for _, w := range state.Wakes {
		if w.Node == node {
			out[w.ID] = true
		}
	}
	return out
}

func wokenBy(sources []string) string {
	if len(sources) == 0 {
		return ""
	}
	return "woken by " + strings.Join(sources[:min(len(sources), 4)], ", ")
}
