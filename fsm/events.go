package fsm

import (
	"slices"
	"time"
)

// Event is one thing that happened to the cluster, as the log tells it. It is information for people: no decision rests on it.
type Event struct {
	Index   uint64    `json:"index"` // of the Raft entry; one entry may tell of several
	At      time.Time `json:"at"`    // stamped by the proposer: clocks of hosts differ, the order is that of the log
	Kind    EventKind `json:"kind"`
	What    What      `json:"what,omitempty"` // happened, within the kind
	Service string    `json:"service,omitempty"`
	Node    string    `json:"node,omitempty"`
	Epoch   uint64    `json:"epoch,omitempty"` // of a change of owner
	From    string    `json:"from,omitempty"`  // owner, power, list of voters, value of a setting
	To      string    `json:"to,omitempty"`
	Reason  Reason    `json:"reason,omitempty"`
	By      string    `json:"by,omitempty"`     // the node that proposed it
	Wake    string    `json:"wake,omitempty"`   // ID of the wake or canary
	Detail  string    `json:"detail,omitempty"` // free text for people
}

// EventKind is what an event is about.
type EventKind string

// The kinds.
const (
	EventCluster EventKind = "cluster" // it was founded, or recovered
	EventOwner   EventKind = "owner"   // a service changed its owner
	EventPower   EventKind = "power"   // a node changed its power state
	EventWake    EventKind = "wake"    // somebody is called, or was
	EventFitness EventKind = "fitness" // whether a node can be woken
	EventMember  EventKind = "member"  // a node's record
	EventVoters  EventKind = "voters"  // the set of voters
	EventService EventKind = "service" // a definition
	EventSetting EventKind = "setting" // a setting of the whole cluster
)

// EventKinds are all of them.
func EventKinds() []EventKind {
	return []EventKind{EventCluster, EventOwner, EventPower, EventWake, EventFitness, EventMember, EventVoters, EventService, EventSetting}
}

// What says what happened, within a kind.
type What string

// Owner, power and voters have none: from and to say it.
const (
	Founded     What = "founded"
	Salvaged    What = "recovered" // it goes on from one whose majority was lost
	Joined      What = "joined"
	Removed     What = "removed"
	Forgotten   What = "forgotten" // it was lost in a recovery, and is not looked for any more
	Altered     What = "changed"
	Defined     What = "created"
	Deleted     What = "deleted"
	Begun       What = "begun"
	Ended       What = "ended"
	Judged      What = "judged"
	Revoked     What = "revoked"
	Accepted    What = "accepted"
	CanaryBegun What = "canary-begun"
	CanaryEnded What = "canary-ended"
	Maintained  What = "maintenance"
	Corrected   What = "corrected" // why it is awake: its call came into the log later
	OfFailover  What = "failover"
	OfInrush    What = "wake_inrush"
	OfFloor     What = "epochs" // above which services begin
)

// EventLog is the newest part of the cluster's story: the same on every node, since it is derived from the log, and bounded. Like the
// ledger it is kept from the first node of format 2 on, an older node drops it, and one that got its state from such a one begins anew
// (DESIGN.md, rule 3).
type EventLog struct {
	Floor  uint64      `json:"floor"`            // all events of entries above this index are here
	Voters string      `json:"voters,omitempty"` // as last told, for the next time that they change; "" = not told yet
	Pages  []EventPage `json:"pages"`            // oldest first, at most eventPages; all but the last are full
}

// EventPage is a part of an EventLog. Pages keep the cost of one more event low: only the last one is copied.
type EventPage struct {
	First  uint64  `json:"first"` // number of the first event in it; the first event ever has 1
	Events []Event `json:"events"`
}

// Bounds of the log: 2048 events, about 400 KB in a snapshot. A sleep with its wake makes about ten: a week of a cluster that sleeps and
// wakes thirty times a day.
const (
	eventPages = 32
	pageEvents = 64
)

// EventsAfter gives what happened in entries above an index, oldest first.
func (s *State) EventsAfter(index uint64) []Event {
	return s.eventsWhere(func(e Event) bool { return e.Index > index })
}

// EventsSince gives what happened at a time or later, in the order of the log; the zero time: all that is kept.
func (s *State) EventsSince(t time.Time) []Event {
	return s.eventsWhere(func(e Event) bool { return !e.At.Before(t) })
}

func (s *State) eventsWhere(want func(Event) bool) []Event {
	var out []Event
	if s == nil || s.Events == nil {
		return out
	}
	for _, p := range s.Events.Pages {
		for _, e := range p.Events {
			if want(e) {
				out = append(out, e)
			}
		}
	}
	return out
}

// EventsKept says from when on the story is known: all events of entries above floor are kept, the first of them has the number first and
// the newest last. Nothing kept: first is last+1.
func (s *State) EventsKept() (floor, first, last uint64) {
	if s == nil || s.Events == nil || len(s.Events.Pages) == 0 {
		return 0, 1, 0
	}
	pages := s.Events.Pages
	end := pages[len(pages)-1]
	return s.Events.Floor, pages[0].First, end.First + uint64(len(end.Events)) - 1
}

// withEvents writes down what one entry came to. before and after differ; after is not published yet.
func withEvents(before, after *State, index uint64, c Command) {
	if after.Events == nil && !keepsEvents(after) {
		return
	}
	at, by := stampOf(c)
	var list []Event
	if after.Events == nil { // the story begins with the founding, whatever has happened since
		list = append(list, Event{Kind: EventCluster, What: Founded, At: after.Cluster.Created, Detail: after.Cluster.Name})
	}
	list = append(list, eventsOf(before, after, c)...)
	for i := range list {
		list[i].Index = index
		if list[i].By == "" {
			list[i].By = by
		}
		if list[i].At.IsZero() {
			list[i].At = at
		}
	}
	after.Events = after.Events.with(list)
}

// Reconfigured writes down that the set of voters is another one. The log gives a configuration no stamp of its own: at is when the leader
// appended it, as far as that is known. It gives s itself where nothing is to be written.
func Reconfigured(s *State, index uint64, voters string, at time.Time) *State {
	if s == nil || s.Events == nil {
		return s
	}
	if s.Events.Voters == voters { // somebody came or went who does not vote
		return s
	}
	e := Event{Index: index, At: at, Kind: EventVoters, From: s.Events.Voters, To: voters}
	next := *s
	next.Events = s.Events.with([]Event{e})
	return &next
}

// keepsEvents: records of format 2 tell that the cluster has seen a version that keeps events.
func keepsEvents(s *State) bool {
	for _, n := range s.Nodes {
		if n.Format >= 2 {
			return true
		}
	}
	return false
}

// with adds events, which are all of one entry. It never writes into what l shares with published states.
func (l *EventLog) with(list []Event) *EventLog {
	if len(list) == 0 {
		return l
	}
	next := &EventLog{Floor: list[0].Index - 1}
	if l != nil {
		next.Floor, next.Voters, next.Pages = l.Floor, l.Voters, slices.Clone(l.Pages)
	}
	for _, e := range list {
		if e.Kind == EventVoters {
			next.Voters = e.To
		}
		if e.At.IsZero() { // not before what was before
			e.At = next.newest()
		}
		n := len(next.Pages)
		if n == 0 || len(next.Pages[n-1].Events) >= pageEvents {
			first := uint64(1)
			if n > 0 {
				first = next.Pages[n-1].First + uint64(len(next.Pages[n-1].Events))
			}
			next.Pages = append(next.Pages, EventPage{First: first})
			n++
		}
		last := &next.Pages[n-1]
		last.Events = append(slices.Clip(last.Events), e)
	}
	if drop := len(next.Pages) - eventPages; drop > 0 {
		gone := next.Pages[drop-1].Events
		next.Floor, next.Pages = gone[len(gone)-1].Index, next.Pages[drop:]
	}
	return next
}

func (l *EventLog) newest() time.Time {
	if len(l.Pages) == 0 {
		return time.Time{}
	}
	p := l.Pages[len(l.Pages)-1].Events
	return p[len(p)-1].At
}
