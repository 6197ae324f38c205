package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"nightporter/fsm"
	"nightporter/wake"
)

// unasked keeps the records of this host's wakes that nobody asked for, such as those by its power button or by a stranger's magic packet:
// when it woke, what the kernel says that woke it, and, when it goes to sleep again, how long it was up and who needed it.
type unasked struct {
	self     string
	machine  *fsm.Machine
	proposer *proposer
	power    Power
	lastUse  func() string // "" = nobody has needed it, or nobody looks
	log      *slog.Logger

	before map[string]uint64 // the events of its wake-up sources before it slept
	woken  string            // the record that is being kept; it is named by the node's sleep, so a new life of the agent goes on with it
	by     []string
}

// unaskedRetry is the pause after something that could not be recorded.
const unaskedRetry = 2 * time.Second

func (u *unasked) run(ctx context.Context) {
	changed, cancel := u.machine.Watch()
	defer cancel()
	for {
		var again <-chan time.Time
		if !u.step(ctx) {
			again = time.After(unaskedRetry)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-again:
		}
	}
}

// step looks at the record once. It says whether all is recorded that is to be.
func (u *unasked) step(ctx context.Context) bool {
	state := u.machine.View().State
	me := state.Nodes[u.self]
	switch {
	case me.Power == fsm.Asleep && u.before == nil:
		u.before, u.woken = u.power.Sources(), ""
	case me.Power == fsm.Suspending:
		u.before = u.power.Sources()
		return u.ends(ctx, state, me)
	case me.Power == fsm.Awake && me.PowerReason == fsm.WokeUnasked:
		return u.begins(ctx, state, me)
	}
	return true
}

// begins records the wake.
func (u *unasked) begins(ctx context.Context, state *fsm.State, me fsm.Node) bool {
	id := unaskedID(me.Name, me.Sleeps)
	if u.woken == id || asked(state, me) {
		return true
	}
	if !hasWake(state, id) {
		u.by = wake.Busier(u.before, u.power.Sources())
		begin := fsm.BeginWake{Wake: fsm.Wake{ID: id, Node: u.self, Cause: fsm.WokeUnasked, By: u.self, Started: me.PowerSince}}
		if !u.propose(ctx, begin) || !u.propose(ctx, fsm.EndWake{ID: id, Result: fsm.WokeUp, At: me.PowerSince}) {
			return false
		}
		u.log.Info("this host woke without having been called", "by", strings.Join(u.by, ", "))
	}
	note := fsm.NoteWake{ID: id, Note: wokenBy(u.by)}
	if note.Note != "" && len(belated(state, note)) == 0 && !u.propose(ctx, note) {
		return false
	}
	u.woken = id
	return true
}

// ends notes what the wake was good for.
func (u *unasked) ends(ctx context.Context, state *fsm.State, me fsm.Node) bool {
	id := unaskedID(me.Name, me.Sleeps-1)
	i := slices.IndexFunc(state.Wakes, func(w fsm.Wake) bool { return w.ID == id })
	if i < 0 {
		return true
	}
	did := fmt.Sprintf("up for %s, needed by nobody", me.PowerSince.Sub(state.Wakes[i].Started).Round(time.Second))
	if last := u.lastUse(); last != "" {
		did = strings.Replace(did, "needed by nobody", "last use: "+last, 1)
	}
	if words := wokenBy(u.by); words != "" && u.woken == id {
		did = words + "; " + did
	}
	if len(did) > fsm.NoteLimit {
		did = strings.ToValidUTF8(did[:fsm.NoteLimit-3], "") + "..."
	}
	note := fsm.NoteWake{ID: id, Note: did}
	if state.Wakes[i].Note == did || len(belated(state, note)) > 0 {
		return true
	}
	return u.propose(ctx, note)
}

func (u *unasked) propose(ctx context.Context, c fsm.Command) bool {
	ctx, cancel := context.WithTimeout(ctx, unaskedRetry)
	defer cancel()
	_, err := u.proposer.propose(ctx, c)
	if err != nil {
		u.log.Debug("a wake that nobody asked for is not recorded yet", "err", err)
	}
	return err == nil
}

// asked says whether somebody called the host that came back: its own word may have come before the caller's.
func asked(state *fsm.State, me fsm.Node) bool {
	return slices.ContainsFunc(state.Wakes, func(w fsm.Wake) bool {
		return w.Node == me.Name && w.Cause != fsm.WokeUnasked && (w.Ended.IsZero() || w.Ended.After(me.PowerSince))
	})
}

func unaskedID(node string, sleeps uint64) string { return fmt.Sprintf("%s-%d", node, sleeps) }

func hasWake(state *fsm.State, id string) bool {
	return slices.ContainsFunc(state.Wakes, func(w fsm.Wake) bool { return w.ID == id })
}

func wokenBy(sources []string) string {
	if len(sources) == 0 {
		return ""
	}
	return "woken by " + strings.Join(sources[:min(len(sources), 4)], ", ")
}
