package api

import (
	"context"
	"strings"
)

// Status implements Backend.
func (c *Client) Status(ctx context.Context) (out Status, err error) {
	err = c.ask(ctx, "status", "read the status", none{}, &out)
	return out, err
}

// Members implements Backend.
func (c *Client) Members(ctx context.Context) (out []NodeStatus, err error) {
	err = c.ask(ctx, "members", "list the members", none{}, &out)
	return out, err
}

// Services implements Backend.
func (c *Client) Services(ctx context.Context) (out []Service, err error) {
	err = c.ask(ctx, "services", "read the services", none{}, &out)
	return out, err
}

// Version implements Backend.
func (c *Client) Version(ctx context.Context) (out Version, err error) {
	err = c.ask(ctx, "version", "read the daemon's version", none{}, &out)
	return out, err
}

// History implements Backend.
func (c *Client) History(ctx context.Context, service string) (out History, err error) {
	err = c.ask(ctx, "history", "read the history of "+service, nameBody{service}, &out)
	return out, err
}

// HistoryOf implements Backend.
func (c *Client) HistoryOf(ctx context.Context, q HistoryQuery) (out History, err error) {
	tried := "read the history"
	if q.Name != "" {
		tried += " of " + q.Name
	}
	err = c.ask(ctx, "history-of", tried, q, &out)
	return out, err
}

// Why implements Backend.
func (c *Client) Why(ctx context.Context, node string) (out Why, err error) {
	err = c.ask(ctx, "why", "find out why "+node+" is as it is", nameBody{node}, &out)
	return out, err
}

// Wakes implements Backend.
func (c *Client) Wakes(ctx context.Context, q WakesQuery) (out Wakes, err error) {
	err = c.ask(ctx, "wakes", "read the ledger of wakes", q, &out)
	return out, err
}

// Report implements Backend.
func (c *Client) Report(ctx context.Context, q ReportQuery) (out Report, err error) {
	err = c.ask(ctx, "report", "sum up the hours asleep", q, &out)
	return out, err
}

// Apply implements Backend.
func (c *Client) Apply(ctx context.Context, services []Service) (out Applied, err error) {
	err = c.ask(ctx, "apply", "apply the services", applyBody{services}, &out)
	return out, err
}

// Delete implements Backend.
func (c *Client) Delete(ctx context.Context, service string) error {
	return c.ask(ctx, "delete", "delete "+service, nameBody{service}, &none{})
}

// Move implements Backend.
func (c *Client) Move(ctx context.Context, service, node string) (out Moved, err error) {
	err = c.ask(ctx, "move", "move "+service+" to "+node, moveBody{service, node}, &out)
	return out, err
}

// Set implements Backend.
func (c *Client) Set(ctx context.Context, s Settings) error {
	return c.ask(ctx, "set", "change the settings", s, &none{})
}

// Sleep implements Backend.
func (c *Client) Sleep(ctx context.Context, node string) (out PowerChange, err error) {
	err = c.ask(ctx, "sleep", "put "+node+" to sleep", nameBody{node}, &out)
	return out, err
}

// Wake implements Backend.
func (c *Client) Wake(ctx context.Context, node string) (out PowerChange, err error) {
	err = c.ask(ctx, "wake", "wake "+node, nameBody{node}, &out)
	return out, err
}

// Join implements Backend.
func (c *Client) Join(ctx context.Context, addrs []string) (out Joined, err error) {
	err = c.ask(ctx, "join", "join "+strings.Join(addrs, ", "), joinBody{addrs}, &out)
	return out, err
}

// Leave implements Backend.
func (c *Client) Leave(ctx context.Context) error {
	return c.ask(ctx, "leave", "leave the cluster", none{}, &none{})
}

// Forget implements Backend.
func (c *Client) Forget(ctx context.Context, node string) error {
	return c.ask(ctx, "forget", "forget "+node, nameBody{node}, &none{})
}

// Propose implements Backend.
func (c *Client) Propose(ctx context.Context, command []byte) ([]byte, error) {
	var out proposal
	err := c.ask(ctx, "propose", "have a change committed", proposal{command}, &out)
	return out.Command, err
}
