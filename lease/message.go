package lease

import "time"

// Boot is a point on CLOCK_BOOTTIME in nanoseconds since boot: the clock that goes on while the host is suspended.
// Go's own clock stops then, so no time.Time is ever mixed with it.
type Boot int64

// Add gives the point d later.
func (b Boot) Add(d time.Duration) Boot { return b + Boot(d) }

// Sub gives the time from o to b.
func (b Boot) Sub(o Boot) time.Duration { return time.Duration(b - o) }

// Request asks a voter for the right to use an epoch for TTL. Seq rises with every request and release of a node,
// so that a late or doubled one is recognized.
type Request struct {
	Service     string        `json:"s"`
	Epoch       uint64        `json:"e"`
	Node        string        `json:"n"`
	Incarnation uint64        `json:"i"`
	Seq         uint64        `json:"q"`
	Config      uint64        `json:"c"` // index of the Raft configuration in which the holder counts
	TTL         time.Duration `json:"t"`
	// Prior is the former holder's release, as the hand-over hint brought it, or nil: it makes a lost release
	// cost nothing. The voter carries it out before it judges the request.
	Prior *Release `json:"p,omitempty"`
}

// Release gives a lease back. It leaves a node only after that node's fence is closed.
type Release struct {
	Service     string `json:"s"`
	Epoch       uint64 `json:"e"`
	Node        string `json:"n"`
	Incarnation uint64 `json:"i"`
	Seq         uint64 `json:"q"`
}

// Answer is a voter's word on one request; it names the request it answers.
type Answer struct {
	Voter       string        `json:"v"`
	Service     string        `json:"s"`
	Epoch       uint64        `json:"e"`
	Node        string        `json:"n"`
	Incarnation uint64        `json:"i"`
	Seq         uint64        `json:"q"`
	Refusal     Refusal       `json:"r,omitempty"` // "" = granted
	Holder      string        `json:"h,omitempty"` // who has the entry that excluded it
	Remaining   time.Duration `json:"l,omitempty"` // how long that entry (or the amnesia wait) still runs
}

// Ack confirms a release.
type Ack struct {
	Voter       string `json:"v"`
	Service     string `json:"s"`
	Epoch       uint64 `json:"e"`
	Node        string `json:"n"`
	Incarnation uint64 `json:"i"`
	Seq         uint64 `json:"q"`
}

// Refusal says which of the voter's rules refused a request.
type Refusal string

// The refusals, in the order in which the rules are checked.
const (
	Granted        Refusal = ""
	TTLTooLong     Refusal = "ttl-too-long"    // above what this voter has applied
	Amnesia        Refusal = "amnesia"         // rule 1: started less than ttl ago without its table
	OldConfig      Refusal = "old-config"      // rule 2: this voter's log has a newer configuration
	OldEpoch       Refusal = "old-epoch"       // rule 3: a higher epoch was granted, released or logged
	HeldByOther    Refusal = "held-by-other"   // rule 4: another node's entry still runs
	OldIncarnation Refusal = "old-incarnation" // rule 4: the node's own entry is from a later incarnation
)
