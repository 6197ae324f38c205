package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"nightporter/api"
	"nightporter/config"
	"nightporter/fsm"
)

// notifier tells the world outside the cluster what the log says that has happened: by hooks for the moments of hosts (wake, asleep,
// failed_wake), and by posting each event to the webhook. The host that leads does it, and who comes to lead tells what is not older than
// a change of leaders may take: an event is told once, and around such a change it may be told twice. What happens while an
// outlet is full, or longer than its patience in vain, is lost to it; `nightporter events` has all of it.
type notifier struct {
	self    string
	machine *fsm.Machine
	leads   func() bool
	written func() (uint64, error) // the last entry in this host's log
	wall    func() time.Time
	hooks   *outlet // nil: nothing is run
	webhook *outlet // nil: nothing is posted
	log     *slog.Logger

	cursor  uint64 // all events of entries up to here were looked at
	pending []notice
}

// notice is an event on its way.
type notice struct {
	fsm.Event
	ID   string // the same on whichever host it is told by
	seen time.Time
}

const (
	noticeLimit = 10 * time.Second // how long a host that does not lead keeps what the one that leads may not come to tell
	noticeEvery = time.Second
	noticeEnd   = 250 * time.Millisecond // for what is under way when the agent ends
)

// run ends with ctx, and lets what is under way be told for a moment.
func (n *notifier) run(ctx context.Context) {
	outlets := slices.DeleteFunc([]*outlet{n.hooks, n.webhook}, func(o *outlet) bool { return o == nil })
	if len(outlets) == 0 {
		return
	}
	var err error
	if n.cursor, err = n.written(); err != nil {
		n.log.Error("nobody is told from here what happens", "err", err)
		return
	}
	n.cursor = max(n.cursor, n.machine.View().Index) // what is in the log and in the snapshot already, others have told of
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var working sync.WaitGroup
	for _, o := range outlets {
		working.Go(func() { o.run(ctx, work) })
	}
	changed, cancel := n.machine.Watch()
	defer cancel()
	for {
		var again <-chan time.Time
		if n.step(outlets) {
			again = time.After(noticeEvery)
		}
		select {
		case <-ctx.Done():
			defer time.AfterFunc(noticeEnd, stop).Stop()
			working.Wait()
			return
		case <-changed:
		case <-again:
		}
	}
}

// step is true while something is kept that a change of leaders may make this host's to tell.
func (n *notifier) step(outlets []*outlet) bool {
	now, leads := time.Now(), n.leads()
	for _, x := range numbered(n.unseen()) {
		if x.seen = now; leads || n.wall().Sub(x.At) < noticeLimit { // else somebody else has told it long ago: this host was away
			n.pending = append(n.pending, x)
		}
	}
	if leads {
		for _, one := range n.pending {
			for _, o := range outlets {
				o.add(one)
			}
		}
		n.pending = nil
	}
	n.pending = slices.DeleteFunc(n.pending, func(x notice) bool { return now.Sub(x.seen) >= noticeLimit })
	return len(n.pending) > 0
}

// numbered gives each event its ID: the entry, and which of the entry's events it is. All events of an entry come together.
func numbered(list []fsm.Event) []notice {
	out := make([]notice, 0, len(list))
	of := 0
	for i, e := range list {
		if i > 0 && list[i-1].Index != e.Index {
			of = i
		}
		out = append(out, notice{Event: e, ID: strconv.FormatUint(e.Index, 10) + "." + strconv.Itoa(i-of)})
	}
	return out
}

func (n *notifier) unseen() []fsm.Event {
	v := n.machine.View()
	if v.Index <= n.cursor {
		return nil
	}
	out := v.State.EventsAfter(n.cursor)
	n.cursor = v.Index
	return out
}

// outlet tells one kind of listener, one event after the other.
type outlet struct {
	name  string // for people
	wants func(fsm.Event) bool
	// tell is tried again where it says so.
	tell  func(context.Context, notice) (again bool, err error)
	leads func() bool // this host is the one that tells
	log   *slog.Logger
	bell  bell

	mu      sync.Mutex
	queue   []notice
	lost    int
	trouble string // of the last attempt; "" = none
	since   time.Time
}

const (
	outletRoom     = 512 // events that wait
	outletPause    = time.Second
	outletMost     = time.Minute
	outletPatience = time.Hour
)

func (o *outlet) add(x notice) {
	if !o.wants(x.Event) {
		return
	}
	o.mu.Lock()
	if len(o.queue) >= outletRoom {
		o.queue = slices.Delete(o.queue, 0, 1)
		o.lost++
	}
	o.queue = append(o.queue, x)
	o.mu.Unlock()
	o.bell.ring()
}

// run tells until life ends; a thing that is under way then ends with work.
func (o *outlet) run(life, work context.Context) {
	defer o.forget()
	pause := outletPause
	for {
		x, some := o.first()
		if !some {
			select {
			case <-life.Done():
				return
			case <-o.bell:
			}
			continue
		}
		again, err := o.tell(work, x)
		if err == nil || !again || time.Since(x.seen) > outletPatience {
			o.done(x, err)
			pause = outletPause
			continue
		}
		o.complain(err)
		select {
		case <-life.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, outletMost)
	}
}

// forget says what this agent takes along.
func (o *outlet) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) > 0 {
		o.log.Warn("events were not told, and this agent ends", "to", o.name, "events", len(o.queue))
	}
}

func (o *outlet) first() (notice, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		return notice{}, false
	}
	return o.queue[0], true
}

// done takes an event off the queue. A full queue may have dropped it already.
func (o *outlet) done(x notice, err error) {
	o.complain(err)
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) > 0 && o.queue[0].ID == x.ID {
		o.queue = slices.Delete(o.queue, 0, 1)
	}
	if err != nil {
		o.lost++
		return
	}
	if len(o.queue) == 0 {
		o.lost = 0
	}
}

func (o *outlet) complain(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	said := ""
	if err != nil {
		said = err.Error()
	}
	if said != "" && said != o.trouble {
		o.log.Error(o.name+" failed", "err", err)
	}
	o.trouble, o.since = said, time.Now()
}

// problems say what does not get out, for a day, where this host is the one that tells or has something left to tell.
func (o *outlet) problems() []string {
	if o == nil {
		return nil
	}
	leads := o.leads()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.trouble == "" || (len(o.queue) == 0 && (!leads || time.Since(o.since) > troubleLasts)) {
		return nil
	}
	said := o.name + " failed: " + o.trouble
	if len(o.queue) > 0 {
		said += "; " + plural(len(o.queue), "event") + " waiting"
	}
	if o.lost > 0 {
		said += "; " + plural(o.lost, "event") + " not told"
	}
	return []string{said}
}

// momentOf names the hook for an event; "" = there is none.
func momentOf(e fsm.Event) string {
	switch {
	case e.Kind == fsm.EventPower && e.To == string(fsm.Asleep) && e.Reason != fsm.GaveUp: // who did not wake goes on sleeping
		return "asleep"
	case e.Kind == fsm.EventPower && e.To == string(fsm.Awake) && hasSlept(e):
		return "wake"
	case e.Kind == fsm.EventWake && e.What == fsm.Ended && e.Reason == fsm.GaveUp:
		return "failed_wake"
	}
	return ""
}

// hasSlept says of a host that is awake again whether it slept, as far as the log knows.
func hasSlept(e fsm.Event) bool {
	return (e.From == string(fsm.Asleep) || e.From == string(fsm.Waking)) && slept(e.Reason)
}

// hookOutlet runs executables for the moments of hosts.
func hookOutlet(rules config.Hooks, world HookWorld, self string, leads func() bool, log *slog.Logger) *outlet {
	names := map[string][]string{"wake": rules.Wake, "asleep": rules.Asleep, "failed_wake": rules.FailedWake}
	if world == nil || len(rules.Wake)+len(rules.Asleep)+len(rules.FailedWake) == 0 {
		return nil
	}
	return &outlet{
		name: "a hook", bell: newBell(), leads: leads, log: log,
		wants: func(e fsm.Event) bool { return len(names[momentOf(e)]) > 0 },
		tell: func(ctx context.Context, x notice) (bool, error) {
			moment := momentOf(x.Event)
			env := []string{
				"NIGHTPORTER_EVENT=" + moment, "NIGHTPORTER_NODE=" + x.Node, "NIGHTPORTER_SERVICE=" + x.Service, "NIGHTPORTER_REASON=" + string(x.Reason),
				"NIGHTPORTER_DETAIL=" + x.Detail, "NIGHTPORTER_AT=" + x.At.UTC().Format(time.RFC3339Nano), "NIGHTPORTER_ID=" + x.ID, "NIGHTPORTER_LEADER=" + self,
			}
			var bad error
			for _, name := range names[moment] {
				if err := runHook(ctx, world, name, env, rules.Timeout); err != nil {
					bad = fmt.Errorf("%s for %s of %s: %w", name, moment, x.Node, err)
				} else {
					log.Info("hook run", "event", moment, "node", x.Node, "hook", name)
				}
			}
			return false, bad
		},
	}
}

func runHook(ctx context.Context, world HookWorld, name string, env []string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := world.Run(ctx, name, env); err != nil {
		return fmt.Errorf("%s", sentenceOf(err, limit))
	}
	return nil
}

// Posting is what a webhook gets.
type Posting struct {
	Version int       `json:"version"` // of this form
	ID      string    `json:"id"`      // of the event in its cluster; one that comes twice is the same
	Cluster string    `json:"cluster"`
	Leader  string    `json:"leader"` // who tells
	Event   api.Event `json:"event"`
}

// webhookOutlet posts events.
func webhookOutlet(rules config.Webhook, post func(context.Context, []byte) (bool, error), name, self string, leads func() bool, log *slog.Logger) *outlet {
	if rules.URL == "" || post == nil {
		return nil
	}
	return &outlet{
		name: "the webhook", bell: newBell(), leads: leads, log: log,
		wants: func(e fsm.Event) bool { return len(rules.Events) == 0 || slices.Contains(rules.Events, string(e.Kind)) },
		tell: func(ctx context.Context, x notice) (bool, error) {
			body, err := json.Marshal(Posting{1, x.ID, name, self, toEvent(x.Event)})
			if err != nil {
				return false, fmt.Errorf("writing an event: %w", err)
			}
			ctx, cancel := context.WithTimeout(ctx, rules.Timeout)
			defer cancel()
			return post(ctx, body)
		},
	}
}
