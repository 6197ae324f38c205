package fsm

import "time"

// Command is one change of the replicated state. The concrete types below are all there are. A command carries
// everything that Apply needs: Apply reads no clock, no randomness and no OS.
type Command interface{ kind() Kind }

// Kind numbers the commands in the log. Numbers are never reused.
type Kind uint8

// The kinds of commands, with the numbers that stand in the log.
const (
	KindFound         Kind = 1
	KindPutNode       Kind = 2
	KindRemoveNode    Kind = 3
	KindSetPower      Kind = 4
	KindPutService    Kind = 5
	KindDeleteService Kind = 6
	KindAssign        Kind = 7
	KindSetFailover   Kind = 8
	KindBeginWake     Kind = 9
	KindEndWake       Kind = 10
	KindMeasureWake   Kind = 11
	KindNoteWake      Kind = 12
	KindJudgeWake     Kind = 16
	KindSetInrush     Kind = 17

	// Whether nodes can be woken (fit.go).
	KindReportFitness Kind = 20
	KindBeginCanary   Kind = 21
	KindEndCanary     Kind = 22
	KindJudgeFitness  Kind = 23
)

// Found gives the new cluster its name, ID, timing and first services. It is refused once the cluster has an ID.
type Found struct {
	Cluster  Cluster       `json:"cluster"`
	Failover time.Duration `json:"failover"`
	Services []Service     `json:"services,omitempty"`
	By       string        `json:"by"`
}

// PutNode makes or refreshes a node's record. For a known node, Power, PowerReason, PowerSince, Sleeps, Joined and
// Maintenance of the record stay as they are; another Key than the pinned one is refused. A new node is Awake
// because NodeJoined unless the record says otherwise, since At.
type PutNode struct {
	Node Node      `json:"node"`
	At   time.Time `json:"at"`
}

// RemoveNode forgets a node, its pinned key included, and where one is that was lost in a recovery. It is refused while the node owns a service
// (Assign first).
// Target lists stay as the operator wrote them: a name in one that no node bears is passed over.
type RemoveNode struct {
	Name   string    `json:"name"`
	Reason Reason    `json:"reason"`
	At     time.Time `json:"at"`
}

// SetPower moves a node's power state by compare-and-set: it is refused unless the node is in From with Sleeps
// equal to the record's. A move to Suspending raises Sleeps by one; it is for awake nodes that may sleep.
type SetPower struct {
	Node   string    `json:"node"`
	From   Power     `json:"from"`
	To     Power     `json:"to"`
	Sleeps uint64    `json:"sleeps"`
	Reason Reason    `json:"reason"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`
}

// PutService defines or redefines a service. An address or MAC that another service has is refused. Redefining it
// with another address, MAC or mode is refused while somebody owns it under the old one: the proposer first assigns it to
// nobody (reason service-changed).
type PutService struct {
	Service Service   `json:"service"`
	At      time.Time `json:"at"`
	By      string    `json:"by"`
}

// DeleteService removes a definition. Its Ownership stays, with no owner and the epoch raised by one.
type DeleteService struct {
	Name string    `json:"name"`
	At   time.Time `json:"at"`
	By   string    `json:"by"`
}

// Assign changes the owner by compare-and-set on the epoch that it was planned from. The new epoch is Planned+1.
type Assign struct {
	Service string    `json:"service"`
	Owner   string    `json:"owner"` // "" = nobody
	Planned uint64    `json:"planned"`
	Reason  Reason    `json:"reason"`
	Detail  string    `json:"detail,omitempty"`
	At      time.Time `json:"at"`
	By      string    `json:"by"`
}

// SetFailover changes the cluster-wide timing. Timing.Largest becomes the larger of the new value and of what may
// still be in force: the old Largest when the last change is younger than twice it, else the old Failover.
// Timing.Changed becomes At, unless that lies before it.
//
// Apply cannot tell a change that is old from one that a fast wall clock makes look old, and a Largest that falls too
// early breaks I1. A proposer that has not seen the last change in force for twice Largest by its own boot clock
// therefore gives Timing.Changed as At: that counts as young.
type SetFailover struct {
	Failover time.Duration `json:"failover"`
	At       time.Time     `json:"at"`
	By       string        `json:"by"`
}

// BeginWake records that somebody began to wake a node; EndWake records how it ended (by Wake.ID). A second BeginWake
// of the same ID is left alone, so that a proposal of unknown fate can be repeated.
type BeginWake struct {
	Wake Wake `json:"wake"`
}

// EndWake closes a wake record. One that is unknown or closed is left alone.
type EndWake struct {
	ID     string    `json:"id"`
	Result Reason    `json:"result"`
	At     time.Time `json:"at"`
}

func (Found) kind() Kind         { return KindFound }
func (PutNode) kind() Kind       { return KindPutNode }
func (RemoveNode) kind() Kind    { return KindRemoveNode }
func (SetPower) kind() Kind      { return KindSetPower }
func (PutService) kind() Kind    { return KindPutService }
func (DeleteService) kind() Kind { return KindDeleteService }
func (Assign) kind() Kind        { return KindAssign }
func (SetFailover) kind() Kind   { return KindSetFailover }
func (BeginWake) kind() Kind     { return KindBeginWake }
func (EndWake) kind() Kind       { return KindEndWake }
