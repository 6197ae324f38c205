package api

import (
	"context"
	"time"
)

// Rule is something that would change the present, and where it stands.
type Rule struct {
	Sentence string `json:"sentence"` // "it sleeps at 03:12 UTC if nobody comes"
	Key      string `json:"key"`      // the configuration's key ("idle: 15m0s") or the command (`nightporter wake delta`) that it rests on
}

// Explained tells the present of what has a name: of a service or of a node. One of the two is there: a
// name that both have is refused, and "service/NAME" or "node/NAME" says which is meant.
type Explained struct {
	Service *ServiceWhy `json:"service,omitempty"` // absent = the name is a node's
	Node    *Why        `json:"node,omitempty"`    // absent = the name is a service's
}

// ServiceWhy tells why a service is where it is, and what would change it.
type ServiceWhy struct {
	Service    string    `json:"service"`
	Summary    string    `json:"summary"`     // a sentence
	Owner      string    `json:"owner"`       // "" = nobody
	OwnerState string    `json:"owner_state"` // serving, holding, claiming, silent, none
	Epoch      uint64    `json:"epoch"`       // of the ownership
	Since      time.Time `json:"since"`       // of the ownership
	Reason     string    `json:"reason"`      // of the last change of owner, as a word
	Cause      string    `json:"cause"`       // and as a sentence
	By         string    `json:"by"`          // the node that decided it
	Choices    []Choice  `json:"choices"`     // the hosts in the order in which one would be chosen now, with the one that has it
	Rules      []Rule    `json:"rules"`       // what would change it, the most likely first
	Notes      []string  `json:"notes"`       // what is not known here, a sentence each
}

// Choice is one host that could hold a service.
type Choice struct {
	Node   string `json:"node"`
	Kind   string `json:"kind"`  // target: it runs the service; front: it holds the address meanwhile and wakes a target
	State  string `json:"state"` // holds, ready (it could have it now), passed-over
	Reason string `json:"why"`   // a sentence
}

// Explain implements Backend.
func (c *Client) Explain(ctx context.Context, name string) (out Explained, err error) {
	err = c.ask(ctx, "explain", "find out why "+name+" is as it is", nameBody{name}, &out)
	return out, err
}
