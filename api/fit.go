package api

import (
	"context"
	"time"
)

// WakeFitness tells whether a host that may sleep can be woken, as far as the log knows.
type WakeFitness struct {
	MaySleep      bool         `json:"may_sleep"`
	Why           string       `json:"why"`             // why not, and what to do, a sentence
	CannotBeWoken bool         `json:"cannot_be_woken"` // it was called in vain, and nobody has cleared that up
	WoL           string       `json:"wol"`             // armed, assumed (nobody looks), unarmed
	WoLDetail     string       `json:"wol_detail"`      // why it is unarmed, a sentence
	SecureOn      bool         `json:"secureon"`        // magic packets for it carry a password
	Mode          string       `json:"canary_mode"`     // auto, manual, off
	Fingerprint   string       `json:"fingerprint"`     // of what its waking depends on
	Since         time.Time    `json:"since"`           // since when it counts as fit; zero = never
	Revoked       string       `json:"revoked"`         // what ended that: fit-drifted, wake-failed, canary-failed; "" = nothing
	RevokedAt     time.Time    `json:"revoked_at"`
	RevokedDetail string       `json:"revoked_detail"`
	Canary        CanaryResult `json:"canary"` // the last one; no node = none was ever begun
}

// CanaryResult is one supervised sleep and wake of a host.
type CanaryResult struct {
	Node   string      `json:"node"`
	Passed bool        `json:"passed"`
	Result string      `json:"result"` // canary-passed, canary-failed, canary-called-off; "" = it is under way
	Detail string      `json:"detail"` // a sentence
	Auto   bool        `json:"auto"`   // nobody asked for it
	By     string      `json:"by"`     // the node that proposed it
	Began  time.Time   `json:"began"`
	Ended  time.Time   `json:"ended"`  // zero = under way
	Phases []PhaseTime `json:"phases"` // of the wake
}

// sleepBody is the request of Sleep and SleepAnyway.
type sleepBody struct {
	Name   string `json:"name"`
	Anyway bool   `json:"anyway,omitempty"`
}

func (s *Server) sleep(ctx context.Context, q sleepBody) (PowerChange, error) {
	if q.Anyway {
		return s.backend.SleepAnyway(ctx, q.Name)
	}
	return s.backend.Sleep(ctx, q.Name)
}

// SleepAnyway implements Backend.
func (c *Client) SleepAnyway(ctx context.Context, node string) (out PowerChange, err error) {
	err = c.ask(ctx, "sleep", "put "+node+" to sleep", sleepBody{node, true}, &out)
	return out, err
}

// Canary implements Backend.
func (c *Client) Canary(ctx context.Context, node string) (out CanaryResult, err error) {
	err = c.ask(ctx, "canary", "put "+node+" through a canary", nameBody{node}, &out)
	return out, err
}

// AcceptFitness implements Backend.
func (c *Client) AcceptFitness(ctx context.Context, node string) error {
	return c.ask(ctx, "accept-fitness", "accept that "+node+" can be woken", nameBody{node}, &none{})
}
