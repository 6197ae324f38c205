package fsm

import "fmt"

// Result is what a command came to. Raft hands it to the proposer; every node computes the same one.
type Result struct {
	Index   uint64  `json:"index"`             // of the Raft entry
	Refused Refusal `json:"refused,omitempty"` // "" = done; a refused command changed nothing
	Message string  `json:"message,omitempty"` // why it was refused, a sentence for people
	Epoch   uint64  `json:"epoch,omitempty"`   // of the named service after the command, where it names one
	Effect  Effect  `json:"effect,omitempty"`  // of a PutService that was done
}

// Effect is what a definition did. Only the state machine knows: two that are proposed at once both find nothing before.
type Effect string

// The effects.
const (
	Created   Effect = "created"
	Changed   Effect = "changed"
	Unchanged Effect = "unchanged"
)

// Err gives nil for a command that was done, else an error that reads as the Message and matches the Refusal with
// errors.Is.
func (r Result) Err() error {
	if r.Refused == "" {
		return nil
	}
	return refusedError{r}
}

type refusedError struct{ r Result }

func (e refusedError) Error() string { return e.r.Message }
func (e refusedError) Unwrap() error { return e.r.Refused }

// Refusal says which rule refused a command. It is an error, so that a caller can branch on it with errors.Is.
type Refusal string

// Error implements error.
func (r Refusal) Error() string { return "refused: " + string(r) }

// The refusals.
const (
	NotFounded     Refusal = "not-founded"     // the cluster has no ID yet: only Found is accepted
	AlreadyFounded Refusal = "already-founded" // Found, but the cluster has an ID
	Invalid        Refusal = "invalid"         // the command makes no sense in any state
	UnknownService Refusal = "unknown-service"
	UnknownNode    Refusal = "unknown-node"
	StaleEpoch     Refusal = "stale-epoch"     // planned from an epoch that is no longer the current one
	StillOwned     Refusal = "still-owned"     // somebody owns the service: Assign first
	AddressInUse   Refusal = "address-in-use"  // another service has one of the addresses or the MAC
	WrongKey       Refusal = "wrong-key"       // another key than the one pinned at the first join
	WrongPower     Refusal = "wrong-power"     // the node is in another power state or another sleep than planned from
	NeverSleeps    Refusal = "never-sleeps"    // an always-on node is not suspended
	CanaryRunning  Refusal = "canary-running"  // another canary is under way
	Malformed      Refusal = "malformed"       // the entry's bytes are no command
	UnknownCommand Refusal = "unknown-command" // a newer version's command that this one may ignore
)

func refuse(s *State, why Refusal, format string, args ...any) (*State, Result) {
	return s, Result{Refused: why, Message: fmt.Sprintf(format, args...)}
}
