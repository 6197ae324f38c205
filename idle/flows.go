package idle

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Flow is one connection with what it has carried since it began, in bytes of payload as far as its source can tell.
type Flow struct {
	Key            string // the same in each look, and no other flow's
	Subject        string // whose it is: the name of a service, or a port
	Client         netip.AddrPort
	Received, Sent uint64
	Ended          bool
}

// FlowRules say which flows are used. What would wake a sleeping host keeps it awake: a new connection on which something was said in both
// directions counts at once. One that goes on counts while it carries Least bytes within Window: a keepalive of TCP carries none, those of
// ssh, SMB, NFS, MQTT and WebSocket some hundred in a minute.
type FlowRules struct {
	Least  uint64
	Window time.Duration
}

// FlowTable follows the flows of this host. It is pure.
type FlowTable struct {
	rules  FlowRules
	seen   map[string]*track
	primed bool // the first look only learns what there is
}

// track is one flow.
type track struct {
	Flow
	fresh   bool // it began while we looked
	said    bool // and something was said on it in both directions
	saidAt  time.Duration
	carried []piece
}

type piece struct {
	at    time.Duration
	bytes uint64
}

// NewFlowTable makes one.
func NewFlowTable(r FlowRules) *FlowTable { return &FlowTable{rules: r, seen: make(map[string]*track)} }

// Look takes in all flows that there are, and those that have ended since the last look, and gives a reason for each subject with a flow in
// use. A flow that is not in it any more has ended.
func (t *FlowTable) Look(now time.Duration, flows []Flow) []Reason {
	present := make(map[string]bool, len(flows))
	for _, f := range flows {
		present[f.Key] = true
		k, known := t.seen[f.Key]
		if !known {
			k = &track{Flow: f, fresh: t.primed}
			if k.fresh {
				k.Received, k.Sent = 0, 0
			}
			t.seen[f.Key] = k
		}
		k.take(now, f)
	}
	t.primed = true
	users := make(map[string][]*track)
	for key, k := range t.seen {
		k.forget(now - t.rules.Window)
		switch {
		case len(k.carried) > 0 && (k.sum() >= t.rules.Least || k.said && k.saidAt > now-t.rules.Window):
			users[k.Subject] = append(users[k.Subject], k)
		case len(k.carried) == 0 && !present[key]:
			delete(t.seen, key)
		}
	}
	var out []Reason
	for _, s := range slices.Sorted(maps.Keys(users)) {
		out = append(out, Reason{Name: Flows, Kind: Use, Subject: s, Sentence: t.sentence(s, users[s])})
	}
	return out
}

// take adds what a flow has carried since the last look.
func (k *track) take(now time.Duration, f Flow) {
	more := (f.Received - min(k.Received, f.Received)) + (f.Sent - min(k.Sent, f.Sent))
	k.Received, k.Sent, k.Ended = f.Received, f.Sent, f.Ended
	if k.fresh && !k.said && f.Received > 0 && f.Sent > 0 {
		k.said, k.saidAt = true, now
	}
	if more > 0 {
		k.carried = append(k.carried, piece{now, more})
	}
}

func (k *track) forget(before time.Duration) {
	k.carried = slices.DeleteFunc(k.carried, func(p piece) bool { return p.at <= before })
}

func (k *track) sum() (n uint64) {
	for _, p := range k.carried {
		n += p.bytes
	}
	return n
}

func (t *FlowTable) sentence(subject string, users []*track) string {
	slices.SortFunc(users, func(a, b *track) int { return cmp.Or(cmp.Compare(b.sum(), a.sum()), cmp.Compare(a.Key, b.Key)) })
	what := "a client uses " + subject
	if n := len(users); n > 1 {
		what = fmt.Sprintf("%d connections to %s are used", n, subject)
	}
	return fmt.Sprintf("%s: %s carried by %s in the last %s", what, bytesOf(users[0].sum()), users[0].Client, t.rules.Window)
}

// bytesOf writes a number of bytes for people.
func bytesOf(n uint64) string {
	switch {
	case n >= 10_000_000:
		return fmt.Sprintf("%d MB", n/1_000_000)
	case n >= 10_000:
		return fmt.Sprintf("%d kB", n/1000)
	}
	return fmt.Sprintf("%d bytes", n)
}
