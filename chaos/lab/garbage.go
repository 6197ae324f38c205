package lab

import (
	"context"
	"errors"
	"net/netip"
)

// Litter is one thing that a stranger sent.
type Litter struct {
	To      netip.AddrPort `json:"to"`
	Network string         `json:"network"` // udp or tcp
	Kind    string         `json:"kind"`    // what it is, such as "random bytes" or "gossip under another key"
	Bytes   int            `json:"bytes"`   // that were sent
	// Refused is how the other end put an end to it ("" = not at all within the time given, or udp).
	Refused string `json:"refused,omitempty"`
}

// Garbage sends n things from the place to the gossip and peer ports of all hosts in turn: random bytes, and almost right
// ones (gossip in the right framing under a wrong key, TLS with a wrong certificate, HTTP). The seed fixes the choice. It
// gives what was sent; a host that does not answer is no error.
func (l *Lab) Garbage(ctx context.Context, place string, seed uint64, n int) ([]Litter, error) {
	return nil, errors.New("not yet")
}
