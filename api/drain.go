package api

import (
	"context"
	"time"
)

// DrainQuery asks for a node's maintenance.
type DrainQuery struct {
	Node string `json:"node"`
	Text string `json:"text"` // why, for people; one line of at most 200 bytes
	// Force drains a node also where nobody else can hold one of its services: nobody holds it then.
	Force bool `json:"force"`
	Wait  bool `json:"wait"` // answer when everything is handed over
}

// Drained is how a node's maintenance began.
type Drained struct {
	Node    string   `json:"node"`
	Drain   Drain    `json:"drain"`
	Moved   []Moved  `json:"moved"`   // what was handed over until the answer
	Pending []string `json:"pending"` // services that the node still owns
	Nobody  []string `json:"nobody"`  // services that nobody holds, because it was forced
	Notes   []string `json:"notes"`   // what to know of it, a sentence each
}

// Drain is a node's maintenance. Since is zero where nobody knows of one.
type Drain struct {
	Since time.Time `json:"since"` // when it began; zero = nobody knows
	By    string    `json:"by"`    // the node on which it was asked for
	Text  string    `json:"text"`  // why, as a person wrote it
	Force bool      `json:"force"` // services that nobody else can hold are given up all the same
}

// Drain implements Backend.
func (c *Client) Drain(ctx context.Context, q DrainQuery) (out Drained, err error) {
	err = c.ask(ctx, "drain", "drain "+q.Node, q, &out)
	return out, err
}

// Undrain implements Backend.
func (c *Client) Undrain(ctx context.Context, node string) error {
	return c.ask(ctx, "undrain", "undrain "+node, nameBody{node}, &none{})
}
