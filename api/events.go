package api

import (
	"context"
	"time"
)

// WaitMost bounds how long one question for news is held open (EventsQuery.Wait, WatchQuery.Wait). Who wants more asks again.
const WaitMost = 30 * time.Second

// EventsQuery picks a part of the cluster's story.
type EventsQuery struct {
	Cursor  Cursor   `json:"cursor"`        // only what came after it; zero = all that is kept
	Since   Duration `json:"since_seconds"` // only of so long before now, by the hosts' own clocks; 0 = all
	Kinds   []string `json:"kinds"`         // only these; none = all
	Service string   `json:"service"`       // only of this one
	Node    string   `json:"node"`          // only of this one
	Last    int      `json:"last"`          // so many of the newest; 0 = all
	Wait    Duration `json:"wait_seconds"`  // how long to wait for one where there is none, at most WaitMost
}

// Cursor is a place in the story. It is given back as it was got. It holds at every host of the cluster. After an upgrade from version 0.1,
// host by host, a host may have begun its story later than others and count from there: of a cursor from another one the index holds, and what
// is told after it, but not the number, so Events.Skipped may be wrong.
type Cursor struct {
	Index  uint64 `json:"index"`  // of the last log entry that was told
	Number uint64 `json:"number"` // of the last event; the first one that this host's story ever had has 1
}

// Events is a part of the story, in the order of the log.
type Events struct {
	Events  []Event `json:"events"`
	Cursor  Cursor  `json:"cursor"`  // where to go on
	Gap     bool    `json:"gap"`     // between the question's cursor and the first event here something is not kept any more
	Skipped uint64  `json:"skipped"` // how many events that is; 0 with a gap = not known; see Cursor for a cursor from another host
}

// Event is one thing that happened to the cluster.
type Event struct {
	Index    uint64    `json:"index"`    // of the log entry; one entry may tell of several events
	At       time.Time `json:"at"`       // by the clock of the host that proposed it: the order is that of the log
	Kind     string    `json:"kind"`     // cluster, owner, power, wake, fitness, member, voters, service, setting; in the output of the command also gap: something before it is not kept any more
	What     string    `json:"what"`     // what happened, within the kind: begun, ended, judged, joined, removed, changed, corrected, created, ...; "" for owner, power and voters
	Service  string    `json:"service"`  // "" = of none
	Node     string    `json:"node"`     // "" = of none
	Epoch    uint64    `json:"epoch"`    // of a change of owner; 0 = of something else
	From     string    `json:"from"`     // the owner, power state, voters or value before; "" = none, or not known
	To       string    `json:"to"`       // and after; of a wake that was judged, the verdict
	Reason   string    `json:"reason"`   // why, as a word
	By       string    `json:"by"`       // the node that decided it; "" = the log does not say
	Wake     string    `json:"wake"`     // the ID of a wake or canary
	Detail   string    `json:"detail"`   // what else is known, for people
	Sentence string    `json:"sentence"` // all of it in words, for people: may be worded otherwise in another version
}

// Events implements Backend.
func (c *Client) Events(ctx context.Context, q EventsQuery) (out Events, err error) {
	err = c.ask(ctx, "events", "read the cluster's story", q, &out)
	return out, err
}
